"""The bans of a signed file, read back: what a publisher that was started again goes on from.

A ban of a network is an entry of the index. It has one network, so any piece that it covers tells which: the network of
that length around the piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.addresses import Address, network_of
from authz.engine.entries.lookup import Index
from authz.engine.entries.manifest import Entries
from authz.publisher.bans.record import Ban
from authz.publisher.bans.table import BanTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.addresses import Network
    from authz.snapshot.read import Snapshot


def bans_of(snapshot: Snapshot) -> Iterator[Ban]:
    """Yield the bans of a file, without those of its parts. Raises SnapshotRefused (`bad_section`, `bad_manifest`)."""
    yield from BanTable.from_sections(snapshot.sections).bans()
    entries = Entries(snapshot.entries())
    for number, network in _networks(Index(snapshot.sections)).items():
        entry = entries[number]
        yield Ban(
            entry.id, network, entry.list, entry.applications, entry.action, entry.reason, entry.author, entry.starts,
            entry.expires, entry.added or 0,
        )  # fmt: skip


def _networks(index: Index) -> dict[int, Network]:
    """Return the network of each entry, by its number; each has one."""
    networks: dict[int, Network] = {}
    for version in (4, 6):
        known = {0}
        for place, number in enumerate(index.arrays[f"v{version}.sets"]):
            if number in known:
                continue
            known.add(number)
            address = Address(version, _start(index, version, place), "")
            for entry, length in index.members(number):
                networks.setdefault(entry, network_of(address, length))
    return networks


def _start(index: Index, version: int, place: int) -> int:
    if version == 4:
        return index.arrays["v4.starts"][place]
    return index.arrays["v6.starts_high"][place] << 64 | index.arrays["v6.starts_low"][place]
