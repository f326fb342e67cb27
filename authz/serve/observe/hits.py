"""Counts by names of which there may be any number: the busiest are kept, the rest are counted together.

hits = EntryHits()
counts = hits.add("policy").counts
counts["ban-1"] += 1        # on the hot path: one look-up
for _ in hits.fold(): ...   # now and then; between two steps, others have their turn
"""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from authz.serve.steps import Steps

MAX_NAMES: Final = 1000  # that are kept; so many lines of a metric a collector takes without harm
STEP: Final = 512  # names that are looked at in one go; some 0.1 ms
OTHERS: Final = ""  # stands for all names that are not kept; never an id
Counts = dict[str, dict[str, int]]  # hits by layer and name, `OTHERS` among the names


class Hits:
    """How often each name was hit.

    Attributes:
        counts: Hits by name; None: without a name; OTHERS: of names that `EntryHits.fold` has taken out.
    """

    def __init__(self) -> None:
        self.counts: defaultdict[str | None, int] = defaultdict(int)


class EntryHits:
    """Hits of entries: some `Hits`, one for each kind of decision. A name may be in several: the sum is told."""

    def __init__(self) -> None:
        self._several: list[tuple[str, Hits]] = []  # with the layer of their names
        self._folded: Counts = {}

    def add(self, layer: str) -> Hits:
        """Return new ones whose names are of this layer."""
        hits = Hits()
        self._several.append((layer, hits))
        return hits

    def by_layer(self) -> Counts:
        """Return all hits, of each name the sum."""
        result = {layer: dict(names) for layer, names in self._folded.items()}
        for layer, hits in self._several:
            sums = result.setdefault(layer, {})
            for name, count in hits.counts.items():
                if name:  # neither OTHERS nor None
                    sums[name] = sums.get(name, 0) + count
        return result

    def fold(self) -> Steps[None]:
        """Sum names up where there are many, and keep the busiest, in steps. One that is not kept begins at zero again.

        All clients on a list may come within a second, and to look at 100,000 names in one go takes 30 ms. Nothing that
        is hit between two steps is lost.
        """
        if sum([len(hits.counts) for _, hits in self._several]) <= 2 * (MAX_NAMES + len(self._several)):
            return  # each may have OTHERS and None
        number = 0
        for layer, hits in tuple(self._several):
            counts, folded = hits.counts, self._folded.setdefault(layer, {})
            for name in filter(None, tuple(counts)):
                count = counts.pop(name)
                folded[name] = folded.get(name, 0) + count
                counts[OTHERS] += count
                number += 1
                if number % STEP == 0:
                    yield
        if sum(map(len, self._folded.values())) > 2 * MAX_NAMES:
            yield from _keep_busiest(self._folded)


def _keep_busiest(counts: Counts) -> Steps[None]:
    names = [(some, tuple(some)) for some in counts.values()]
    alike: defaultdict[int, int] = defaultdict(int)  # names, by their hits
    for number, (some, name) in enumerate(_each(names), 1):
        alike[some[name]] += 1
        if number % STEP == 0:
            yield
    least, left = _least(alike)
    for number, (some, name) in enumerate(_each(names), 1):
        if some[name] == least and left:
            left -= 1
        elif some[name] <= least:
            some[OTHERS] = some.get(OTHERS, 0) + some.pop(name)
        if number % STEP == 0:
            yield


def _each(counts: Iterable[tuple[dict[str, int], tuple[str, ...]]]) -> Iterator[tuple[dict[str, int], str]]:
    """Yield each name with its counts, but for OTHERS."""
    for some, names in counts:
        for name in filter(None, names):
            yield some, name


def _least(alike: Mapping[int, int]) -> tuple[int, int]:
    """Return the hits of which only some names are kept, and of how many. alike: names by their hits."""
    left = MAX_NAMES
    for hits in sorted(alike, reverse=True):
        if alike[hits] >= left:
            return hits, left
        left -= alike[hits]
    return 0, 0


def together(several: Iterable[Counts]) -> Counts:
    """Return the sums of some counts."""
    result: Counts = {}
    for counts in several:
        for layer, names in counts.items():
            sums = result.setdefault(layer, {})
            for name, count in names.items():
                sums[name] = sums.get(name, 0) + count
    return result


def busiest(counts: Counts, number: int = MAX_NAMES) -> dict[tuple[str, str], int]:
    """Return the busiest names with their layers, the busiest first; the rest as `OTHERS` twice."""
    names = [((layer, name), count) for layer, some in counts.items() for name, count in some.items() if name != OTHERS]
    names.sort(key=itemgetter(1), reverse=True)
    others = sum(some.get(OTHERS, 0) for some in counts.values()) + sum(count for _, count in names[number:])
    return dict(names[:number]) | ({(OTHERS, OTHERS): others} if others else {})
