"""Ranges of addresses as numpy arrays, and the fewest networks that cover them, for all ranges at once.

Each range gives off, from its left end, the widest network that starts there and does not pass its right end; what is
left is the range of the next round. 192.0.2.1-192.0.2.6 gives .1/32, .2/31, .4/31, .6/32 in four rounds, beside
whatever the other ranges give in them. Ranges that are networks are done in one round, and most are.

Addresses are left-aligned in 128 bits, as in index.prefixes; the last address of a range is filled up with ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import try_parse_address
from authz.errors import InputError, shorten
from authz.publisher.feeds.formats.lines import content_lines
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.publisher.index.prefixes import Array

BOM = b"\xef\xbb\xbf"  # of UTF-8
MAX_NETWORKS = 8_000_000  # of one file; a range of IPv6 may become 253, and 400,000 honest ranges become 560,000
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Ranges(NamedTuple):
    """Ranges of one version: first and last addresses, both included, as high and low halves (u64)."""

    first_high: Array
    first_low: Array
    last_high: Array
    last_low: Array

    def __len__(self) -> int:
        return len(self.first_high)

    @classmethod
    def of(cls, version: int, firsts: Sequence[int], lasts: Sequence[int]) -> Ranges:
        """Return the ranges with these first and last addresses, as plain numbers of the version."""
        full = [32 if version == 4 else 128] * len(firsts)
        first, last = Prefixes.of(version, firsts, full), Prefixes.of(version, lasts, full)
        if version == 4:
            return cls(first.high, first.low, last.high | np.uint64(0xFFFFFFFF), np.full(len(last), _ALL))
        return cls(first.high, first.low, last.high, last.low)

    def select(self, which: Array) -> Ranges:
        """Return the ranges that `which` names, by mask or by number."""
        return Ranges(*(column[which] for column in self))

    def networks(self) -> tuple[Prefixes, Array]:
        """Return the fewest networks that cover exactly each range, and for each network the number of its range.

        Raises InputError if they are more than `MAX_NETWORKS`.
        """
        first_high, first_low, last_high, last_low = self
        rows = np.arange(len(self))
        parts, origins = [], []
        made = 0
        while len(rows):
            made += len(rows)
            if made > MAX_NETWORKS:
                raise InputError(f"the ranges become more than {MAX_NETWORKS} networks, expected fewer")
            left_low = last_low - first_low
            left_high = last_high - first_high - (last_low < first_low)
            width = _bit_length(left_high, left_low)
            whole = np.bitwise_count(left_high).astype(np.int64) + np.bitwise_count(left_low) == width
            host = np.minimum(np.where(whole, width, width - 1), _trailing_zeros(first_high, first_low))
            parts.append(Prefixes(first_high, first_low, (128 - host).astype(np.uint8)))
            origins.append(rows)
            more = np.flatnonzero(~(whole & (host == width)))
            first_high, first_low = _advance(first_high[more], first_low[more], host[more])
            last_high, last_low, rows = last_high[more], last_low[more], rows[more]
        if not parts:
            return Prefixes.of(4, [], []), rows
        return Prefixes.concatenate(parts), np.concatenate(origins)


def _bit_length(high: Array, low: Array) -> Array:
    """Return how many bits each number needs, as i64; 0 for 0."""
    length: Array = np.where(high > 0, 64 + _bit_length_of(high), _bit_length_of(low))
    return length


def _bit_length_of(numbers: Array) -> Array:
    filled = numbers.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        filled |= filled >> np.uint64(shift)
    return np.bitwise_count(filled).astype(np.int64)


def _trailing_zeros(high: Array, low: Array) -> Array:
    """Return how many of the lowest bits of each number are zero, as i64; 128 for 0."""
    zeros: Array = np.where(low > 0, _trailing_zeros_of(low), 64 + _trailing_zeros_of(high))
    return zeros


def _trailing_zeros_of(numbers: Array) -> Array:
    below: Array = ~numbers & (numbers - _ONE)  # ones where the trailing zeros are
    return np.bitwise_count(below).astype(np.int64)


def _advance(high: Array, low: Array, host: Array) -> tuple[Array, Array]:
    """Return each number plus two to the power of `host`, which is 127 at most."""
    bit = _ONE << (host.astype(np.uint64) & np.uint64(63))
    in_low = host < 64
    moved = low + np.where(in_low, bit, np.uint64(0))
    carry = in_low & (moved < low)
    return high + np.where(in_low, np.uint64(0), bit) + carry, moved


def grouped(prefixes: Prefixes, labels: Array) -> dict[int, Prefixes]:
    """Return the prefixes by the number that `labels` gives each."""
    order = np.argsort(labels, kind="stable")
    values, begins = np.unique(labels[order], return_index=True)
    parts = zip(*(np.split(column[order], begins[1:]) for column in prefixes), strict=True)
    return {int(value): Prefixes(*part) for value, part in zip(values, parts, strict=False)}


class RangeTable(NamedTuple):
    """The lines `start,end,label` of a file.

    Attributes:
        labels: The different ones, as written.
        lines: Of each label, the first line that has it, from 1.
        ranges, numbers: By version, the ranges and for each the place of its label in `labels`.
    """

    labels: tuple[str, ...]
    lines: tuple[int, ...]
    ranges: dict[int, Ranges]
    numbers: dict[int, Array]


def read_range_table(data: bytes, name: str) -> RangeTable:
    """Read lines of `start,end,label`, with or without quotes, a line of titles, and more columns, which are not read.

    name: of the file, for errors. Raises InputError at the first line that is something else: a table of whole
    countries or networks with a hole in it is not used.
    """
    labels: dict[str, int] = {}
    lines: list[int] = []
    firsts: dict[int, list[int]] = {4: [], 6: []}
    lasts: dict[int, list[int]] = {4: [], 6: []}
    numbers: dict[int, list[int]] = {4: [], 6: []}
    titles_allowed = True
    for line, text in content_lines(data.removeprefix(BOM)):
        cells = [cell.strip(' \t"') for cell in text.split(",", 3)]
        low = try_parse_address(cells[0])
        high = try_parse_address(cells[1]) if len(cells) > 2 else None
        if low is None or high is None or low.version != high.version or low.value > high.value:
            if low is None and high is None and titles_allowed and len(cells) > 2:
                titles_allowed = False
                continue
            raise InputError(f"{name}:{line}: found '{shorten(text)}', expected start,end,value, start not after end")
        titles_allowed = False
        number = labels.setdefault(cells[2], len(labels))
        if number == len(lines):
            lines.append(line)
        firsts[low.version].append(low.value)
        lasts[low.version].append(high.value)
        numbers[low.version].append(number)
    if not lines:
        raise InputError(f"{name}: found no line with a range, expected start,end,value")
    return RangeTable(
        tuple(labels),
        tuple(lines),
        {version: Ranges.of(version, firsts[version], lasts[version]) for version in (4, 6)},
        {version: np.array(numbers[version], np.int64) for version in (4, 6)},
    )
