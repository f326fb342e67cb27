"""Which match sets an entry is in, and which pieces have a match set: the index read the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from authz.analysis.coverage import Tally
from authz.analysis.space import cut_of, members_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Network
    from authz.analysis.space import Array, Ranges
    from authz.engine.entries.opened_snapshot import OpenedSnapshot


class EntryPieces:
    """Answers by entry and by match set. Built once a snapshot, in time and memory as its index."""

    def __init__(self, loaded: OpenedSnapshot) -> None:
        self.sets, self.entries, self.lengths = members_of(loaded.index)
        self._by_entry = _Groups(self.entries, len(loaded.entries))
        self._cuts, self._by_set = {}, {}
        for version in (4, 6):
            self._cuts[version], sets = cut_of(loaded.index, version)
            self._by_set[version] = _Groups(sets, loaded.index.set_count)

    def sets_of(self, entry: int) -> Array:
        """Return the numbers of the match sets that an entry is in, rising."""
        return self.sets[self._by_entry.of([entry])]

    def lengths_of(self, entry: int, version: int) -> tuple[Array, Array]:
        """Return the match sets of an entry that addresses of this version have, and its prefix bits in each."""
        members = self._by_entry.of([entry])
        members = members[self._by_set[version].sizes[self.sets[members]] > 0]
        return self.sets[members], self.lengths[members]

    def ranges(self, sets: Iterable[int]) -> list[Ranges]:
        """Return the addresses that have one of these match sets, by version; without a version that has none."""
        numbers = list(sets)
        by_cut = [(cut, self._by_set[version].of(numbers)) for version, cut in self._cuts.items()]
        return [cut.ranges(np.sort(pieces)) for cut, pieces in by_cut if len(pieces)]

    def summary(self, sets: Iterable[int]) -> tuple[Tally, Network]:
        """Return how many addresses have one of these match sets, and the largest network of them, IPv4 first."""
        ranges = self.ranges(sets)
        return Tally.of(ranges), ranges[0].largest(1)[0][0]


class _Groups:
    """Places of equal numbers in an array. sizes: how often each number is in it."""

    def __init__(self, numbers: Array, count: int) -> None:
        self._order = np.argsort(numbers, kind="stable")
        self.sizes = np.bincount(numbers, minlength=count)
        self._ends = np.cumsum(self.sizes)

    def of(self, numbers: Iterable[int]) -> Array:
        """Return the places of these numbers; of each of them rising."""
        parts = [self._order[self._ends[number] - self.sizes[number] : self._ends[number]] for number in numbers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)
