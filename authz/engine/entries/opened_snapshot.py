"""One snapshot, ready to decide by: applications by name and host, entries by number, an index by address.

Never changed after it was made.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.message import DecodeError

from authz.addresses import BITS, network_of
from authz.engine.entries.lookup import Index
from authz.engine.entries.manifest import Entries, applications_of, check_count, check_names, entry_of, protected_by
from authz.engine.model import Match
from authz.engine.request.hosts import host_name
from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.cooperative import in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.addresses import Address, Network
    from authz.engine.model import Application, Entry
    from authz.snapshot.read import Snapshot
    from authz.snapshot.sections import Marks
    from authz.snapshot.singles import Singles

    Find = Callable[[int], int]

POLICY_LAYER: Final = "policy"  # the name of the first layer where the configuration gives it none
_TURN: Final = 32  # templates that are looked at in one turn; some 0.1 ms
_LENGTH_OFFSET: Final = {4: 96, 6: 0}  # an IPv4 prefix counts as its mapped one, so that lengths compare
_SET_BITS: Final = (
    32  # of a number that `find4` returns, where the file has match sets; above them the row of a single address
)
_make = tuple.__new__  # of a NamedTuple whose fields are at hand


class Covering(NamedTuple):
    """An entry that covers an address.

    Attributes:
        entry: The entry.
        network: The longest of its networks that covers the address.
        layer: The name of its layer.
    """

    entry: Entry
    network: Network
    layer: str = POLICY_LAYER


class OpenedSnapshot:
    """A checked snapshot, ready for look-ups.

    A look-up gives a number, 0 if nothing covers the address; `matches` and `covering` say what it stands for.

    Args:
        snapshot: What was read and verified.

    Raises:
        SnapshotRefused: It is signed well and yet cannot be used: `bad_section` or `bad_manifest`.

    """

    def __init__(self, snapshot: Snapshot) -> None:
        manifest = snapshot.manifest
        self.index = Index(snapshot.sections)
        self.applications = applications_of(manifest)
        messages = snapshot.entries()
        self.entries = Entries(messages)
        self.singles = singles = snapshot.singles()
        self.longest_entry = max(messages.longest, singles.templates.longest if singles else 0)  # bytes
        self.parts: tuple[OpenedSnapshot, ...] = ()  # of the same layer, set by the reader
        self.marks: Marks | None = None  # of it and its parts, set by the same; None: not known
        self.tombstones = snapshot.tombstones()  # numbers of bans that are over in the files of the layer behind it
        self.layer = snapshot.layer or POLICY_LAYER
        self.protected = protected_by(manifest)
        self.serial = manifest.serial
        self.created = manifest.created
        self.expires = manifest.expires if manifest.HasField("expires") else math.inf
        self.digest = snapshot.digest
        self.size = snapshot.size
        self.signed_by = snapshot.signed_by
        self.shared = snapshot.shared
        # The applications that its entries name, whether the policy has them or not.
        self.mentioned = self.entries.applications
        for names in _applications_of(singles):
            self.mentioned.update(names)
            check_count(self.mentioned)
        check_names(self.mentioned)
        self._set_bits = _SET_BITS if self._sets_in_use else 0
        self.find4 = self._finder(self.index.find4, singles.find4 if singles else None)
        self.find6 = self._finder(self.index.find6, singles.find6 if singles else None)
        self._by_name = {application.name: application for application in self.applications}
        self._by_host = {host: application for application in self.applications for host in application.hosts}

    def _finder(self, find_set: Find, find_row: Find | None) -> Find:
        """Return the look-up of one version: the number of the match set, and above it the row of a single address."""
        if find_row is None:
            return find_set
        return (lambda value: find_row(value) << _SET_BITS | find_set(value)) if self._sets_in_use else find_row

    @property
    def _sets_in_use(self) -> bool:
        return self.index.set_count > 1

    @property
    def empty(self) -> bool:
        """Whether no address is covered."""
        return not self._sets_in_use and not self.singles

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

    def find(self, address: Address) -> int:
        """Return the number of what covers the address."""
        return self.find4(address.value) if address.version == 4 else self.find6(address.value)

    def covering(self, address: Address) -> list[Covering]:
        """Return the entries that cover the address, the longest prefix first."""
        offset = _LENGTH_OFFSET[address.version]
        matches = self.matches(address.version, self.find(address))
        return [Covering(m.entry, network_of(address, m.length - offset), self.layer) for m in matches]

    def matches(self, version: int, number: int) -> list[Match]:
        """Return what a number stands for, as the decision takes it.

        Args:
            version: Of the address that was looked up.
            number: What the look-up returned.
        """
        offset, layer = _LENGTH_OFFSET[version], self.layer
        first, set_number = divmod(number, 1 << self._set_bits) if self.singles else (0, number)
        entries, members = self.entries, self.index.members(set_number)
        matches = [_make(Match, (entries[entry], length + offset, layer)) for entry, length in members]
        if first and self.singles:
            rows = self.singles.rows_at(first)
            matches[:0] = [Match(entry_of(self.singles.entry(row)), BITS[6], layer) for row in rows]
        return matches


def _applications_of(singles: Singles | None) -> Iterator[frozenset[str]]:
    """Yield the applications of each template. Raises SnapshotRefused if this version does not know one."""
    try:
        for template in in_turns(singles.templates, _TURN) if singles else ():
            yield entry_of(template, named=False).applications
    except DecodeError as error:
        raise SnapshotRefused(Refusal.BAD_MANIFEST, "a template is not a valid entry") from error
