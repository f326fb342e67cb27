"""Many single addresses, each on a list until its own time: columns, read in place. Standard library only.

A ban of one address as an entry costs 14 microseconds to build and 140 bytes; as a row here 0.15 and 24. A row is an
address, when it ends and since when it is there (seconds since 1970), the number of a template (an entry without id
and time) and an id. Rows are sorted by address, first IPv4, then IPv6, and are counted from 1:

    row   address         expires      added        template              id
    1     192.0.2.7       1795830000   1795822800   0 = deny, shop, ...   b-00000000000000a1
    2     203.0.113.9     never        1795822000   1 = gray, all, ...    b-0000000000000007
    3     2001:db8::1     1795830000   1795822801   0                     b-00000000000000a2

Several rows may have the same address. A look-up reads two positions of a directory and bisects between them, as in
`authz.engine.entries.lookup`. An expired row stays until the next build; it no longer counts, by its own end.

Ids of bans are 64 bits. A *tombstone* is the id of a ban in another part of the layer that ended before its time.

Safe while others read; never changed after it was made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.ban_ids import NEVER, ban_id
from authz.snapshot.cooperative import greatest, in_turns, next_turn
from authz.snapshot.lazy_entries import PackedEntries
from authz.snapshot.sections import (
    IPV6_MARKS,
    MARKS,
    MARKS_SIZE,
    SINGLES_TYPES,
    TOMBSTONES,
    array_of,
    bad_section,
    directory_bits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from authz.wire.snapshot.v1.snapshot_pb2 import Entry

    Array = memoryview[int]
    Find = Callable[[int], int]  # from an address as a number of its version to the first row that has it; 0: none

MAX_TOMBSTONES: Final = 100_000  # a publisher has at most 20,000; as a set each has 100 bytes
_LOW = 0xFFFFFFFFFFFFFFFF
_CHUNK = 1 << 13  # elements that are looked at in one turn; some 0.1 ms


def tombstones(sections: Mapping[str, memoryview]) -> frozenset[int]:
    """Return the ids of bans that are over. Raises SnapshotRefused(`bad_section`, `too_large`)."""
    if TOMBSTONES not in sections:
        return frozenset()
    numbers = array_of(sections, TOMBSTONES, "u64")
    if len(numbers) > MAX_TOMBSTONES:
        raise SnapshotRefused(
            Refusal.TOO_LARGE, TOMBSTONES, found=f"{len(numbers)} ids", expected=f"at most {MAX_TOMBSTONES}"
        )
    singles: set[int] = set()
    for start in range(0, len(numbers), _CHUNK):
        singles.update(numbers[start : start + _CHUNK])
        next_turn()
    return frozenset(singles)


class Row(NamedTuple):
    """One ban.

    Attributes:
        value: The address as a number of its version.
        expires: None: never. Times: seconds since 1970.
    """

    version: int
    value: int
    expires: int | None
    added: int
    template: int
    number: int


class Singles:
    """The single addresses of a snapshot.

    Args:
        sections: For every name in `SINGLES_TYPES` its bytes.

    Attributes:
        find4: Returns the first row that has an IPv4 address, given as a number; 0 if none has.
        find6: The same for IPv6.
        templates: Entries without id, start and end.
        v4: The IPv4 addresses, sorted.
        v6_highs: The first halves of the IPv6 addresses, sorted.
        marks: Where it has some, see `authz.engine.entries.marks`; None if the file has none.
        last_expiry: The end of the row that ends last; NEVER where one has no end, 0 if there are no rows.

    Raises:
        SnapshotRefused: `bad_section`: columns that do not fit together, or a template that is not there.
    """

    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        columns = {name: array_of(sections, name, kind) for name, kind in SINGLES_TYPES.items()}
        self.v4, self._v6 = columns["singles.v4"], (columns["singles.v6_high"], columns["singles.v6_low"])
        self.v6_highs = self._v6[0]
        self._directories = columns["singles.v4_directory"], columns["singles.v6_directory"]
        self._expires, self._added = columns["singles.expires"], columns["singles.added"]
        self._template, self._ids = columns["singles.template"], columns["singles.id"]
        self.templates = PackedEntries(sections, "templates")
        self.marks = array_of(sections, MARKS, "u8") if MARKS in sections else None
        self._check_lengths()
        self.find4: Find = _finder4(self.v4, self._directories[0])
        self.find6: Find = _finder6(*self._v6, self._directories[1], len(self.v4))
        self.last_expiry = greatest(self._expires)
        if len(self) and greatest(self._template) >= len(self.templates):
            raise bad_section(f"singles.template: found a number above {len(self.templates) - 1}, the last template")

    @classmethod
    def of(cls, sections: Mapping[str, memoryview]) -> Singles | None:
        """Return the single addresses.

        Args:
            sections: All sections of the snapshot, by name.

        Returns:
            The single addresses; None: the snapshot has no such sections.

        Raises:
            SnapshotRefused: `bad_section`.
        """
        return cls(sections) if SINGLES_TYPES.keys() & sections.keys() else None

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def columns4(self) -> tuple[Array, Array, Array, Array]:
        """The IPv4 rows as columns: addresses (rising), ends (NEVER: none), numbers of templates, numbers of ids."""
        count = len(self.v4)
        return self.v4, self._expires[:count], self._template[:count], self._ids[:count]

    def ends(self, version: int) -> Iterator[tuple[int, int]]:
        """Yield of each row of a version when it ends (NEVER: not at all), and the number of its id."""
        four = len(self.v4)
        rows = slice(0, four) if version == 4 else slice(four, None)
        return zip(self._expires[rows], self._ids[rows], strict=True)

    def rows_at(self, row: int) -> range:
        """Return the rows that have the same address as this one, which is the first that has it."""
        end = row + 1
        while end <= len(self) and self.address(end) == self.address(row):
            end += 1
        return range(row, end)

    def address(self, row: int) -> tuple[int, int]:
        """Return the version of the address of a row, and its number."""
        if row <= len(self.v4):
            return 4, self.v4[row - 1]
        (highs, lows), place = self._v6, row - 1 - len(self.v4)
        return 6, highs[place] << 64 | lows[place]

    def row(self, row: int) -> Row:
        """Return what is in a row."""
        place = row - 1
        expires = None if self._expires[place] == NEVER else self._expires[place]
        columns = self._added[place], self._template[place], self._ids[place]
        return Row(*self.address(row), expires, *columns)

    def entry(self, row: int) -> Entry:
        """Return a row as an entry.

        Args:
            row: From 1.

        Raises:
            DecodeError: Its template is not an Entry.
        """
        _, _, expires, added, template, number = self.row(row)
        entry = self.templates[template]
        entry.id, entry.added = ban_id(number), added
        if expires is not None:
            entry.expires = expires
        return entry

    def rows_in(self, version: int, first: int, last: int) -> range:
        """Return the rows whose addresses are in a range of numbers, both ends included."""
        if version == 4:
            return range(bisect_left(self.v4, first) + 1, bisect_right(self.v4, last) + 1)
        before = len(self.v4) + 1
        return range(before + self._place6(first), before + self._place6(last + 1))

    def _place6(self, value: int) -> int:
        """Return how many IPv6 addresses are below this number."""
        highs, lows = self._v6
        if value >> 128:
            return len(highs)
        first = bisect_left(highs, value >> 64)
        return bisect_left(lows, value & _LOW, first, bisect_right(highs, value >> 64, first))

    def repeated(self, most: int) -> bool:
        """Return whether more rows than `most`, one behind the other, have the same address.

        Few of a million are read: where so many are alike, two at a distance of half as many are.
        """
        step = max(1, most // 2)
        return any(
            self.address(row) == self.address(row - step) and self._alike(row, most) > most
            for row in in_turns(range(step + 1, len(self) + 1, step), _CHUNK >> 4)
        )

    def _alike(self, row: int, most: int) -> int:
        """Return how many rows around this one have its address; counts no further than to above `most`."""
        address, first, end = self.address(row), row, row + 1
        while first > 1 and end - first <= most and self.address(first - 1) == address:
            first -= 1
        while end <= len(self) and end - first <= most and self.address(end) == address:
            end += 1
        return end - first

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the elements; reads all of them, so takes a second a million."""
        v6 = list(zip(*self._v6, strict=True))
        for name, values in (("singles.v4", list(self.v4)), ("singles.v6", v6)):
            if values != sorted(values):
                yield f"{name}: not in order"
        for name, directory, tops in (
            ("singles.v4_directory", self._directories[0], [value << 32 for value in self.v4]),
            ("singles.v6_directory", self._directories[1], list(self._v6[0])),
        ):
            shift = 64 - directory_bits(directory, name)
            if list(directory) != [bisect_left(tops, top << shift) for top in range(len(directory))]:
                yield f"{name}: does not fit the addresses"
        if self.marks is not None and bytes(self.marks) != _marks_of(self.v4, self.v6_highs):
            yield f"{MARKS}: does not fit the addresses"
        if len(set(self._ids)) != len(self):
            yield "singles.id: found an id twice"

    def _check_lengths(self) -> None:
        if self.marks is not None and len(self.marks) != MARKS_SIZE:
            raise bad_section(f"{MARKS}: found {len(self.marks)} bytes, expected {MARKS_SIZE}")
        (highs, lows), count = self._v6, len(self._ids)
        if not len(highs) == len(lows) == count - len(self.v4):
            raise bad_section(f"singles.v4 and singles.v6: expected {count} addresses, as many as ids")
        if not len(self._expires) == len(self._added) == len(self._template) == count:
            raise bad_section(f"singles.expires, added and template: expected {count} elements, as many as ids")
        for name, directory, length in (
            ("singles.v4_directory", self._directories[0], len(self.v4)),
            ("singles.v6_directory", self._directories[1], len(highs)),
        ):
            directory_bits(directory, name)
            if directory[0] != 0 or directory[len(directory) - 1] != length:
                raise bad_section(f"{name}: expected to run from 0 to {length}")
            # A position behind the last address would be an error in the look-up of any client.
            for start in range(0, len(directory), _CHUNK):
                positions = directory[start : start + _CHUNK + 1].tolist()
                if positions != sorted(positions):
                    raise bad_section(f"{name}: not in order")
                next_turn()


def _finder4(addresses: Array, directory: Array) -> Find:
    shift = 32 - directory_bits(directory, "singles.v4_directory")

    def find(value: int) -> int:
        top = value >> shift
        end = directory[top + 1]
        place = bisect_left(addresses, value, directory[top], end)
        return place + 1 if place < end and addresses[place] == value else 0

    return find


def _finder6(highs: Array, lows: Array, directory: Array, before: int) -> Find:
    """Return the look-up of an IPv6 address. before: the rows of IPv4."""
    shift = 128 - directory_bits(directory, "singles.v6_directory")

    def find(value: int) -> int:
        top = value >> shift
        high, end = value >> 64, directory[top + 1]
        first = bisect_left(highs, high, directory[top], end)
        if first >= end or highs[first] != high:
            return 0
        low, end = value & _LOW, bisect_right(highs, high, first, end)
        place = bisect_left(lows, low, first, end)
        return before + place + 1 if place < end and lows[place] == low else 0

    return find


def _marks_of(addresses: Array, highs: Array) -> bytes:
    marks = bytearray(MARKS_SIZE)
    for place in chain((value >> 8 for value in addresses), ((high >> 16) % IPV6_MARKS for high in highs)):
        marks[place >> 3] |= 1 << (place & 7)
    return bytes(marks)
