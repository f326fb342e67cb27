"""A snapshot as the sidecar uses it: applications by name, entries by number, and the verdicts met so far.

Never changed after it was made but for its memory of outcomes; a reload makes a new one and swaps one reference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import network_of
from authz.engine.lookup import Index
from authz.engine.manifest import Entries, applications_of
from authz.engine.verdict import Match

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Address, Network
    from authz.engine.model import Application, Entry
    from authz.snapshot.read import Snapshot

SetNumber = tuple[int, int]  # version, number of a match set in the index of that version
_LENGTH_OFFSET = {4: 96, 6: 0}  # an IPv4 prefix counts as its mapped one, so that lengths compare


class Covering(NamedTuple):
    """An entry that covers an address. network: the longest of its networks that does."""

    entry: Entry
    network: Network


class Loaded:
    """A checked snapshot, ready for look-ups.

    Raises SnapshotRefused(`bad_section` or `bad_manifest`) where it is signed well and yet cannot be used.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        manifest = snapshot.manifest
        self.index = Index(snapshot.sections)
        self.applications = applications_of(manifest)
        self.entries = Entries(snapshot.entries)
        self.serial = manifest.serial
        self.created = manifest.created
        self.expires = manifest.expires if manifest.HasField("expires") else math.inf
        self.digest = snapshot.digest
        self.size = snapshot.size
        self.signed_by = snapshot.signed_by
        self._by_name = {application.name: application for application in self.applications}
        self._by_host = {host: application for application in self.applications for host in application.hosts}

    @property
    def general(self) -> Application:
        """The settings of `*`."""
        return self.applications[0]

    def application(self, name: str | None, host: str) -> Application | None:
        """Return the application of this name or, where the proxy names none, of this host; None: unknown."""
        if name:
            return self._by_name.get(name)
        return self._by_host.get(_without_port(host).lower().removesuffix("."))

    def covering(self, address: Address) -> list[Covering]:
        """Return the entries that cover the address, the longest prefix first."""
        members = self.index.members(self.index.find(address.version, address.value))
        return [Covering(self.entries[number], network_of(address, length)) for number, length in members]

    def matches(self, version: int, set_number: int) -> list[Match]:
        """Return a match set of the index as the decision takes it. version: of the address that was looked up."""
        offset = _LENGTH_OFFSET[version]
        return [Match(self.entries[number], length + offset) for number, length in self.index.members(set_number)]

    def sets_of(self, addresses: Iterable[Address]) -> frozenset[SetNumber]:
        """Return the match sets of some addresses, without the empty one."""
        found = ((address.version, self.index.find(address.version, address.value)) for address in addresses)
        return frozenset(one for one in found if one[1])

    def with_denied(self, matches: list[Match], others: Iterable[SetNumber]) -> list[Match]:
        """Return the client's matches, and those of other match sets that are on the deny list; an entry once."""
        best = {match.entry.id: match for match in matches}
        for version, number in others:
            for match in self.matches(version, number):
                known = best.get(match.entry.id)
                if match.entry.list == "deny" and (known is None or known.length < match.length):
                    best[match.entry.id] = match
        return list(best.values())


def _without_port(host: str) -> str:
    if host.endswith("]"):
        return host
    name, colon, port = host.rpartition(":")
    return name if colon and (not port or port.isdigit()) else host  # RFC 3986, 3.2.3: a port may be empty
