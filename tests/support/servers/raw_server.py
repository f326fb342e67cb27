"""A server of plain bytes: what a test says is sent, whatever HTTP thinks of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = bytes | Callable[[int], bytes]


class RawServer:
    """Answers each request with some bytes, and closes; or goes on sending.

    Args:
        answer: What is sent; a function is given the number of the request, from 1 on.
        again: What is sent after that, until the other side closes; b"": nothing.
        pause: Seconds between two of these.
        silent: Whether the connection stays open without a word after the answer.
        most: Bytes after which it stops sending.

    Attributes:
        requests: The heads of all requests.
        sent: Bytes of all answers.
    """

    def __init__(
        self, answer: Answer = b"", *, again: bytes = b"", pause: float = 0.0, silent: bool = False, most: int = 1 << 40
    ) -> None:
        self._answer, self._again, self._pause, self._silent, self._most = answer, again, pause, silent, most
        self._ended = threading.Event()
        self.requests: list[str] = []
        self.sent = 0
        self.port = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[RawServer]:
        """Serve."""
        threads: list[threading.Thread] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while not self._ended.is_set():
                        connection = listener.accept()[0]
                        threads.append(threading.Thread(target=self._serve, args=(connection,)))
                        threads[-1].start()

            acceptor = threading.Thread(target=accept)
            acceptor.start()
            try:
                yield self
            finally:
                self._ended.set()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                    pass
                acceptor.join(5)
        for thread in threads:
            thread.join(5)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(1 << 16)
                if not piece:
                    return
                head += piece
            self.requests.append(head.decode("latin-1"))
            self._send(connection, self._answer(len(self.requests)) if callable(self._answer) else self._answer)
            while self._again and self.sent < self._most and not self._ended.is_set():
                self._send(connection, self._again)
                time.sleep(self._pause)
            if self._silent:
                connection.recv(1)  # until the other side closes

    def _send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.sent += len(data)


def answer(body: bytes = b"", status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    """Return a whole answer. length: what it says that it has; None: what it has. headers: with `_` for `-`.

    It says that the connection ends with it, as it does: a client that follows a redirect would now and then send the
    next request into the connection that is being closed, and tell of that.
    """
    known = {"Content-Length": str(len(body) if length is None else length), "ETag": '"a"', "Connection": "close"}
    known |= {"Last-Modified": "Sat, 28 Nov 2026 20:00:00 GMT"}
    known |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in known.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body
