"""A transport that counts answers of HTTP, for tests without sockets."""

from __future__ import annotations

import asyncio


class Counting(asyncio.Transport):
    """Counts what is written, and whether it is read from."""

    def __init__(self, peer: str = "127.0.0.1") -> None:
        super().__init__({"peername": (peer, 1)})
        self.answers = 0
        self.reading = True
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        """Do nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers += bytes(data).count(b"HTTP/1.1 200")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take them; nothing waits here."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
