"""Messages that were made: which waits, which was taken and when, which was dropped. The outbox has the content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from authz.control.store.tables import deliveries

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

WAITING, SENT, DROPPED = "waiting", "sent", "dropped"


def add_delivery(tx: Connection, delivery: str, channel: str, topic: str, count: int, text: str, now: int) -> None:
    """Note a message that is to be sent. now: microseconds."""
    tx.execute(
        insert(deliveries).values(
            id=delivery, created=now, channel=channel, topic=topic, count=count, text=text, state=WAITING, tries=0,
            decided=0, error="",
        )
    )  # fmt: skip


def failed_once_more(tx: Connection, delivery: str, error: str) -> None:
    """Count a try that failed, and why."""
    row = deliveries.c.id == delivery
    tx.execute(update(deliveries).where(row).values(tries=deliveries.c.tries + 1, error=error[:500]))


def decide(tx: Connection, delivery: str, state: str, now: int) -> None:
    """Note that a message was sent, or dropped."""
    tx.execute(update(deliveries).where(deliveries.c.id == delivery).values(state=state, decided=now))


def made_since(tx: Connection, channel: str, since: int) -> int:
    """Return how many messages were made for a channel since a time (microseconds)."""
    where = (deliveries.c.channel == channel) & (deliveries.c.created > since)
    return tx.execute(select(func.count()).select_from(deliveries).where(where)).scalar_one()


def list_deliveries(
    tx: Connection, *, channel: str | None = None, before: int | None = None, limit: int = 100
) -> list[Row[Any]]:
    """Return the rows of messages, the newest first; `many` is the count. before: made before this (microseconds)."""
    query = (
        select(deliveries, deliveries.c["count"].label("many"))
        .order_by(deliveries.c.created.desc(), deliveries.c.id)
        .limit(limit)
    )
    if channel is not None:
        query = query.where(deliveries.c.channel == channel)
    if before is not None:
        query = query.where(deliveries.c.created < before)
    return [*tx.execute(query)]


def count_deliveries(tx: Connection) -> dict[tuple[str, str], int]:
    """Return how many messages are known, by channel and state."""
    query = select(deliveries.c.channel, deliveries.c.state, func.count()).group_by(
        deliveries.c.channel, deliveries.c.state
    )
    return {(channel, state): count for channel, state, count in tx.execute(query)}


def drop_old_deliveries(tx: Connection, before: int) -> None:
    """Delete the messages that were decided before a time (microseconds)."""
    tx.execute(delete(deliveries).where(deliveries.c.decided > 0, deliveries.c.decided < before))
