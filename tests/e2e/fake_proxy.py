"""A proxy as companies have them: wants credentials, tunnels with CONNECT, forwards plain requests in their absolute form. It knows
names that this machine does not, and behind each tunnel stands a server with a certificate of a private authority."""

import base64
import select
import socket
import ssl
import threading

import trustme

USER, PASSWORD = "us er", "p@ss:word"
CREDENTIALS = "us%20er:p%40ss:word"  # as they are written in an address


class Authority:
    """A private authority with a certificate for every name below `domain`."""

    def __init__(self, domain, folder):
        self.ca = trustme.CA()
        self.file = folder / f"{domain}.pem"
        # Another authority before it: files of certificates have several.
        self.file.write_bytes(trustme.CA().cert_pem.bytes() + self.ca.cert_pem.bytes())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(f"*.{domain}", f"*.agent.{domain}", f"*.logs.{domain}").configure_cert(self.context)


class FakeProxy:
    """`servers` maps a host to the address of the plain server that stands for it."""

    def __init__(self, authority, servers):
        self.authority, self.servers = authority, servers
        self.asked, self.refused = [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    @property
    def url(self):
        return f"http://{CREDENTIALS}@{self.address}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with client:
                self._answer(client)
        except OSError:  # the agent gave up, which a case may want
            pass

    def _answer(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
        method, target, _ = lines[0].split()
        wanted = "Proxy-Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if wanted not in lines:
            self.refused.append(target)
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        self.asked.append((method, target))
        host = target.removeprefix("http://").split("/")[0].rsplit(":", 1)[0]
        if host not in self.servers:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(self.servers[host].rsplit(":", 1)) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                client = self.authority.context.wrap_socket(client, server_side=True)
            else:
                path = target.removeprefix("http://").partition("/")[2]
                server.sendall(head.replace(target.encode(), b"/" + path.encode(), 1))
            _relay(client, server)


def _relay(one, other):
    while True:
        pending = isinstance(one, ssl.SSLSocket) and one.pending()
        ready = [one] if pending else select.select([one, other], [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
