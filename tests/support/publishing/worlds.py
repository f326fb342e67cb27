"""Small worlds: policies whose networks leave so few kinds of addresses that each can be looked at by itself.

IPv4 has 16 addresses that are told apart, 10.0.0.0-10.0.0.15, IPv6 2001:db8::-2001:db8::f; networks lie in there, or
are 10.0.0.0/8, 0.0.0.0/0 or ::/0. A zone is the addresses that no network can tell apart. What covers a zone is found
by scanning the networks of the policy from end to end: no index, no arrays.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from authz.addresses import Address, Network, format_address, parse_network
from authz.engine.decision.verdict import Verdict, decide
from authz.engine.entries.manifest import add_applications, entry_message
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.model import Application, DenyAnswer, Entry, Match
from authz.publisher.bans.table import BanTable
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes
from authz.snapshot.ban_ids import ban_number
from authz.snapshot.layout import FORMAT
from authz.snapshot.lazy_entries import pack_entries
from authz.snapshot.read import Snapshot
from authz.snapshot.sections import INDEX_TYPES, TOMBSTONES
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from authz.publisher.bans.record import Ban

BASE4, BASE6 = 10 << 24, 0x20010DB8 << 96
NOW = 1000
TIMES = (500, 1000, 1500, 2000)  # at which windows open and close


class Zone(NamedTuple):
    """Addresses that no network of a small world tells apart: how many, and one of them."""

    address: Address
    size: int


def _address(version: int, value: int) -> Address:
    return Address(version, value, format_address(version, value))


ZONES4 = (
    *(Zone(_address(4, BASE4 + n), 1) for n in range(16)),
    Zone(_address(4, BASE4 + 99), (1 << 24) - 16),
    Zone(_address(4, 1 << 24), (1 << 32) - (1 << 24)),
)
ZONES6 = (
    *(Zone(_address(6, BASE6 + n), 1) for n in range(16)),
    Zone(_address(6, 1), (1 << 128) - 16),
)
ZONES = (*ZONES4, *ZONES6)


def covers(network: Network, address: Any) -> bool:
    """Return whether an address is in a network."""
    return address in network


def zones_in(network: Network) -> list[Zone]:
    """Return the zones that have an address in a network of a small world."""
    return [zone for zone in ZONES if covers(network, zone.address)]


class Subject(NamedTuple):
    """An entry with its networks and exceptions."""

    entry: Entry
    networks: tuple[Network, ...] = ()
    holes: tuple[Network, ...] = ()

    def length(self, address: Address) -> int | None:
        """Return the prefix bits of the longest network that covers an address."""
        if any(covers(hole, address) for hole in self.holes):
            return None
        return max((network.length for network in self.networks if covers(network, address)), default=None)


class World(NamedTuple):
    """A policy."""

    applications: tuple[Application, ...]
    subjects: tuple[Subject, ...]

    def application(self, name: str) -> Application:
        """Return the application of this name, or `*`."""
        return next((a for a in self.applications if a.name == name), self.applications[0])

    def matches(self, address: Address) -> list[Match]:
        """Return what covers an address."""
        lengths = [(subject.entry, subject.length(address)) for subject in self.subjects]
        return [Match(entry, length) for entry, length in lengths if length is not None]

    def verdict(self, name: str, address: Address, now: float = NOW, *, attack: bool = False) -> Verdict:
        """Return what is decided for an address."""
        return decide(self.application(name), self.matches(address), attack=attack, now=now)

    def denies(self, name: str, address: Address, now: float = NOW, *, attack: bool = False) -> bool:
        """Return whether the answer is deny."""
        denied = self.verdict(name, address, now, attack=attack).decision == "deny"
        return denied and not self.application(name).dry_run

    def loaded(self, serial: int = 1) -> OpenedSnapshot:
        """Return the snapshot of the policy, without a file."""
        return load(self.applications, self.subjects, serial)


def load(
    applications: Sequence[Application],
    subjects: Sequence[Subject],
    serial: int = 1,
    *,
    layer: str = "policy",
    bans: Sequence[Ban] = (),
    tombstones: Iterable[str] = (),
    protected: Iterable[str] = (),
    altered: Mapping[str, bytes] = MappingProxyType({}),
) -> OpenedSnapshot:
    """Return a snapshot that is loaded, without a file.

    bans: of single addresses. tombstones: ids of bans. altered: sections that are others than they should be.
    """
    split = [EntryNetworks(Prefixes.split(s.networks), Prefixes.split(s.holes)) for s in subjects]
    arrays = build_index(split)
    manifest = Manifest(format=FORMAT, serial=serial, created=NOW, layer=layer, protected=protected)
    add_applications(manifest, applications)
    packed = pack_entries(entry_message(subject.entry) for subject in subjects)
    sections = {name: memoryview(data) for name, (_, data) in packed.items()}
    sections |= {name: memoryview(arrays[name].tobytes()) for name in INDEX_TYPES}
    if bans:
        sections |= {name: memoryview(data) for name, (_, data) in BanTable.of(bans).sections().items()}
    numbers = np.array([ban_number(text) for text in tombstones], "<u8")
    if numbers.size:
        sections[TOMBSTONES] = memoryview(numbers.tobytes())
    sections |= {name: memoryview(data) for name, data in altered.items()}
    return OpenedSnapshot(Snapshot(manifest, sections))


def deny(name: str, *networks: str, **fields: object) -> Subject:
    """Return a deny entry."""
    return subject(name, "deny", *networks, **fields)


def allow(name: str, *networks: str, **fields: object) -> Subject:
    """Return an allow entry."""
    return subject(name, "allow", *networks, **fields)


def subject(name: str, on: str, *networks: str, **fields: object) -> Subject:
    """Return an entry that has a reason and an author, and its networks."""
    values = {"reason": "why", "author": "who", **fields}
    return Subject(Entry(name, on, **values), tuple(map(parse_network, networks)))  # type: ignore[arg-type]


def _inside(version: int, base: int) -> st.SearchStrategy[Network]:
    bits = {4: 32, 6: 128}[version]
    return st.tuples(st.integers(0, 15), st.integers(0, 4)).map(
        lambda pair: Network(version, base + (pair[0] >> pair[1] << pair[1]), bits - pair[1])
    )


_wide = st.sampled_from([Network(4, 0, 0), Network(4, BASE4, 8), Network(6, 0, 0)])
networks = st.one_of(_inside(4, BASE4), _inside(4, BASE4), _inside(6, BASE6), _wide)
_names = st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"shop"}), frozenset({"shop", "admin"})])


@st.composite
def entries(draw: st.DrawFn, name: str) -> Subject:
    """Any entry of this id."""
    on = draw(st.sampled_from(["allow", "deny", "gray"]))
    starts, expires = draw(
        st.sampled_from([(None, None), (None, None), (None, 1500), (None, 1000), (1500, None), (500, 2000)])
    )
    entry = Entry(
        name,
        on,  # type: ignore[arg-type]
        action=draw(st.sampled_from(["block", "block", "warn"])) if on == "deny" else "block",
        applications=draw(_names),
        starts=starts,
        expires=expires,
        reason=draw(st.sampled_from(["", "why"])),
    )
    held = draw(st.lists(networks, max_size=4).map(tuple))
    return Subject(entry, held, draw(st.lists(networks, max_size=1).map(tuple)))


def _application(name: str) -> st.SearchStrategy[Application]:
    return st.builds(
        Application,
        st.just(name),
        mode=st.sampled_from(["off", "monitoring", "safe_blocking", "block"]),
        default=st.sampled_from(["allow", "deny"]),
        precedence=st.sampled_from(["allow_first", "deny_first", "most_specific"]),
        match=st.sampled_from(["client", "client", "path"]),
        dry_run=st.sampled_from([False, False, True]),
        denylist_in_monitoring=st.booleans(),
        hosts=st.just(()),
        deny=st.just(DenyAnswer()),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any small world: `*`, mostly `shop`, sometimes `admin`, and up to six entries."""
    names = ["*", *(["shop"] if draw(st.integers(0, 3)) else []), *(["admin"] if draw(st.booleans()) else [])]
    applications = tuple(draw(_application(name)) for name in names)
    ids = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6))
    return World(applications, tuple(draw(entries(name)) for name in ids))


def total(zones: Iterable[Zone], version: int) -> int:
    """Return how many addresses of a version the zones have."""
    return sum(zone.size for zone in zones if zone.address.version == version)


def networks64(zones: Iterable[Zone]) -> int:
    """Return how many /64 have an address of the zones. The last zone of ZONES6 has one in each of them."""
    zones6 = [zone for zone in zones if zone.address.version == 6]
    return 1 << 64 if ZONES6[-1] in zones6 else min(1, len(zones6))


def moments() -> Iterator[int]:
    """Yield now, and the times after it at which something can change."""
    yield from (at for at in TIMES if at >= NOW)
