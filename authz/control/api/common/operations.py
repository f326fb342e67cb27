"""What changes lists, as data: so that a change can wait for a second person, and then be done as it was asked for."""

from __future__ import annotations

import contextlib
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from authz.addresses import parse_networks
from authz.control.api.common.bodies import BanInput, EntryBody, EntryInput, EntryPatch, entry_body
from authz.control.api.common.matching import check_match
from authz.control.lists import entries as lists
from authz.control.lists.bans import ban, unban
from authz.control.lists.rules.guard import addresses_of, denies, names_others
from authz.control.lists.rules.periods import DEFAULT_PERIOD, end_of, moment
from authz.control.model.problems import FieldMistake, Forbidden, Invalid, NeedsApproval
from authz.control.model.records import SUBJECTS, WRITTEN, Entry, Written
from authz.control.plane import nobody
from authz.control.store.entries.find import get_entry
from authz.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection

    from authz.control.lists.batch import Batch
    from authz.control.lists.rules.guard import FourEyes
    from authz.control.lists.rules.rules import Rules


class AddBan(msgspec.Struct, frozen=True, tag=True):
    """Ban an address or network."""

    data: BanInput


class EndBan(msgspec.Struct, frozen=True, tag=True):
    """End a ban."""

    id: str
    if_match: str | None
    reason: str


class AddEntry(msgspec.Struct, frozen=True, tag=True):
    """Add an entry."""

    data: EntryInput


class ChangeEntry(msgspec.Struct, frozen=True, tag=True):
    """Change an entry. may_edit: otherwise only when bans end."""

    id: str
    data: EntryPatch
    if_match: str | None
    may_edit: bool


class DeleteEntry(msgspec.Struct, frozen=True, tag=True):
    """Delete an entry."""

    id: str
    if_match: str | None
    reason: str
    take_over: bool


Operation = AddBan | EndBan | AddEntry | ChangeEntry | DeleteEntry
MAX_NETWORKS: Final = 50_000  # of one request, ranges taken apart: a second or two of writing
_NAMED: Final = (*SUBJECTS, "except_", "list", "applications", "action")


def layers_of(operation: Operation, rules: Rules) -> tuple[str, ...]:
    """Return the layers that an operation may write to."""
    return (rules.bans,) if isinstance(operation, EndBan) else lists.layers_of(rules)


def forced(operation: Operation) -> bool:
    """Return whether an operation is to pass the lock-out guard."""
    return isinstance(operation, AddBan | AddEntry | ChangeEntry) and operation.data.force


def foreseen(*operations: Operation) -> Callable[[Connection], Iterable[Written]]:
    """Return what finds out whom entries will name that operations add or change; see `plane.foresee`."""
    wanted = [operation for operation in operations if isinstance(operation, AddEntry | ChangeEntry)]
    if all(isinstance(operation, AddEntry) for operation in wanted):
        return all_of(*(operation.data for operation in wanted if isinstance(operation, AddEntry)))
    return lambda tx: [named for operation in wanted if (named := named_by(tx, operation)) is not None]


def all_of(*rows: EntryInput) -> Callable[[Connection], Iterable[Written]]:
    """Return what finds out whom entries will name."""
    named = [subjects_of(row) for row in rows]
    return (lambda _: named) if any(map(names_others, named)) else nobody


def check_together(rows: Iterable[EntryInput], rules: FourEyes) -> None:
    """Raise NeedsApproval where rows, taken together, deny more than one person may. Those with mistakes count not."""
    if rules.addresses is None:
        return
    denied = 0
    for row in filter(denies, map(subjects_of, rows)):
        with contextlib.suppress(AddressError):
            denied += addresses_of(row)
        if denied > rules.addresses:
            raise NeedsApproval(f"the rows deny {denied:,} addresses or more, more than {rules.addresses:,}")


def subjects_of(data: EntryInput) -> Written:
    """Return whom an entry will name."""
    return Written(**{name: getattr(data, name) for name in _NAMED})


def named_by(tx: Connection, operation: Operation) -> Written | None:
    """Return whom an operation is about: the entry as it would be, or as it is that would go; None: it is gone."""
    if isinstance(operation, AddBan):
        return Written(networks=(operation.data.address,), applications=operation.data.applications)
    if isinstance(operation, AddEntry):
        return subjects_of(operation.data)
    entry = get_entry(tx, operation.id)
    if entry is None:
        return None
    data = operation.data if isinstance(operation, ChangeEntry) else EntryPatch()
    given = {name: getattr(data, name) for name in _NAMED if getattr(data, name) is not UNSET}
    return msgspec.structs.replace(entry.says(), **given)


def perform(batch: Batch, operation: Operation) -> tuple[int, EntryBody]:
    """Do it; return the status and the body of the answer. Raises Problem."""
    status, entry, address = _perform(batch, operation)
    body = entry_body(entry, batch.seconds, serial=batch.serial(entry.layer), address=address)
    return status, msgspec.structs.replace(body, serials=batch.serials())


def _perform(batch: Batch, operation: Operation) -> tuple[int, Entry, Any]:
    if isinstance(operation, AddBan):
        entry = _add_ban(batch, operation.data)
        return 201, entry, entry.networks[0]
    if isinstance(operation, AddEntry):
        return 201, lists.add(batch, written_of(operation.data, batch)), UNSET
    if isinstance(operation, EndBan):
        before = batch.entry(operation.id)
        check_match(before, operation.if_match, entry_body(before, batch.seconds), required=False)
        return 200, unban(batch, operation.id, operation.reason), UNSET
    before = batch.entry(operation.id)
    if isinstance(operation, DeleteEntry):
        check_match(before, operation.if_match, entry_body(before, batch.seconds))
        return 200, lists.delete(batch, before, operation.reason, take_over=operation.take_over), UNSET
    return 200, _change(batch, before, operation), UNSET


def _add_ban(batch: Batch, data: BanInput) -> Entry:
    return ban(
        batch, data.address, applications=data.applications, period=data.period, expires=data.expires,
        reason=data.reason, list_="gray" if data.list == "gray" else "deny",
    )  # fmt: skip


def _change(batch: Batch, before: Entry, operation: ChangeEntry) -> Entry:
    data = operation.data
    if not operation.may_edit and (before.layer != batch.rules.bans or _says_more_than_when(data)):
        raise Forbidden("the role may change only when bans end", code="role")
    check_match(before, operation.if_match, entry_body(before, batch.seconds))
    reason = "" if data.reason is UNSET else data.reason
    return lists.change(batch, before, patched(before, data, batch), reason, take_over=data.take_over)


def written_of(data: EntryInput, batch: Batch) -> Written:
    """Return what a request says, with its window worked out. Raises Invalid."""
    _count_networks(batch, data.networks, data.except_)
    starts = None if data.starts is None else moment(data.starts, "/starts")
    names = (*SUBJECTS, "except_", "list", "applications", "action", "reason")
    return Written(
        **{name: getattr(data, name) for name in names},
        starts=starts,
        expires=end_of(data.period, data.expires, batch.seconds, default=DEFAULT_PERIOD, start=starts),
        author=data.author or batch.actor.name,
    )


def patched(before: Entry, data: EntryPatch, batch: Batch) -> Written:
    """Return what an entry says after a change. Raises Invalid."""
    _count_networks(batch, data.networks or (), data.except_ or ())
    given = {
        name: getattr(data, name)
        for name in WRITTEN
        if name not in {"starts", "expires", "author", "reason"} and getattr(data, name) is not UNSET
    }
    if data.starts is not UNSET:
        given["starts"] = None if data.starts is None else moment(data.starts, "/starts")
    if data.period is not UNSET or data.expires is not UNSET:
        period = None if data.period is UNSET else data.period
        expires = None if data.expires is UNSET else data.expires or "forever"
        given["expires"] = end_of(period, expires, batch.seconds)
    return msgspec.structs.replace(before.says(), **given)


def _says_more_than_when(data: EntryPatch) -> bool:
    names = (name for name in WRITTEN if name not in {"expires", "reason", "author"})
    return any(getattr(data, name) is not UNSET for name in names)


def _count_networks(batch: Batch, *texts: Iterable[str]) -> None:
    """Raise Invalid where a request names more networks than are written while others wait: a range may be hundreds.

    Others wait for the counting, too: it takes ranges apart, and ends with the one that is too many.
    """
    with contextlib.suppress(AddressError):  # what checks the entry tells it
        for text in chain.from_iterable(texts):
            if batch.networks > MAX_NETWORKS:
                break
            batch.networks += len(parse_networks(text))
    if batch.networks > MAX_NETWORKS:
        told = f"the request names over {MAX_NETWORKS:,} networks, expected fewer: send it in parts, or make a feed"
        raise Invalid([FieldMistake("/networks", told)], code="too_many")
