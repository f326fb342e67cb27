"""Publishing one layer: what is new in the store is ordered from the signer; what that signs is kept and offered."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.control.model.records import MICROSECONDS, POLICY_LAYER, Actor, Draft
from authz.control.publish.order import Attest, Attested, NeedsAll, Order, Refused, Signed, SignedFiles
from authz.control.store.entries.documents import find_documents
from authz.control.store.entries.find import contents_of_layer
from authz.control.store.ledger.changes import append, go_on_above, read_changes, read_heads
from authz.control.store.ledger.checkpoints import Checkpoint, SignedCheckpoint, add_checkpoint, list_checkpoints
from authz.control.store.ledger.history import last_of_transaction
from authz.control.store.published.layer_file import LayerFile
from authz.control.store.published.parts import Part, add_part, known_parts, part_content, require_only
from authz.control.store.published.publications import (
    Publication,
    add_publication,
    content_of,
    newest_publication,
)
from authz.errors import AuthzError
from authz.publisher.bans.tiers import Files
from authz.snapshot.heading import Requirement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.publish.client import AsksSigner
    from authz.control.store.database import Store
    from authz.control.store.ledger.changes import Head
    from authz.control.store.signals import Signals

CHECKPOINT_EVERY: Final = 3600.0  # seconds
PATIENCE: Final = 5.0  # seconds for which publishing may fail before people are told: a signer may be starting again
MAX_STEP: Final = 100_000  # changes that one file is made of: some 150 MB in memory
MAX_AHEAD: Final = 86400  # seconds that a serial of somebody else may be ahead of the clock, and ours go on above it
_TRY_AGAIN: Final = 60.0  # seconds after which what was refused is tried again: a feed may be mended
_LOG = logging.getLogger("authz.control.publish")
SYSTEM: Final = Actor("main", "authz", "system", "automatic")


Offering = Callable[[Publication, bytes, Mapping[int, bytes]], bool]


class Published(NamedTuple):
    """What every layer's publisher works with.

    Attributes:
        refresh: Seconds after which a layer is signed again.
        offer: Is given what was kept (its content, and the parts that are new), and returns whether that is offered
            now; otherwise it is read from the store, after a signal.
    """

    store: Store
    signals: Signals
    refresh: float
    offer: Offering = lambda *_: False


def signed_anew(layer: str, reason: str = "signed anew") -> Draft:
    """Return a change that changes nothing, and lets a layer be signed under a new serial."""
    return Draft("publish", f"layer:{layer}", reason=reason)


class LayerPublisher:
    """Publishes a layer, for one thread. problem: why its changes are not published."""

    def __init__(
        self, layer: str, file: str | None, signer: AsksSigner, shared: Published,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.layer = layer
        self.problem: Refused | None = None
        self._warnings: tuple[str, ...] = ()
        self._file = LayerFile(layer, None if file is None else Path(file))
        self._signer = signer
        self._store, self._signals, self._refresh, self._offer = shared
        self._prepare = prepare
        self._sent: int | None = None
        self._checked = 0
        self._refused: tuple[int, float] = (0, 0.0)
        self._failing: float | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the newest file, and of what stands in its place."""
        return (*self._warnings, *self._file.warnings)

    def close(self) -> None:
        """Let the signer go."""
        self._signer.close()

    def publish_due(self) -> Publication | None:
        """Publish what has changed, or was signed long ago; None: nothing is due, or the signer refused.

        Raises Problem, SignerGone and OSError.
        """
        with self._store.reading() as tx:
            head, newest = read_heads(tx)[self.layer], newest_publication(tx, self.layer)
        foreign = self._file.foreign(newest.serial if newest is not None else 0)
        if newest is not None and head.sequence <= newest.serial:
            if self._store.now() - newest.created <= self._refresh * MICROSECONDS:
                self.problem = None
                self._checkpoint(head)
                return None
            head = self.sign_anew()  # once: what waits to be published makes a new file anyway
        if head.sequence <= foreign <= self._store.now() // MICROSECONDS + MAX_AHEAD:
            head = self.sign_anew(f"the file had serial {foreign} of somebody else", above=foreign)
        head = self._within_reach(head, newest)
        return self._publish(head, newest) if self._worth_trying(head, newest) else None

    def _within_reach(self, head: Head, newest: Publication | None) -> Head:
        """Return where the layer stood `MAX_STEP` changes after its newest file, or where it stands.

        What came while nobody could publish may be millions of changes: they are signed in steps, each to the end of
        what was written together. Where the signer has refused one, there are no steps: it has signed a higher serial,
        or what was not permitted then has been undone since, and would block the layer forever.
        """
        if newest is None or self._refused[0] > newest.serial or head.sequence - newest.serial <= MAX_STEP:
            return head
        with self._store.reading() as tx:
            change = last_of_transaction(tx, self.layer, newest.serial + MAX_STEP)
        if change is None:
            return head
        return head._replace(sequence=change.sequence, time=change.time, hash=change.hash)

    def note_outcome(self, error: Exception | None) -> None:
        """Have `problem` tell why `publish_due` fails, once it has done so for a while. None: it did not."""
        if error is None:
            self._failing = None
            return
        now = time.monotonic()
        self._failing = now if self._failing is None else self._failing
        if now - self._failing >= PATIENCE:
            code = error.code if isinstance(error, AuthzError) else "cannot_publish"
            self.problem = Refused(code=code, message=str(error) or repr(error))

    def _checkpoint(self, head: Head) -> None:
        """Have it signed where the chain stands, once an hour, where it has grown since."""
        if self._sent != head.sequence or self._store.now() - self._checked < CHECKPOINT_EVERY * MICROSECONDS:
            return
        self._checked = self._store.now()
        with self._store.reading() as tx:
            last = next(iter(list_checkpoints(tx, self.layer, 1)), None)
        if last is not None and (last.sequence == head.sequence or self._too_soon(last)):
            return
        asked = Attest(layer=self.layer, sequence=head.sequence, time=head.time, chain=head.hash)
        answer = self._signer.ask(asked)
        if not isinstance(answer, Attested):
            _LOG.warning("layer %s: no checkpoint: %s", self.layer, answer)
            return
        with self._store.writing() as tx:
            checkpoint = Checkpoint(layer=self.layer, sequence=head.sequence, time=head.time, hash=head.hash)
            add_checkpoint(tx, checkpoint, answer.envelope)
        _LOG.info("layer %s: checkpoint at serial %d", self.layer, head.sequence)

    def _too_soon(self, last: SignedCheckpoint) -> bool:
        return self._store.now() - last.time < CHECKPOINT_EVERY * MICROSECONDS

    def sign_anew(self, reason: str = "signed anew", above: int = 0) -> Head:
        """Write a change that changes nothing, so that the layer is signed under a serial of its own, above another."""
        with self._store.writing() as tx:
            head = go_on_above(tx, self.layer, above)
            append(tx, head, SYSTEM, [signed_anew(self.layer, reason)], self._store.now())
        with self._store.reading() as tx:
            return read_heads(tx)[self.layer]

    def _worth_trying(self, head: Head, newest: Publication | None) -> bool:
        """Return whether the signer may answer otherwise than the last time. Very many changes are read less often."""
        tried, at = self._refused
        again = time.monotonic() - at > _TRY_AGAIN
        if newest is None or tried <= newest.serial or head.sequence - newest.serial <= MAX_STEP:
            return again or tried != head.sequence
        return again or (self.problem is not None and self.problem.code == "old_serial")

    def _publish(self, head: Head, newest: Publication | None) -> Publication | None:
        """Have a layer signed up to its head. newest: what is published now."""
        self._prepare()
        answer = self._signer.ask(self._changes(head, newest))
        if isinstance(answer, NeedsAll) and (order := self._since_files(head, answer)) is not None:
            answer = self._signer.ask(order)
        if isinstance(answer, NeedsAll):
            answer = self._signer.ask(self._everything(head, answer.signed))
        if not isinstance(answer, Signed):
            self._note_refusal(head, answer if isinstance(answer, Refused) else Refused(code="no_answer", message=""))
            return None
        publication = Publication(
            self.layer, head.sequence, hashlib.sha256(answer.content).hexdigest(), self._store.now(), head.hash,
            answer.entries, len(answer.content), str([part.serial for part in answer.parts]),
        )  # fmt: skip
        if not self._keep(publication, answer, newest):
            self._sent = None  # the signer thinks that we have a part, which was lost on the way
            return self._publish(self.sign_anew("a part was lost"), newest)
        self._sent = head.sequence
        self.problem = None
        if not self._offer(publication, answer.content, _new_parts(answer)):
            self._signals.wake("published")
        self._warnings = (*answer.warnings, *self._written_file(answer, head.sequence))
        for warning in self._warnings:
            _LOG.warning("layer %s: %s", self.layer, warning)
        _LOG.info("layer %s: published serial %d: %d entries, %d bytes", self.layer, head.sequence, answer.entries,
                  len(answer.content))  # fmt: skip
        return publication

    def _note_refusal(self, head: Head, refused: Refused) -> None:
        if self.problem != refused:
            _LOG.error("layer %s: not signed: %s: %s", self.layer, refused.code, refused.message)
        self.problem = refused
        self._sent = None
        self._refused = (head.sequence, time.monotonic())
        if refused.code == "old_serial":  # it was signed, and then not kept: a new serial is needed
            self.sign_anew()

    def _keep(self, publication: Publication, answer: Signed, newest: Publication | None) -> bool:
        """Write what was signed to the store; False: a part that the file requires is not there."""
        ours = newest is not None and newest.serial == self._sent and newest.parts == publication.parts
        with self._store.writing() as tx:
            if not (ours and not _new_parts(answer)) and not self._keep_parts(tx, answer, publication.created):
                return False
            add_publication(tx, publication, answer.content)
            self._signals.announce(tx, "published")
        return True

    def _keep_parts(self, tx: Connection, answer: Signed, now: int) -> bool:
        """Write the parts that are new. Where nobody published since we did, and with the same parts, all is there."""
        known = known_parts(tx, self.layer)
        if any(part.content is None and Part(part.serial, part.digest) not in known for part in answer.parts):
            return False
        for part in answer.parts:
            if part.content is not None:
                add_part(tx, self.layer, Part(part.serial, part.digest), part.content, now)
        if known or answer.parts:
            require_only(tx, self.layer, [part.serial for part in answer.parts], now)
        return True

    def _changes(self, head: Head, newest: Publication | None) -> Order:
        """Return an order with what is new; where we do not know what the signer holds, one that asks it."""
        base = self._sent
        if base is None:
            return Order(layer=self.layer, serial=head.sequence, chain=head.hash, base=-1, changes=[])
        with self._store.reading() as tx:
            # The signer may have signed more than was kept, or less: it skips what it has signed already.
            changes = read_changes(tx, self.layer, min(base, newest.serial if newest else 0), head.sequence)
        return Order(layer=self.layer, serial=head.sequence, chain=head.hash, base=base, changes=changes)

    def _since_files(self, head: Head, needs: NeedsAll) -> Order | None:
        """Return an order with the newest files and the changes since; None: they are not there, or not wanted."""
        if needs.whole or not needs.signed or self.layer == POLICY_LAYER:
            return None
        with self._store.reading() as tx:
            newest = newest_publication(tx, self.layer)
            content = newest and content_of(tx, self.layer, newest.serial)
            if newest is None or content is None or newest.serial > needs.signed:
                return None
            parts = [part_content(tx, self.layer, serial) for serial in newest.part_serials()]
            files = SignedFiles(head=content, parts=[part for part in parts if part is not None], chain=newest.chain)
            changes = read_changes(tx, self.layer, newest.serial, head.sequence)
        base = newest.serial
        return Order(
            layer=self.layer, serial=head.sequence, chain=head.hash, base=base, changes=changes, files=files
        )  # fmt: skip

    def _everything(self, head: Head, signed: int) -> Order:
        """Return an order with all entries, and the changes since the serial that the signer signed last; 0: none."""
        with self._store.reading() as tx:
            since = signed or head.sequence
            return Order(
                layer=self.layer, serial=head.sequence, chain=head.hash, base=0,
                changes=read_changes(tx, self.layer, since, head.sequence),
                entries=contents_of_layer(tx, self.layer, head.time, self._store.now() // MICROSECONDS),
                documents=find_documents(tx, "", at=head.time) if self.layer == POLICY_LAYER else {},
            )  # fmt: skip

    def _written_file(self, answer: Signed, serial: int) -> list[str]:
        """Write the file that control.yaml names; return what is to be told: it is published all the same."""
        if self._file.path is None:
            return []
        try:
            with self._store.reading() as tx:
                parts = {
                    Requirement(part.serial, part.digest): part.content or self._kept_part(tx, part.serial)
                    for part in answer.parts
                }
            self._file.write(Files(answer.content, serial, parts))
        except OSError as error:
            return [f"{self._file.path}: cannot be written: {error.strerror}"]
        return []

    def _kept_part(self, tx: Connection, serial: int) -> bytes:
        """Return a part that was signed before; empty if its file is there already."""
        if self._file.has_part(serial):
            return b""
        return part_content(tx, self.layer, serial) or b""


def _new_parts(answer: Signed) -> dict[int, bytes]:
    return {part.serial: part.content for part in answer.parts if part.content is not None}
