"""Looking up an IPv6 address in an index.

See snapshot.sections for the arrays. Little of the IPv6 space is in use, and unevenly. So a look-up ends in a part in
which no piece begins, or in a slot whose addresses have all the same match set, or it bisects the ends of its pieces:

    2001:db8::1    parts[0x2001] = 100, 5, of a list that loading makes: the slots of this part are 28 bits wide, from 5
                   slots[0x0db + 5] = 2, 4                  so it is piece 2, 3 or 4
                   bisect_right(ends, 0x0db80000, 2, 4) = 3   it is the first one that ends behind the address

What a step of the bisection costs is a number that is made of an element, and memory that is not in the caches. So a
large table has the ends as numbers of 30 bits, which the interpreter makes and compares soonest, each beside the match
set of its piece. Of a small one, and of one that is cut finely, the ends are the high halves of the next starts.

The low halves are read only where networks cut the /64 of the address. The last piece of a slot in which the ends do
not tell is inverted, and loading makes a set of the /64 that are cut, or, where they are many, looks at the low halves
of all in such slots.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from authz.snapshot.cooperative import in_turns, next_turn
from authz.snapshot.sections import IPV6_ENDS, MIN_BITS_FOR_ENDS, PART_BITS, bad_section, part_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Array = memoryview[int]
    Find = Callable[[int], int]
    FindBetween = Callable[[int, int, int], int]
    Nodes = list[tuple[int, int]]

_LOW = 0xFFFFFFFFFFFFFFFF
_HALF = 64  # bits of an address that tell slots apart, at most
_NUMBER = 0xFFFFFFFF
_TURN = 128  # elements that are looked at in one turn; some 0.1 ms
_CHUNK = 512  # low halves that are compared with zeros at once
_ZEROS = bytes(8 * _CHUNK)
_MAX_CHUNKS = 64  # with a low half that is not 0, before every /64 counts as cut


class Arrays6(NamedTuple):
    """The sections `v6.*`, as arrays.

    Attributes:
        sets: Of each piece.
        ends: The same; a table may have none.
    """

    starts_high: Array
    starts_low: Array
    sets: Array
    ends: Array
    parts: Array
    slots: Array


def sets_and_ends(sets: Array, pieces: int) -> tuple[Array, Array]:
    """Return the match set of each piece, and where each ends, of the section that has both or only the sets."""
    if len(sets) == 2 * pieces and part_bits(pieces) == PART_BITS:
        return sets[1::2], sets.cast("B").cast("i")[::2]  # of less than 31 bits; the interpreter reads "i" soonest
    return sets, sets[:0]


def finder6(arrays: Arrays6) -> Find:
    """Return the look-up of an IPv6 address. It raises IndexError for an invalid number."""
    highs, lows, sets, ends, parts, slots = arrays
    bits = part_bits(len(highs))
    nodes = _nodes(parts, bits, highs, sets)
    signed = slots.cast("B").cast("i")  # what is inverted is below 0
    among_cut = _finder_among_cut(highs, lows, sets)
    if len(ends):
        return _finder_by_ends(nodes, signed, ends, sets, among_cut)
    firsts, lasts = signed[::2], signed[1::2]
    shift_of_parts, ends = 128 - bits, highs[1:]

    def find(value: int) -> int:
        shift, base = nodes[value >> shift_of_parts]
        if not shift:
            return base
        slot = (value >> shift) + base
        first = firsts[slot]
        if first < 0:
            return ~first
        last = lasts[slot]
        if last >= 0:
            return sets[bisect_right(ends, value >> 64, first, last)]
        return among_cut(value, first, ~last)

    return find


def _finder_by_ends(nodes: Nodes, slots: Array, ends: Array, sets: Array, among_cut: FindBetween) -> Find:
    """Return the same for a table that has the ends. Each name that it takes from here costs a look-up 3 ns."""
    firsts, lasts = slots[::2], slots[1::2]

    def find(value: int) -> int:
        shift, base = nodes[value >> 112]  # parts of 16 bits
        if not shift:
            return base
        slot = (value >> shift) + base
        first = firsts[slot]
        if first < 0:
            return ~first
        last = lasts[slot]
        if last >= 0:
            return sets[bisect_right(ends, value >> 80 & 0x3FFFFFFF, first, last)]  # IPV6_ENDS
        return among_cut(value, first, ~last)

    return find


def _finder_among_cut(highs: Array, lows: Array, sets: Array) -> FindBetween:
    """Return the look-up between two pieces, of an address whose /64 may be cut."""
    ends, ends_low = highs[1:], lows[1:]

    def by_halves(value: int, first: int, last: int) -> int:
        high = value >> 64
        if highs[last] != high:
            last = bisect_right(ends, high, first, last)
            if highs[last] != high:
                return sets[last]
        if ends[first] != high:
            first = bisect_left(ends, high, first, last)
        return sets[bisect_right(ends_low, value & _LOW, first, last)]

    cut = _cut_halves(highs, lows)
    if cut is None:
        return by_halves
    halves = cut

    def find(value: int, first: int, last: int) -> int:
        high = value >> 64
        if high in halves:
            return by_halves(value, first, last)
        return sets[bisect_right(ends, high, first, last)]

    return find


def _nodes(parts: Array, bits: int, highs: Array, sets: Array) -> Nodes:
    """Return for each part by how many bits to shift an address and what to add, for the place of its slot.

    For a part in which nothing begins: 0, and its match set.
    """
    nodes: Nodes = []
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
    """Yield the first part, end or slot that is not what the starts and sets say."""
    bits = part_bits(len(arrays.starts_high))
    begun = dict.fromkeys(high >> _HALF - bits for high in in_turns(arrays.starts_high, _TURN))
    if [*begun] != [part >> 8 for part in arrays.parts]:
        yield "v6.parts: not the parts in which a piece begins"
        return
    following = chain(arrays.starts_high[1:], [0])  # too many for a table without ends
    for place, (end, high) in enumerate(in_turns(zip(arrays.ends, following, strict=False), _TURN)):
        if end != high >> 16 & IPV6_ENDS:
            yield f"v6.sets: piece {place} ends at {end:#x}, expected {high >> 16 & IPV6_ENDS:#x}"
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
            if first == end or highs[first] != slot << shift or lows[first]:
                first -= 1
            if first == end - 1:
                yield ~sets[first] & _NUMBER, first
            elif _unclear(arrays, range(first + 1, end), depth):
                yield first, ~(end - 1) & _NUMBER
            else:
                yield first, end - 1


def _unclear(arrays: Arrays6, begun: range, depth: int) -> bool:
    """Return whether the ends do not tell which piece it is. begun: the pieces that begin inside of the slot."""
    if any(in_turns(arrays.starts_low[begun.start : begun.stop], _TURN)):
        return True
    if not len(arrays.ends):
        return False
    highs = in_turns(arrays.starts_high[begun.start : begun.stop], _TURN)
    return depth < MIN_BITS_FOR_ENDS or any(high & 0xFFFF for high in highs)
