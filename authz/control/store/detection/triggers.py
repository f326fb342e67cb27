"""Triggers that were written by API: each version with who wrote it and when; and those that a breaker has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from authz.control.model.records import FOREVER
from authz.control.store.tables import stopped_triggers, triggers

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


class StoredTrigger(NamedTuple):
    """One version of a trigger. Times are microseconds.

    Attributes:
        until: None: it still holds.
        content: JSON.
    """

    name: str
    version: int
    since: int
    until: int | None
    content: str
    actor: str
    ended_by: str


def stored_triggers(tx: Connection) -> list[StoredTrigger]:
    """Return the triggers that hold, by name."""
    query = select(triggers).where(triggers.c.recorded_to == FOREVER).order_by(triggers.c.name)
    return [_stored(row) for row in tx.execute(query)]


def stored_trigger(tx: Connection, name: str) -> StoredTrigger | None:
    """Return the version of a trigger that holds; None: there is none."""
    row = tx.execute(select(triggers).where(triggers.c.name == name, triggers.c.recorded_to == FOREVER)).first()
    return None if row is None else _stored(row)


def versions_of(tx: Connection, name: str) -> list[StoredTrigger]:
    """Return all versions of a trigger, the newest first."""
    query = select(triggers).where(triggers.c.name == name).order_by(triggers.c.version.desc())
    return [_stored(row) for row in tx.execute(query)]


def put_trigger(tx: Connection, name: str, content: str, actor: str, now: int) -> StoredTrigger:
    """Write a version that holds from now on."""
    newest = tx.execute(select(func.max(triggers.c.version)).where(triggers.c.name == name)).scalar() or 0
    end_trigger(tx, name, actor, now)
    made = StoredTrigger(name, newest + 1, now, None, content, actor, "")
    tx.execute(
        insert(triggers).values(
            name=name, version=made.version, recorded_from=now, recorded_to=FOREVER, content=content, actor=actor,
            ended_by="",
        )
    )  # fmt: skip
    return made


def end_trigger(tx: Connection, name: str, actor: str, now: int) -> bool:
    """Let the version that holds end now; return whether there was one."""
    ending = update(triggers).where(triggers.c.name == name, triggers.c.recorded_to == FOREVER)
    return tx.execute(ending.values(recorded_to=now, ended_by=actor)).rowcount > 0


def stopped(tx: Connection) -> dict[str, int]:
    """Return the names of triggers that a breaker has stopped, and since when (microseconds)."""
    return {row.name: row.since for row in tx.execute(select(stopped_triggers))}


def stop_trigger(tx: Connection, name: str, now: int) -> bool:
    """Note that a breaker has stopped a trigger; return whether that is new."""
    if name in stopped(tx):
        return False
    tx.execute(insert(stopped_triggers).values(name=name, since=now))
    return True


def resume_trigger(tx: Connection, name: str) -> None:
    """Let a trigger go on. A second call is harmless."""
    tx.execute(delete(stopped_triggers).where(stopped_triggers.c.name == name))


def _stored(row: Row[Any]) -> StoredTrigger:
    until = None if row.recorded_to == FOREVER else row.recorded_to
    return StoredTrigger(row.name, row.version, row.recorded_from, until, row.content, row.actor, row.ended_by)
