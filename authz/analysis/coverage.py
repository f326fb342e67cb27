"""Two snapshots laid over each other: how many addresses, and which entries gained or lost some."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.analysis.space import cut_of, members_of, overlay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from authz.analysis.space import Array, Cut, Ranges
    from authz.engine.entries.opened_snapshot import OpenedSnapshot


class Tally(NamedTuple):
    """How many addresses.

    Attributes:
        ipv4: Exactly.
        ipv6: Exactly.
        ipv6_64s: How many /64 have one of them: the number that people think in.
    """

    ipv4: int = 0
    ipv6: int = 0
    ipv6_64s: int = 0

    @classmethod
    def of(cls, ranges: Iterable[Ranges]) -> Tally:
        """Count the addresses of the ranges, at most one of each version."""
        by_version = {part.version: part for part in ranges}
        four, six = by_version.get(4), by_version.get(6)
        return cls(four.addresses() if four else 0, six.addresses() if six else 0, six.networks64() if six else 0)

    def __str__(self) -> str:
        parts = []
        if self.ipv4:
            parts.append(f"{self.ipv4:,} IPv4 address{'' if self.ipv4 == 1 else 'es'}")
        if self.ipv6:
            parts.append(f"{self.ipv6_64s:,} /64 of IPv6")
        return " and ".join(parts) or "no address"


class Overlay(NamedTuple):
    """The space of one version, cut where either of two snapshots cuts it.

    Attributes:
        before, after: The number of the match set of each piece in the older and in the newer.
    """

    cut: Cut
    before: Array
    after: Array

    @classmethod
    def of(cls, before: OpenedSnapshot, after: OpenedSnapshot, version: int) -> Overlay:
        """Lay two snapshots over each other."""
        (one, sets), (other, other_sets) = cut_of(before.index, version), cut_of(after.index, version)
        cut, of_one, of_other = overlay(one, other)
        return cls(cut, sets[of_one], other_sets[of_other])


def changed_coverage(
    laid: Sequence[Overlay], before: OpenedSnapshot, after: OpenedSnapshot
) -> dict[str, tuple[Tally, Tally]]:
    """Return by id how many addresses each entry gained and lost, for those that did either.

    An entry that one of the snapshots has not gains or loses all of its addresses.
    """
    ids = sorted({entry.id for loaded in (before, after) for entry in loaded.entries})
    numbers = {name: number for number, name in enumerate(ids)}
    covering = _covering(before, numbers), _covering(after, numbers)
    gained: dict[int, list[Ranges]] = {}
    lost: dict[int, list[Ranges]] = {}
    for laid_over in laid:
        pairs, pair_of = np.unique(laid_over.before.astype(np.int64) << 32 | laid_over.after, return_inverse=True)
        sets = [(covering[0][pair >> 32], covering[1][pair & 0xFFFFFFFF]) for pair in pairs.tolist()]
        for by_entry, differences in ((gained, [b - a for a, b in sets]), (lost, [a - b for a, b in sets])):
            for entry, pieces in _pieces_by_entry(pair_of, differences):
                by_entry.setdefault(entry, []).append(laid_over.cut.ranges(pieces))
    touched = sorted(gained.keys() | lost.keys())
    return {ids[entry]: (Tally.of(gained.get(entry, ())), Tally.of(lost.get(entry, ()))) for entry in touched}


def _covering(loaded: OpenedSnapshot, numbers: dict[str, int]) -> list[frozenset[int]]:
    """Return the entries of each match set, by the numbers that both snapshots share."""
    common = np.array([numbers[entry.id] for entry in loaded.entries], np.int64)
    sets, entries, _ = members_of(loaded.index)
    bounds = np.searchsorted(sets, np.arange(loaded.index.set_count + 1)).tolist()
    members = common[entries].tolist() if len(entries) else []
    return [frozenset(members[first:end]) for first, end in itertools.pairwise(bounds)]


def _pieces_by_entry(pair_of: Array, entries_of: list[frozenset[int]]) -> Iterator[tuple[int, Array]]:
    """Yield each entry with its pieces, rising.

    pair_of: the number of the pair of each piece. entries_of: the entries of each pair.
    """
    counts = np.array([len(entries) for entries in entries_of], np.int64)
    flat = np.fromiter((entry for entries in entries_of for entry in entries), np.int64)
    pieces = np.flatnonzero(counts[pair_of])
    pairs = pair_of[pieces]
    times = counts[pairs]
    # Row r of a piece takes the r-th entry of its pair: places in `flat` that count up from the pair's first.
    steps = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    entries = flat[np.repeat((np.cumsum(counts) - counts)[pairs], times) + steps]
    rows = np.repeat(pieces, times)
    order = np.argsort(entries, kind="stable")
    values, firsts = np.unique(entries[order], return_index=True)
    yield from zip(values.tolist(), np.split(rows[order], firsts)[1:], strict=True)
