"""What holds now and was notified: a stale sidecar, a refused layer; and entries whose first hit was notified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from authz.control.store.tables import alarms

if TYPE_CHECKING:
    from sqlalchemy import Connection


def raise_alarm(tx: Connection, key: str, content: str, now: int) -> bool:
    """Note what holds; return whether that is new. now: microseconds."""
    if tx.execute(select(alarms.c.key).where(alarms.c.key == key)).first() is not None:
        return False
    tx.execute(insert(alarms).values(key=key, since=now, content=content))
    return True


def end_alarm(tx: Connection, key: str) -> bool:
    """Note that something holds no longer; return whether it did."""
    return tx.execute(delete(alarms).where(alarms.c.key == key)).rowcount > 0


def find_alarms(tx: Connection, prefix: str) -> dict[str, str]:
    """Return the content of alarms by their keys, of which each begins with `prefix`."""
    where = (alarms.c.key >= prefix) & (alarms.c.key < prefix + "\U0010ffff")
    return {row.key: row.content for row in tx.execute(select(alarms.c.key, alarms.c.content).where(where))}


def count_alarms(tx: Connection, prefix: str) -> int:
    """Return how many alarms have keys that begin with `prefix`."""
    where = (alarms.c.key >= prefix) & (alarms.c.key < prefix + "\U0010ffff")
    return tx.execute(select(func.count()).select_from(alarms).where(where)).scalar_one()
