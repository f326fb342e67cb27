"""What goes in and out, as JSON. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from authz.control.access.roles import Role
from authz.control.model.records import MICROSECONDS, SUBJECTS, Change, Entry, Owner, Written
from authz.engine.model import Action, ListName
from authz.times import format_moment

Strings = tuple[str, ...]
Reason = Annotated[str, Meta(max_length=1000, description="Why; kept in history.")]
Period = Annotated[str, Meta(description="5m, 2h, 7d or forever.", examples=["2h"])]
Moment = Annotated[str, Meta(description="RFC 3339, or forever.", examples=["2026-12-01T00:00:00Z"])]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what comes in: unknown keys are refused."""


class BanInput(Input, frozen=True, kw_only=True):
    """A ban: one address or network, for a time."""

    address: Annotated[str, Meta(description="An address or a network.", examples=["203.0.113.9"])]
    applications: Strings = ()
    period: Period | None = None
    expires: Moment | None = None
    reason: Reason = ""
    list: Annotated[str, Meta(pattern="^(deny|gray)$")] = "deny"
    force: bool = False


class EntryInput(Input, frozen=True, kw_only=True, rename={"except_": "except"}):
    """An entry. Without `applications`: of all. Without `period` and `expires`: one hour."""

    list: ListName = "deny"
    networks: Strings = ()
    except_: Strings = ()
    hosts: Strings = ()
    countries: Strings = ()
    regions: Strings = ()
    continents: Strings = ()
    asns: tuple[int, ...] = ()
    sources: Strings = ()
    applications: Strings = ()
    action: Action = "block"
    starts: Moment | None = None
    period: Period | None = None
    expires: Moment | None = None
    reason: Reason = ""
    author: Annotated[str, Meta(max_length=1000)] = ""
    force: bool = False


class EntryPatch(Input, frozen=True, kw_only=True, rename={"except_": "except"}):
    """What is to be different; what is left out stays."""

    list: ListName | UnsetType = UNSET
    networks: Strings | UnsetType = UNSET
    except_: Strings | UnsetType = UNSET
    hosts: Strings | UnsetType = UNSET
    countries: Strings | UnsetType = UNSET
    regions: Strings | UnsetType = UNSET
    continents: Strings | UnsetType = UNSET
    asns: tuple[int, ...] | UnsetType = UNSET
    sources: Strings | UnsetType = UNSET
    applications: Strings | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    starts: Moment | UnsetType | None = UNSET
    period: Period | UnsetType = UNSET
    expires: Moment | UnsetType | None = UNSET
    reason: Reason | UnsetType = UNSET
    force: bool = False
    take_over: bool = False


class EntryBody(msgspec.Struct, frozen=True, kw_only=True, rename={"except_": "except"}):
    """An entry as it stands. expires: null: never. active: whether it counts now. serial: of the change just made.

    serials: by layer, where it touched others: an application that an entry is the first to name is made known to the
    first layer.
    """

    id: str
    version: int
    list: str
    networks: Strings
    except_: Strings
    hosts: Strings
    countries: Strings
    regions: Strings
    continents: Strings
    asns: tuple[int, ...]
    sources: Strings
    applications: Strings
    action: str
    starts: str | None
    expires: str | None
    reason: str
    author: str
    tenant: str
    owner: Owner
    layer: str
    created: str
    active: bool
    origin: str = ""
    address: str | UnsetType = UNSET
    serial: int | UnsetType = UNSET
    serials: dict[str, int] | UnsetType = UNSET


class EntriesBody(msgspec.Struct, frozen=True):
    """A page of entries. cursor: for the next page, however many are in this one; null: this is the last."""

    items: list[EntryBody]
    cursor: str | None


class RowResult(msgspec.Struct, frozen=True):
    """What became of one row of a bulk request."""

    status: int
    entry: EntryBody | None = None
    problem: dict[str, Any] | None = None


class BulkBody(msgspec.Struct, frozen=True):
    """What became of each row, in order. serial: by layer, in which all of them take effect."""

    items: list[RowResult]
    serials: dict[str, int]


class HistoryItem(msgspec.Struct, frozen=True):
    """One change: who did what, when, how and why."""

    time: str
    action: str
    actor: str
    actor_kind: str
    method: str
    reason: str
    id: str
    tenant: str
    layer: str
    serial: int
    request_id: str
    forced: bool
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class HistoryBody(msgspec.Struct, frozen=True):
    """A page of history, newest first."""

    items: list[HistoryItem]
    cursor: str | None


class TokenInput(Input, frozen=True, kw_only=True):
    """A token to make. person: whose it is, as sign-on names people: four eyes count both as one."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    role: Role
    tenant: str | None = None
    networks: Strings = ()
    period: Period | None = None
    expires: Moment | None = None
    person: Annotated[str, Meta(max_length=200)] = ""


class TokenBody(msgspec.Struct, frozen=True):
    """A token. secret: only in the answer that made it."""

    id: str
    name: str
    role: str
    tenant: str
    networks: Strings
    created: str
    expires: str | None
    revoked: str | None
    person: str
    secret: str | UnsetType = UNSET


def entry_body(
    entry: Entry, now: float, *, serial: int | UnsetType = UNSET, address: str | UnsetType = UNSET
) -> EntryBody:
    """Return an entry as JSON shows it. now: seconds since 1970."""
    return EntryBody(
        **{name: getattr(entry, name) for name in (*SUBJECTS, "except_", "list", "applications", "action", "reason")},
        id=entry.id, version=entry.version, starts=_moment(entry.starts), expires=_moment(entry.expires),
        author=entry.author, tenant=entry.tenant, owner=entry.owner, layer=entry.layer, origin=entry.origin,
        created=micro_moment(entry.created), active=entry.active(now), serial=serial, address=address,
    )  # fmt: skip


def written_body(written: Written | None) -> dict[str, Any] | None:
    """Return what an entry says, as history shows it."""
    if written is None:
        return None
    content: dict[str, Any] = msgspec.to_builtins(written)
    for name in ("starts", "expires"):
        content[name] = _moment(getattr(written, name))
    if isinstance(written, Entry):
        content["created"] = micro_moment(written.created)
    return content


def history_item(change: Change) -> HistoryItem:
    """Return a change as JSON shows it."""
    if ":" in change.subject:
        before, after = (msgspec.json.decode(text) if text else None for text in (change.before, change.after))
    else:
        before, after = written_body(change.entry_before()), written_body(change.entry_after())
    return HistoryItem(
        micro_moment(change.time), change.action, change.actor, change.actor_kind, change.method, change.reason,
        change.subject, change.tenant, change.layer, change.sequence, change.request_id, change.forced, before, after,
    )  # fmt: skip


def micro_moment(microseconds: int) -> str:
    """Return a time of record as text, with its microseconds: two changes in one second can be told apart."""
    seconds, rest = divmod(microseconds, MICROSECONDS)
    whole = format_moment(seconds)
    return whole.removesuffix("Z") + f".{rest:06}Z"


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else format_moment(seconds)
