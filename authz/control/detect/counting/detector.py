"""Events in, listings out.

    detector = Detector(triggers, guard, offences)
    for listing in detector.feed_batch(events, now):
        ...    # the caller makes it an entry, or writes it down where the trigger only tries

A client is counted for each trigger by itself. When there are more than `over` in the window, the client is listed and
its count starts again. The guard says who is never listed and why not now; what it stops is counted, by its reason.

To ask the guard and the offences takes a store far longer than to count. So what was found of a client holds for all
events of a batch, and for a trigger that is stopped nothing is asked.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS
from authz.control.detect.counting.budget import Budget
from authz.control.detect.counting.places import Places
from authz.control.detect.counting.samples import Samples
from authz.control.detect.counting.trigger import CountingTrigger
from authz.control.detect.listing.offences import LISTED, grown_period

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from authz.addresses import Network
    from authz.control.detect.event import Event
    from authz.control.detect.listing.offences import Offences
    from authz.control.detect.triggers.file import Trigger

MAX_AHEAD: Final = 5.0  # seconds that an event's clock may be ahead of ours; more counts as now
MAX_KINDS: Final = 4096  # combinations of application, method, status, … of which is known who counts them
NOBODYS: Final = frozenset({"", "*"})  # applications of nobody knows whom, or whom the policy does not name
BREAKER: Final = "breaker"  # the reason of a listing that was stopped by the trigger's breaker
_AGAIN: Final = 60.0  # seconds for which a client of a system that goes on is not listed again
_MAX_LISTED: Final = 50_000

_Target = tuple[str, "Network", tuple[str, ...]]  # trigger, who is listed, applications


def as_written(network: Network) -> str:
    """Return a network as entries write it: an address without its length."""
    text = str(network)
    return text.partition("/")[0] if network.length == BITS[network.version] else text


class Listing(NamedTuple):
    """A client that a trigger lists.

    Attributes:
        trigger: Which.
        time: Seconds since 1970.
        subject: The address, or the network over it that the trigger counts by.
        period: Seconds; None: forever.
        applications: Empty for all.
        counted: How many there were in the window; for many different values, about so many.
        offence: 1 for the first time, 2 for the next, ...
        samples: The newest events that counted.
        asn: The system whose requests were counted together; 0 where each client is counted by itself.

    """

    trigger: Trigger
    time: float
    subject: Network
    period: float | None
    applications: tuple[str, ...]
    counted: int
    offence: int
    samples: tuple[Event, ...]
    asn: int = 0

    @property
    def network(self) -> str:
        """The subject as entries write it."""
        return as_written(self.subject)


class Detector:
    """Counts events for all triggers.

    Args:
        triggers: Completed ones, as `read_triggers` returns them.
        guard: Returns why a listing must not be, such as `protected` or `held`; None if it may.
        offences: Who was listed before.
        places: Where clients are, for triggers that ask it.
        budget: Memory for the counters of all triggers; none: MAX_BYTES.
        count_by: What counts for a trigger.

    Attributes:
        suppressed: Listings that were not made, by trigger and reason.

    """

    def __init__(
        self, triggers: Iterable[Trigger], guard: Callable[[Listing], str | None], offences: Offences,
        places: Places | None = None, budget: Budget | None = None,
        count_by: type[CountingTrigger] = CountingTrigger,
    ) -> None:  # fmt: skip
        self._budget = budget or Budget()
        self._count_by = count_by
        self._samples = Samples()
        self._guard = guard
        self._offences = offences
        self._counting: list[CountingTrigger] = []
        self._by_kind: dict[tuple[object, ...], tuple[CountingTrigger, ...]] = {}
        self._by_host = False  # whether a trigger asks for hosts: a client chooses them, so they spoil the memory
        self._listed: dict[tuple[str, Network], float] = {}  # of systems: when each client was
        self._found: dict[_Target, str] = {}  # in this batch: why a client is not to be listed (again)
        self.suppressed: Tally[tuple[str, str]] = Tally()
        self.replace(triggers, places or Places())

    def replace(self, triggers: Iterable[Trigger], places: Places) -> None:
        """Go on with other triggers. What was counted for those that stay as they are is kept."""
        wanted = [*triggers]
        known = {counting.trigger.name: counting for counting in self._counting if counting.trigger in wanted}
        for counting in self._counting:
            if counting.trigger.name not in known:
                self._budget.leave(counting.counters)
        self._counting = [
            known.get(trigger.name) or self._count_by(trigger, places, self._budget, self._samples)
            for trigger in wanted
        ]
        self._by_host = any(trigger.where.host for trigger in wanted)
        self._by_kind = {}

    def feed(self, event: Event, now: float) -> list[Listing]:
        """Count an event; return the listings that follow from it. now: seconds since 1970."""
        return self.feed_batch((event,), now)

    def feed_batch(self, events: Iterable[Event], now: float) -> list[Listing]:
        """Count events that came together; return the listings that follow: of a client one for each trigger."""
        self._found = {}
        listings = []
        for event in events:
            if event.time > now + MAX_AHEAD:
                event = event._replace(time=now)  # noqa: PLW2901  # counts as now
            for counting in self._concerned(event):
                count = counting.count(event)
                if count > counting.over:
                    listing = self._list(counting, event, count, now)
                    if listing is not None:
                        listings.append(listing)
        return listings

    def recount(self, event: Event, now: float) -> None:
        """Count an event that another process counted before, and whose listings it has made."""
        if event.time > now + MAX_AHEAD:
            event = event._replace(time=now)
        for counting in self._concerned(event):
            if counting.count(event) > counting.over:
                counting.begin_anew(event)

    def begin_anew(self) -> None:
        """Forget what was counted of every client."""
        for counting in self._counting:
            counting.counters.clear()
        self._samples.clear()

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """All that are counted for."""
        return tuple(counting.trigger for counting in self._counting)

    @property
    def counting(self) -> tuple[CountingTrigger, ...]:
        """The triggers at work, with what came of them."""
        return tuple(self._counting)

    @property
    def evaluations(self) -> int:
        """How often an event was looked at for a trigger that it could concern."""
        return sum(counting.evaluations for counting in self._counting)

    @property
    def clients(self) -> int:
        """How many clients are counted now, by all triggers."""
        return sum(len(counting.counters) for counting in self._counting)

    @property
    def evicted(self) -> int:
        """How many clients were forgotten before their time, for lack of room."""
        return sum(counting.counters.evicted for counting in self._counting)

    @property
    def memory(self) -> int:
        """About how many bytes the counters take."""
        return self._budget.used

    @property
    def stopped(self) -> list[str]:
        """The names of the triggers that their breakers have stopped."""
        return [counting.trigger.name for counting in self._counting if counting.breaker.open]

    def stop(self, names: Collection[str]) -> None:
        """Have exactly these triggers stopped, as the store knows it."""
        for counting in self._counting:
            if counting.trigger.name not in names and counting.breaker.open:
                counting.breaker.close()
            elif counting.trigger.name in names:
                counting.breaker.open = True

    def resume(self, name: str) -> None:
        """Let a trigger list again that its breaker has stopped."""
        for counting in self._counting:
            if counting.trigger.name == name:
                counting.breaker.close()

    def _concerned(self, event: Event) -> tuple[CountingTrigger, ...]:
        kind: tuple[object, ...] = (
            event.application, event.method, event.status, event.decision, event.attacks, event.entry == "",
        )  # fmt: skip
        if self._by_host:
            kind = (*kind, event.host)
        concerned = self._by_kind.get(kind)
        if concerned is None:
            if len(self._by_kind) >= MAX_KINDS:  # outsiders choose methods and attacks
                self._by_kind.clear()
            concerned = self._by_kind[kind] = tuple(
                counting for counting in self._counting if counting.may_count(event)
            )
        return concerned

    def _list(self, counting: CountingTrigger, event: Event, count: int, now: float) -> Listing | None:
        trigger, then = counting.trigger, counting.trigger.then
        subject = counting.subject(event)
        if trigger.count.by == "asn" and self._goes_on(trigger, subject, now):
            return None
        applications = () if then.applications == "all" or event.application in NOBODYS else (event.application,)
        target = trigger.name, subject, applications
        reason = BREAKER if counting.breaker.open else self._found.get(target)
        if reason is not None:
            counting.begin_anew(event)
            self.suppressed[trigger.name, reason] += 1
            return None
        before = self._offences.before(trigger, subject, now)
        listing = Listing(
            trigger=trigger,
            time=now,
            subject=subject,
            period=grown_period(then, before),
            applications=applications,
            counted=count,
            offence=before + 1,
            asn=counting.asn_of(event),
            samples=counting.begin_anew(event),
        )
        reason = self._guard(listing) or (None if counting.breaker.allows(now) else BREAKER)
        self._found[target] = reason or LISTED
        if reason is not None:
            self.suppressed[trigger.name, reason] += 1
            return None
        self._offences.add(trigger, subject, now)
        return listing

    def _goes_on(self, trigger: Trigger, subject: Network, now: float) -> bool:
        """Return whether a client of a system was listed a moment ago: its count does not start again."""
        key = trigger.name, subject
        if now - self._listed.get(key, 0.0) < _AGAIN:
            return True
        if len(self._listed) >= _MAX_LISTED:
            self._listed.clear()
        self._listed[key] = now
        return False
