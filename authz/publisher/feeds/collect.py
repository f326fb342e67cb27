"""Gathering the entries that a reader finds in a feed: filters, strict parsing, bogons, repeats, and a count of each.

A reader calls `take` for whatever could be an entry and `skip` for what cannot; `feed` says what came of it. Filters
look at what entries have, not at the format: a column that no entry has is a mistake of the operator in any format.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import BITS, Network, parse_networks
from authz.errors import AddressError, InputError, shorten
from authz.publisher.feeds.clean.bogons import find_bogons, why_bogon
from authz.publisher.feeds.clean.duplicates import merge
from authz.publisher.feeds.fast_ipv4 import parse_bare_lines
from authz.publisher.feeds.feed import NOTHING, Bogon, Feed, FeedOptions, Skipped
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from authz.publisher.index.prefixes import Array

    Value = str | tuple[str, ...]  # a tuple, where an entry has several (the tags of Oracle's): one of them must fit
    Columns = Mapping[str, Value]

MAX_NETWORKS = 5_000_000  # of one feed; bounds the memory, and what a few hostile IPv6 ranges can become
MAX_FAULTS = 100_000  # skipped lines or bogons of one feed; more is another format, and no report for a person
_BATCH = 8192  # entries
_MAX_BARE = 64  # characters; no bare line (see fast_ipv4) is as long, and arrays for text are large
_NAMED = 12  # columns or values that an error names
_LOW = 0xFFFFFFFFFFFFFFFF


class _Rows:
    """Networks of one version, growing. entry: the number of the entry that each came from."""

    def __init__(self) -> None:
        self.high = array("Q")
        self.low = array("Q")
        self.length = array("B")
        self.entry = array("I")

    def columns(self) -> tuple[Prefixes, Array]:
        high, low = np.array(self.high, np.uint64), np.array(self.low, np.uint64)
        return Prefixes(high, low, np.array(self.length, np.uint8)), np.array(self.entry, np.int64)


class _Kept(NamedTuple):
    """What is left of the networks of one version.

    Attributes:
        entries: Of each.
        taken: Those that had a network, repeats too.
    """

    prefixes: Prefixes
    entries: Array
    taken: Array
    repeats: int
    nested: int
    bogons: list[Bogon]


class Collector:
    """Takes the entries of one feed. See `authz.publisher.feeds.collect`."""

    def __init__(self, options: FeedOptions | None = None) -> None:
        self._options = options or FeedOptions()
        self._rows = {4: _Rows(), 6: _Rows()}
        self._lines = array("I")  # of each entry
        self._waiting: list[tuple[int, str]] = []  # entries that are not parsed yet: many at once are faster
        self._skipped: list[Skipped] = []
        self._filtered = 0
        self._highest: int | None = None  # count of any entry
        self._seen: dict[str, set[str]] = {}  # columns; and the values of those that `where` names

    @property
    def filters(self) -> bool:
        """Whether every entry has to be looked at: `take_bare` is for when not."""
        return bool(self._options.where or self._options.min_count)

    def so_far(self) -> tuple[int, int]:
        """Return how many entries have been taken, bogons among them, and how many lines skipped."""
        self._parse_waiting()
        return len(self._lines), len(self._skipped)

    def take(self, line: int, text: str, columns: Columns = NOTHING, count: int | None = None) -> None:
        """Take an entry: an address, a network or a range. line: from 1. count: the number that ipsum has behind it.

        Invalid text is skipped with the reason. Raises InputError beyond `MAX_NETWORKS` or `MAX_FAULTS`.
        """
        if self.filters and not self._wanted(columns, count):
            self._filtered += 1
            return
        self._waiting.append((line, text))
        if len(self._waiting) == _BATCH:
            self._parse_waiting()

    def take_bare(self, values: Array, lengths: Array, lines: Array) -> None:
        """Take many IPv4 networks, each an entry: first addresses (u64), prefix bits (u8), lines from 1.

        For readers whose lines are bare (see `fast_ipv4`), and only where nothing `filters`.
        """
        rows, first = self._rows[4], len(self._lines)
        rows.high.frombytes((values << np.uint64(32)).tobytes())
        rows.low.frombytes(np.zeros(len(values), np.uint64).tobytes())
        rows.length.frombytes(lengths.tobytes())
        rows.entry.frombytes(np.arange(first, first + len(values), dtype=np.uint32).tobytes())
        self._lines.frombytes(lines.astype(np.uint32).tobytes())
        self._check_size()

    def skip(self, line: int, why: str) -> None:
        """Note a line that is no entry. Raises InputError beyond `MAX_FAULTS`."""
        self._skipped.append(Skipped(line, why))
        if len(self._skipped) > MAX_FAULTS:
            raise InputError(f"found more than {MAX_FAULTS:,} lines that are not entries; the last, {line}: {why}")

    def feed(self, format_: str) -> Feed:
        """Return what the feed gave.

        Raises InputError if it has lines but no entry in any of them, where a filter names what no entry has, and
        where the filters leave nothing of it.
        """
        self._parse_waiting()
        self._check_filters(format_)
        if self._skipped and not self._lines and not self._filtered:
            first = self._skipped[0]
            raise InputError(f"line {first.line}: {first.why}; no line of the file is an entry of the format {format_}")
        taken = np.zeros(len(self._lines), np.bool_)
        kept = {version: self._kept(version) for version in (4, 6)}
        for cleaned in kept.values():
            taken[cleaned.taken] = True
        bogons = sorted(bogon for cleaned in kept.values() for bogon in cleaned.bogons)
        lines = np.array(self._lines, np.uint32)
        return Feed(
            networks={version: cleaned.prefixes for version, cleaned in kept.items()},
            taken=int(np.count_nonzero(taken)),
            skipped=tuple(sorted(self._skipped)),
            format=format_,
            filtered=self._filtered,
            repeats=sum(cleaned.repeats for cleaned in kept.values()),
            nested=sum(cleaned.nested for cleaned in kept.values()),
            bogons=tuple(bogons),
            lines={version: lines[cleaned.entries] for version, cleaned in kept.items()},
        )

    def _parse_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        text = "".join(f"{text[:_MAX_BARE]}\n" for _, text in waiting).encode("utf-8", "backslashreplace")
        if text.count(b"\n") != len(waiting):  # text out of JSON may have newlines, and is wrong then
            self._parse_one_by_one(waiting)
            return
        bare = parse_bare_lines(text)
        lines = np.array([line for line, _ in waiting], np.int64)
        self.take_bare(bare.values, bare.lengths, lines[bare.lines])
        self._parse_one_by_one([waiting[place] for place in bare.others.tolist()])

    def _parse_one_by_one(self, waiting: list[tuple[int, str]]) -> None:
        for line, text in waiting:
            try:
                networks = parse_networks(text)
            except AddressError as error:
                self.skip(line, f"{error.message}{f' ({error.hint})' if error.hint else ''}")
                continue
            for version, value, length in networks:
                rows = self._rows[version]
                rows.high.append(value << 32 if version == 4 else value >> 64)
                rows.low.append(0 if version == 4 else value & _LOW)
                rows.length.append(length)
                rows.entry.append(len(self._lines))
            self._lines.append(line)
        self._check_size()

    def _kept(self, version: int) -> _Kept:
        prefixes, entries = self._rows[version].columns()
        bogons: list[Bogon] = []
        if self._options.bogons == "drop":
            bogus = find_bogons(version, prefixes)
            bogons = self._bogons(version, _at(prefixes, bogus), entries[bogus])
            prefixes, entries = _at(prefixes, ~bogus), entries[~bogus]
        # Lines that are read at once come before those that are not: of equal networks the first line counts.
        in_order = np.argsort(np.array(self._lines, np.uint32)[entries], kind="stable")
        prefixes, entries = _at(prefixes, in_order), entries[in_order]
        places, nested = merge(prefixes)
        return _Kept(_at(prefixes, places), entries[places], entries, len(prefixes) - len(places), nested, bogons)

    def _bogons(self, version: int, prefixes: Prefixes, entries: Array) -> list[Bogon]:
        if len(prefixes) > MAX_FAULTS:
            raise InputError(
                f"found {len(prefixes):,} networks of private or reserved space, expected at most {MAX_FAULTS:,}",
                hint="bogons: keep takes them",
            )
        bogons = []
        for high, low, length, entry in zip(*(c.tolist() for c in (*prefixes, entries)), strict=True):
            network = Network(version, ((high << 64) | low) >> (128 - BITS[version]), length)
            bogons.append(Bogon(self._lines[entry], network, why_bogon(network)))
        return bogons

    def _wanted(self, columns: Columns, count: int | None) -> bool:
        """Say whether an entry passes the filters, and note what its columns and count are, for `_check_filters`."""
        for name, value in columns.items():
            values = self._seen.setdefault(name, set())
            if name in self._options.where and len(values) < MAX_FAULTS:
                values.update((value,) if isinstance(value, str) else value)
        if count is not None:
            self._highest = max(count, self._highest or 0)
        return (count or 0) >= self._options.min_count and all(
            _is_or_has(columns.get(name, ()), wanted) for name, wanted in self._options.where.items()
        )

    def _check_filters(self, format_: str) -> None:
        if not self._lines and not self._filtered:
            return
        if self._options.min_count and self._highest is None:
            raise InputError(
                f"min_count: found no count behind any address, expected a list such as ipsum's, not {format_}"
            )
        for name in self._options.where:
            if name not in self._seen:
                found = f"where: found the column '{shorten(name)}', "
                expected = _some(self._seen) if self._seen else f"none, since the format {format_} has no columns"
                raise InputError(f"{found}expected {expected}")
        if self._filtered and not self._lines:
            raise InputError(f"found no entry of {self._filtered:,} that {self._filter()}", hint=self._values())

    def _filter(self) -> str:
        parts = [f"{shorten(name)} '{shorten(value)}'" for name, value in self._options.where.items()]
        if self._options.min_count:
            parts.append(f"a count of {self._options.min_count} or more (the highest is {self._highest})")
        return f"has {' and '.join(parts)}"

    def _values(self) -> str:
        return "; ".join(f"{shorten(name)} is one of {_some(self._seen[name])}" for name in self._options.where)

    def _check_size(self) -> None:
        if sum(len(rows.entry) for rows in self._rows.values()) > MAX_NETWORKS:
            raise InputError(f"found more than {MAX_NETWORKS:,} networks, expected at most that many")


def _at(prefixes: Prefixes, places: Array) -> Prefixes:
    return Prefixes(*(column[places] for column in prefixes))


def _is_or_has(value: Value, wanted: str) -> bool:
    return value == wanted if isinstance(value, str) else wanted in value


def _some(names: Iterable[str]) -> str:
    every = sorted(names)
    more = f", ... ({len(every) - _NAMED} more)" if len(every) > _NAMED else ""
    return ", ".join(shorten(name) for name in every[:_NAMED]) + more
