"""Counts by names of which there may be any number: the busiest are kept, the rest are counted together.

hits = Hits()
hits.counts["ban-1"] += 1      # on the hot path: one look-up
for _ in hits.prune(): ...     # now and then; between two steps, others have their turn
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_NAMES: Final = 1000  # that are kept; so many lines of a metric a collector takes without harm
STEP: Final = 512  # names that are looked at in one go; some 0.1 ms
OTHERS: Final = ""  # stands for all names that are not kept; never an id


class Hits:
    """How often each name was hit.

    Attributes:
        counts: Hits by name; None: without a name. May be over the bound until the next `prune`.
    """

    def __init__(self) -> None:
        self.counts: defaultdict[str | None, int] = defaultdict(int)

    @property
    def total(self) -> int:
        """All hits."""
        return sum(self.counts.values())

    def prune(self) -> Iterator[None]:
        """Keep the busiest names, in steps. A name that comes again begins at zero, as after a restart.

        All clients on a list may come within a second, and to look at 100,000 names in one go takes 30 ms. Names that
        are hit between two steps are kept.
        """
        counts = self.counts
        if len(counts) <= 2 * MAX_NAMES:
            return
        names = list(counts)
        alike: defaultdict[int, int] = defaultdict(int)  # names, by their hits
        for number, name in enumerate(names, 1):
            if name:  # neither OTHERS nor None
                alike[counts[name]] += 1
            if number % STEP == 0:
                yield
        least, left = _least(alike)
        for number, name in enumerate(names, 1):
            if name and (count := counts[name]) <= least:
                if count == least and left:
                    left -= 1
                else:
                    counts[OTHERS] += counts.pop(name)
            if number % STEP == 0:
                yield


def _least(alike: Mapping[int, int]) -> tuple[int, int]:
    """Return the hits of which only some names are kept, and of how many. alike: names by their hits."""
    left = MAX_NAMES
    for hits in sorted(alike, reverse=True):
        if alike[hits] >= left:
            return hits, left
        left -= alike[hits]
    return 0, 0


def busiest(hits: Iterable[tuple[str, Hits]], number: int = MAX_NAMES) -> dict[tuple[str, str], int]:
    """Return the busiest names of some Hits, the busiest first; the rest as `OTHERS` twice.

    hits: each with the layer of its names. Names are told apart by their layer, and come with it.
    """
    together: defaultdict[tuple[str, str], int] = defaultdict(int)
    others = 0
    for layer, layer_hits in hits:
        for name, count in layer_hits.counts.items():
            if name == OTHERS:
                others += count
            elif name is not None:
                together[layer, name] += count
    top = dict(heapq.nlargest(number, together.items(), key=lambda item: item[1]))
    others += sum(together.values()) - sum(top.values())
    return top | ({(OTHERS, OTHERS): others} if others else {})
