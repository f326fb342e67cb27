"""How late requests were while bans changed, and what of that was the sidecar's."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.load.noise.sleeper import Standstill
    from benchmarks.load.noise.spent import Spent
    from benchmarks.report.document import Part

    Span = tuple[int, int]  # its begin and end, ns since 1970
    Wait = tuple[int, int]  # when it was due, ns since 1970, and the wait, ns
    Waits = Mapping[str, Sequence[Wait]]  # by who waited

LATE: Final = 10.0  # milliseconds; no request should take longer because of a ban


class Lateness:
    """Adds to a part of the report what was late, of requests through each proxy.

    Args:
        part: Of the report.
        way: How bans come to the sidecar.
        spans: What was done when.
    """

    def __init__(self, part: Part, way: str, spans: Mapping[str, Sequence[Span]]) -> None:
        self._part, self._way, self._spans = part, way, spans

    def tell(self, waits: Waits) -> None:
        """Tell how late requests were answered, and a process that sleeps woke."""
        for labels, due in self._due(waits):
            late = [ms(wait) for _, wait in due]
            for percentile, value in percentiles(late):
                self._part.add("latency of other requests", "ms", {"authz": [value]}, **labels, percentile=percentile)
            self._add_share(f"of a million requests, over {LATE:g} ms", late, labels)

    def tell_shares(self, waits: Waits, spent: Spent) -> None:
        """Tell what the sidecar did while a request was late."""
        for labels, due in self._due(waits):
            late = [(begin, wait) for begin, wait in due if ms(wait) > LATE]
            shares = [spent.share(begin, begin + wait) for begin, wait in late]
            for name, values in (
                ("late requests", [ms(wait) for _, wait in late]),
                ("of each late request: computed by the sidecar, at most", [ms(s.computed) for s in shares]),
                ("of each late request: the sidecar without a core, at most", [ms(s.waited) for s in shares]),
            ):
                if values:
                    self._part.add(name, "ms", {"authz": values}, **labels)

    def tell_own(self, waits: Waits, still: Standstill) -> None:
        """Tell what remains of the waits without the time in which a core stood still, and how long that was."""
        first = min(due for several in waits.values() for due, _ in several)
        for when, some in self._spans.items():
            whole = [(max(begin, first), end) for begin, end in some if end > first]
            share = 1e3 * sum(still.total(*span) for span in whole) / max(1, sum(end - begin for begin, end in whole))
            name = "of a second a core stood still or made up for it"
            self._part.add(name, "ms", {"authz": [share]}, bans=self._way, when=when)
        for labels, due in self._due(waits):
            own = [ms(wait - still.total(begin, begin + wait)) for begin, wait in due]
            self._add_share(f"of a million requests, over {LATE:g} ms but for that", own, labels)
            if own:
                self._part.add("the latest but for that", "ms", {"authz": [max(own)]}, **labels)

    def _due(self, waits: Waits) -> Iterator[tuple[dict[str, str], list[Wait]]]:
        for what, several in waits.items():
            ordered = sorted(several)
            for when, some in self._spans.items():
                yield {"bans": self._way, "proxy": what, "when": when}, due_in(ordered, some)

    def _add_share(self, name: str, waits: Sequence[float], labels: Mapping[str, str]) -> None:
        share = 1e6 * sum(wait > LATE for wait in waits) / max(1, len(waits))
        self._part.add(name, "", {"authz": [share]}, **labels)


def due_in(ordered: Sequence[Wait], spans: Sequence[Span]) -> list[Wait]:
    """Return the waits, of those in order, that were due in some spans of time."""
    places = [(bisect_left(ordered, (begin,)), bisect_left(ordered, (end,))) for begin, end in spans]
    return [wait for first, last in places for wait in ordered[first:last]]


def percentiles(values: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield the middle one, the 99th of a hundred, and the worst."""
    ordered = sorted(values)
    if ordered:
        yield "p50", ordered[len(ordered) // 2]
        yield "p99", ordered[int(len(ordered) * 0.99)]
        yield "worst", ordered[-1]


def ms(nanoseconds: int) -> float:
    """Return the same in milliseconds."""
    return nanoseconds / 1e6
