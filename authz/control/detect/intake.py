"""The intake: events from outside go into a bounded queue; one thread counts them and lists whom triggers list.

A batch that does not fit is refused whole, so its sender tries it again: nothing is lost for want of room, and nothing
grows. The same event twice counts once: senders repeat a batch when they did not hear that it had come.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from authz.control.detect.counting.counters import Counters
from authz.control.detect.detector import Detector, Listing
from authz.control.detect.guard import StoreGuard, StoreOffences
from authz.control.detect.keeping import EventKeeper
from authz.control.detect.listing import write_listing
from authz.control.problems import NotReady

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Network
    from authz.control.detect.event import Event
    from authz.control.detect.triggers import Trigger
    from authz.control.plane import ControlPlane

MAX_WAITING: Final = 200_000  # events in the queue
MAX_REMEMBERED: Final = 100_000  # events of which a repetition is known
REPEATED_WITHIN: Final = 300.0  # seconds
_RETRY: Final = 1.0  # seconds until the store is asked again, where it is away
ENDING: Final = "ending"  # why a listing was not made: we end, and the store is away
_LOG = logging.getLogger("authz.control.detect")


T = TypeVar("T")


class Batch(NamedTuple):
    """Events that came together. received: seconds since 1970."""

    events: list[Event]
    received: float


class Intake:
    """Takes events, counts them, and lists.

    Args:
        plane: The control plane whose lists are filled.
        triggers: Completed ones.

    """

    def __init__(self, plane: ControlPlane, triggers: tuple[Trigger, ...]) -> None:
        self._plane = plane
        self.triggers = triggers
        self._guard = StoreGuard(plane)
        self.detector = Detector(triggers, self._refusal, _PatientOffences(StoreOffences(plane), self._patiently))
        self.keeper = EventKeeper(plane.store, plane.config.events)
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._seen: Counters[list[bool]] = Counters(list, REPEATED_WITHIN, MAX_REMEMBERED)
        self._lock = threading.Lock()
        self._waiting = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self.taken = 0  # events counted
        self.repeated = 0  # events that had come before
        self.refused = 0  # events for which there was no room
        self.lag = 0.0  # seconds from the arrival of the newest event to its count
        self.listed: Tally[str] = Tally()  # listings by trigger

    def start(self) -> None:
        """Begin to count."""
        self.keeper.start()
        self._thread.start()

    def close(self) -> None:
        """Count what waits, and end. A second call is harmless."""
        self._ended.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self.keeper.close()

    @property
    def waiting(self) -> int:
        """How many events wait to be counted."""
        return self._waiting

    def put(self, events: list[Event], received: float) -> bool:
        """Take events; return whether there was room. received: seconds since 1970."""
        with self._lock:
            if self._waiting + len(events) > MAX_WAITING:
                self.refused += len(events)
                return False
            self._waiting += len(events)
        self._queue.put(Batch(events, received))
        return True

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._take(batch)
            except Exception:  # noqa: BLE001  # a fault of ours must not end the counting; it is logged
                _LOG.exception("events could not be counted")
            with self._lock:
                self._waiting -= len(batch.events)

    def _take(self, batch: Batch) -> None:
        found: list[Listing] = []
        counted: list[Event] = []
        for event in batch.events:
            if self._is_repeated(event, batch.received):
                self.repeated += 1
                continue
            self.taken += 1
            counted.append(event)
            found += self.detector.feed(event, batch.received)
        self.lag = max(0.0, self._plane.store.clock() - batch.received)
        if found:
            self._write(found)
        self.keeper.keep(counted)

    def _is_repeated(self, event: Event, now: float) -> bool:
        """Return whether the very same event came before. One without a request id is never known again."""
        if not event.request_id:
            return False
        marks = self._seen.get(hash(event), now)
        if marks:
            return True
        marks.append(True)
        return False

    def _refusal(self, listing: Listing) -> str | None:
        ending: str | None = ENDING
        return self._patiently(lambda: self._guard(listing), ending)

    def _write(self, listings: list[Listing]) -> None:
        def written() -> None:
            while listings:
                if write_listing(self._plane, listings[0]):
                    self.listed[listings[0].trigger.name] += 1
                del listings[0]

        self._patiently(written, None)

    def _patiently(self, ask: Callable[[], T], at_end: T) -> T:
        """Ask the store until it answers; return `at_end` where we end before that."""
        while True:
            try:
                return ask()
            except NotReady as error:
                _LOG.warning("waiting for the store: %s", error.message)
                if self._ended.wait(_RETRY):
                    return at_end


class _PatientOffences:
    """Offences of the store, which may be away for a while."""

    def __init__(self, offences: StoreOffences, patiently: Callable[[Callable[[], int], int], int]) -> None:
        self._offences = offences
        self._patiently = patiently

    def before(self, trigger: Trigger, subject: Network, now: float) -> int:
        """Return how often; see Offences."""
        return self._patiently(lambda: self._offences.before(trigger, subject, now), 0)

    def add(self, trigger: Trigger, subject: Network, now: float) -> None:
        """Remember a listing; see Offences."""
        self._offences.add(trigger, subject, now)
