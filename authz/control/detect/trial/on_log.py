"""What triggers would have done on a real log, before they are switched on.

The clock is the log's: a window of 30 seconds is 30 seconds of it. A client that a trigger has listed is not counted by
it again until the period is over, as its requests would not have come through.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from authz.control.detect.counting.detector import Detector, Listing, as_written
from authz.control.detect.counting.places import Places, read_places
from authz.control.detect.counting.trigger import CountingTrigger
from authz.control.detect.event import as_json
from authz.control.detect.listing.offences import LISTED, MemoryOffences
from authz.control.detect.logs import parser, recognise
from authz.errors import BadLine, shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Network
    from authz.control.detect.event import Event
    from authz.control.detect.triggers.file import Trigger, TriggersFile

PROTECTED: Final = "protected"
MAX_APPLICATIONS: Final = 1000


@dataclass(frozen=True)
class Nearest:
    """How near a trigger came to listing anybody.

    Attributes:
        count: The highest that a client reached, no more than one above the limit where that is small. 0: no event
            counted.
        event: That made it so many; None: no event counted.
    """

    trigger: Trigger
    count: int
    event: Event | None
    network: str


@dataclass
class Trial:
    """What came of a trial.

    Attributes:
        events: How many were read.
        skipped: Lines that could not be read.
        first_skipped: Why the first of them could not.
        applications: That the events named, the first MAX_APPLICATIONS of them.
        listings: In the order of the log.
        suppressed: How many listings were not made, by trigger and reason.
        nearest: Of the triggers that listed nobody.

    """

    events: int = 0
    skipped: int = 0
    first_skipped: str = ""
    applications: set[str] = field(default_factory=set)
    listings: list[Listing] = field(default_factory=list)
    suppressed: Tally[tuple[str, str]] = field(default_factory=Tally)
    nearest: list[Nearest] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "events": self.events,
            "skipped": self.skipped,
            "listings": [_listing(listing) for listing in self.listings],
            "suppressed": [
                {"trigger": trigger, "reason": reason, "listings": count}
                for (trigger, reason), count in sorted(self.suppressed.items())
            ],
            "nearest": [_nearest(nearest) for nearest in self.nearest],
        }


def _nearest(nearest: Nearest) -> dict[str, Any]:
    count, event = nearest.trigger.count, nearest.event
    return {
        "trigger": nearest.trigger.name, "count": nearest.count, "over": count.over, "within": count.within,
        "network": nearest.network, "time": None if event is None else format_moment(event.time),
    }  # fmt: skip


def _listing(listing: Listing) -> dict[str, Any]:
    return {
        "time": format_moment(listing.time),
        "trigger": listing.trigger.name,
        "network": listing.network,
        "list": listing.trigger.then.list,
        "period": listing.period,
        "applications": list(listing.applications),
        "count": listing.counted,
        "offence": listing.offence,
        "samples": [as_json(event) for event in listing.samples],
    }


class _Lists:
    """The entries that would be there, and who may not be listed."""

    def __init__(self, protected: Iterable[Network]) -> None:
        self._protected = tuple(protected)
        self._until: dict[tuple[Network, tuple[str, ...]], float] = {}

    def guard(self, listing: Listing) -> str | None:
        """Return why a listing must not be; None if it may."""
        subject = listing.subject
        if any(subject.overlaps(network) for network in self._protected):
            return PROTECTED
        if self._until.get((subject, listing.applications), 0.0) > listing.time:
            return LISTED
        return None

    def add(self, listing: Listing) -> None:
        """Take a listing into account."""
        if listing.trigger.then.list != "notify":
            end = float("inf") if listing.period is None else listing.time + listing.period
            self._until[listing.subject, listing.applications] = end


def try_triggers(
    file: TriggersFile, lines: Iterable[bytes], name: str = "auto", protected: Iterable[Network] = (),
    application: str = "",
) -> Trial:  # fmt: skip
    """Feed a log to triggers.

    Args:
        file: What triggers.yaml says.
        lines: Of the log, in its order.
        name: One of `authz.control.detect.logs.FORMATS`.
        protected: Networks that are never listed.
        application: Of the lines that name none.

    Raises:
        BadLine: The first line is of no format known here.

    """
    run = _Run(file.triggers, read_places(file.databases, file.triggers), protected)
    trial = run.trial
    read, newest = None if name == "auto" else parser(name), 0.0
    for line in lines:
        if not line.strip():
            continue
        read = read or parser(recognise(line))
        try:
            event = read(line, newest)
        except BadLine as error:
            trial.skipped += 1
            trial.first_skipped = trial.first_skipped or shorten(error)
            continue
        newest = max(newest, event.time)
        run.take(event if event.application else event._replace(application=application), newest)
    return run.end()


def try_on_events(
    triggers: Iterable[Trigger], places: Places, events: Iterable[Event], protected: Iterable[Network] = ()
) -> Trial:
    """Feed events, in the order of their times, to triggers; as `try_triggers` does with a log."""
    run = _Run(triggers, places, protected)
    for event in events:
        run.take(event, event.time)
    return run.end()


class _WatchedTrigger(CountingTrigger):
    """Counts for a trigger, and keeps the highest count."""

    highest = 0
    reached_by: Event | None = None

    def count(self, event: Event) -> int:
        """Count an event."""
        count = super().count(event)
        if count > self.highest:
            self.highest, self.reached_by = count, event
        return count

    def nearest(self) -> Nearest:
        """Return how near it came."""
        network = "" if self.reached_by is None else as_written(self.subject(self.reached_by))
        return Nearest(self.trigger, self.highest, self.reached_by, network)


class _Run:
    """A trial as it goes on."""

    def __init__(self, triggers: Iterable[Trigger], places: Places, protected: Iterable[Network]) -> None:
        self._lists = _Lists(protected)
        self._detector = Detector(triggers, self._lists.guard, MemoryOffences(), places, count_by=_WatchedTrigger)
        self.trial = Trial(suppressed=self._detector.suppressed)

    def take(self, event: Event, now: float) -> None:
        """Count an event."""
        self.trial.events += 1
        if len(self.trial.applications) < MAX_APPLICATIONS:
            self.trial.applications.add(event.application)
        for listing in self._detector.feed(event, now):
            self._lists.add(listing)
            self.trial.listings.append(listing)

    def end(self) -> Trial:
        """Return what came of it."""
        listed = {listing.trigger.name for listing in self.trial.listings}
        watched = [each for each in self._detector.counting if isinstance(each, _WatchedTrigger)]
        self.trial.nearest = [each.nearest() for each in watched if each.trigger.name not in listed]
        return self.trial
