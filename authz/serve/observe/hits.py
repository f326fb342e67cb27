"""Counts by names of which there may be any number: the busiest are kept, the rest are counted together.

hits = Hits()
hits.counts["ban-1"] += 1      # on the hot path: one look-up
hits.prune()                   # now and then
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAMES: Final = 1000  # that are kept; so many lines of a metric a collector takes without harm
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

    def prune(self) -> None:
        """Keep the busiest names. A name that comes again begins at zero, as after a restart."""
        if len(self.counts) > 2 * MAX_NAMES:
            none, top = self.counts.pop(None, 0), busiest([("", self)], MAX_NAMES)
            self.counts.clear()
            self.counts.update({name: count for (_, name), count in top.items()})
            if none:
                self.counts[None] = none


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
