"""Events in, listings out.

    detector = Detector(triggers, guard, offences)
    for listing in detector.feed(event, now):
        ...    # the caller makes it an entry, or writes it down where the trigger only tries

A client is counted for each trigger by itself. When there are more than `over` in the window, the client is listed and
its count begins anew. The guard says who is never listed and why not now; what it stops is counted, by its reason.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS, network_of
from authz.control.detect.counting.counters import MAX_CLIENTS, MAX_SKETCHED, Counters
from authz.control.detect.counting.distinct import Distinct, digest, make_distinct
from authz.control.detect.counting.windows import MAX_EXACT, Window, make_window
from authz.control.detect.matching import make_distinguisher, make_filter
from authz.control.detect.offences import grown_period

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable
    from typing import Any

    from authz.addresses import Network
    from authz.control.detect.event import Event
    from authz.control.detect.offences import Offences
    from authz.control.detect.triggers import Trigger

MAX_AHEAD: Final = 5.0  # seconds that an event's clock may be ahead of ours; more counts as now
MAX_SAMPLES: Final = 3  # events that a listing shows

BREAKER: Final = "breaker"  # the reason of a listing that was stopped by the trigger's breaker


class Listing(NamedTuple):
    """A client that a trigger lists.

    Attributes:
        trigger: Which.
        time: Seconds since 1970.
        subject: The address, or the network over it that the trigger counts by.
        period: Seconds; None for ever.
        applications: Empty for all.
        counted: How many there were in the window; for many different values, about so many.
        offence: 1 for the first time, 2 for the next, ...
        samples: The newest events that counted.

    """

    trigger: Trigger
    time: float
    subject: Network
    period: float | None
    applications: tuple[str, ...]
    counted: int
    offence: int
    samples: tuple[Event, ...]

    @property
    def network(self) -> str:
        """The subject as entries write it: an address without its length."""
        text = str(self.subject)
        return text.partition("/")[0] if self.subject.length == BITS[self.subject.version] else text


class Detector:
    """Counts events for all triggers.

    Args:
        triggers: Completed ones, as `read_triggers` returns them.
        guard: Returns why a listing must not be, such as `protected` or `held`; None where it may.
        offences: Who was listed before.

    """

    def __init__(self, triggers: Iterable[Trigger], guard: Callable[[Listing], str | None], offences: Offences) -> None:
        self._counting = [_Counting(trigger) for trigger in triggers]
        self._guard = guard
        self._offences = offences
        self._by_application: dict[str, list[_Counting]] = {}
        self.suppressed: Tally[tuple[str, str]] = Tally()  # by trigger and reason
        self.evaluations = 0

    def feed(self, event: Event, now: float) -> list[Listing]:
        """Count an event; return the listings that follow from it. now: seconds since 1970."""
        if event.time > now + MAX_AHEAD:
            event = event._replace(time=now)
        found = []
        for counting in self._concerned(event.application):
            self.evaluations += 1
            count = counting.count(event)
            if count > counting.trigger.count.over:
                listing = self._list(counting, event, count, now)
                if listing is not None:
                    found.append(listing)
        return found

    @property
    def clients(self) -> int:
        """How many clients are counted now, by all triggers."""
        return sum(len(counting.counters) for counting in self._counting)

    @property
    def evicted(self) -> int:
        """How many clients were forgotten before their time, for lack of room."""
        return sum(counting.counters.evicted for counting in self._counting)

    @property
    def stopped(self) -> list[str]:
        """The names of the triggers that their breakers have stopped."""
        return [counting.trigger.name for counting in self._counting if counting.breaker.open]

    def resume(self, name: str) -> None:
        """Let a trigger list again that its breaker has stopped."""
        for counting in self._counting:
            if counting.trigger.name == name:
                counting.breaker.close()

    def _concerned(self, application: str) -> list[_Counting]:
        known = self._by_application.get(application)
        if known is None:
            known = [one for one in self._counting if one.concerns(application)]
            if len(self._by_application) < 1024:  # names may come from outside
                self._by_application[application] = known
        return known

    def _list(self, counting: _Counting, event: Event, count: int, now: float) -> Listing | None:
        trigger, then = counting.trigger, counting.trigger.then
        subject = counting.subject(event)
        counter = counting.counters.get(subject, event.time)
        counting.counters.forget(subject)
        before = self._offences.before(trigger, subject, now)
        listing = Listing(
            trigger=trigger,
            time=now,
            subject=subject,
            period=grown_period(then, before),
            applications=() if then.applications == "all" or not event.application else (event.application,),
            counted=count,
            offence=before + 1,
            samples=tuple(counter.samples),
        )
        reason = self._guard(listing) or (None if counting.breaker.allows(now) else BREAKER)
        if reason is not None:
            self.suppressed[trigger.name, reason] += 1
            return None
        self._offences.add(trigger, subject, now)
        return listing


class _Counter:
    """What is kept of one client."""

    __slots__ = ("distinct", "samples", "window")

    def __init__(self, window: Window | None, distinct: Distinct | None) -> None:
        self.window = window
        self.distinct = distinct
        self.samples: tuple[Event, ...] = ()


class _Counting:
    """A trigger at work."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        self.breaker = _Breaker(trigger)
        count = trigger.count
        self._matches = make_filter(trigger.where)
        self._told_apart = make_distinguisher(count) if count.distinct else None
        self._v4, self._v6 = count.lengths()
        self._over = count.over
        sketched = count.distinct is not None and count.over > MAX_EXACT
        self.counters: Counters[_Counter] = Counters(
            self._make, count.within, MAX_SKETCHED if sketched else MAX_CLIENTS
        )

    def _make(self) -> _Counter:
        count = self.trigger.count
        if count.distinct is None:
            return _Counter(make_window(count.over, count.within), None)
        return _Counter(None, make_distinct(count.over, count.within))

    def concerns(self, application: str) -> bool:
        """Return whether events of an application can count."""
        return not self.trigger.where.application or application in self.trigger.where.application

    def subject(self, event: Event) -> Network:
        """Return what is counted and listed: the address, or a network over it."""
        return network_of(event.client, self._v4 if event.client.version == 4 else self._v6)

    def count(self, event: Event) -> int:
        """Return how many there are with this event; 0 where it does not count."""
        match = self._matches(event)
        if not match:
            return 0
        value = self._value(event, match)
        if self._told_apart and value is None:
            return 0
        counter = self.counters.get(self.subject(event), event.time)
        count = self._add(counter, event, value)
        if count > self._over - MAX_SAMPLES:  # those who come near the limit, so that a crowd costs nothing
            counter.samples = (*counter.samples[1 - MAX_SAMPLES :], event)
        return count

    def _value(self, event: Event, match: re.Match[str] | bool) -> str | None:
        return self._told_apart(event, match) if self._told_apart else None

    @staticmethod
    def _add(counter: _Counter, event: Event, value: Any) -> int:
        if counter.distinct is not None:
            return counter.distinct.add(event.time, digest(value))
        return counter.window.add(event.time) if counter.window else 0


class _Breaker:
    """Opens when a trigger lists too many, and stays open until a person closes it."""

    def __init__(self, trigger: Trigger) -> None:
        self._limit = trigger.breaker.listings
        self._within = trigger.breaker.within
        self.close()

    def close(self) -> None:
        """Let the trigger list again."""
        self.open = False
        self._window = make_window(self._limit, self._within)

    def allows(self, now: float) -> bool:
        """Count a listing; return whether it may be."""
        if not self.open and self._window.add(now) > self._limit:
            self.open = True
        return not self.open
