"""A publisher for tests: keys, and snapshots at the serial, time and expiry that a test asks for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from authz.publisher.build import build_snapshot
from authz.publisher.policy.read import read_policy
from authz.snapshot.signing.keys import PublicKey, load_public_key
from authz.snapshot.signing.signers import generate_keys, load_signer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from authz.snapshot.read import Snapshot
    from authz.snapshot.signing.envelope import Signer

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com]}
  admin: {default: deny}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"], reason: office}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], except: [203.0.113.10], reason: abuse}
  - {id: shop-only, list: deny, networks: [198.51.100.20-198.51.100.29], applications: [shop], reason: scrapers}
"""


class Publisher:
    """Keys `a` and `b` in `folder/keys`, and policies built into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, Path] = {}
        self.public: dict[str, Path] = {}
        for name in ("a", "b"):
            self.private[name], self.public[name] = generate_keys(folder / "keys", name)
        self._serial = 0

    def key(self, name: str = "a") -> PublicKey:
        """Return a public key."""
        return load_public_key(self.public[name])

    def signer(self, name: str = "a") -> Signer:
        """Return a signer."""
        return load_signer(str(self.private[name]))

    def publish(
        self,
        policy: str = POLICY,
        *,
        to: str = "lists.snapshot",
        serial: int | None = None,
        created: int | None = None,
        expires: int | None = None,
        keys: Sequence[str] = ("a",),
        previous: Snapshot | None = None,
    ) -> Path:
        """Build a policy (YAML text) into a snapshot file and return its path. serial: default one more than before."""
        source = self.folder / "policy.yaml"
        source.write_text(policy)
        self._serial = self._serial + 1 if serial is None else serial
        build_snapshot(
            read_policy(source),
            self.folder / to,
            [self.signer(name) for name in keys],
            serial=self._serial,
            created=int(time.time()) if created is None else created,
            expires=expires,
            previous=previous,
        )
        return self.folder / to
