"""What the signer holds of a layer between two orders: its entries, and all that makes the next file cheap.

The first layer is held as entries and documents, and is rebuilt each time. A layer of bans is held as tiers: what is
new goes into a small head, what has settled stays in parts that are signed once. So a ban costs what the head costs,
however many bans there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from authz.addresses import parse_networks
from authz.control.model.records import MICROSECONDS, decode_entry
from authz.control.publish.build import BuiltLayer, build_policy
from authz.control.publish.order import PartFile
from authz.publisher.bans import Ban
from authz.publisher.bans.tiers import Tiers
from authz.snapshot.heading import CONTROL_PLANE
from authz.snapshot.read import requirement_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from authz.addresses import Network
    from authz.control.model.records import Change, Entry
    from authz.control.publish.order import SignedFiles
    from authz.snapshot.heading import Requirement
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey


class Held(Protocol):
    """A layer at a sequence, which `take` moves on. After an error of either method it must be dropped."""

    sequence: int

    def count(self, now: int) -> int:
        """Return how many entries hold. now: seconds since 1970."""

    def covers_more(self, version: int, most: int, now: int) -> bool:
        """Return whether it covers more addresses of a version than this. now: seconds since 1970."""

    def take(self, changes: Sequence[Change]) -> None:
        """Take up changes behind `sequence`."""

    def build(self, serial: int, now: int) -> BuiltLayer:
        """Build and sign the file of what holds. Raises AuthzError."""


class HeldPolicy:
    """The first layer."""

    def __init__(
        self, entries: Iterable[Entry], documents: Mapping[str, str], signer: Signer, folder: Path, sequence: int,
        protected: Sequence[Network] = (),
    ) -> None:  # fmt: skip
        self.sequence = sequence
        self._entries = {entry.id: entry for entry in entries}
        self._documents = dict(documents)
        self._signer = signer
        self._folder = folder
        self._protected = protected

    def count(self, now: int) -> int:
        """Return how many entries hold."""
        return sum(entry.expires is None or now < entry.expires for entry in self._entries.values())

    def covers_more(self, version: int, most: int, now: int) -> bool:
        """Return False: the first layer has no such limit."""
        return False

    def take(self, changes: Sequence[Change]) -> None:
        """Take up changes of entries and documents."""
        for change in changes:
            if ":" in change.subject:
                self._documents[change.subject] = change.after
                continue
            after = change.entry_after()
            self._entries.pop(change.subject, None)
            if after is not None:
                self._entries[change.subject] = after
        self._documents = {name: text for name, text in self._documents.items() if text}

    def build(self, serial: int, now: int) -> BuiltLayer:
        """Build it as policy.yaml is built."""
        over = [entry.id for entry in self._entries.values() if entry.expires is not None and now >= entry.expires]
        for entry_id in over:
            del self._entries[entry_id]
        entries = sorted(self._entries.values(), key=lambda entry: entry.id)
        return build_policy(
            entries, self._documents, self._signer, serial=serial, created=now, folder=self._folder,
            protected=self._protected,
        )  # fmt: skip


class HeldBans:
    """A layer of bans."""

    def __init__(self, layer: str, signer: Signer, sequence: int) -> None:
        self.sequence = sequence
        self._serial = sequence
        self._tiers = Tiers(layer, [signer], lambda: self._serial, CONTROL_PLANE)
        self._sent: set[Requirement] = set()

    @classmethod
    def of_entries(cls, layer: str, entries: Iterable[Entry], signer: Signer, sequence: int, now: int) -> HeldBans:
        """Return the layer with these entries: some 50 microseconds each."""
        held = cls(layer, signer, sequence)
        held._tiers.load((ban for entry in entries if (ban := ban_of(entry)).live(now)), created=now)
        return held

    @classmethod
    def of_files(cls, layer: str, files: SignedFiles, signer: Signer, key: PublicKey, now: int) -> HeldBans:
        """Return the layer as it was when the signer signed these files. Raises SnapshotRefused if it did not."""
        held = cls(layer, signer, 0)
        held.sequence = held._serial = held._tiers.restore(files.head, files.parts, [key], now=now)
        held._sent = {requirement_of(part) for part in files.parts}
        return held

    def count(self, now: int) -> int:
        """Return how many bans hold."""
        return self._tiers.count(now)

    def covers_more(self, version: int, most: int, now: int) -> bool:
        """Return whether its bans cover more addresses of a version than this."""
        return self._tiers.covers_more(version, most, now)

    def take(self, changes: Sequence[Change]) -> None:
        """Take up changes; those of documents are of no concern here."""
        for change in changes:
            if ":" in change.subject:
                continue
            after = decode_entry(change.after)
            if after is None:
                self._tiers.remove(change.subject)
            else:
                self._tiers.add(ban_of(after))

    def build(self, serial: int, now: int) -> BuiltLayer:
        """Build the head, and the part where one has grown. Both have the serial: at most one part is new."""
        self._serial = serial
        files = self._tiers.publish(created=now)
        parts = tuple(
            PartFile(part.serial, part.digest, None if part in self._sent else content)
            for part, content in files.parts.items()
        )
        self._sent = set(files.parts)
        return BuiltLayer(files.head, self._tiers.count(now), parts=parts)


def ban_of(entry: Entry) -> Ban:
    """Return an entry of one network as a ban."""
    (network,) = parse_networks(entry.networks[0])
    return Ban(
        entry.id, network, entry.list, frozenset(entry.applications), entry.action, entry.reason, entry.author,
        entry.starts, entry.expires, entry.created // MICROSECONDS,
    )  # fmt: skip
