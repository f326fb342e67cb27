"""A trigger at work: whether an event counts, how many there are, and its breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.addresses import network_of
from authz.control.detect.counting.counters import RequestCounters, ValueCounters
from authz.control.detect.counting.distinct import digest
from authz.control.detect.counting.matching import (
    make_client_filter,
    make_distinguisher,
    make_kind_filter,
    make_path_filter,
)
from authz.control.detect.counting.samples import MAX_SAMPLES, Samples
from authz.control.detect.counting.windows import make_window

if TYPE_CHECKING:
    from authz.addresses import Network
    from authz.control.detect.counting.budget import Budget
    from authz.control.detect.counting.places import Places
    from authz.control.detect.event import Event
    from authz.control.detect.triggers.file import Trigger


class CountingTrigger:
    """Counts events for one trigger.

    Args:
        trigger: A completed one.
        places: Where clients are.
        budget: Memory that the counters share with those of other triggers.
        samples: The newest events of clients near a limit.

    Attributes:
        counters: By client.
        over: Who has more than this is listed.
        breaker: Stops the trigger where it lists too many.

    """

    def __init__(self, trigger: Trigger, places: Places, budget: Budget, samples: Samples) -> None:
        self.trigger = trigger
        self.breaker = Breaker(trigger)
        self.may_count = make_kind_filter(trigger.where)  # by what few events differ in
        self.evaluations = 0
        count = trigger.count
        self._client_counts = make_client_filter(trigger.where, places)
        self._match_path = make_path_filter(trigger.where)
        v4, self._v6 = count.lengths()
        self._v4 = v4
        self._shift4, self._shift6 = 32 - v4, 128 - self._v6
        self._asn_of = places.asn_of if count.by == "asn" else None
        self.over = count.over
        self._sampled_from = max(count.over - MAX_SAMPLES, count.over // 2, 1)
        self._samples = samples
        self.counters: RequestCounters | ValueCounters
        self._requests: RequestCounters | None = None  # else values are counted, as `_told_apart` tells them apart
        if count.distinct:
            self._told_apart = make_distinguisher(count)
            self.counters = self._values = ValueCounters(count.over, count.within, budget)
        else:
            self.counters = self._requests = RequestCounters(count.over, count.within, budget)

    def count(self, event: Event) -> int:
        """Count an event that `may_count`; return how many its client has in the window. 0: it does not count."""
        self.evaluations += 1
        match: Any = True
        if self._match_path is not None:
            match = self._match_path(event.path)
            if not match:
                return 0
        if self._client_counts is not None and not self._client_counts(event):
            return 0
        key = self._key(event)
        if key is None:
            return 0
        if self._requests is not None:
            count = self._requests.add(key, event.time)
        else:
            value = self._told_apart(event, match)
            if value is None:
                return 0
            count = self._values.add(key, event.time, digest(value))
        if count > self._sampled_from:
            self._samples.keep(self.trigger.name, key, event)
        return count

    def subject(self, event: Event) -> Network:
        """Return what is listed: the address, or the network over it that the trigger counts by."""
        return network_of(event.client, self._v4 if event.client.version == 4 else self._v6)

    def asn_of(self, event: Event) -> int:
        """Return the system that an event is counted under; 0 where clients are counted each by itself."""
        return self._asn_of(event.client) if self._asn_of is not None else 0

    def begin_anew(self, event: Event) -> tuple[Event, ...]:
        """Forget what was counted of an event's client, and return its newest events."""
        key = self._key(event)
        if key is None:
            return ()
        if self._asn_of is None:
            self.counters.forget(key)
        return self._samples.take(self.trigger.name, key)

    def _key(self, event: Event) -> int | None:
        """Return the number that a client is counted under; None: it is not counted."""
        if self._asn_of is not None:
            return self._asn_of(event.client) or None
        _, value, _ = client = event.client
        # Networks of IPv6 are negative, so that they differ from those of IPv4.
        return value >> self._shift4 if client.version == 4 else ~(value >> self._shift6)


class Breaker:
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
