"""What waits to be told.

There are two kinds of rows:

    listed:ops    a change, until its gathering time is over (`next_try`)
    message:ops   a message with its delivery id, until its receiver has taken it

A message is made and kept before it is sent, so that it has the same id when it is sent again.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import delete, func, insert, select, update

from authz.control.model import MICROSECONDS
from authz.control.notify.message import message
from authz.control.store.tables import outbox

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from authz.control.notify.config import Notify
    from authz.control.notify.message import Notice

_MESSAGE: Final = "message"
_MAX_GATHERED: Final = 10_000  # changes of a message
_LONGEST_PAUSE: Final = 3600 * MICROSECONDS
GIVE_UP: Final = 86400 * MICROSECONDS  # after this long a message that nobody takes is dropped


class Waiting(NamedTuple):
    """A message that is to be sent."""

    id: int
    created: int
    channel: str
    content: bytes
    tries: int

    @property
    def delivery(self) -> str:
        """Its delivery id."""
        found: str = msgspec.json.decode(self.content)["delivery"]
        return found


def note_notices(tx: Connection, notify: Notify, notices: Iterable[Notice], now: int) -> None:
    """Write down what channels are to be told of, in the transaction of what happened. now: microseconds."""
    rows = [
        _row(f"{notice.topic}:{channel.name}", msgspec.json.encode(notice.item), now,
             now + int(channel.gather * MICROSECONDS))
        for notice in notices
        for channel in notify.channels
        if notice.topic in channel.topics
    ]  # fmt: skip
    if rows:
        tx.execute(insert(outbox), rows)


def gather(tx: Connection, now: int) -> None:
    """Make messages of what has waited long enough, with all that came meanwhile."""
    waiting = select(outbox.c.topic).where(outbox.c.topic.not_like(f"{_MESSAGE}:%"))
    due = waiting.where(outbox.c.next_try <= now).distinct()
    for name in tx.execute(due).scalars().all():
        topic, _, channel = name.partition(":")
        query = select(outbox.c.id, outbox.c.payload).where(outbox.c.topic == name)
        rows = tx.execute(query.order_by(outbox.c.id).limit(_MAX_GATHERED)).all()
        items = [msgspec.json.decode(row.payload) for row in rows]
        content = message(f"d-{secrets.token_hex(12)}", topic, items, now)
        ids = [row.id for row in rows]  # not a range: one of it may be committed only now
        tx.execute(delete(outbox).where(outbox.c.id.in_(ids)))
        tx.execute(insert(outbox), [_row(f"{_MESSAGE}:{channel}", content, now, now)])


def due_messages(tx: Connection, now: int, limit: int = 100) -> list[Waiting]:
    """Return the messages that are to be sent now, oldest first."""
    where = (outbox.c.topic.like(f"{_MESSAGE}:%")) & (outbox.c.next_try <= now)
    rows = tx.execute(select(outbox).where(where).order_by(outbox.c.id).limit(limit))
    return [
        Waiting(row.id, row.created, row.topic.partition(":")[2], row.payload.encode(), row.tries) for row in rows
    ]  # fmt: skip


def taken(tx: Connection, sent: Waiting) -> None:
    """Forget a message: its receiver has it, or nobody will."""
    tx.execute(delete(outbox).where(outbox.c.id == sent.id))


def put_off(tx: Connection, failed: Waiting, now: int) -> None:
    """Let a message be sent again later: after 1, 2, 4, … seconds, at most an hour."""
    pause = min(MICROSECONDS << min(failed.tries, 12), _LONGEST_PAUSE)
    later = update(outbox).where(outbox.c.id == failed.id).values(tries=failed.tries + 1, next_try=now + pause)
    tx.execute(later)


def count_waiting(tx: Connection) -> int:
    """Return how many changes and messages wait."""
    return tx.execute(select(func.count()).select_from(outbox)).scalar_one()


def _row(topic: str, payload: bytes, now: int, due: int) -> dict[str, object]:
    return {"created": now, "topic": topic, "payload": payload.decode(), "tries": 0, "next_try": due}
