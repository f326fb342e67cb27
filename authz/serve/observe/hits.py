"""Counts by names of which there may be any number: the busiest are kept, the rest are counted together.

hits = Hits()
hits.counts["ban-1"] += 1         # on the hot path: one look-up
for _ in prune([hits, ...]): ...  # now and then; between two steps, others have their turn
"""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_NAMES: Final = 1000  # that are kept; so many lines of a metric a collector takes without harm
STEP: Final = 512  # names that are looked at in one go; some 0.1 ms
OTHERS: Final = ""  # stands for all names that are not kept; never an id


Counts = dict[str, dict[str, int]]  # hits by layer and name, `OTHERS` among the names
_Names = list[tuple[dict[str | None, int], list[str | None]]]


class Hits:
    """How often each name was hit.

    Attributes:
        counts: Hits by name; None: without a name. May be over the bound until the next `prune`.
    """

    def __init__(self) -> None:
        self.counts: defaultdict[str | None, int] = defaultdict(int)


def prune(several: Sequence[Hits]) -> Iterator[None]:
    """Keep the busiest names of all together, in steps. A name that comes again begins at zero, as after a restart.

    All clients on a list may come within a second, and to look at 100,000 names in one go takes 30 ms. Names that are
    hit between two steps are kept.
    """
    if sum([len(hits.counts) for hits in several]) <= 2 * MAX_NAMES + len(several):  # some are None, or OTHERS
        return
    names: _Names = []
    yield from _list(several, names)
    alike: defaultdict[int, int] = defaultdict(int)  # names, by their hits
    for number, (counts, name) in enumerate(_each(names), 1):
        alike[counts[name]] += 1
        if number % STEP == 0:
            yield
    least, left = _least(alike)
    for number, (counts, name) in enumerate(_each(names), 1):
        if (count := counts[name]) <= least:
            if count == least and left:
                left -= 1
            else:
                counts[OTHERS] += counts.pop(name)
        if number % STEP == 0:
            yield


def _list(several: Sequence[Hits], names: _Names) -> Iterator[None]:
    """Put all names there are now into `names`, in steps; to list is cheaper than to look."""
    listed = 0
    for hits in several:
        names.append((hits.counts, list(hits.counts)))
        listed += len(hits.counts)
        if listed >= 4 * STEP:
            listed = 0
            yield


def _each(names: _Names) -> Iterator[tuple[dict[str | None, int], str]]:
    """Yield each name with its counts, but for OTHERS and None."""
    for counts, some in names:
        for name in some:
            if name:
                yield counts, name


def _least(alike: Mapping[int, int]) -> tuple[int, int]:
    """Return the hits of which only some names are kept, and of how many. alike: names by their hits."""
    left = MAX_NAMES
    for hits in sorted(alike, reverse=True):
        if alike[hits] >= left:
            return hits, left
        left -= alike[hits]
    return 0, 0


def by_layer(hits: Iterable[tuple[str, Mapping[str, int] | Mapping[str | None, int]]]) -> Counts:
    """Return the sums of some counts, each with the layer of its names."""
    result: Counts = {}
    for layer, counts in hits:
        sums = result.setdefault(layer, {})
        for name, count in counts.items():
            if name is not None:
                sums[name] = sums.get(name, 0) + count
    return result


def busiest(counts: Counts, number: int = MAX_NAMES) -> dict[tuple[str, str], int]:
    """Return the busiest names with their layers, the busiest first; the rest as `OTHERS` twice."""
    names = [((layer, name), count) for layer, some in counts.items() for name, count in some.items() if name != OTHERS]
    names.sort(key=itemgetter(1), reverse=True)
    others = sum(some.get(OTHERS, 0) for some in counts.values()) + sum(count for _, count in names[number:])
    return dict(names[:number]) | ({(OTHERS, OTHERS): others} if others else {})
