"""A polite client, in a process of its own so that no attacker's thread keeps it waiting: `python -m ... FRONT PORT`.

It asks every 5 ms until its standard input ends, then prints its waits in seconds as JSON. Whatever the answer is, it
counts; a connection that the server ends is opened again, which is part of the wait. A line that is empty says that it
begins.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Final

from benchmarks.attacks.peers import DATA, END, HEADERS, block, call, opening, request_of

_EVERY: Final = 0.005  # seconds between two questions
_HTTP: Final = b"GET /v1/auth HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"


class Http1:
    """A connection of HTTP/1.1."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)

    def ask(self) -> None:
        """Ask once. Raises OSError where the connection ends."""
        self.socket.sendall(_HTTP)
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = self.socket.recv(65536)
            if not more:
                raise OSError("the server closed the connection")
            answer += more


class Http2(Http1):
    """A connection of HTTP/2."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.socket.sendall(opening())
        self._head, self._message, self._stream, self._rest = block(), request_of("192.0.2.7"), 1, b""

    def ask(self) -> None:
        """Ask once. Raises OSError where the connection ends."""
        self.socket.sendall(call(self._stream, self._head, self._message))
        while not self._answered():
            more = self.socket.recv(65536)
            if not more:
                raise OSError("the server closed the connection")
            self._rest += more
        self._stream += 2

    def _answered(self) -> bool:
        """Take whole frames; return whether the last one of the answer was among them."""
        answered = False
        while len(self._rest) >= 9 and len(self._rest) >= 9 + int.from_bytes(self._rest[:3], "big"):
            length, kind, flags = int.from_bytes(self._rest[:3], "big"), self._rest[3], self._rest[4]
            stream = int.from_bytes(self._rest[5:9], "big")
            answered |= stream == self._stream and kind in {DATA, HEADERS} and bool(flags & END)
            self._rest = self._rest[9 + length :]
        return answered


def ask(front: str, port: int, ended: threading.Event) -> tuple[list[float], int, str]:
    """Ask until it is ended; return the waits, how often the connection was opened again, and what went wrong."""
    make = Http2 if front == "grpc" else Http1
    waits: list[float] = []
    opened = 0
    connection: Http1 | None = None
    while not ended.is_set():
        begin = time.monotonic()
        try:
            if connection is None:
                connection = make(port)
                opened += 1
            connection.ask()
        except OSError as error:
            connection = None
            if time.monotonic() - begin > 50:
                return waits, opened - 1, str(error)
            continue
        waits.append(time.monotonic() - begin)
        time.sleep(max(0.0, _EVERY - waits[-1]))
    return waits, opened - 1, ""


def main() -> None:
    """Ask in a thread, and wait for the end of standard input."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    print(flush=True)
    waits, reopened, failed = ask(sys.argv[1], int(sys.argv[2]), ended)
    json.dump({"waits": waits, "reopened": reopened, "failed": failed}, sys.stdout)


if __name__ == "__main__":
    main()
