"""An intake of events that keeps what it gets, and a line for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.control.detect.sources.feeder import Feeder
from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.detect.event import Event

LINE = '203.0.113.9 - - [01/Dec/2026:00:00:00 +0000] "POST /login HTTP/1.1" 401 10 "-" "curl"'


class Room:
    """Keeps what it gets, and is full when the test says so."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.full = False

    def put(self, events: list[Event], _received: float) -> bool:
        """Take events."""
        if self.full:
            return False
        self.events += events
        return True


def feeder(room: Room) -> Feeder:
    """Return what gives events to it."""
    return Feeder("test", room)  # type: ignore[arg-type]  # the part of an intake that a feeder uses


def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    wait_for(true, pause=0.01)
