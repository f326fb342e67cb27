"""The parts and slots of the IPv6 space, and the match sets of its pieces (see authz.snapshot.sections)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.publisher.index.slots import slot_bits
from authz.snapshot.sections import IPV6_ENDS, MIN_BITS_FOR_ENDS, PART_BITS, part_bits

if TYPE_CHECKING:
    from authz.publisher.index.prefixes import Array

MAX_UNCLEAR = 1 / 4  # of the pieces that are bisected, in slots where the ends do not tell; else a table has no ends


class _Slots(NamedTuple):
    """Of each slot: the pieces of its first and last address, and whether its part has too few slots for ends."""

    first: Array  # i64
    last: Array  # i64
    shallow: Array  # bool


def ipv6_sections(highs: Array, lows: Array, sets: Array) -> dict[str, Array]:
    """Return the sections `v6.sets`, `v6.parts` and `v6.slots`.

    Args:
        highs: The high half of the start of each piece (u64).
        lows: The low half.
        sets: The number of the match set (u32).
    """
    bits = part_bits(len(highs))
    numbers, begins = np.unique(highs >> np.uint64(64 - bits), return_index=True)
    of_48 = np.ones(len(highs), np.int64)  # whether a piece is the first of a /48
    of_48[1:] = highs[1:] >> np.uint64(16) != highs[:-1] >> np.uint64(16)
    depths = slot_bits(np.add.reduceat(of_48, begins).tolist(), bits)
    slots = _slots(highs, lows, numbers.tolist(), depths, bits)
    bisected = slots.last - slots.first
    inside_48 = (highs & np.uint64(0xFFFF) != 0) | (lows != 0)
    unclear = _begun(inside_48, slots) | (slots.shallow & (bisected > 0))
    with_ends = bits == PART_BITS and bisected[unclear].sum() < MAX_UNCLEAR * bisected.sum()
    if not with_ends:
        unclear = _begun(lows != 0, slots)
    first = np.where(bisected == 0, ~sets[slots.first], slots.first.astype("<u4"))
    last = np.where(unclear, ~slots.last, slots.last)
    return {
        "v6.sets": _with_ends(highs, sets) if with_ends else sets,
        "v6.parts": numbers.astype("<u4") << np.uint32(8) | np.array(depths, "<u4"),
        "v6.slots": _side_by_side(first, last),
    }


def _slots(highs: Array, lows: Array, numbers: list[int], depths: list[int], bits: int) -> _Slots:
    firsts, lasts, shallow = [], [], []
    for number, depth in zip(numbers, depths, strict=True):
        shift = np.uint64(64 - bits - depth)
        begin = ((number << depth) + np.arange(1 << depth, dtype=np.uint64)) << shift
        end = np.searchsorted(highs, begin | (np.uint64(1) << shift) - np.uint64(1), "right")
        place = np.searchsorted(highs, begin)
        near = np.minimum(place, len(highs) - 1)
        firsts.append(np.where((highs[near] == begin) & (lows[near] == 0), place, place - 1))
        lasts.append(end - 1)
        shallow.append(np.full(1 << depth, depth < MIN_BITS_FOR_ENDS))
    return _Slots(np.concatenate(firsts), np.concatenate(lasts), np.concatenate(shallow))


def _begun(which: Array, slots: _Slots) -> Array:
    """Return in which slots one of these pieces begins, behind the first address."""
    before = np.concatenate([[0], np.cumsum(which)])  # of them, before each piece
    begun: Array = before[slots.last + 1] > before[slots.first + 1]
    return begun


def _with_ends(highs: Array, sets: Array) -> Array:
    ends = np.append(highs[1:], np.uint64(0)) >> np.uint64(16) & np.uint64(IPV6_ENDS)
    return _side_by_side(ends, sets)


def _side_by_side(ones: Array, others: Array) -> Array:
    return np.stack([ones.astype("<u4"), others.astype("<u4")], axis=1).reshape(-1)
