"""The thread that follows the store: changes that are not published are signed and offered.

    commit -> signal -> lease held? -> changes since the last order -> signer -> publication in the store -> signal

While one file is made, further changes gather for the next: under load many share a file, at rest each has its own.
Several control planes may run this; the one with the lease publishes.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.control.model import MICROSECONDS, Actor, Draft, encode_entry
from authz.control.problems import Problem
from authz.control.publish.client import SignerGone
from authz.control.publish.order import NeedsAll, Order, Refused, Signed
from authz.control.store.changes import append, lock_head, read_changes, read_heads
from authz.control.store.documents import find_documents
from authz.control.store.entries import Filter, each_entry
from authz.control.store.publications import Publication, add_publication, newest_publication
from authz.durable import replace_file

if TYPE_CHECKING:
    from authz.control.config import ControlConfig
    from authz.control.publish.client import AsksSigner
    from authz.control.publish.lease import Lease
    from authz.control.store.changes import Head
    from authz.control.store.database import Store
    from authz.control.store.signals import Signals

_LOOK: Final = 1.0  # seconds between looks, should no signal come
_TRY_AGAIN: Final = 60.0  # seconds after which what was refused is tried again: a feed may be mended
_GATHER: Final = 0.005  # seconds after a signal: what comes together goes together
_LOG = logging.getLogger("authz.control.publish")
SYSTEM: Final = Actor("main", "authz", "system", "automatic")


def signed_anew(layer: str) -> Draft:
    """Return a change that changes nothing, and lets a layer be signed under a new serial."""
    return Draft("publish", f"layer:{layer}", reason="signed anew")


class Publisher:
    """Publishes the layers. problems: by layer, why its newest changes are not published."""

    def __init__(self, config: ControlConfig, store: Store, signals: Signals, signer: AsksSigner, lease: Lease) -> None:
        self._config = config
        self._store = store
        self._signals = signals
        self._signer = signer
        self._lease = lease
        self._sent: dict[str, int] = {}
        self._refused: dict[str, tuple[int, float]] = {}
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.problems: dict[str, Refused] = {}
        self.leading = False
        signals.on("changed", self._wake.set)

    def start(self) -> None:
        """Begin to follow the store."""
        self._thread.start()

    def close(self) -> None:
        """End: what is being published is finished first."""
        self._end.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(30.0)
        self._signer.close()
        self._lease.close()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self.leading = self._lease.held()
                if self.leading:
                    self.publish_due()
            except (Problem, SignerGone, OSError) as error:
                _LOG.warning("cannot publish: %s", error)
                self._end.wait(0.2)
            except Exception:  # noqa: BLE001  # a fault of ours must not end publishing for good
                _LOG.exception("cannot publish")
                self._end.wait(1.0)
            if self._wake.wait(_LOOK):
                self._wake.clear()
                time.sleep(_GATHER)

    def publish_due(self) -> list[Publication]:
        """Publish every layer that has changes, or was signed long ago."""
        published = []
        for layer in self._config.layers:
            with self._store.reading() as tx:
                head, newest = read_heads(tx)[layer.name], newest_publication(tx, layer.name)
            if newest is not None and self._store.now() - newest.created > self._config.refresh * MICROSECONDS:
                head = self._refreshed(layer.name)
            if (newest is None or head.sequence > newest.serial) and self._worth_trying(head):
                one = self._publish(head)
                if one is not None:
                    published.append(one)
        return published

    def _worth_trying(self, head: Head) -> bool:
        """Return whether the signer may answer otherwise than the last time."""
        tried, at = self._refused.get(head.layer, (0, 0.0))
        return tried != head.sequence or time.monotonic() - at > _TRY_AGAIN

    def _refreshed(self, layer: str) -> Head:
        """Write a change that changes nothing, so that the layer is signed anew under a serial of its own."""
        with self._store.writing() as tx:
            append(tx, lock_head(tx, layer), SYSTEM, [signed_anew(layer)], self._store.now())
        with self._store.reading() as tx:
            return read_heads(tx)[layer]

    def _publish(self, head: Head) -> Publication | None:
        answer = self._signer.ask(self._order(head, everything=head.layer not in self._sent))
        if isinstance(answer, NeedsAll):
            answer = self._signer.ask(self._order(head, everything=True))
        if not isinstance(answer, Signed):
            refused = answer if isinstance(answer, Refused) else Refused(code="no_answer", message="")
            if self.problems.get(head.layer) != refused:
                _LOG.error("layer %s: not signed: %s: %s", head.layer, refused.code, refused.message)
            self.problems[head.layer] = refused
            self._refused[head.layer] = (head.sequence, time.monotonic())
            if refused.code == "old_serial":  # it was signed, and then not kept: a new serial is needed
                self._refreshed(head.layer)
            return None
        self._sent[head.layer] = head.sequence
        self.problems.pop(head.layer, None)
        publication = Publication(
            head.layer, head.sequence, hashlib.sha256(answer.content).hexdigest(), self._store.now(), head.hash,
            answer.entries, len(answer.content),
        )  # fmt: skip
        with self._store.writing() as tx:
            add_publication(tx, publication, answer.content)
            self._signals.announce(tx, "published")
        self._write_file(head.layer, answer.content)
        self._signals.wake("published")
        for warning in answer.warnings:
            _LOG.warning("layer %s: %s", head.layer, warning)
        _LOG.info("layer %s: published serial %d: %d entries, %d bytes", head.layer, head.sequence, answer.entries,
                  len(answer.content))  # fmt: skip
        return publication

    def _order(self, head: Head, *, everything: bool) -> Order:
        base = self._sent.get(head.layer, 0)
        with self._store.reading() as tx:
            newest = newest_publication(tx, head.layer)
            # The signer may have signed more than was kept, or less: it skips what it has signed already.
            since = min(base or head.sequence, newest.serial if newest else 0)
            changes = read_changes(tx, head.layer, since, head.sequence)
            if not everything:
                return Order(layer=head.layer, serial=head.sequence, chain=head.hash, base=base, changes=changes)
            wanted = Filter(layer=head.layer, at=head.time, unexpired_at=self._store.now() // MICROSECONDS)
            entries = [encode_entry(entry) for entry in each_entry(tx, wanted)]
            documents = find_documents(tx, "", at=head.time) if head.layer == "policy" else {}
        return Order(layer=head.layer, serial=head.sequence, chain=head.hash, base=base, changes=changes,
                     entries=entries, documents=documents)  # fmt: skip

    def _write_file(self, layer: str, content: bytes) -> None:
        path = next((one.file for one in self._config.layers if one.name == layer), None)
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            replace_file(Path(path), lambda file: file.write(content))
