"""A client of the HTTP front on one connection, which sends several requests at once and reads the answers."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_ANSWER: Final = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(?:(?!\r\n)[^\r]*\r\n)*?X-Authz-Serial: (\d+)\r\n")


class Pipelined:
    """A connection. target: what is asked for. client: in X-Forwarded-For. As a context manager: closed at the end."""

    def __init__(self, port: int, target: str, client: str) -> None:
        self._request = f"GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n".encode()
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._rest = b""

    def ask(self, count: int) -> list[tuple[bytes, bytes]]:
        """Return status and serial of each answer to `count` requests. Raises OSError, ValueError for other answers."""
        self._socket.sendall(self._request * count)
        while self._rest.count(b"\r\n\r\n") < count:
            more = self._socket.recv(1 << 16)
            if not more:
                raise OSError("the connection was closed")
            self._rest += more
        *heads, rest = self._rest.split(b"\r\n\r\n", count)
        self._rest = rest
        matches = [_ANSWER.match(head + b"\r\n") for head in heads]
        if None in matches:
            raise ValueError(f"found {heads!r}, expected answers with a serial")
        return [(match[1], match[2]) for match in matches if match]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
