"""Events are kept for those who ask later: a thread writes them in batches, beside the counting.

Counting comes first: where the store is too slow, what finds no room here is counted as lost, and only the search for
it finds nothing.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Final

from authz.control.model import MICROSECONDS
from authz.control.problems import NotReady
from authz.control.store.events.writing import drop_old_events, write_events

if TYPE_CHECKING:
    from authz.control.detect.event import Event
    from authz.control.detect.keeping.countries import Countries
    from authz.control.store.database import Store

MAX_WAITING: Final = 100_000  # events
MAX_BATCH: Final = 5000  # events of a transaction
_CLEANING: Final = 600.0  # seconds from one look for old events to the next
_RETRY: Final = 1.0  # seconds until the store is asked again, where it is away
_LOG = logging.getLogger("authz.control.detect")


class EventKeeper:
    """Keeps events in the store.

    Args:
        store: Where.
        retention: Seconds after which they are deleted.
        countries: Of clients.

    Attributes:
        written: Events that are in the store.
        lost: Events that found no room.

    """

    def __init__(self, store: Store, retention: float, countries: Countries) -> None:
        self._store = store
        self._retention = retention
        self._countries = countries
        self._queue: queue.SimpleQueue[list[Event] | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._cleaned = 0.0
        self._lock = threading.Lock()
        self._waiting = 0
        self.written = 0
        self.lost = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end. A second call is harmless."""
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
        while True:
            try:
                now = self._store.clock()
                self._countries.refresh(now)
                with self._store.writing() as tx:
                    write_events(tx, batch, self._countries.find)
                    if now - self._cleaned > _CLEANING:
                        drop_old_events(tx, int((now - self._retention) * MICROSECONDS))
                        self._cleaned = now
            except NotReady as error:
                _LOG.warning("events wait for the store: %s", error.message)
                if self._ended.wait(_RETRY):
                    return
            except Exception:  # noqa: BLE001  # a fault of ours must not end the writing; it is logged
                _LOG.exception("%d events could not be written", len(batch))
                self.lost += len(batch)
                return
            else:
                self.written += len(batch)
                return
