"""Events on their way to the counting: a bounded queue in this process, or (see `streams`) shared by several.

A batch that does not fit is refused whole, so its sender tries it again: nothing is lost for want of room, and nothing
grows.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from authz.control.detect.event import Event

MAX_WAITING: Final = 200_000  # events in the queue


class Batch(NamedTuple):
    """Events that came together.

    Attributes:
        received: Seconds since 1970.
        counted: Another process counted them before, and listed what followed: they are counted again so that what
            comes next is judged by all of the window.
        place: Partition and entry of a shared stream.
        anew: All counters start again before it.
    """

    events: list[Event]
    received: float
    counted: bool = False
    place: tuple[int, bytes] | None = None
    anew: bool = False


class Work(Protocol):
    """Where events wait to be counted."""

    @property
    def waiting(self) -> int:
        """How many events wait."""

    def start(self) -> None:
        """Begin."""

    def put(self, events: list[Event], received: float) -> bool:
        """Take events; return whether there was room. received: seconds since 1970."""

    def next(self, timeout: float) -> Batch | None:
        """Wait for a batch; return None if none came within `timeout` seconds, or at the end."""

    def done(self, batch: Batch) -> None:
        """Say that a batch was counted, and what followed was written."""

    def close(self) -> None:
        """Stop taking. What waits here can still be had by `next`. A second call is harmless."""

    def release(self) -> None:
        """Leave what waits to others. A second call is harmless."""


class LocalWork:
    """A queue of this process. A batch is gone with the process that took it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return self._waiting

    def start(self) -> None:
        """Nothing is to be begun."""

    def put(self, events: list[Event], received: float) -> bool:
        """Take events; see Work."""
        with self._lock:
            if self._waiting + len(events) > MAX_WAITING:
                return False
            self._waiting += len(events)
        self._queue.put(Batch(events, received))
        return True

    def next(self, timeout: float) -> Batch | None:
        """Wait for a batch; see Work."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def done(self, batch: Batch) -> None:
        """Make its room free."""
        with self._lock:
            self._waiting -= len(batch.events)

    def close(self) -> None:
        """Wake the waiting threads."""
        self._queue.put(None)

    def release(self) -> None:
        """There are no others."""
