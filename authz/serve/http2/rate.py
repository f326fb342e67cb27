"""How many frames that carry no call a peer may send: PING, SETTINGS, PRIORITY, resets, headers dear to read."""

from __future__ import annotations

from typing import Final

from authz.errors import ConnectionFault
from authz.serve.http2.frames import ENHANCE_YOUR_CALM

MAX_IDLE: Final = 2000  # such frames in a period, which is the time between two sweeps
MAX_AT_ONCE: Final = 100  # and so many more than calls, before the connection waits for its turn with all it sends
CREDIT: Final = 10  # more of them for each answered call: a proxy sends one or two


class FrameRate:
    """Counts the frames of one connection.

    answered: calls in this period; whoever answers one adds it. idle: frames that carried no call.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.idle = 0

    def charge(self, frames: int) -> None:
        """Count frames that carry no call, or work that costs as much. Raises ConnectionFault for too many."""
        self.idle += frames
        if self.idle > MAX_IDLE + CREDIT * self.answered:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames that carry no call")

    def begin_period(self) -> None:
        """Start counting again."""
        self.idle = self.answered = 0
