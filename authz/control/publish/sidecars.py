"""Which sidecar serves what: learnt from the long polls by which they fetch layers, shared by the store.

A sidecar names itself by `Authz-Sidecar`; one that does not is known by its address. What it serves is the ETag that it
sends as `If-None-Match`; a refusal comes as `Authz-Refused: <code>`.

Where files are given to whoever asks (`anonymous_layers`), anybody can say to be a sidecar that has nothing. So reports
without a token are few for each address (`MAX_OF_ADDRESS`), make room for each other and not for those with one, and
are counted only as long as no sidecar shows a token.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Final

from authz.control.access.rate import RateLimit
from authz.control.model.problems import TooMany
from authz.control.model.records import MICROSECONDS
from authz.control.store.published.publications import (
    Sidecar,
    counted,
    forget_sidecar,
    list_sidecars,
    overtaken,
    put_sidecar,
    serial_of_digest,
)

if TYPE_CHECKING:
    from authz.control.store.database import Store

CONNECTED: Final = 90  # seconds since it was seen: a long poll comes back within 30
LOOK: Final = 0.1  # seconds for which those who wait for sidecars go by the same look at the store
_WRITE_AGAIN: Final = 20  # seconds after which "seen" is written though nothing has changed
MAX_SIDECARS: Final = 10_000  # with a token
MAX_ANONYMOUS: Final = 1_000  # rows, a layer of a sidecar each
MAX_OF_ADDRESS: Final = 100  # rows of one address without a token
ANONYMOUS_RATE: Final = 20.0  # reports a second of one address without a token that are written down


class Sidecars:
    """What is known of sidecars. In memory for this process, in the store for all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Sidecar] = {}
        self._peers: dict[tuple[str, str], str] = {}  # of those without a token: their addresses, last seen last
        self._tokens: dict[tuple[str, str], str] = {}  # of those with one: its id
        self._rate = RateLimit(ANONYMOUS_RATE)
        self._digests: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str], Sidecar | None] = {}  # to be written; None: to be forgotten
        self._one_writes = threading.Lock()
        self._one_looks = threading.Lock()
        self._counted: list[Sidecar] = []
        self._looked = -inf  # of a steady clock

    def report(
        self, name: str, layer: str, digest: str, refusal: str, peer: str | None = None, at: int | None = None,
        token: str = "",
    ) -> bool:  # fmt: skip
        """Note what a sidecar says; return whether that is new. Reads and writes the store.

        peer: the address of one that shows no token; None: it shows one. at: when it said so, in microseconds; None:
        now. One that comes here after a later one of the same sidecar tells nothing: threads and control planes pass
        reports on in any order. token: the id of the one that it shows: while a sidecar is connected, another token
        does not speak for it.
        """
        now = self._store.now() if at is None else at
        serial = self._serial(layer, digest)
        with self._lock:
            known = self._known.get((name, layer))
            if known is not None and overtaken(now, known.seen):
                return False
            same = known is not None and (known.serial, known.refusal) == (serial, refusal)
            if known is not None and same and now - known.seen < _WRITE_AGAIN * MICROSECONDS:
                return False
            if not self._may_be_noted((name, layer), known, peer, now, token):
                return False
            since = known.since if known is not None and known.serial == serial else now
            mine = self._known[name, layer] = Sidecar(name, layer, serial, refusal, since, now, peer is None)
            self._pending |= dict.fromkeys(self._make_room()) | {(name, layer): mine}
        self._write()
        return not same

    def _write(self) -> None:
        """Write what is pending, that of others too: many sidecars with a new file share a transaction."""
        with self._one_writes:
            with self._lock:
                pending, self._pending = self._pending, {}
            if not pending:
                return
            with self._store.writing(durable=False) as tx:  # a lost report comes again
                for key, sidecar in pending.items():
                    put_sidecar(tx, sidecar) if sidecar is not None else forget_sidecar(tx, *key)
            self._looked = -inf

    def _may_be_noted(
        self, key: tuple[str, str], known: Sidecar | None, peer: str | None, now: int, token: str
    ) -> bool:  # fmt: skip
        if peer is None:
            connected = known is not None and known.shown and now - known.seen < CONNECTED * MICROSECONDS
            if connected and self._tokens.get(key, token) != token:
                return False
            if known is None and len(self._known) - len(self._peers) >= MAX_SIDECARS:
                return False
            self._peers.pop(key, None)
            self._tokens[key] = token
            return True
        if known is not None and known.shown and now - known.seen < CONNECTED * MICROSECONDS:
            return False  # nobody without a token speaks for one with a token
        try:
            self._rate.take(peer, now / MICROSECONDS)
        except TooMany:
            return False
        self._peers.pop(key, None)
        self._peers[key] = peer
        return True

    def _make_room(self) -> list[tuple[str, str]]:
        """Forget reports without a token that are too many: the oldest of the address that has the most."""
        gone = []
        counts = Counter(self._peers.values())
        while counts and (counts.total() > MAX_ANONYMOUS or counts.most_common(1)[0][1] > MAX_OF_ADDRESS):
            most = counts.most_common(1)[0][0]
            key = next(key for key, peer in self._peers.items() if peer == most)
            del self._peers[key], self._known[key]
            counts[most] -= 1
            gone.append(key)
        return gone

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

    def counted(self) -> list[Sidecar]:
        """Return those of them that are waited for; see `counted`. Many who wait share a look at the store."""
        with self._one_looks:
            now = time.monotonic()
            if now - self._looked >= LOOK:
                self._looked = now  # before: what is noted meanwhile has the next one look again
                self._counted = counted(self.connected())
            return self._counted
