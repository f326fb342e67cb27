"""The intake: events from outside wait in a queue; one thread counts them and lists whom triggers list."""

from __future__ import annotations

import logging
import threading
from collections import Counter as Tally
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from authz.control.detect.counting.detector import Detector, Listing
from authz.control.detect.counting.places import read_places
from authz.control.detect.counting.repeated import Repeated
from authz.control.detect.keeping.clickhouse import ClickHouse
from authz.control.detect.keeping.countries import Countries
from authz.control.detect.keeping.keeper import EventKeeper
from authz.control.detect.listing.guard import StoreGuard, StoreOffences
from authz.control.detect.listing.write import write_listing, write_stop
from authz.control.detect.shared.partitions import Partitioning
from authz.control.detect.triggers.book import at_work, known_triggers
from authz.control.detect.work import LocalWork
from authz.control.model.problems import NotReady
from authz.control.notify.first_hits import FirstHits
from authz.control.store.detection.triggers import stopped
from authz.errors import AuthzError

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Network
    from authz.control.detect.event import Event
    from authz.control.detect.keeping.writer import Writer
    from authz.control.detect.triggers.file import Trigger, TriggersFile
    from authz.control.detect.work import Batch, Work
    from authz.control.lists.rules.context import ListContext
    from authz.control.publish.opened import OpenedFiles

_RETRY: Final = 1.0  # seconds until the store is asked again, where it is away
_LOOK: Final = 0.5  # seconds from one look whether we end, or triggers have changed, to the next
MAX_TRIED: Final = 20  # listings of a dry run that are remembered
REFUSED: Final = "refused"  # why a listing was not made: a limit of the layer, or a like entry; the log says which
ENDING: Final = "ending"  # why a listing was not made: we end, and the store is away
_LOG = logging.getLogger("authz.control.detect")

T = TypeVar("T")


class Intake:
    """Takes events, counts them, and lists.

    Args:
        context: Of the lists that are filled.
        opened: The published files.
        file: What triggers.yaml says.

    Attributes:
        taken: Events counted.
        repeated: Events that had come before.
        refused: Events for which there was no room.
        lag: Seconds from the arrival of the newest event to its count.
        listed: Listings by trigger, since the start.
        tried: Listings of triggers that only try (`dry_run`) or tell (`then: notify`).
        newest_tried: The last of these by trigger, the newest first.

    """

    def __init__(self, context: ListContext, opened: OpenedFiles, file: TriggersFile) -> None:
        self._context = context
        self.file = file
        self._guard = StoreGuard(context, opened)
        offences = _PatientOffences(StoreOffences(context), self._patiently)
        places = read_places(file.databases, file.triggers)
        self.detector = Detector(file.triggers, self._refusal, offences, places)
        countries = Countries(context.store, Path(context.config.data), file.databases.country)
        self.keeper = EventKeeper(context.store, context.config.events, countries)
        sinks = (ClickHouse(sink, countries.find, context.store.clock) for sink in context.config.sinks)
        self.writers: list[Writer] = [self.keeper, *sinks]
        self._partitioning = Partitioning(context.config.streams.partitions, file.triggers, places)
        self._work: Work = self._shared() if context.config.streams.url else LocalWork()
        self._repeated = Repeated()
        self._first_hits = FirstHits(context)
        self._ended = threading.Event()
        self._told = threading.Event()
        self._told.set()
        self._stopped: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self.taken = 0
        self.repeated = 0
        self.refused = 0
        self.lag = 0.0
        self.listed: Tally[str] = Tally()
        self.tried: Tally[str] = Tally()
        self.newest_tried: dict[str, deque[Listing]] = {}
        context.signals.on("triggers", self._told.set)

    def start(self) -> None:
        """Begin to count."""
        for writer in self.writers:
            writer.start()
        self._work.start()
        self._thread.start()

    def close(self) -> None:
        """Count what waits, and end. A second call is harmless."""
        self._ended.set()
        self._work.close()
        if self._thread.is_alive():
            self._thread.join()
        self._work.release()
        for writer in self.writers:
            writer.close()

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Those that are at work."""
        return self.detector.triggers

    @property
    def waiting(self) -> int:
        """How many events wait to be counted."""
        return self._work.waiting

    def put(self, events: list[Event], received: float) -> bool:
        """Take events; return whether there was room. received: seconds since 1970."""
        if self._work.put(events, received):
            return True
        self.refused += len(events)
        return False

    def _run(self) -> None:
        while True:
            batch = self._work.next(_LOOK)
            if self._told.is_set() or batch is not None:
                self._attempt(self._follow)
            if batch is None:
                if self._ended.is_set():
                    return
                continue
            self._attempt(lambda batch=batch: self._take(batch))  # type: ignore[misc]  # a default's type
            self._work.done(batch)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do a step. A bug in it must not end the counting: it is logged, and what it concerns is skipped."""
        try:
            step()
        except NotReady as error:
            _LOG.warning("the store cannot be reached: %s", error.message)
            self._told.set()
        except Exception:  # noqa: BLE001  # see above
            _LOG.exception("events could not be counted")

    def _follow(self) -> None:
        """Go on with the triggers as they are now, where something changed."""
        if not self._told.is_set():
            return
        self._told.clear()
        with self._context.store.reading() as tx:
            known = known_triggers(tx, self.file)
            held = stopped(tx)
        triggers = at_work(known)
        if triggers != self.detector.triggers:
            try:
                places = read_places(self.file.databases, triggers)
            except AuthzError as error:
                _LOG.error("triggers stay as they were: %s", error)  # the message says all
                return
            self.detector.replace(triggers, places)
            names = {trigger.name for trigger in triggers}
            self.newest_tried = {name: newest for name, newest in self.newest_tried.items() if name in names}
            self._partitioning = Partitioning(self._context.config.streams.partitions, triggers, places)
        self.detector.stop(held)
        self._stopped = {*held}

    def _shared(self) -> Work:
        from authz.control.detect.shared.work import SharedWork  # noqa: PLC0415  # only where several share

        def window() -> float:
            return max((trigger.count.within for trigger in self.detector.triggers), default=60.0)

        return SharedWork(self._context.config.streams, lambda: self._partitioning, window)

    def _take(self, batch: Batch) -> None:
        received = batch.received
        if batch.anew:
            self.detector.begin_anew()
            self._repeated = Repeated()
        counted = self._without_repeated(batch)
        if batch.counted:
            for event in counted:
                self.detector.recount(event, received)
            return
        listings = self.detector.feed_batch(counted, received)
        self.taken += len(counted)
        self.lag = max(0.0, self._context.store.clock() - received)
        if listings:
            self._write(listings)
        if opened := {*self.detector.stopped} - self._stopped:
            self._stop(opened)
        if warned := [event for event in counted if event.warnings]:
            self._patiently(lambda: self._first_hits.note(warned), None)
        for writer in self.writers:
            writer.keep(counted)

    def _without_repeated(self, batch: Batch) -> list[Event]:
        """Return the events that did not come before. One without a request id is never known again."""
        before, received = self._repeated.before, batch.received
        fresh = [event for event in batch.events if not event.request_id or not before(hash(event), received)]
        if not batch.counted:
            self.repeated += len(batch.events) - len(fresh)
        return fresh

    def _refusal(self, listing: Listing) -> str | None:
        ending: str | None = ENDING
        return self._patiently(lambda: self._guard(listing), ending)

    def _write(self, listings: list[Listing]) -> None:
        def written() -> None:
            while listings:
                trigger = listings[0].trigger
                if write_listing(self._context, listings[0]):
                    self.listed[trigger.name] += 1
                elif trigger.dry_run or trigger.then.list == "notify":
                    self._note_tried(listings[0])
                else:
                    self.detector.suppressed[trigger.name, REFUSED] += 1
                del listings[0]

        self._patiently(written, None)

    def _note_tried(self, listing: Listing) -> None:
        name = listing.trigger.name
        self.tried[name] += 1
        self.newest_tried.setdefault(name, deque(maxlen=MAX_TRIED)).appendleft(listing)

    def _stop(self, names: set[str]) -> None:
        for name in sorted(names):
            self._patiently(lambda name=name: write_stop(self._context, name), None)  # type: ignore[misc]  # a default's type
            self._stopped.add(name)

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
