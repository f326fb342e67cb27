"""A thread that writes events in batches, beside the counting.

Counting comes first: where the writing is too slow, what finds no room is counted as lost, and is only missing where
it would have been written.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Final

from authz.control.detect.counting.detector import MAX_AHEAD
from authz.control.model.problems import NotReady, NotTaken

if TYPE_CHECKING:
    from authz.control.detect.event import Event

MAX_WAITING: Final = 100_000  # events
MAX_BATCH: Final = 5000  # events of a transaction
_GATHER: Final = 0.1  # seconds in which few become more: a transaction costs as much as a hundred events
_LONGEST: Final = 30.0  # seconds from one attempt to the next
_LOG = logging.getLogger("authz.control.detect")


def in_their_time(batch: list[Event], now: float, oldest: float) -> list[Event]:
    """Return the events that are not older than `oldest` seconds; one that is ahead of our clock has happened now.

    A sender writes what times it likes, and each day is a part of a table.
    """
    return [
        event if event.time <= now + MAX_AHEAD else event._replace(time=now)
        for event in batch
        if event.time >= now - oldest
    ]


class Writer:
    """Writes events, by `write_batch` of a subclass. What fails for a while is tried again; there is no way around it.

    Args:
        name: Of the thread, and for the log.

    Attributes:
        written: Events that were taken.
        lost: Events that found no room, or that were refused for a fault.

    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._queue: queue.SimpleQueue[list[Event] | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._waiting = 0
        self.written = 0
        self.lost = 0

    def write_batch(self, batch: list[Event]) -> None:
        """Write events. Raises NotReady or NotTaken where it is to be tried again."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, unless that fails, and end. A second call is harmless."""
        self._ended.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def keep(self, events: list[Event]) -> None:
        """Have events written."""
        with self._lock:
            kept = events[: max(0, MAX_WAITING - self._waiting)]
            self._waiting += len(kept)
            self.lost += len(events) - len(kept)
        if kept:
            self._queue.put(kept)

    @property
    def waiting(self) -> int:
        """How many events wait to be written."""
        return self._waiting

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            if self._waiting < MAX_BATCH:
                self._ended.wait(_GATHER)
            batch, last = [*first], False
            while len(batch) < MAX_BATCH and not last:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                last = more is None
                batch += more or ()
            self._write(batch)
            with self._lock:
                self._waiting -= len(batch)
            if last:
                return

    def _write(self, batch: list[Event]) -> None:
        pause = 1.0
        while True:
            try:
                self.write_batch(batch)
            except (NotReady, NotTaken) as error:
                _LOG.warning("%s: events wait: %s", self.name, error.message)
                if self._ended.wait(pause):
                    self.lost += len(batch)
                    return
                pause = min(2 * pause, _LONGEST)
            except Exception:  # noqa: BLE001  # a bug in authz must not end the writing; it is logged
                _LOG.exception("%s: %d events could not be written", self.name, len(batch))
                self.lost += len(batch)
                return
            else:
                self.written += len(batch)
                return
