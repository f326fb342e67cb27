"""Asking for changes: newest first, by address, entry, tenant and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, literal_column, select, tuple_

from authz.control.store.entries.find import covering_ids
from authz.control.store.ledger.changes import COLUMNS, changes_of
from authz.control.store.tables import changes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.addresses import Network
    from authz.control.model.records import Change


class Wanted(NamedTuple):
    """Which changes; None: whatever.

    Attributes:
        begin, end: Microseconds, `end` not included.
    """

    tenant: str | None = None
    layer: str | None = None
    subject: str | None = None
    network: Network | None = None
    begin: int | None = None
    end: int | None = None
    actor: str | None = None


Place = tuple[int, str, int]  # time, layer, sequence: the order of history


def find_changes(tx: Connection, wanted: Wanted, *, before: Place | None = None, limit: int = 100) -> list[Change]:
    """Return changes, newest first, those before a place in history, at most `limit`."""
    # Written out: a planner that does not see the value does not take the index on actors, which has no publications.
    query = select(*COLUMNS).where(changes.c.action != literal_column("'publish'"))
    for column in ("tenant", "layer", "subject", "actor"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(changes.c[column] == value)
    if wanted.network is not None:
        query = query.where(changes.c.subject.in_(covering_ids(tx, wanted.network)))
    if wanted.begin is not None:
        query = query.where(changes.c.time >= wanted.begin)
    if wanted.end is not None:
        query = query.where(changes.c.time < wanted.end)
    order = (changes.c.time, changes.c.layer, changes.c.sequence)
    if before is not None:
        query = query.where(tuple_(*order) < tuple_(*before))
    return list(changes_of(tx.execute(query.order_by(*(column.desc() for column in order)).limit(limit))))


def get_change(tx: Connection, layer: str, sequence: int) -> Change | None:
    """Return one change; None: there is none."""
    where = (changes.c.layer == layer) & (changes.c.sequence == sequence)
    return next(iter(changes_of(tx.execute(select(*COLUMNS).where(where)))), None)


def sequence_at(tx: Connection, layer: str, at: int) -> int:
    """Return the sequence of the last change of a layer up to a time of record (microseconds); 0: there was none."""
    until = (changes.c.layer == layer) & (changes.c.time <= at)
    order = changes.c.time.desc(), changes.c.sequence.desc()
    return tx.execute(select(changes.c.sequence).where(until).order_by(*order).limit(1)).scalar() or 0


def last_of_transaction(tx: Connection, layer: str, sequence: int) -> Change | None:
    """Return the last of the changes that were written together with one; None: that is not there."""
    change = get_change(tx, layer, sequence)
    if change is None:
        return None
    together = (changes.c.layer == layer) & (changes.c.time == change.time)
    last: int = tx.execute(select(func.max(changes.c.sequence)).where(together)).scalar_one()
    return get_change(tx, layer, last)
