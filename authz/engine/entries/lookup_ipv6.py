"""Looking up an IPv6 address in an index.

See snapshot.sections for the arrays. Little of the IPv6 space is in use, and unevenly. So a look-up ends in a part in
which no piece begins, or in a slot whose addresses have all the same match set, or it bisects the starts of the slot:

    2001:db8::1    parts[0x2001] = 100, 5, of a list that loading makes: the slots of this part are 28 bits wide, from 5
                   slots[0x0db + 5] = 2, 4    so it is piece 1, or one that begins at place 2 or 3

The low halves are read only where networks cut the /64 of the address. The end of a slot with such a /64 is inverted,
and loading makes a set of those /64, or, where they are many, looks at the low halves of all in such slots.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from authz.snapshot.cooperative import in_turns, next_turn
from authz.snapshot.sections import bad_section, part_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Array = memoryview[int]
    Find = Callable[[int], int]

_LOW = 0xFFFFFFFFFFFFFFFF
_HALF = 64  # bits of an address that tell slots apart, at most
_NUMBER = 0xFFFFFFFF
_TURN = 128  # elements that are looked at in one turn; some 0.1 ms
_CHUNK = 512  # low halves that are compared with zeros at once
_ZEROS = bytes(8 * _CHUNK)
_MAX_CHUNKS = 64  # with a low half that is not 0, before every /64 counts as cut


class Arrays6(NamedTuple):
    """The sections `v6.*`, as arrays."""

    starts_high: Array
    starts_low: Array
    sets: Array
    parts: Array
    slots: Array


def finder6(arrays: Arrays6) -> Find:
    """Return the look-up of an IPv6 address. It raises IndexError for an invalid number."""
    highs, lows, sets, parts, slots = arrays
    bits = part_bits(len(highs))
    shift_of_parts = 128 - bits
    nodes = _nodes(parts, bits, highs, sets)
    signed = slots.cast("B").cast("i")  # what is inverted is below 0
    starts, ends = signed[::2], signed[1::2]
    by_halves = _bisect_by_halves(highs, lows)
    cut = _cut_halves(highs, lows)

    def find(value: int) -> int:
        shift, base = nodes[value >> shift_of_parts]
        if not shift:
            return base
        slot = (value >> shift) + base
        first = starts[slot]
        if first < 0:
            return ~first
        end = ends[slot]
        if end >= 0:
            return sets[bisect_right(highs, value >> 64, first, end) - 1]
        high = value >> 64
        if cut is None or high in cut:
            return sets[by_halves(high, value & _LOW, first, ~end) - 1]
        return sets[bisect_right(highs, high, first, ~end) - 1]

    return find


def _bisect_by_halves(highs: Array, lows: Array) -> Callable[[int, int, int, int], int]:
    """Return what bisects the starts, between two places, for both halves of an address."""

    def by_halves(high: int, low: int, first: int, end: int) -> int:
        if highs[end - 1] != high:
            end = bisect_right(highs, high, first, end)
            if highs[end - 1] != high:
                return end
        if highs[first] != high:
            first = bisect_left(highs, high, first, end)
        return bisect_right(lows, low, first, end)

    return by_halves


def _nodes(parts: Array, bits: int, highs: Array, sets: Array) -> list[tuple[int, int]]:
    """Return for each part by how many bits to shift an address and what to add, for the place of its slot.

    For a part in which nothing begins: 0, and its match set.
    """
    nodes: list[tuple[int, int]] = []
    slots = 0
    for part in in_turns(parts, _TURN):
        number, depth = part >> 8, part & 0xFF
        if number > len(nodes):
            around = sets[bisect_left(highs, number << _HALF - bits) - 1]
            nodes += [(0, around)] * (number - len(nodes))
        nodes.append((128 - bits - depth, slots - (number << depth)))
        slots += 1 << depth
    return nodes + [(0, sets[len(sets) - 1])] * ((1 << bits) - len(nodes))


def _cut_halves(highs: Array, lows: Array) -> frozenset[int] | None:
    """Return the high halves of the /64 in which a piece begins behind the first address; None if they are many.

    Reads at most `_CHUNK` times `_MAX_CHUNKS` elements, and else compares memory, so that loading a large index stops
    no request for long: 0.2 ms for 200,000 pieces that are seldom cut, and 4 ms at most for a million.
    """
    halves: set[int] = set()
    chunks = 0
    for begin in range(0, len(lows), _CHUNK):
        chunk = lows[begin : begin + _CHUNK]
        if _ZEROS.startswith(chunk):
            continue
        chunks += 1
        if chunks > _MAX_CHUNKS:
            return None
        next_turn()
        halves.update(highs[begin + place] for place, low in enumerate(chunk) if low)
    return frozenset(halves)


def check_parts(arrays: Arrays6) -> None:
    """Refuse parts that are not in order, or of another number of slots than there are.

    Raises:
        SnapshotRefused: `bad_section`.
    """
    bits, before, total = part_bits(len(arrays.starts_high)), -1, 0
    for part in in_turns(arrays.parts, _TURN):
        number, depth = part >> 8, part & 0xFF
        if not before < number < 1 << bits or depth > _HALF - bits:
            raise bad_section(
                f"v6.parts: found part {number:#x} of 2^{depth} slots, expected a number of {bits} bits above "
                f"{before}, and at most 2^{_HALF - bits} slots"
            )
        before, total = number, total + (1 << depth)
    if before < 0 or len(arrays.slots) != 2 * total:
        raise bad_section(
            f"v6.slots: found {len(arrays.slots)} numbers, expected two for the {total} slots of v6.parts"
        )


def wrong_slots(arrays: Arrays6) -> Iterator[str]:
    """Yield the first part or slot that is not what the starts and sets say."""
    bits = part_bits(len(arrays.starts_high))
    begun = dict.fromkeys(high >> _HALF - bits for high in in_turns(arrays.starts_high, _TURN))
    if [*begun] != [part >> 8 for part in arrays.parts]:
        yield "v6.parts: not the parts in which a piece begins"
        return
    found = zip(arrays.slots[::2], arrays.slots[1::2], strict=True)
    for place, (expected, slot) in enumerate(zip(_slots(arrays, bits), found, strict=True)):
        if slot != expected:
            yield f"v6.slots: slot {place} is {slot}, expected {expected}"
            return


def _slots(arrays: Arrays6, bits: int) -> Iterator[tuple[int, int]]:
    """Yield what each slot should have."""
    highs, lows, sets = arrays[:3]
    for part in arrays.parts:
        number, depth = part >> 8, part & 0xFF
        shift = _HALF - bits - depth
        for slot in in_turns(range(number << depth, number + 1 << depth), _TURN):
            first, end = bisect_left(highs, slot << shift), bisect_left(highs, slot + 1 << shift)
            if first == end or (first == end - 1 and highs[first] == slot << shift and not lows[first]):
                yield ~sets[end - 1] & _NUMBER, end
            else:
                cut = any(in_turns(lows[first:end], _TURN))
                yield first, ~end & _NUMBER if cut else end
