"""Changes that are written together, by one actor, in one transaction.

    with store.writing() as tx:
        batch = Batch(tx, rules_of, actor, tenant, now, layers=("bans",))
        entry = ban(batch, ...)          # any number of use cases
        changes = batch.write()          # only now something is written

The heads of the layers are locked when the batch is made, so what a use case reads stays true until it is written.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from authz.addresses import BITS
from authz.control.lists.rules.check import text_mistakes
from authz.control.lists.rules.guard import addresses_of, denies, denies_no_more
from authz.control.model.problems import Conflict, Invalid, Missing
from authz.control.model.records import APPLICATION, MAIN_TENANT, MICROSECONDS, POLICY_LAYER, Draft, draft, encode_entry
from authz.control.store.entries.covered import addresses_by_version, covered_by
from authz.control.store.entries.documents import get_document
from authz.control.store.entries.find import get_entry, latest_version, like_entry
from authz.control.store.ledger.changes import append, lock_heads, read_heads
from authz.control.store.ledger.follow import likeness
from authz.control.store.published.publications import newest_publication
from authz.errors import shorten
from authz.snapshot.ban_ids import ban_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from authz.control.lists.rules.rules import Rules
    from authz.control.model.records import Actor, Change, Entry, Owner, Written
    from authz.control.store.access.tokens import Tenant
    from authz.control.store.ledger.changes import Head


class Batch:
    """Changes on their way.

    Args:
        rules_of: Reads what use cases go by. It is called once the layers are locked, with where the first one stands
            if that is among them: what the policy protects by then stays protected until the end of the transaction.
        approved: A second person has agreed.
        force: Pass the lock-out guard, if that may be.
        locked: False: it is tried only, and never written.

    Attributes:
        denied: How many addresses it denies that were not denied by the same entries before, where two people are
            needed for many.
        networks: How many the API's request has named so far.

    """

    def __init__(
        self, tx: Connection, rules_of: Callable[[Connection, Head | None], Rules], actor: Actor, tenant: Tenant,
        now: int, *, layers: Iterable[str], force: bool = False, approved: bool = False, locked: bool = True,
    ) -> None:  # fmt: skip
        self.tx = tx
        self.actor = actor
        self.tenant = tenant
        self.now = now
        self.seconds = now / MICROSECONDS
        self.force = force
        self.approved = approved
        self.denied = self.networks = 0
        self._heads = lock_heads(tx, layers) if locked else read_heads(tx, layers)
        self.rules = rules_of(tx, self._heads.get(POLICY_LAYER))
        self._drafts: dict[str, list[Draft]] = {layer: [] for layer in self._heads}
        self._overlay: dict[str, Entry | None] = {}
        self._likeness: dict[bytes, str] = {}
        self._named: set[str] = set()
        self._published: dict[str, int] = {}
        self._covered: dict[str, Counter[int]] = {}  # addresses by layer and version, with this batch

    def serial(self, layer: str) -> int:
        """Return the serial in which the newest change of a layer takes effect."""
        return self._heads[layer].sequence + len(self._drafts[layer])

    def new_id(self, layer: str) -> str:
        """Return an id that no entry ever had, from the number of the change that adds it.

        In a layer of bans it is a ban's id: 16 bits that tell the layers apart, and the number.
        """
        number = self.serial(layer) + 1
        entry_id = f"{layer}-{number}"
        if layer != POLICY_LAYER:
            entry_id = ban_id((zlib.crc32(layer.encode()) & 0xFFFF) << 48 | number)
        while latest_version(self.tx, entry_id):  # an import brought one of that name
            entry_id += "x"
        return entry_id

    def entry(self, entry_id: str) -> Entry:
        """Return an entry as it would be after this batch. Raises Missing, also for another tenant's."""
        entry = self._overlay[entry_id] if entry_id in self._overlay else get_entry(self.tx, entry_id)
        if entry is None or not self.may_see(entry.tenant):
            raise Missing(f"there is no entry '{shorten(entry_id)}'")
        return entry

    def holds(self, entry: Entry) -> bool:
        """Return whether nothing in this batch changes an entry that the store has."""
        return self._overlay.get(entry.id, entry) is entry

    def may_see(self, tenant: str) -> bool:
        """Return whether the actor may know of a tenant's entries."""
        return self.tenant.name in {MAIN_TENANT, tenant}

    def like(self, written: Written, tenant: str) -> Entry | None:
        """Return an entry that says the same and would hold after this batch."""
        like = likeness(written, tenant)
        if like in self._likeness:
            return self._overlay.get(self._likeness[like])
        known = like_entry(self.tx, like, int(self.seconds))
        return None if known is None or known.id in self._overlay else known

    def put(self, before: Entry | None, after: Entry | None, reason: str = "", *, forced: bool = False) -> None:
        """Take a change of an entry into the batch.

        Raises:
            Invalid: The reason is no text.
            Conflict: `too_many_addresses`, for the layer.
        """
        _check_reason(reason)
        change = draft(before, after, reason, forced=forced)
        known = after or before
        if known is None or known.layer not in self._drafts:
            raise AssertionError  # draft() raises for the first; the maker of a batch names its layers
        self._cover(known.layer, before, after)
        self._drafts[known.layer].append(change)
        if self.rules.four_eyes.addresses is not None and after is not None:
            same = denies_no_more(before, after, self.seconds) if before is not None else not denies(after)
            self.denied += 0 if same else addresses_of(after)
        self._overlay[known.id] = after
        if after is not None:
            self._likeness[likeness(after, after.tenant)] = after.id

    def own(self, entry: Entry, owner: Owner) -> None:
        """Let the newest version in this batch belong to somebody else."""
        drafts = self._drafts[entry.layer]
        after = msgspec.structs.replace(entry, owner=owner)
        drafts[-1] = drafts[-1]._replace(after=encode_entry(after))
        self._overlay[entry.id] = after

    def put_document(self, layer: str, change: Draft) -> None:
        """Take a change of a document into the batch. Raises Invalid: the reason is no text."""
        _check_reason(change.reason)
        self._drafts[layer].append(change)
        if change.subject.startswith(APPLICATION):
            self._named.add(change.subject.removeprefix(APPLICATION))

    def discard(self) -> None:
        """Forget all changes of the batch."""
        for drafts in self._drafts.values():
            drafts.clear()
        self._named.clear()
        self._overlay.clear()
        self._likeness.clear()
        self._covered.clear()
        self.denied = 0

    def write(self) -> list[Change]:
        """Write all changes."""
        return [
            change
            for layer, drafts in self._drafts.items()
            for change in append(self.tx, self._heads[layer], self.actor, drafts, self.now)
        ]

    def name_applications(self, names: Iterable[str]) -> None:
        """Make the applications that an entry names known to the first layer, where that is ours.

        A sidecar takes an application that it does not know for `*`, and an entry for that one would never count.
        """
        if POLICY_LAYER not in self._drafts:
            return
        for name in sorted(set(names) - self._named):
            if not get_document(self.tx, APPLICATION + name):
                self.put_document(POLICY_LAYER, Draft("add", APPLICATION + name, "", "{}", "named by an entry"))

    def serials(self) -> dict[str, int]:
        """Return by layer the serial in which the changes of this batch take effect."""
        return {layer: self.serial(layer) for layer, drafts in self._drafts.items() if drafts}

    def check_room(self, layer: str) -> None:
        """Raise Conflict where the layer is full."""
        if layer not in self._published:
            newest = None if layer in self.rules.counts else newest_publication(self.tx, layer)
            self._published[layer] = self.rules.counts.get(layer, newest.entries if newest is not None else 0)
        published, limit = self._published[layer], self.rules.layers[layer].entries
        if published and published + len(self._drafts[layer]) >= limit:
            raise Conflict(f"the layer '{layer}' has {published} entries, expected below {limit}", code="layer_full")

    def _cover(self, layer: str, before: Entry | None, after: Entry | None) -> None:
        """Count what a change covers; raise Conflict where the layer would have more addresses than it may."""
        limits = self.rules.layers[layer]
        if not limits.total_ipv4 and not limits.total_ipv6:
            return
        if layer not in self._covered:
            self._covered[layer] = Counter(covered_by(self.tx, layer, self.seconds))
        covered, more = self._covered[layer], Counter[int]()
        if after is not None:
            more.update(addresses_by_version(after))
        if before is not None and (before.expires is None or self.seconds < before.expires):
            more.subtract(addresses_by_version(before))
        covered.update(more)
        for version, count in more.items():
            total = limits.total(version)
            if count > 0 and total and covered[version] > 1 << BITS[version] - total:
                covered.subtract(more)
                raise Conflict(
                    f"the layer '{layer}' would cover {covered[version] + count:,.0f} addresses of IPv{version}, "
                    f"expected at most as many as a /{total} has",
                    code="too_many_addresses",
                    hint=f"delete what is not needed, or raise may.total_ipv{version} of the layer in control.yaml and "
                    "in authz.yaml of every sidecar",
                )


def _check_reason(reason: str) -> None:
    mistakes = list(text_mistakes(reason, "?reason"))
    if mistakes:
        raise Invalid(mistakes)
