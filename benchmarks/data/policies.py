"""Signed snapshots of the policies that the benchmarks decide by; made without YAML, which is not measured here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from authz.addresses import Network
from authz.engine.model import ANY_APPLICATION, Application, Entry
from authz.publisher.build import build_snapshot
from authz.publisher.index.build import EntryNetworks
from authz.publisher.index.prefixes import Prefixes
from authz.publisher.policy.read import Policy
from authz.snapshot.signing.keys import load_public_key
from authz.snapshot.signing.signers import generate_keys, load_signer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from authz.snapshot.signing.keys import PublicKey
    from benchmarks.data.networks import Table

APPLICATION: Final = "shop"
FIRST_SEPARATE: Final = 0x0B000000  # 11.0.0.0, the address of the first entry of `separate_entries`
_APPLICATIONS: Final = (Application(ANY_APPLICATION), Application(APPLICATION))
_YEAR: Final = 365 * 24 * 3600  # seconds


class Publisher:
    """Signs and writes snapshots into `folder`, each with a higher serial than the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        private, self._public = generate_keys(folder / "keys", "bench")
        self._signer = load_signer(str(private))
        self._serial = 0

    @property
    def key(self) -> PublicKey:
        """The public key to trust."""
        return load_public_key(self._public)

    def publish(self, name: str, policy: Policy) -> int:
        """Write a policy as snapshot file `name` and return its size in bytes."""
        self._serial += 1
        created = int(time.time())
        return build_snapshot(policy, self.folder / name, [self._signer], serial=self._serial, created=created).size


def empty_policy() -> Policy:
    """Return a policy without entries."""
    return Policy(_APPLICATIONS, (), ())


def deny_table(table: Table) -> Policy:
    """Return a policy that denies all networks of a table, in one entry for each owner."""
    entries = [Entry(f"list-{owner}", "deny", reason="benchmark") for owner in range(len(table.by_owner()))]
    return Policy(_APPLICATIONS, tuple(entries), tuple(_networks(owned) for owned in table.by_owner()))


def separate_entries(count: int) -> Policy:
    """Return a policy of `count` deny entries, each with an address of its own, a reason and an expiry in a year.

    Entry 7 has the address `FIRST_SEPARATE` + 2 * 7: no two can be merged.
    """
    expires = int(time.time()) + _YEAR
    entries = tuple(
        Entry(f"e-{number:012x}", "deny", expires=expires + number, reason=f"abuse report {number}")
        for number in range(count)
    )
    networks = tuple(_networks([Network(4, separate_address(number), 32)]) for number in range(count))
    return Policy(_APPLICATIONS, entries, networks)


def separate_address(number: int) -> int:
    """Return the address of an entry of `separate_entries`, as a number."""
    return FIRST_SEPARATE + 2 * number


def _networks(networks: Iterable[Network]) -> EntryNetworks:
    return EntryNetworks(Prefixes.split(networks), Prefixes.split(()))
