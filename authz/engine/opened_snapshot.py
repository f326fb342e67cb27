"""One snapshot, ready to decide by: applications by name and host, entries by number, an index by address.

Never changed after it was made.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import network_of
from authz.engine.hosts import host_name
from authz.engine.lookup import Index
from authz.engine.manifest import Entries, applications_of
from authz.engine.verdict import Match

if TYPE_CHECKING:
    from authz.addresses import Address, Network
    from authz.engine.model import Application, Entry
    from authz.snapshot.read import Snapshot

POLICY_LAYER = "policy"  # the name of the first layer where the configuration gives it none
_LENGTH_OFFSET = {4: 96, 6: 0}  # an IPv4 prefix counts as its mapped one, so that lengths compare


class Covering(NamedTuple):
    """An entry that covers an address. network: the longest of its networks that does."""

    entry: Entry
    network: Network


class OpenedSnapshot:
    """A checked snapshot, ready for look-ups. name: of the layer, as in the configuration.

    Raises SnapshotRefused(`bad_section` or `bad_manifest`) where it is signed well and yet cannot be used.
    """

    def __init__(self, snapshot: Snapshot, name: str = POLICY_LAYER) -> None:
        manifest = snapshot.manifest
        self.index = Index(snapshot.sections)
        self.applications = applications_of(manifest)
        self.entries = Entries(snapshot.entries())
        self.name = name
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
        return self._by_host.get(host_name(host) or "")

    @property
    def has_hosts(self) -> bool:
        """Whether a host can name an application."""
        return bool(self._by_host)

    def covering(self, address: Address) -> list[Covering]:
        """Return the entries that cover the address, the longest prefix first."""
        members = self.index.members(self.index.find(address.version, address.value))
        return [Covering(self.entries[number], network_of(address, length)) for number, length in members]

    def matches(self, version: int, set_number: int) -> list[Match]:
        """Return a match set of the index as the decision takes it. version: of the address that was looked up."""
        offset = _LENGTH_OFFSET[version]
        return [Match(self.entries[number], length + offset) for number, length in self.index.members(set_number)]
