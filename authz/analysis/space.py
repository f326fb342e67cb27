"""The whole address space of one version as arrays: its pieces, ranges of them, their addresses and networks.

Addresses are left-aligned in 128 bits, as two arrays of 64 (see publisher.index.prefixes). A range has its last,
not the one behind it, so no number passes 2^128. 10.0.0.0-10.0.0.255 is

    first   high 0x0A000000_00000000   low 0
    last    high 0x0A0000FF_FFFFFFFF   low 0xFFFFFFFF_FFFFFFFF
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from authz.addresses import BITS, Network, range_to_networks
from authz.errors import Refusal, SnapshotRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from authz.engine.entries.lookup import Index
    from authz.engine.entries.opened_snapshot import OpenedSnapshot

    Array = np.ndarray[Any, Any]  # one-dimensional; the element type is said where it matters

MAX_RANGES = 20_000  # of the widest ranges in which the largest networks are looked for
ALL_ONES = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Cut:
    """The address space of a version, cut into pieces.

    Attributes:
        high, low: Where each begins, rising; the first is 0.
    """

    version: int
    high: Array  # u64
    low: Array  # u64

    def __len__(self) -> int:
        return len(self.high)

    def within(self, network: Network) -> tuple[int, int]:
        """Return the first piece that has an address of the network, and the one behind the last that does."""
        spare = 128 - BITS[self.version]
        return self._below(network.value << spare) - 1, self._below(((network.last + 1) << spare) - 1)

    def _below(self, address: int) -> int:
        """Return how many pieces begin at this left-aligned address or below it."""
        high, low = np.uint64(address >> 64), np.uint64(address & ALL_ONES)
        first, end = np.searchsorted(self.high, high), np.searchsorted(self.high, high, side="right")
        return int(first + np.searchsorted(self.low[first:end], low, side="right"))

    def ranges(self, pieces: Array, keys: Array | None = None) -> Ranges:
        """Return these pieces (their numbers, rising) as few ranges: neighbours are one, where their keys are equal."""
        apart = np.ones(len(pieces) + 1, np.bool_)
        apart[1:-1] = np.diff(pieces) != 1 if keys is None else (np.diff(pieces) != 1) | (keys[1:] != keys[:-1])
        first, behind = pieces[apart[:-1]], pieces[apart[1:]] + 1
        behind[behind == len(self)] = 0  # behind the last piece is 2^128, which wraps to the first start, 0
        high, low = self.high[behind], self.low[behind]
        last_high = high - (low == 0).astype(np.uint64)
        return Ranges(self.version, self.high[first], self.low[first], last_high, low - np.uint64(1), first)


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of addresses of one version, apart and rising.

    Attributes:
        piece: The number of the first piece of each.
    """

    version: int
    first_high: Array  # u64
    first_low: Array  # u64
    last_high: Array  # u64
    last_low: Array  # u64
    piece: Array  # i64

    def __len__(self) -> int:
        return len(self.piece)

    def addresses(self) -> int:
        """Return how many addresses they have together, exactly."""
        total = _sum(self.last_high) - _sum(self.first_high) << 64
        total += _sum(self.last_low) - _sum(self.first_low) + len(self)
        return total >> 128 - BITS[self.version]

    def networks64(self) -> int:
        """Return how many /64 have an address in them; IPv6 only."""
        shared = int((self.first_high[1:] == self.last_high[:-1]).sum())
        return _sum(self.last_high) - _sum(self.first_high) + len(self) - shared

    def bounds(self, place: int) -> tuple[int, int]:
        """Return the first and the last address of one range, as plain numbers of the version."""
        spare = 128 - BITS[self.version]
        first = int(self.first_high[place]) << 64 | int(self.first_low[place])
        last = int(self.last_high[place]) << 64 | int(self.last_low[place])
        return first >> spare, last >> spare

    def networks(self, place: int) -> list[Network]:
        """Return the fewest networks that cover one range."""
        return range_to_networks(self.version, *self.bounds(place))

    def largest(self, count: int) -> list[tuple[Network, int]]:
        """Return the `count` largest of the fewest networks that cover the ranges, each with the place of its range.

        Equal ones by address. Only the `MAX_RANGES` widest ranges are looked into: if there are more, and all are
        badly aligned, a network that is left out may have twice the addresses of one that is not.
        """
        heap: list[tuple[int, int, Network, int]] = []  # a heap: the smallest first, of equal ones the last address
        for place in self._widest_first(MAX_RANGES if count else 0):
            first, last = self.bounds(place)
            fits = (last - first + 1).bit_length() - 1  # no network from here on has more host bits
            if len(heap) >= count and heap[0][0] > fits:
                break
            for network in range_to_networks(self.version, first, last):
                item = (BITS[self.version] - network.length, -network.value, network, place)
                heapq.heappush(heap, item)
                if len(heap) > count:
                    heapq.heappop(heap)
        return [(network, place) for _, _, network, place in sorted(heap, reverse=True)]

    def _widest_first(self, limit: int) -> Iterator[int]:
        low = self.last_low - self.first_low
        high = self.last_high - self.first_high - (self.last_low < self.first_low).astype(np.uint64)
        order = np.lexsort([~low, ~high])  # stable, so that equal ones stay in the order of their addresses
        return iter(order[:limit].tolist())


def cut_of(index: Index, version: int) -> tuple[Cut, Array]:
    """Return the pieces of an index, and the number of the match set of each (u32)."""
    sets = np.asarray(index.arrays[f"v{version}.sets"])
    if version == 4:
        starts = np.asarray(index.arrays["v4.starts"]).astype(np.uint64)
        return Cut(4, starts << np.uint64(32), np.zeros(len(starts), np.uint64)), sets
    return Cut(6, np.asarray(index.arrays["v6.starts_high"]), np.asarray(index.arrays["v6.starts_low"])), sets


def members_of(index: Index) -> tuple[Array, Array, Array]:
    """Return for each member of each match set the numbers of set (i64) and entry (u32), and the prefix bits (u8)."""
    offsets = np.asarray(index.arrays["sets.offset"]).astype(np.int64)
    numbers = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return numbers, np.asarray(index.arrays["members.entry"]), np.asarray(index.arrays["members.length"])


def check_whole(loaded: OpenedSnapshot) -> None:
    """Check every element of the index that is relied on here, as nobody may have signed the file.

    Args:
        loaded: The snapshot.

    Raises:
        SnapshotRefused: `bad_section`.
    """
    for version in (4, 6):
        cut, sets = cut_of(loaded.index, version)
        rising = (cut.high[1:] > cut.high[:-1]) | ((cut.high[1:] == cut.high[:-1]) & (cut.low[1:] > cut.low[:-1]))
        if not rising.all():
            raise SnapshotRefused(
                Refusal.BAD_SECTION, f"v{version}.starts", found="starts out of order", expected="rising numbers"
            )
        _below(f"v{version}.sets", sets, loaded.index.set_count)
    offsets = np.asarray(loaded.index.arrays["sets.offset"])
    if (offsets[1:] < offsets[:-1]).any():
        raise SnapshotRefused(
            Refusal.BAD_SECTION, "sets.offset", found="offsets out of order", expected="rising numbers"
        )
    _below("members.entry", members_of(loaded.index)[1], len(loaded.entries))


def _below(name: str, numbers: Array, limit: int) -> None:
    if len(numbers) and numbers.max() >= limit:
        raise SnapshotRefused(Refusal.BAD_SECTION, name, found=f"number {numbers.max()}", expected=f"less than {limit}")


def overlay(one: Cut, other: Cut) -> tuple[Cut, Array, Array]:
    """Return the space cut where either is cut, and for each piece those of `one` and of `other` that it is in."""
    high, low = np.concatenate([one.high, other.high]), np.concatenate([one.low, other.low])
    # A stable sort of two sorted runs is a merge; IPv4 needs no second key.
    order = np.argsort(high, kind="stable") if one.version == 4 else np.lexsort([low, high])
    high, low = high[order], low[order]
    last = np.ones(len(order), np.bool_)  # of those with the same start, after which both counts are right
    last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    from_one = order < len(one)
    of_one = np.cumsum(from_one)[last] - 1
    of_other = np.cumsum(~from_one)[last] - 1
    return Cut(one.version, high[last], low[last]), of_one, of_other


def _sum(numbers: Array) -> int:
    """Return the exact sum of unsigned 64-bit numbers, of which there are fewer than 2^32."""
    return (int((numbers >> np.uint64(32)).sum()) << 32) + int((numbers & np.uint64(0xFFFFFFFF)).sum())
