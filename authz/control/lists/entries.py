"""Add, change and delete entries; change their period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.lists.holds import hold_after_deletion
from authz.control.lists.rules.check import check_exceptions, check_written
from authz.control.lists.rules.guard import approval_reason, check_lock_out, denies, denies_no_more
from authz.control.lists.rules.limits import breaches, foreign_applications
from authz.control.model.problems import Conflict, Forbidden, Invalid, NeedsApproval
from authz.control.model.records import MAIN_TENANT, POLICY_LAYER, Entry, Owner, Written
from authz.control.store.entries.find import latest_version
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.lists.rules.rules import Rules


def add(
    batch: Batch, written: Written, *, layer: str | None = None, owner: Owner = "api", entry_id: str | None = None,
    origin: str = "", tenant: str | None = None,
) -> Entry:  # fmt: skip
    """Add an entry.

    layer: None: the one that `layer_for` chooses; the batch must have it. entry_id: for imports; None: a new one.
    Raises Invalid, Conflict (`exists`: a like entry is there; `lock_out`; `layer_full`), Forbidden and NeedsApproval.
    """
    check_written(written)
    check_exceptions(written)
    layer = layer or layer_for(written, batch.rules, batch.seconds)
    owned_by = tenant or batch.tenant.name
    forced = check_permitted(batch, written, layer)
    like = batch.like(written, owned_by)
    if like is not None:
        until = "without an end" if like.expires is None else f"until {format_moment(like.expires)}"
        raise Conflict(
            f"the entry '{like.id}' says the same, {until}",
            code="exists",
            hint=f"change that one: PATCH /v1/entries/{like.id}",
            extra={"id": like.id, "version": like.version, "expires": format_moment(like.expires, "forever")},
        )
    batch.check_room(layer)
    version = 1
    if entry_id is not None:
        version += latest_version(batch.tx, entry_id)
    entry = Entry(
        id=entry_id or batch.new_id(layer), version=version, tenant=owned_by, layer=layer, owner=owner,
        created=batch.now, origin=origin, **says(written),
    )  # fmt: skip
    batch.put(None, entry, written.reason, forced=forced)
    return entry


def change(batch: Batch, entry: Entry, written: Written, reason: str = "", *, take_over: bool = False) -> Entry:
    """Let an entry say something else. entry: as it is now. Raises what `add` does, and Conflict (`other_owner`)."""
    check_written(written)
    if (written.networks, written.except_) != (entry.networks, entry.except_):
        check_exceptions(written)
    _check_owner(entry, take_over=take_over)
    forced = check_permitted(batch, written, entry.layer, before=entry)
    like = batch.like(written, entry.tenant)
    if like is not None and like.id != entry.id:
        raise Conflict(f"the entry '{like.id}' says the same", code="exists", extra={"id": like.id})
    owner: Owner = "api" if take_over else entry.owner
    after = msgspec.structs.replace(entry, version=entry.version + 1, owner=owner, **says(written))
    batch.put(entry, after, reason, forced=forced)
    return after


def change_period(
    batch: Batch, entry: Entry, expires: int | None, reason: str = "", *, take_over: bool = False
) -> Entry:
    """Let an entry end at another time. expires: seconds since 1970; None: never."""
    return change(batch, entry, msgspec.structs.replace(entry.says(), expires=expires), reason, take_over=take_over)


def delete(batch: Batch, entry: Entry, reason: str = "", *, take_over: bool = False) -> Entry:
    """Take an entry off its list. Where a trigger made it, a person's deletion begins a hold.

    Raises Conflict (`other_owner`), Forbidden and NeedsApproval.
    """
    _check_owner(entry, take_over=take_over)
    _check_tenant(batch, entry)
    if batch.rules.four_eyes.allow and entry.list == "allow" and not batch.approved:
        raise NeedsApproval("it touches the allow list")
    batch.put(entry, None, reason)
    hold_after_deletion(batch, entry)
    return entry


def layer_for(written: Written, rules: Rules, now: float) -> str:
    """Return the layer that carries an entry: the one of bans where its limits permit it, else the first layer."""
    if not list(breaches(written, rules.layers[rules.bans], now)):
        return rules.bans
    return POLICY_LAYER if POLICY_LAYER in rules.layers else rules.bans


def layers_of(rules: Rules) -> tuple[str, ...]:
    """Return the layers that an entry of whatever content may go to."""
    return tuple(layer for layer in (rules.bans, POLICY_LAYER) if layer in rules.layers)


def says(written: Written) -> dict[str, Any]:
    """Return the fields of what an entry says."""
    return msgspec.structs.asdict(written)


def check_permitted(batch: Batch, written: Written, layer: str, *, before: Entry | None = None) -> bool:
    """Return whether the lock-out guard was forced; raises where an entry may not say that in this layer."""
    mistakes = list(breaches(written, batch.rules.layers[layer], batch.seconds))
    if mistakes:
        raise Invalid(mistakes, code="not_permitted")
    unknown = list(batch.rules.known.unresolvable(written))
    if unknown:
        raise Invalid(unknown, code="unresolvable")
    _check_tenant(batch, written)
    rules, own = batch.rules, batch.actor.address
    # Also where it denies nobody: what cannot be read keeps the layer unbuilt. An import may come before its databases.
    unread = batch.actor.kind == "import" and not denies(written)
    resolved = {} if unread else rules.resolver.networks_of(written)
    forced = check_lock_out(written, layer, rules.protected, own, resolved, force=batch.force)
    batch.name_applications(written.applications)
    others = 0 if before is not None and denies_no_more(before, written, batch.seconds) else batch.denied
    why = approval_reason(written, rules.four_eyes, before, others)
    if why and not batch.approved:
        raise NeedsApproval(why)
    return forced


def _check_tenant(batch: Batch, entry: Written) -> None:
    if batch.tenant.name == MAIN_TENANT:
        return
    foreign = list(foreign_applications(entry.applications, batch.tenant.applications or ("",)))
    if foreign:
        raise Forbidden(f"{foreign[0].pointer}: {foreign[0].detail}", code="foreign_application")


def _check_owner(entry: Entry, *, take_over: bool) -> None:
    if entry.owner not in {"api", "trigger"} and not take_over:
        raise Conflict(
            f"the entry '{entry.id}' belongs to {entry.owner}, which would bring it back",
            code="other_owner",
            hint="change it there, or give take_over: true",
            extra={"owner": entry.owner},
        )
