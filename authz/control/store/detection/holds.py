"""Holds in the store: made with a deletion, asked by triggers, seen and ended by people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from authz.addresses import parse_network
from authz.control.model.holds import Hold
from authz.control.model.records import MICROSECONDS
from authz.control.store.tables import holds

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def add_hold(
    tx: Connection, hold: Hold, *, hold_id: str, created: int, tenant: str, actor: str, entry: str, trigger: str
) -> None:
    """Write a hold. created: microseconds; trigger: that had made the entry."""
    tx.execute(
        holds.insert().values(
            id=hold_id, created=created, until=int(hold.until), tenant=tenant, actor=actor, entry=entry,
            trigger=trigger, narrow=hold.trigger is not None, network=str(hold.subject),
        )
    )  # fmt: skip


def list_holds(tx: Connection, now: float, tenant: str | None = None) -> list[Row[tuple[object, ...]]]:
    """Return the rows of holds that hold, the next to end first. now: seconds; tenant: None for all."""
    query = select(holds).where(holds.c.until > int(now)).order_by(holds.c.until, holds.c.id)
    return [*tx.execute(query if tenant is None else query.where(holds.c.tenant == tenant))]


def current_holds(tx: Connection, now: float) -> list[Hold]:
    """Return the holds that hold."""
    return [
        Hold(parse_network(row.network), float(row.until), row.trigger if row.narrow else None)
        for row in list_holds(tx, now)
    ]


def end_hold(tx: Connection, hold_id: str, tenant: str | None = None) -> bool:
    """Delete a hold; return whether there was one."""
    query = delete(holds).where(holds.c.id == hold_id)
    return tx.execute(query if tenant is None else query.where(holds.c.tenant == tenant)).rowcount > 0


def drop_old_holds(tx: Connection, before: int) -> None:
    """Delete the holds that ended before a time (microseconds)."""
    tx.execute(delete(holds).where(holds.c.until < before // MICROSECONDS))
