"""What the fakes share: a loopback HTTP/1.1 server that hands whole requests to its owner."""

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One scripted answer. `reset` cuts the connection instead; `delay` holds the answer back, in seconds."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    delay: float = 0.0
    reset: bool = False


def json_answer(status, value, **headers):
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


class FakeServer:
    """Listens on loopback, port chosen by the system. Subclasses write `handle(method, path, headers, body)`."""

    def __init__(self):
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.owner = self
        self.address = "127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.set()
        with self.changed:
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self):
        owner = self.server.owner
        answer = owner.handle(self.command, self.path, self.headers, self._body())
        if answer.delay:
            owner.closing.wait(answer.delay)
        if answer.reset:
            self._reset()
        else:
            self._reply(answer)

    do_GET = do_POST = do_PUT = _serve

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return body

    def _reply(self, answer):
        """One write, so that no client waits for a delayed acknowledgement between head and body."""
        self.send_response_only(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n" + answer.body)
        self.flush_headers()

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except ConnectionError:  # the agent was killed or gave up, which a case may want
            self.close_connection = True

    def log_message(self, *_):
        pass
