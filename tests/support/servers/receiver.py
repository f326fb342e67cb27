"""A web server that takes what it is sent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Receiver:
    """A web server that keeps what it is sent, and answers with `status`. A class of it may `take` it otherwise."""

    path = "/hook"
    protocol = "HTTP/1.0"

    def __init__(self, status: int = 204, answer: bytes = b"") -> None:
        self.status = status
        self.answer = answer
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = receiver.protocol

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take({"Path": self.path, **self.headers}, body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{self.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        self.got.append((dict(headers), body))

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
