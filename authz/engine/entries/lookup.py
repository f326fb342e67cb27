"""Looking up an address in an index, read in place. Standard library only: this is the sidecar's side.

See snapshot.sections for the arrays, and `lookup_ipv6` for the look-up of IPv6. One of IPv4 reads two positions of the
directory and bisects between them, in C:

    10.1.2.3    directory[0x0A01], directory[0x0A02] = 2, 4    so it is piece 1, or one that begins at place 2 or 3
                bisect_right(starts, 0x0A010203, 2, 4) = 3     it is the piece before place 3; sets[2] is its match set

Where the two positions are equal nothing begins in that part of the directory, and nothing is left to bisect. What
costs is the interpreter (some 20 ns an operation), a step of a bisection (25 ns: the processor cannot guess which way
it goes) and memory that is not in the caches. So the arrays are local names of a function that is made once, and the
directory is as fine as the pieces are many.

A large IPv4 table has blocks, which need no bisection, and touch two places of the memory instead of four:

    10.1.2.3    blocks[0x0A0102 >> 5] = ones << 32 | 812    it is in leaf 812, or in one before it: each one that stands
                leaves[812 - ones behind /24 number 2]      for a /24 behind the address's own takes one off

Safe while others read; never changed after it was made.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import chain, pairwise
from operator import sub
from types import MappingProxyType
from typing import TYPE_CHECKING

from authz.engine.entries.lookup_ipv6 import Arrays6, check_parts, finder6, sets_and_ends, wrong_slots
from authz.snapshot.cooperative import greatest, in_turns, next_turn
from authz.snapshot.sections import (
    BLOCKS,
    CUT,
    INDEX_TYPES,
    array_of,
    bad_section,
    directory_bits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Array = memoryview[int]
    Find = Callable[[int], int]  # from an address as a number of its version to the number of its match set

_LOW = 0xFFFFFFFFFFFFFFFF
_NUMBER = 0xFFFFFFFF  # of the last leaf, in a block
_TURN = 128  # elements that are looked at in one turn; some 0.1 ms
_CHUNK = 512  # elements that are taken at once


class Index:
    """Answers which match set an address has.

    The constructor checks what is quick to check; `problems` looks at every element.

    Args:
        sections: The bytes of every name in `INDEX_TYPES`.

    Raises:
        SnapshotRefused: `bad_section`.
    """

    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        arrays = {name: array_of(sections, name, kind) for name, kind in INDEX_TYPES.items()}
        arrays["v6.sets"], arrays["v6.ends"] = sets_and_ends(arrays["v6.sets"], len(arrays["v6.starts_high"]))
        self.arrays: Mapping[str, Array] = MappingProxyType(arrays)  # by name, to look at all
        self._starts, self._sets, self._directory = arrays["v4.starts"], arrays["v4.sets"], arrays["v4.directory"]
        self._ipv6 = Arrays6(*(arrays[f"v6.{name}"] for name in Arrays6._fields))
        self._highs, self._lows, self._sets6 = self._ipv6[:3]
        self._blocks, self._leaves = arrays["v4.blocks"], arrays["v4.leaves"]
        self._offsets = arrays["sets.offset"]
        self._entries, self._lengths = arrays["members.entry"], arrays["members.length"]
        self._shift = 32 - directory_bits(self._directory, "v4.directory")
        self._check_lengths()
        # Of one version each: a caller that knows the version saves a step.
        self.find4: Find = (
            finder4_by_blocks(self._starts, self._sets, self._blocks, self._leaves)
            if len(self._blocks)
            else finder4(self._starts, self._sets, self._directory)
        )
        self.find6: Find = finder6(self._ipv6)

    def find(self, version: int, value: int) -> int:
        """Return the number of the match set that covers the address; 0 if no entry does."""
        return self.find4(value) if version == 4 else self.find6(value)

    def sets_within(self, version: int, first: int, last: int) -> set[int]:
        """Return the numbers of the match sets that any of these addresses has. Reads each piece of them."""
        if version == 4:
            return {*self._sets[bisect_right(self._starts, first) - 1 : bisect_right(self._starts, last)]}

        def behind(address: int) -> int:
            """Return how many pieces begin at this address or before it."""
            high, low = address >> 64, address & _LOW
            place = bisect_left(self._highs, high)
            return bisect_right(self._lows, low, place, bisect_right(self._highs, high, place))

        return {*self._sets6[behind(first) - 1 : behind(last)]}

    def members(self, number: int) -> list[tuple[int, int]]:
        """Return the match set: (number of the entry, prefix bits) with the longest prefix first."""
        first, end = self._offsets[number], self._offsets[number + 1]
        return list(zip(self._entries[first:end], self._lengths[first:end], strict=True))

    def most_members(self) -> int:
        """Return how many members the largest match set has."""
        most, offsets = 0, self._offsets
        for start in range(0, self.set_count, _CHUNK):
            some = offsets[start : start + _CHUNK + 1].tolist()
            most = max(most, *map(sub, some[1:], some))
            next_turn()
        return most

    @property
    def pieces(self) -> dict[int, int]:
        """How many pieces the address space of each version is cut into."""
        return {4: len(self._starts), 6: len(self._highs)}

    @property
    def set_count(self) -> int:
        """How many match sets there are, the empty one included."""
        return len(self._offsets) - 1

    def problems(self, entry_count: int) -> Iterator[str]:
        """Yield what is wrong with the elements of the arrays; reads all of them, so takes seconds for millions.

        No call takes all elements of an array: it would hold the interpreter, and every request, for as long.
        """
        yield from _unsorted("v4.starts", self._starts)
        yield from _unsorted("v6.starts", zip(self._highs, self._lows, strict=True))
        yield from _wrong_directory("v4.directory", self._directory, self._starts, self._shift)
        yield from wrong_slots(self._ipv6)
        if len(self._blocks):
            yield from _wrong_blocks(self._blocks, self._leaves, self._starts, self._sets)
        for name, numbers, limit in (
            ("v4.sets", self._sets, self.set_count),
            ("v6.sets", self._sets6, self.set_count),
            ("members.entry", self._entries, entry_count),
        ):
            if len(numbers) and (number := greatest(numbers)) >= limit:
                yield f"{name}: found number {number}, expected less than {limit}"
        if (length := greatest(self._lengths)) > 128:
            yield f"members.length: found {length}, expected at most 128"
        elif (length := self._longest_of_ipv4()) > 32:
            yield f"members.length: found {length} in a set of IPv4, expected at most 32"
        if any(one > other for one, other in in_turns(pairwise(self._offsets), _TURN)):
            yield "sets.offset: not in order"
        if self._offsets[0] or self._offsets[1]:
            yield "sets.offset: set 0 is not empty"

    def _longest_of_ipv4(self) -> int:
        """Return the most prefix bits in the match sets of IPv4; those that there are not are passed over."""
        numbers: set[int] = set()
        for start in range(0, len(self._sets), _CHUNK):
            numbers.update(self._sets[start : start + _CHUNK])
            next_turn()
        longest = 0
        for number in in_turns(numbers, _TURN):
            if number < self.set_count:
                longest = max(longest, *self._lengths[self._offsets[number] : self._offsets[number + 1]], 0)
        return longest

    def _check_lengths(self) -> None:
        if not len(self._starts) == len(self._sets) > 0 == self._starts[0]:
            raise bad_section("v4.starts and v4.sets: expected equal lengths, the first start 0")
        if not len(self._highs) == len(self._lows) == len(self._sets6) > 0 == self._highs[0] == self._lows[0]:
            raise bad_section(
                "v6.starts_high, v6.starts_low and v6.sets (of a large table half of it): expected equal lengths, the "
                "first start 0"
            )
        count = len(self._starts)
        if self._directory[0] != 0 or self._directory[len(self._directory) - 1] != count:
            raise bad_section(f"v4.directory: expected to run from 0 to {count}")
        check_parts(self._ipv6)
        if len(self._blocks) or len(self._leaves):
            last = self._blocks[BLOCKS - 1] & _NUMBER if len(self._blocks) == BLOCKS else -1
            if last + 1 != len(self._leaves):
                raise bad_section(f"v4.blocks and v4.leaves: expected none, or {BLOCKS} blocks with all leaves")
        count = len(self._entries)
        if len(self._lengths) != count or len(self._offsets) < 2 or self._offsets[len(self._offsets) - 1] != count:
            raise bad_section("sets.offset, members.entry and members.length: expected lengths that agree")


def finder4(starts: Array, sets: Array, directory: Array) -> Find:
    """Return the look-up of an IPv4 address. It raises IndexError for an invalid number."""
    shift = 32 - _bits(directory)

    def find(value: int) -> int:
        top = value >> shift
        first, end = directory[top], directory[top + 1]
        if first == end:
            return sets[end - 1]
        return sets[bisect_right(starts, value, first, end) - 1]

    return find


def finder4_by_blocks(starts: Array, sets: Array, blocks: Array, leaves: Array) -> Find:
    """Return the look-up of an IPv4 address in a large table: two reads, and seldom more."""
    count = len(starts)
    signed = leaves.cast("B").cast("i")  # a cut one is below 0: the interpreter compares that twice as fast as with CUT

    def find(value: int) -> int:
        block = blocks[value >> 13]
        leaf = signed[(block & _NUMBER) - (block >> (value >> 8 & 31 | 32)).bit_count()]
        if leaf >= 0:
            return leaf
        first = leaf + CUT
        return sets[bisect_right(starts, value, first, min(first + 255, count)) - 1]

    return find


def _bits(directory: Array) -> int:
    return (len(directory) - 1).bit_length() - 1


def _unsorted(name: str, starts: Iterable[int] | Iterable[tuple[int, int]]) -> Iterator[str]:
    for position, (one, other) in enumerate(in_turns(pairwise(starts), _TURN), 1):
        if not one < other:  # type: ignore[operator]  # both are of one kind
            yield f"{name}: position {position} is not above the one before it"
            return


def _wrong_directory(name: str, directory: Array, starts: Array, shift: int) -> Iterator[str]:
    for top in in_turns(range(len(directory)), _TURN):
        expected = bisect_left(starts, top << shift)
        if directory[top] != expected:
            yield f"{name}: position {top} is {directory[top]}, expected {expected}"
            return


def _wrong_blocks(blocks: Array, leaves: Array, starts: Array, sets: Array) -> Iterator[str]:
    begins = array("I")  # of the leaves, as numbers of a /24; a list of 16 million has 600 MB
    for number, block in enumerate(in_turns(blocks, _TURN)):
        others, last = block >> 32, block & _NUMBER
        if last + 1 - others.bit_count() == len(begins) + 1:
            begins.append(number << 5)
        begins.extend(number << 5 | place for place in range(1, 32) if others >> place - 1 & 1)
        if last + 1 != len(begins) or others >> 31 or not begins or begins[0]:
            yield f"v4.blocks: block {number} does not continue the ones before it"
            return
    if len(leaves) != len(begins):
        yield f"v4.leaves: found {len(leaves)}, expected {len(begins)}, as the blocks say"
        return
    for number, (begin, end) in enumerate(in_turns(pairwise(chain(begins, [1 << 24])), _TURN)):
        first = bisect_right(starts, begin << 8)
        is_cut = bisect_left(starts, end << 8, first) > first
        if leaves[number] != (CUT | first if is_cut else sets[first - 1]) or (is_cut and end != begin + 1):
            yield f"v4.leaves: leaf {number} is not what the starts from {begin << 8:#x} on say"
            return
