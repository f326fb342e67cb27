"""A web server that behaves as a test says."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class WebServer:
    """Serves `content` under every path, with an ETag; by `Prefer: wait` it holds its answer back.

    Attributes:
        content: What it has; None: 404. Set it by `put`.
        status: Answered instead of 200, where it is not 0.
        location: Of a redirect.
        announced: Bytes more than the content that Content-Length says.
        requests: The headers of all requests, by lower-case name, with the path under "path".
        holds: Whether it knows `Prefer: wait`.
        tag: An entity tag in the place of its own; "": its own.
    """

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.version = 1
        self.status = 0
        self.location = ""
        self.announced = 0
        self.holds = False
        self.tag = ""
        self.requests: list[dict[str, str]] = []
        self.changed = threading.Condition()
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        """Of the file."""
        return f"{self.scheme}://127.0.0.1:{self.port}/lists.snapshot"

    def put(self, content: bytes | None) -> None:
        """Have another file."""
        with self.changed:
            self.content = content
            self.version += 1
            self.changed.notify_all()

    @contextlib.contextmanager
    def running(self, context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[WebServer]:
        """Serve, over TLS where a context is given."""
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self.scheme = "https"
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.put(None)
            server.shutdown()
            server.server_close()
            thread.join(10)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        asked = {name.lower(): value for name, value in handler.headers.items()} | {"path": handler.path}
        self.requests.append(asked)
        known = asked.get("if-none-match")
        held = self.holds and "prefer" in asked
        if held:
            with self.changed:
                self.changed.wait_for(lambda: known != f'"{self.version}"', float(asked["prefer"].partition("=")[2]))
        with contextlib.suppress(OSError):
            self._send(handler, known, held=held)

    def _send(self, handler: http.server.BaseHTTPRequestHandler, known: str | None, *, held: bool) -> None:
        content, tag = self.content, f'"{self.version}"'
        same = known == tag
        status = self.status or (404 if content is None else 304 if same else 200)
        body = content if status == 200 and content is not None else b""
        handler.send_response(status)
        handler.send_header("ETag", self.tag or tag)
        if self.location:
            handler.send_header("Location", self.location)
        if held:
            handler.send_header("Preference-Applied", "wait")
        if status != 304:
            handler.send_header("Content-Length", str(len(body) + self.announced))
        handler.end_headers()
        handler.wfile.write(body)
        if self.announced:
            handler.close_connection = True
