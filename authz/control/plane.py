"""The control plane, put together: store, publisher, offers; and the one transaction of a request."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from authz.control.access.rate import RateLimit
from authz.control.detect.intake import Intake
from authz.control.detect.sources.run import RunningSources
from authz.control.detect.triggers.file import TriggersFile, read_triggers
from authz.control.lists.batch import Batch
from authz.control.lists.protected import protect
from authz.control.lists.rules.context import ListContext
from authz.control.lists.rules.guard import names_others
from authz.control.maintenance import daily
from authz.control.model.problems import Conflict, Missing
from authz.control.model.records import MAIN_TENANT, POLICY_LAYER
from authz.control.notify.message import notices_of
from authz.control.notify.outbox import note_notices
from authz.control.notify.sender import Sender
from authz.control.notify.watch import Watch
from authz.control.publish.client import AsksSigner, SignerClient
from authz.control.publish.inputs.copies import Copies
from authz.control.publish.inputs.crowdsec import Follower
from authz.control.publish.inputs.feeds import LOOK, FeedRounds
from authz.control.publish.inputs.rounds import Rounds
from authz.control.publish.lease import lease_of
from authz.control.publish.offers import Offers
from authz.control.publish.one_layer import SYSTEM, signed_anew
from authz.control.publish.opened import OpenedFiles
from authz.control.publish.publisher import Publisher
from authz.control.publish.sidecars import Sidecars
from authz.control.store.access.idempotency import Answer, keep_answer, known_answer
from authz.control.store.access.tokens import get_tenant
from authz.control.store.database import open_store
from authz.control.store.ledger.changes import add_layer, append, lock_head
from authz.errors import InputError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from authz.control.access.callers import Caller
    from authz.control.access.oidc import Relying
    from authz.control.config import ControlConfig
    from authz.control.lists.rules.rules import Rules
    from authz.control.model.records import Written
    from authz.control.store.database import Store
    from authz.control.store.ledger.changes import Head


T = TypeVar("T")
_LOG = logging.getLogger("authz.control")


class Idempotent(NamedTuple):
    """An Idempotency-Key, and the hash of the request that carries it."""

    key: str
    request: bytes


def nobody(_: Connection) -> Iterable[Written]:
    """Foresee nothing: a change names addresses only."""
    return ()


class ControlPlane(ListContext):
    """What a process of `authz control serve` has."""

    def __init__(self, config: ControlConfig, store: Store, signer_of: Callable[[str], AsksSigner]) -> None:
        super().__init__(config, store)
        self.offers = Offers(store, self.signals)
        self.sidecars = Sidecars(store)
        self.rate = RateLimit(config.rate)
        self.oidc = _relying(config)
        self.opened = OpenedFiles()
        triggers = read_triggers(Path(config.triggers)) if config.triggers else TriggersFile()
        self.intake = Intake(self, self.opened, triggers)
        self.sources = RunningSources(config.sources, self.intake, config.folder)
        copies = Copies(store, Path(config.data))
        self.feeds = FeedRounds(store, copies, config.hosts, self._sign_anew)
        self.publisher = Publisher(
            config, store, self.signals, signer_of, lease_of(store), self.feeds.prepare, self.offers.put
        )  # fmt: skip
        self.sender = Sender(config.notify, store, lease_of(store, "sender"), Watch(self, self.publisher))
        self.followers = [Follower(self, lapi) for lapi in config.crowdsec]
        lead = self.publisher.lead
        self.inputs = [
            Rounds(f"crowdsec {follower.config.name}", follower.config.interval, lead, follower.round)
            for follower in self.followers
        ]
        if any(layer.name == POLICY_LAYER for layer in config.layers):
            rounds = Rounds("feeds and host names", LOOK, lead, self.feeds.round)
            self.signals.on("changed", rounds.wake, layer=POLICY_LAYER)
            self.inputs.append(rounds)
        self.inputs.append(Rounds("counts of days", daily.EVERY, lead, lambda: daily.count_days(store)))

    @classmethod
    def open(cls, config: ControlConfig, config_file: Path, *, force: bool = False) -> ControlPlane:
        """Open the store of a configuration.

        force: bans of what it protects end; otherwise it is not opened where there are some. Raises InputError.
        """
        store = open_store(config.store)
        plane = cls(config, store, lambda layer: SignerClient(config_file, config.signer, layer))
        with plane.store.writing() as tx:
            for layer in config.layers:
                add_layer(tx, layer.name, plane.store.now())
        try:
            plane._protect(force=force)
        except Conflict as error:
            store.close()
            hint = "`--force` ends bans of them, or take the networks out of it"
            raise InputError(f"protected: {error.message}", hint=hint) from error
        return plane

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to publish and to offer."""
        self.signals.start()
        self.offers.start(loop)
        self.publisher.start()
        for rounds in self.inputs:
            rounds.start()
        self.sender.start()
        self.intake.start()

    def close(self) -> None:
        """End, with what is being counted and published finished."""
        self.intake.close()
        self.sender.close()
        for rounds in self.inputs:
            rounds.close()
        self.publisher.close()
        self.signals.close()
        self.store.close()

    def _protect(self, *, force: bool) -> None:
        """Have no ban keep out what control.yaml protects: it may protect more than before. Raises Conflict."""
        networks = [network for several in self.config.protected for network in several]
        if not networks:
            return
        with self.signals.writing() as writing:
            tx = writing.tx
            tenant = get_tenant(tx, MAIN_TENANT)
            if tenant is None:
                raise Missing(f"the store has no tenant '{MAIN_TENANT}'")
            batch = Batch(tx, self.rules, SYSTEM, tenant, self.store.now(), layers=self.config.limits(), force=force)
            protect(batch, networks, force=force, bans_only=True)
            ended = batch.write()
            writing.tell_changes(ended)
        for change in ended:
            _LOG.warning("ended %s: %s", change.subject, change.reason)

    def _sign_anew(self, why: str) -> None:
        with self.signals.writing() as writing:
            head = lock_head(writing.tx, POLICY_LAYER)
            append(writing.tx, head, SYSTEM, [signed_anew(POLICY_LAYER, why)], self.store.now())
            writing.tell("changed", [POLICY_LAYER])

    def rules(self, tx: Connection, policy: Head | None = None) -> Rules:
        """Return the rules that changes follow now, with how full the layers are by what is offered."""
        offers = {layer.name: self.offers.get(layer.name) for layer in self.config.layers}
        counts = {layer: offer.publication.entries for layer, offer in offers.items() if offer is not None}
        return super().rules(tx, policy)._replace(counts=counts)

    def foresee(self, foreseen: Callable[[Connection], Iterable[Written]]) -> list[Written]:
        """Read what entries name, before a transaction that all other writers would wait for meanwhile.

        foreseen: gives entries that a change may add, as the store is now; those that name nobody but by networks are
        passed over. Returns the others, for the resolver of the transaction: it finds what was read here.
        """
        if foreseen is nobody:
            return []
        with self.store.reading() as tx:
            wanted = [entry for entry in foreseen(tx) if names_others(entry)]
            rules = self.rules(tx)
        rules.resolver.foresee(wanted)
        return wanted

    def consider(
        self, caller: Caller, use: Callable[[Batch], T], *, layers: Iterable[str], force: bool = False,
        approved: bool = False, foreseen: Callable[[Connection], Iterable[Written]] = nobody,
    ) -> T:  # fmt: skip
        """Run a use case that writes nothing, and return what it does. No writer waits for it. Raises Problem.

        foreseen: see `foresee`.
        """
        known_before = self.foresee(foreseen)
        with self.store.reading() as tx:
            batch = Batch(
                tx, self.rules, caller.actor(), caller.tenant, self.store.now(), layers=layers, force=force,
                approved=approved, locked=False,
            )  # fmt: skip
            batch.rules.resolver.foresee(known_before)
            return use(batch)

    def mutate(
        self, caller: Caller, use: Callable[[Batch], tuple[int, msgspec.Struct]], *, layers: Iterable[str],
        force: bool = False, approved: bool = False, idempotent: Idempotent | None = None,
        foreseen: Callable[[Connection], Iterable[Written]] = nobody,
    ) -> Answer:  # fmt: skip
        """Run a use case in one transaction, and return its answer. Raises Problem; then nothing was written.

        foreseen: see `foresee`.
        """
        known_before = self.foresee(foreseen)
        now = self.store.now()
        with self.signals.writing() as writing:
            tx = writing.tx
            batch = Batch(
                tx, self.rules, caller.actor(), caller.tenant, now, layers=layers, force=force, approved=approved
            )
            if idempotent is not None:
                known = known_answer(tx, caller.token.id, idempotent.key, idempotent.request, now)
                if known is not None:
                    return known
            batch.rules.resolver.foresee(known_before)
            status, body = use(batch)
            answer = Answer(status, msgspec.json.encode(body).decode())
            with self.store.together(tx):
                written = batch.write()
                if idempotent is not None:
                    keep_answer(tx, caller.token.id, idempotent.key, idempotent.request, answer, now)
                writing.tell_changes(written)
            note_notices(tx, self.config.notify, notices_of(written), now)
        return answer


def _relying(config: ControlConfig) -> Relying | None:
    """Return us as the identity provider knows us; None: there is none. Only then its libraries are imported."""
    if config.sign_on.oidc is None:
        return None
    from authz.control.access.oidc import Relying  # noqa: PLC0415  # most control planes need no Authlib

    return Relying(config.sign_on.oidc, f"{(config.public_url or '').rstrip('/')}/v1/session/oidc/callback")


def fingerprint(method: str, path: str, query: str, body: bytes) -> bytes:
    """Return what tells one request from another."""
    head = f"{method} {path}?{query}\n".encode()
    return hashlib.sha256(head + body).digest()
