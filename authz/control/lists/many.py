"""Many entries in one change: what a filter finds is deleted, what a source says takes the place of what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.control.lists.entries import add, change, delete
from authz.control.model.problems import Conflict, FieldMistake, Invalid, Problem
from authz.control.store.entries.find import Filter, each_entry
from authz.control.store.ledger.follow import likeness
from authz.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.control.lists.batch import Batch
    from authz.control.model.records import Entry, Written

MAX_DELETED: Final = 10_000  # in one change


class Replaced(NamedTuple):
    """What a source's new list did.

    Attributes:
        skipped: Rows (from 0) that say what another entry says, by its id.
    """

    added: list[Entry]
    changed: list[Entry]
    deleted: list[Entry]
    kept: list[Entry]
    skipped: list[tuple[int, str]]


def delete_matching(
    batch: Batch, wanted: Filter, expect: int, reason: str = "", *, take_over: bool = False, permanent: bool = True
) -> list[Entry]:  # fmt: skip
    """Delete the entries that a filter finds, of the tenant that asks, if they are as many as it expects.

    permanent: also those of the deny and gray list that have no end. Raises Conflict (`unexpected_count`, with how many
    were found, and how many permanent ones were left out) and what `delete` does; then nothing is deleted.
    """
    own = wanted._replace(tenant=batch.tenant.name, unexpired_at=int(batch.seconds))
    kept = 0
    entries: list[Entry] = []
    for entry in each_entry(batch.tx, own):
        if not permanent and entry.list != "allow" and entry.expires is None:
            kept += 1
        else:
            entries.append(entry)
        if len(entries) > MAX_DELETED:
            break
    if len(entries) != expect:
        many = f"more than {MAX_DELETED}" if len(entries) > MAX_DELETED else str(len(entries))
        beside = f", and {kept} permanent {'ban' if kept == 1 else 'bans'} that stay" if kept else ""
        raise Conflict(
            f"found {many} entries{beside}, expected {expect}", code="unexpected_count",
            hint="give permanent=true to delete these too" if kept else "",
            extra={"found": len(entries), "permanent": kept},
        )  # fmt: skip
    return [delete(batch, entry, reason, take_over=take_over) for entry in entries]


def replace_source(batch: Batch, source: str, rows: Sequence[Written], reason: str = "") -> Replaced:
    """Let the entries of a source be these rows: others of it are deleted, like ones kept or changed, new ones added.

    An entry of the source that names the same subjects as a row stays the same entry, with its id and its history.
    A row that somebody else's entry says already is skipped.

    Raises:
        Invalid: Rows are wrong, or not permitted (`rows_refused`, with a pointer to each). Nothing is replaced.
        NeedsApproval: What is deleted needs a second person.

    """
    own = Filter(tenant=batch.tenant.name, owner="api", origin=source)
    before = {likeness(entry, entry.tenant): entry for entry in each_entry(batch.tx, own)}
    keys = [_likeness_of(row, batch.tenant.name) for row in rows]
    gone = [entry for key, entry in before.items() if key not in set(keys)]
    why = reason or f"no longer in {source}"
    result = Replaced([], [], [delete(batch, entry, why) for entry in gone], [], [])
    refused: list[FieldMistake] = []
    for number, (key, row) in enumerate(zip(keys, rows, strict=True)):
        try:
            _put(batch, before.pop(key, None) if key else None, row, source, reason, result)
        except Conflict as error:
            if error.code == "exists":
                result.skipped.append((number, str(error.extra["id"])))
            else:
                refused.append(FieldMistake(f"/{number}", error.message))
        except Problem as error:
            refused += _mistakes(number, error)
    if refused:
        raise Invalid(refused, code="rows_refused")
    return result


def _put(batch: Batch, known: Entry | None, row: Written, source: str, reason: str, result: Replaced) -> None:
    if known is None:
        result.added.append(add(batch, row, origin=source))
    elif known.says() == row:
        result.kept.append(known)
    else:
        result.changed.append(change(batch, known, row, reason or f"changed in {source}"))


def _likeness_of(row: Written, tenant: str) -> bytes | None:
    """Return what like entries share; None for a row with invalid networks: adding it says what is wrong."""
    try:
        return likeness(row, tenant)
    except AddressError:
        return None


def _mistakes(number: int, error: Problem) -> Iterable[FieldMistake]:
    if isinstance(error, Invalid):
        return [FieldMistake(f"/{number}{mistake.pointer}", mistake.detail) for mistake in error.mistakes]
    return [FieldMistake(f"/{number}", error.message)]
