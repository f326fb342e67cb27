"""Looking up an address in an index, read in place. Standard library only: this is the sidecar's side.

See authz.index.sections for the arrays. A look-up is one or two `bisect` calls, in C, and allocates a few integers.
Safe while others read; never changed after it was made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from types import MappingProxyType
from typing import TYPE_CHECKING

from authz.index.sections import LEAST_DIRECTORY_BITS, MOST_DIRECTORY_BITS, SIZES, TYPE_CODES, TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Array = memoryview[int]


class BadIndex(ValueError):
    """An array of the index that cannot be: the text says which and why."""


class Index:
    """Answers which match set an address has.

    sections: for every name in `TYPES` its bytes. Checks what is quick to check (raises BadIndex); `problems` looks
    at every element.
    """

    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        arrays = {name: _array(sections, name) for name in TYPES}
        self.arrays: Mapping[str, Array] = MappingProxyType(arrays)  # by the names of `TYPES`, for who looks at all
        self._starts, self._sets, self._directory = arrays["v4.starts"], arrays["v4.sets"], arrays["v4.directory"]
        self._highs, self._lows = arrays["v6.starts_high"], arrays["v6.starts_low"]
        self._sets6, self._directory6 = arrays["v6.sets"], arrays["v6.directory"]
        self._offsets = arrays["sets.offset"]
        self._entries, self._lengths = arrays["members.entry"], arrays["members.length"]
        self._shift = 32 - _directory_bits(4, self._directory, "v4.directory")
        self._shift6 = 64 - _directory_bits(6, self._directory6, "v6.directory")
        self._check_lengths()

    def find(self, version: int, value: int) -> int:
        """Return the number of the match set that covers the address; 0 where no entry does."""
        if version == 4:
            directory, top = self._directory, value >> self._shift
            return self._sets[bisect_right(self._starts, value, directory[top], directory[top + 1]) - 1]
        high, highs = value >> 64, self._highs
        directory, top = self._directory6, high >> self._shift6
        position = bisect_right(highs, high, directory[top], directory[top + 1])
        if position and highs[position - 1] == high:
            first = bisect_left(highs, high, directory[top], position)
            position = bisect_right(self._lows, value & 0xFFFFFFFFFFFFFFFF, first, position)
        return self._sets6[position - 1]

    def members(self, number: int) -> list[tuple[int, int]]:
        """Return the match set: (number of the entry, prefix bits) with the longest prefix first."""
        first, end = self._offsets[number], self._offsets[number + 1]
        return list(zip(self._entries[first:end], self._lengths[first:end], strict=True))

    @property
    def pieces(self) -> dict[int, int]:
        """How many pieces the address space of each version is cut into."""
        return {4: len(self._starts), 6: len(self._highs)}

    @property
    def set_count(self) -> int:
        """How many match sets there are, the empty one included."""
        return len(self._offsets) - 1

    def problems(self, entry_count: int) -> Iterator[str]:
        """Yield what is wrong with the elements of the arrays; reads all of them, so takes seconds for millions."""
        starts6 = list(zip(self._highs, self._lows, strict=True))
        yield from _unsorted("v4.starts", list(self._starts))
        yield from _unsorted("v6.starts", starts6)
        yield from _wrong_directory("v4.directory", self._directory, [s >> self._shift for s in self._starts])
        yield from _wrong_directory("v6.directory", self._directory6, [h >> self._shift6 for h in self._highs])
        for name, numbers, limit in (
            ("v4.sets", self._sets, self.set_count),
            ("v6.sets", self._sets6, self.set_count),
            ("members.entry", self._entries, entry_count),
        ):
            if len(numbers) and max(numbers) >= limit:
                yield f"{name}: found number {max(numbers)}, expected less than {limit}"
        if len(self._lengths) and max(self._lengths) > 128:
            yield f"members.length: found {max(self._lengths)}, expected at most 128"
        if list(self._offsets) != sorted(self._offsets):
            yield "sets.offset: not in order"
        if self._offsets[0] or self._offsets[1]:
            yield "sets.offset: set 0 is not empty"

    def _check_lengths(self) -> None:
        if not len(self._starts) == len(self._sets) > 0 == self._starts[0]:
            raise BadIndex("v4.starts and v4.sets: expected equal lengths, the first start 0")
        if not len(self._highs) == len(self._lows) == len(self._sets6) > 0 == self._highs[0] == self._lows[0]:
            raise BadIndex("v6.starts_high, v6.starts_low and v6.sets: expected equal lengths, the first start 0")
        for name, directory, count in (
            ("v4.directory", self._directory, len(self._starts)),
            ("v6.directory", self._directory6, len(self._highs)),
        ):
            if directory[0] != 0 or directory[len(directory) - 1] != count:
                raise BadIndex(f"{name}: expected to run from 0 to {count}")
        count = len(self._entries)
        if len(self._lengths) != count or len(self._offsets) < 2 or self._offsets[len(self._offsets) - 1] != count:
            raise BadIndex("sets.offset, members.entry and members.length: expected lengths that agree")


def _array(sections: Mapping[str, memoryview], name: str) -> Array:
    if name not in sections:
        raise BadIndex(f"{name}: missing")
    data = sections[name]
    if len(data) % SIZES[TYPES[name]]:
        raise BadIndex(f"{name}: found {len(data)} bytes, expected a multiple of {SIZES[TYPES[name]]}")
    return data.cast(TYPE_CODES[TYPES[name]])  # type: ignore[call-overload,no-any-return]  # the code is a plain str


def _directory_bits(version: int, directory: Array, name: str) -> int:
    most = MOST_DIRECTORY_BITS[version]
    bits = (len(directory) - 1).bit_length() - 1
    if not LEAST_DIRECTORY_BITS <= bits <= most or len(directory) != (1 << bits) + 1:
        raise BadIndex(f"{name}: found {len(directory)} positions, expected 2^k + 1 with k from 4 to {most}")
    return bits


def _unsorted(name: str, starts: Sequence[int] | Sequence[tuple[int, int]]) -> Iterator[str]:
    for position in range(len(starts) - 1):
        if not starts[position] < starts[position + 1]:  # type: ignore[operator]  # both are of one kind
            yield f"{name}: position {position + 1} is not above the one before it"
            return


def _wrong_directory(name: str, directory: Array, tops: list[int]) -> Iterator[str]:
    for top in range(len(directory)):
        if directory[top] != bisect_left(tops, top):
            yield f"{name}: position {top} is {directory[top]}, expected {bisect_left(tops, top)}"
            return
