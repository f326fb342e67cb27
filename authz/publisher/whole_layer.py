"""A file with all that belongs to it, as one index: its parts beside it, and its single addresses as entries.

What looks at a whole address space (lint, diff, map, show) reads an index alone. So the rows of the columns become
entries: each its own, up to `MAX_ROWS`; beyond that those of a template become one entry, `bans-NUMBER`, with the
addresses that are on it now. What a part has and a tombstone of its head cancels is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from authz.analysis.listing import list_networks
from authz.analysis.space import check_whole
from authz.engine.entries.lookup import Index
from authz.engine.entries.manifest import Entries, entry_message, entry_of
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.publisher.bans.table import BanTable
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes
from authz.snapshot.heading import part_path
from authz.snapshot.lazy_entries import pack_entries
from authz.snapshot.read import Snapshot, inspect_snapshot, read_snapshot
from authz.snapshot.sections import INDEX_TYPES
from authz.wire.snapshot.v1 import snapshot_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from authz.engine.model import Entry
    from authz.snapshot.signing.keys import PublicKey

MAX_ROWS: Final = 20_000  # that become entries of their own; each costs some 15 microseconds


def open_whole(path: Path, keys: Sequence[PublicKey] | None = None, *, now: float) -> OpenedSnapshot:
    """Open a file with its parts, whoever signed it unless keys are given, and check every element of its index.

    Args:
        path: The file; its parts stand beside it.
        keys: The public keys that are trusted; None: the signatures are not looked at.
        now: Seconds since 1970.

    Raises:
        SnapshotRefused: The file or one of its parts is not to be used.
    """
    snapshot, parts = read_whole(path, keys, now=now)
    opened = OpenedSnapshot(expand(snapshot, parts, now))
    check_whole(opened)
    return opened


def read_whole(
    path: Path, keys: Sequence[PublicKey] | None = None, threshold: int = 1, *, now: float
) -> tuple[Snapshot, list[Snapshot]]:
    """Return a file and its parts.

    Args:
        path: The file; its parts stand beside it.
        keys: The keys that are trusted; None: the files are shown, whoever signed them.
        threshold: How many of the keys must have signed.
        now: Seconds since 1970.

    Raises:
        SnapshotRefused: The file or one of its parts is not to be used.
    """
    if keys is None:
        snapshot = inspect_snapshot(path)
        return snapshot, [inspect_snapshot(part_path(path, part)) for part in snapshot.requires]
    snapshot = read_snapshot(path, keys, threshold, now=now)
    layer = snapshot.layer
    return snapshot, [
        read_snapshot(part_path(path, part), keys, threshold, now=now, layer=layer, part=part)
        for part in snapshot.requires
    ]


def table_of(snapshot: Snapshot, parts: Sequence[Snapshot], now: float) -> BanTable:
    """Return the single addresses of a layer that are not over."""
    gone = snapshot.tombstones()
    settled = [BanTable.from_sections(part.sections).live(now, gone) for part in parts]
    return BanTable.joined([BanTable.from_sections(snapshot.sections).live(now), *settled])


def expand(snapshot: Snapshot, parts: Sequence[Snapshot], now: float) -> Snapshot:
    """Return a snapshot without columns, whose index has every address of the layer; itself where it has none."""
    if snapshot.singles() is None and not parts:
        return snapshot
    table = table_of(snapshot, parts, now)
    index, entries = Index(snapshot.sections), list(Entries(snapshot.entries()))
    listings = [list_networks(index, number) for number in range(len(entries))]
    networks = [
        EntryNetworks(Prefixes.split(listing.networks), Prefixes.split(listing.exceptions)) for listing in listings
    ]
    for entry, held in _each(table) if table.size <= MAX_ROWS else _grouped(table):
        entries.append(entry)
        networks.append(EntryNetworks(held, Prefixes.split(())))
    arrays = build_index(networks)
    sections = {name: memoryview(data) for name, (_, data) in pack_entries(map(entry_message, entries)).items()}
    sections |= {name: memoryview(arrays[name].tobytes()) for name in INDEX_TYPES}
    return snapshot._replace(sections=sections)


def _each(table: BanTable) -> Iterator[tuple[Entry, dict[int, Prefixes]]]:
    for ban in table.bans():
        yield ban.entry(), Prefixes.split([ban.network])


def _grouped(table: BanTable) -> Iterator[tuple[Entry, dict[int, Prefixes]]]:
    for number, template in enumerate(table.templates):
        held = {}
        for version, rows in table.rows.items():
            which = rows.template == number
            length = np.full(int(which.sum()), 32 if version == 4 else 128, np.uint8)
            held[version] = Prefixes(rows.high[which], rows.low[which], length)
        count = sum(len(prefixes.length) for prefixes in held.values())
        if count:
            entry = entry_of(snapshot_pb2.Entry.FromString(template), named=False)
            yield entry._replace(id=f"bans-{number}", subjects=(f"{count:,} addresses",)), held
