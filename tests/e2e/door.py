"""A TCP port in front of a fake intake that fails in the ways of networks and servers, and later does not."""

import socket
import struct
import threading
from contextlib import suppress

DRIP_S = 1.0  # between two bytes of an answer


class Door:
    """`mode` is how connections that come from now on are treated: `open` passes them to the intake."""

    MODES = ("open", "refuse", "reset", "silent", "drip")

    def __init__(self, intake):
        self.intake_port = int(intake.address.split(":")[1])
        self.port, self.mode, self.seen = 0, "", dict.fromkeys(self.MODES, 0)
        self.closing, self.held = threading.Event(), []
        self._listen()
        self.turn("open")
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.set()
        self._shut()
        self._let_go()

    def turn(self, mode):
        """From now on so. What was held open before is closed, as when somebody restarts a server."""
        assert mode in self.MODES
        if self.mode == "refuse":
            self._listen()
        self.mode = mode
        self._let_go()
        if mode == "refuse":
            self._shut()

    def _listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _shut(self):
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # ends the accept that waits
        self.listener.close()

    def _let_go(self):
        held, self.held = self.held, []
        for stream in held:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()

    def _accept(self, listener):
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                mode = self.mode
                self.seen[mode] += 1
                self.held.append(client)
                threading.Thread(target=getattr(self, f"_{mode}"), args=(client,), daemon=True).start()

    def _open(self, client):
        intake = socket.create_connection(("127.0.0.1", self.intake_port))
        self.held.append(intake)
        back = threading.Thread(target=_copy, args=(intake, client), daemon=True)
        back.start()
        _copy(client, intake)

    def _refuse(self, client):
        self._reset(client)  # came in just before

    def _reset(self, client):
        """Takes the beginning of a request and resets the connection."""
        with suppress(OSError):
            client.recv(100)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def _silent(self, client):
        with suppress(OSError):
            while client.recv(65536):
                pass

    def _drip(self, client):
        """Answers, but one byte a second."""
        with suppress(OSError):
            client.recv(65536)
            for byte in b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}":
                client.sendall(bytes([byte]))
                if self.closing.wait(DRIP_S):
                    return


def _copy(source, sink):
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
