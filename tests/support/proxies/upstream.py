"""What stands behind a proxy: the application, and a relay that counts connections."""

from __future__ import annotations

import http.server
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from support.processes import LOOPBACK, PATIENCE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for the key of RFC 6455, 1.3, dGhlIHNhbXBsZSBub25jZQ==


class Seen(NamedTuple):
    """A request as the application got it. headers: by lower-case name; several lines joined by `, `."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Server(http.server.ThreadingHTTPServer):
    """Says nothing where a proxy resets a connection, as HAProxy does after a look at its port."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class Upstream:
    """The application behind the proxy: answers 200 to all, and remembers what it got.

    It takes every upgrade: 101, and what comes then is sent back.
    """

    def __init__(self) -> None:
        seen: list[Seen] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one write: apart, they wait for each other's acknowledgement

            def handle_any(self) -> None:
                headers: dict[str, str] = {}
                for name, value in self.headers.items():
                    before = headers.get(name.lower())
                    headers[name.lower()] = value if before is None else f"{before}, {value}"
                seen.append(Seen(self.command, self.path, headers, self._body()))
                if "upgrade" in headers:
                    self._switch(headers["upgrade"])
                    return
                self.send_response(200)
                self.send_header("Content-Length", "9")
                self.end_headers()
                self.wfile.write(b"upstream\n")

            do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = handle_any  # noqa: N815  # as http.server wants them

            def _switch(self, protocol: str) -> None:
                """Speak another protocol from here on: send back what comes, until nothing does."""
                self.send_response(101)
                for name, value in (("Connection", "Upgrade"), ("Upgrade", protocol), ("Sec-WebSocket-Accept", ACCEPT)):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.flush()
                _send_back(self.connection)
                self.close_connection = True

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", "0")))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
                """Say nothing."""

        self.seen = seen
        self._server = _Server((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def last(self) -> Seen:
        """Return what came last."""
        return self.seen[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


class Relay:
    """Passes connections on to a port, and counts them: what a proxy's keep-alive is worth."""

    def __init__(self, to: int) -> None:
        self.accepted = 0
        self._to = to
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            far = socket.create_connection((LOOPBACK, self._to))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pass_on, args=(one, other), daemon=True)
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            finally:
                end.close()
        for thread in self._threads:
            thread.join(PATIENCE)


def _send_back(connection: socket.socket) -> None:
    while data := connection.recv(64):
        connection.sendall(data)
