"""Which sidecar serves what: learnt from the long polls by which they fetch layers, shared by the store.

A sidecar names itself by `Authz-Sidecar`; one that does not is known by its address. What it serves is the ETag that it
sends as `If-None-Match`; a refusal comes as `Authz-Refused: <code>`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from authz.control.model import MICROSECONDS
from authz.control.store.published.publications import Sidecar, list_sidecars, put_sidecar, serial_of_digest

if TYPE_CHECKING:
    from authz.control.store.database import Store

CONNECTED: Final = 90  # seconds since it was seen: a long poll comes back within 30
_WRITE_AGAIN: Final = 20  # seconds after which "seen" is written though nothing has changed
MAX_SIDECARS: Final = 10_000


class Sidecars:
    """What is known of sidecars. In memory for this process, in the store for all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Sidecar] = {}
        self._digests: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def report(self, name: str, layer: str, digest: str, refusal: str) -> bool:
        """Note what a sidecar says; return whether that is new. Reads and writes the store."""
        now = self._store.now()
        serial = self._serial(layer, digest)
        with self._lock:
            known = self._known.get((name, layer))
            if known is None and len(self._known) >= MAX_SIDECARS:
                return False
            same = known is not None and (known.serial, known.refusal) == (serial, refusal)
            if known is not None and same and now - known.seen < _WRITE_AGAIN * MICROSECONDS:
                return False
            since = known.since if known is not None and known.serial == serial else now
            mine = self._known[name, layer] = Sidecar(name, layer, serial, refusal, since, now)
        with self._store.writing() as tx:
            put_sidecar(tx, mine)
        return not same

    def _serial(self, layer: str, digest: str) -> int:
        if not digest:
            return 0
        if (layer, digest) not in self._digests:
            with self._store.reading() as tx:
                serial = serial_of_digest(tx, layer, digest)
            if serial is None:
                return 0
            if len(self._digests) > 1000:
                self._digests.clear()
            self._digests[layer, digest] = serial
        return self._digests[layer, digest]

    def connected(self) -> list[Sidecar]:
        """Return what the sidecars serve that were seen lately, by any control plane."""
        with self._store.reading() as tx:
            return list_sidecars(tx, self._store.now() - CONNECTED * MICROSECONDS)
