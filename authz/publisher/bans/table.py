"""Many bans of single addresses, as numpy columns: sorted, joined, filtered, and written as sections.

A table is never changed; each step makes a new one. What takes time is array operations: 1 million rows are sorted,
filtered and written in a fifth of a second, without an object for any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import Network
from authz.engine.entries.manifest import entry_message, entry_of
from authz.publisher.bans.record import Ban, template_key, template_of
from authz.publisher.index.build import directory_of
from authz.snapshot.ban_ids import NEVER, ban_id, ban_number
from authz.snapshot.lazy_entries import PackedEntries, pack_entries
from authz.snapshot.sections import IPV6_MARKS, MARKS, MARKS_SIZE, MIN_FOR_MARKS, SINGLES_TYPES
from authz.wire.snapshot.v1 import snapshot_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from authz.publisher.bans.record import TemplateKey
    from authz.publisher.index.prefixes import Array

_LOW = 0xFFFFFFFFFFFFFFFF
_BITS = {4: 32, 6: 128}


class Columns(NamedTuple):
    """Rows of one version.

    Attributes:
        high, low: The address, left-aligned in 128 bits. The others are those of a row.
    """

    high: Array  # u64
    low: Array  # u64
    expires: Array  # u32
    added: Array  # u32
    template: Array  # u32
    number: Array  # u64

    def take(self, which: Array) -> Columns:
        """Return the rows at these places, or of this mask."""
        return Columns(*(column[which] for column in self))

    def sorted(self) -> Columns:
        """Return the rows by address; those with one address stay in their order."""
        half = np.uint64(0xFFFFFFFF)
        if self.low.any() or (self.high & half).any():
            return self.take(np.lexsort([self.low, self.high]))
        # IPv4 leaves the low half of `high` free for the place, so that numbers are sorted: a third of argsort's time.
        places = np.sort(self.high | np.arange(len(self.high), dtype=np.uint64)) & half
        return self.take(places.astype(np.int64))


_KINDS = Columns(*map(np.dtype, ("<u8", "<u8", "<u4", "<u4", "<u4", "<u8")))  # type: ignore[arg-type]


class BanTable(NamedTuple):
    """Bans of single addresses.

    Attributes:
        rows: By version.
        templates: Serialized entries without id and times.
    """

    rows: Mapping[int, Columns]
    templates: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many bans there are."""
        return sum(len(columns.number) for columns in self.rows.values())

    @classmethod
    def of(cls, bans: Iterable[Ban]) -> BanTable:
        """Return the table of some bans, each of which `is_single`."""
        templates: dict[TemplateKey, int] = {}
        rows: dict[int, list[tuple[int, ...]]] = {4: [], 6: []}
        for ban in bans:
            template = templates.setdefault(template_key(ban), len(templates))
            version, value, _ = ban.network
            value <<= 128 - _BITS[version]
            expires = NEVER if ban.expires is None else ban.expires
            number = ban_number(ban.id) or 0
            rows[version].append((value >> 64, value & _LOW, expires, ban.added, template, number))
        columns = {version: _columns(list(zip(*several, strict=True))) for version, several in rows.items()}
        messages = map(entry_message, map(template_of, templates))
        return cls(columns, tuple(m.SerializeToString(deterministic=True) for m in messages)).sorted()

    @classmethod
    def from_sections(cls, sections: Mapping[str, memoryview]) -> BanTable:
        """Return the table that a snapshot holds; empty if it has none. The columns are read in place."""
        if "singles.id" not in sections:
            return cls.of(())
        kinds = {"u32": "<u4", "u64": "<u8", "u8": "u1"}
        arrays = {name: np.frombuffer(sections[name], kinds[kind]) for name, kind in SINGLES_TYPES.items()}
        v4 = arrays["singles.v4"].astype(np.uint64) << np.uint64(32)
        addresses = {4: (v4, np.zeros(len(v4), np.uint64)), 6: (arrays["singles.v6_high"], arrays["singles.v6_low"])}
        places = {4: slice(0, len(v4)), 6: slice(len(v4), None)}
        names = ("expires", "added", "template", "id")
        rows = {v: Columns(*addresses[v], *(arrays[f"singles.{name}"][places[v]] for name in names)) for v in (4, 6)}
        packed = PackedEntries(sections, "templates")
        return cls(rows, tuple(entry.SerializeToString(deterministic=True) for entry in packed))

    @classmethod
    def joined(cls, tables: Sequence[BanTable]) -> BanTable:
        """Return one table of all; equal templates become one."""
        templates = {template: number for number, template in enumerate(dict.fromkeys(_all_templates(tables)))}
        parts: dict[int, list[Columns]] = {4: [], 6: []}
        for table in tables:
            numbers = np.array([templates[template] for template in table.templates], "<u4")
            for version, columns in table.rows.items():
                parts[version].append(columns._replace(template=numbers[columns.template]))
        rows = {v: Columns(*(np.concatenate(several) for several in zip(*parts[v], strict=True))) for v in (4, 6)}
        return cls(rows, tuple(templates)).sorted()

    def sorted(self) -> BanTable:
        """Return it in the order of a file."""
        return self._replace(rows={version: columns.sorted() for version, columns in self.rows.items()})

    def live(self, now: float, over: Iterable[int] = ()) -> BanTable:
        """Return what is not over. over: ids of bans that ended before their time."""
        gone = np.fromiter(over, np.uint64)
        rows = {}
        for version, columns in self.rows.items():
            kept = (columns.expires == NEVER) | (columns.expires > now)
            if len(gone):
                kept &= ~np.isin(columns.number, gone)
            rows[version] = columns if kept.all() else columns.take(kept)
        return self._replace(rows=rows)

    def numbers(self) -> Array:
        """Return the ids of all bans."""
        return np.concatenate([self.rows[4].number, self.rows[6].number])

    def ends(self) -> Array:
        """Return when each ban ends, in the order of `numbers`; `NEVER` is above every time."""
        return np.concatenate([self.rows[4].expires, self.rows[6].expires])

    def bans(self) -> Iterator[Ban]:
        """Yield every ban as a record, some 3 microseconds each."""
        templates = [entry_of(snapshot_pb2.Entry.FromString(template), named=False) for template in self.templates]
        for version, columns in self.rows.items():
            for high, low, expires, added, template, number in zip(*(c.tolist() for c in columns), strict=True):
                value = (high << 64 | low) >> 128 - _BITS[version]
                entry = templates[template]
                yield Ban(
                    ban_id(number), Network(version, value, _BITS[version]), entry.list, entry.applications,
                    entry.action, entry.reason, entry.author, None, None if expires == NEVER else expires, added,
                )  # fmt: skip

    def sections(self) -> dict[str, tuple[str, bytes]]:
        """Return the sections of a snapshot: by name, the element type and the bytes."""
        v4, v6 = self.rows[4], self.rows[6]
        arrays = {
            "singles.v4": (v4.high >> np.uint64(32)).astype("<u4"),
            "singles.v4_directory": directory_of(v4.high),
            "singles.v6_high": v6.high,
            "singles.v6_low": v6.low,
            "singles.v6_directory": directory_of(v6.high),
            "singles.expires": np.concatenate([v4.expires, v6.expires]),
            "singles.added": np.concatenate([v4.added, v6.added]),
            "singles.template": np.concatenate([v4.template, v6.template]),
            "singles.id": np.concatenate([v4.number, v6.number]),
        }
        columns = {name: (SINGLES_TYPES[name], array.tobytes()) for name, array in arrays.items()}
        if self.size >= MIN_FOR_MARKS:
            columns[MARKS] = ("u8", _marks(v4.high, v6.high))
        return columns | pack_entries(map(snapshot_pb2.Entry.FromString, self.templates), "templates")


def _marks(v4: Array, v6: Array) -> bytes:
    """Return the marks of addresses, see `authz.engine.entries.marks`. v4, v6: their first 64 bits, left-aligned."""
    marked = np.zeros(MARKS_SIZE * 8, np.bool_)
    marked[(v4 >> np.uint64(40)).astype(np.int64)] = True
    marked[((v6 >> np.uint64(16)) % np.uint64(IPV6_MARKS)).astype(np.int64)] = True
    return np.packbits(marked, bitorder="little").tobytes()


def _columns(columns: Sequence[Sequence[int]]) -> Columns:
    if not columns:
        return Columns(*(np.zeros(0, kind) for kind in _KINDS))
    return Columns(*(np.array(column, kind) for column, kind in zip(columns, _KINDS, strict=True)))


def _all_templates(tables: Iterable[BanTable]) -> Iterator[bytes]:
    for table in tables:
        yield from table.templates
