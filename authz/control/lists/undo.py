"""Taking a change back, and going back to an older state. Both are changes of their own: nothing is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from authz.control.lists.entries import change, check_permitted, delete
from authz.control.model.problems import Conflict, Missing, Problem
from authz.control.model.records import MAIN_TENANT, Change, Entry
from authz.control.store.entries.find import changed_since, get_entries, get_entry, latest_version
from authz.control.store.ledger.history import get_change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from authz.control.lists.batch import Batch


MAX_CHANGED: Final = 200_000  # entries that one rollback looks at


class RolledBack(NamedTuple):
    """What going back does.

    Attributes:
        skipped: Entries that cannot be brought back, with why.
    """

    restored: list[Entry]
    changed: list[Entry]
    deleted: list[Entry]
    skipped: list[tuple[str, str]]


def can_be_undone(change: Change) -> bool:
    """Return whether a change is one of an entry; settings and publications are not undone."""
    return ":" not in change.subject and change.action != "publish"


def still_undoable(tx: Connection, changes: Iterable[Change], seconds: float) -> list[Change]:
    """Return those of some changes that `undo` would take back now: nobody changed the entry since.

    What would come back must not have ended by `seconds`, a time since 1970.
    """
    made = [change for change in changes if can_be_undone(change)]
    now = get_entries(tx, {change.subject for change in made})
    return [change for change in made if _is_latest(change, now.get(change.subject)) and _lasts(change, seconds)]


def _is_latest(change: Change, now: Entry | None) -> bool:
    after = change.entry_after()
    return (now and now.version) == (after and after.version)


def _lasts(change: Change, seconds: float) -> bool:
    before = change.entry_before()
    return before is None or before.expires is None or before.expires > seconds


def undo(batch: Batch, layer: str, sequence: int, reason: str = "") -> Entry | None:
    """Take one change back: an entry is again as it was before. Returns it; None: it is off its list.

    Raises Missing, and Conflict (`changed_since`) where somebody changed the entry since.
    """
    made = get_change(batch.tx, layer, sequence)
    if made is None or not batch.may_see(made.tenant) or not can_be_undone(made):
        raise Missing(f"there is no change {sequence} of the layer '{layer}' that can be undone")
    before, now = made.entry_before(), get_entry(batch.tx, made.subject)
    if not _is_latest(made, now):
        raise Conflict(f"'{made.subject}' was changed since", code="changed_since", extra={"id": made.subject})
    reason = reason or f"undo of change {sequence}"
    if before is None:
        if now is not None:
            delete(batch, now, reason, take_over=True)
        return None
    return _bring_back(batch, before, now, reason)


def would_be_again(tx: Connection, changes: Iterable[tuple[str, int]]) -> list[Entry]:
    """Return entries as they were before changes, by layer and sequence: what taking these back would bring."""
    made = [get_change(tx, layer, sequence) for layer, sequence in changes]
    return [entry for change in made if change and ":" not in change.subject and (entry := change.entry_before())]


def differing(
    tx: Connection, at: int, tenant: str | None, layer: str | None
) -> tuple[dict[str, Entry], dict[str, Entry]]:  # fmt: skip
    """Return the entries that are not now as they were at a time of record (microseconds): as of then, and as of now.

    It costs what has changed since, however many entries there are. Raises Conflict (`too_many`).
    """
    ids = changed_since(tx, at, tenant, layer, limit=MAX_CHANGED + 1)
    if len(ids) > MAX_CHANGED:
        raise Conflict(f"over {MAX_CHANGED:,} entries changed since, expected fewer", code="too_many",
                       hint="go back in steps: a later time first, or one layer")  # fmt: skip
    return get_entries(tx, ids, at=at), get_entries(tx, ids)


def roll_back(batch: Batch, at: int, *, layer: str | None = None, reason: str = "") -> RolledBack:
    """Make the lists what they were at a time of record (microseconds), but for what has expired since.

    Entries of owners other than the API are left alone: what owns them would bring them back.
    """
    tenant = None if batch.tenant.name == MAIN_TENANT else batch.tenant.name
    then, now = differing(batch.tx, at, tenant, layer)
    result = RolledBack([], [], [], [])
    # Deletions first: what is brought back may need the room.
    for entry_id in sorted(then.keys() | now.keys(), key=lambda known: (known in then, known)):
        before, current = then.get(entry_id), now.get(entry_id)
        if before is not None and current is not None and before.says() == current.says():
            continue
        try:
            _go_back(batch, before, current, reason or "rollback", result)
        except Problem as error:
            result.skipped.append((entry_id, error.message))
    return result


def _go_back(batch: Batch, before: Entry | None, current: Entry | None, reason: str, result: RolledBack) -> None:
    if before is None:
        if current is not None:
            result.deleted.append(delete(batch, current, reason))
    elif not before.active(max(batch.seconds, before.starts or 0)):
        if current is None:
            return  # it is off its list, and would be
        result.skipped.append((before.id, "it has expired since"))
    else:
        after = _bring_back(batch, before, current, reason)
        (result.restored if current is None else result.changed).append(after)


def _bring_back(batch: Batch, before: Entry, current: Entry | None, reason: str) -> Entry:
    if current is not None:
        return change(batch, current, before.says(), reason, take_over=True)
    version = latest_version(batch.tx, before.id) + 1
    like = batch.like(before.says(), before.tenant)
    if like is not None:
        raise Conflict(f"the entry '{like.id}' says the same", code="exists", extra={"id": like.id})
    # The rules of adding hold for bringing back, too: what protects somebody may be newer than the entry.
    forced = check_permitted(batch, before.says(), before.layer)
    after = msgspec.structs.replace(before, version=version)
    batch.put(None, after, reason, forced=forced)
    return after
