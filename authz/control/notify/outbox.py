"""What waits to be told.

There are two kinds of rows:

    listed:ops    something to tell, until its gathering time is over (`next_try`)
    message:ops   a message with its delivery id, until its receiver has taken it

A message is made and kept before it is sent, so that it has the same id when it is sent again.

Of each topic and channel `MAX_WAITING` things wait at most, as in quiet hours, or while a channel has had its messages
of the hour; what comes then is dropped, and a dropped message says how many.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import delete, func, insert, select, update

from authz.control.model.records import MICROSECONDS
from authz.control.notify.message import MAX_ITEMS, Message, make_message
from authz.control.notify.quiet import is_quiet
from authz.control.store.notifications.deliveries import (
    DROPPED,
    SENT,
    add_delivery,
    decide,
    failed_once_more,
    made_since,
)
from authz.control.store.tables import outbox

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from authz.control.notify.config import Channel, Notify
    from authz.control.notify.message import Notice

_MESSAGE: Final = "message"
_MAX_GATHERED: Final = 10_000  # of a message for people, which shows the first of them
MAX_WAITING: Final = 20_000  # things to tell of a topic to a channel
_MAX_EVENTS: Final = 500  # of a message for programs, which has them all
_HOUR: Final = 3600 * MICROSECONDS
GIVE_UP: Final = 86400 * MICROSECONDS  # after this long a message that nobody takes is dropped


class Waiting(NamedTuple):
    """A message that is to be sent."""

    id: int
    created: int
    channel: str
    message: Message
    tries: int


def note_notices(tx: Connection, notify: Notify, notices: Iterable[Notice], now: int) -> None:
    """Write down what channels are to send, in the transaction of what happened. now: microseconds."""
    rows = [
        _row(f"{notice.topic}:{channel.name}", msgspec.json.encode(notice.item), now,
             now + int(channel.gather * MICROSECONDS))
        for notice in notices
        for channel in notify.channels
        if notice.topic in channel.topics and channel.tenant in {None, notice.tenant}
    ]  # fmt: skip
    if rows:
        tx.execute(insert(outbox), rows)


def gather(tx: Connection, notify: Notify, now: int) -> None:
    """Make messages of what has waited long enough, with all that came meanwhile.

    In quiet hours, and where a channel has had its messages of the hour, it goes on waiting.
    """
    channels = {channel.name: channel for channel in notify.channels}
    waiting = select(outbox.c.topic).where(outbox.c.topic.not_like(f"{_MESSAGE}:%"))
    for name in tx.execute(waiting.where(outbox.c.next_try <= now).distinct()).scalars().all():
        topic, _, of = name.partition(":")
        channel = channels.get(of)
        _drop_beyond(tx, name, now)
        if channel is None:  # the configuration has it no longer
            tx.execute(delete(outbox).where(outbox.c.topic == name))
        elif not is_quiet(channel.quiet, topic, now / MICROSECONDS) and (
            made_since(tx, of, now - _HOUR) < channel.at_most
        ):
            _make(tx, channel, topic, now)


def _drop_beyond(tx: Connection, name: str, now: int) -> None:
    """Drop what came after the first `MAX_WAITING` things of a topic and channel."""
    of = outbox.c.topic == name
    last = select(outbox.c.id).where(of).order_by(outbox.c.id).offset(MAX_WAITING - 1).limit(1)
    kept = tx.execute(last).scalar_one_or_none()
    dropped = 0 if kept is None else tx.execute(delete(outbox).where(of, outbox.c.id > kept)).rowcount
    if dropped:
        topic, _, channel = name.partition(":")
        delivery = f"d-{secrets.token_hex(12)}"
        text = f"{dropped} notices were dropped: {MAX_WAITING} wait already"
        add_delivery(tx, delivery, channel, topic, dropped, text, now)
        decide(tx, delivery, DROPPED, now)


def _make(tx: Connection, channel: Channel, topic: str, now: int) -> None:
    most = MAX_ITEMS if channel.kind in {"webhook", "apprise_file"} else _MAX_EVENTS
    query = select(outbox.c.id, outbox.c.payload).where(outbox.c.topic == f"{topic}:{channel.name}")
    rows = tx.execute(query.order_by(outbox.c.id).limit(_MAX_GATHERED if most == MAX_ITEMS else most)).all()
    items = [msgspec.json.decode(row.payload) for row in rows]
    made = make_message(f"d-{secrets.token_hex(12)}", topic, items, now, channel.text, most)
    ids = [row.id for row in rows]  # not a range: one of it may be committed only now
    tx.execute(delete(outbox).where(outbox.c.id.in_(ids)))
    tx.execute(insert(outbox), [_row(f"{_MESSAGE}:{channel.name}", made.encoded(), now, now)])
    add_delivery(tx, made.delivery, channel.name, topic, made.count, made.text, now)


def due_messages(tx: Connection, now: int, limit: int = 100) -> list[Waiting]:
    """Return the messages that are to be sent now, oldest first."""
    where = (outbox.c.topic.like(f"{_MESSAGE}:%")) & (outbox.c.next_try <= now)
    rows = tx.execute(select(outbox).where(where).order_by(outbox.c.id).limit(limit))
    return [
        Waiting(row.id, row.created, row.topic.partition(":")[2], msgspec.json.decode(row.payload, type=Message),
                row.tries)
        for row in rows
    ]  # fmt: skip


def taken(tx: Connection, sent: Waiting, now: int) -> None:
    """Forget a message that its receiver has."""
    tx.execute(delete(outbox).where(outbox.c.id == sent.id))
    decide(tx, sent.message.delivery, SENT, now)


def put_off(tx: Connection, failed: Waiting, error: str, now: int) -> None:
    """Let a message be sent again later: after 1, 2, 4, … seconds, at most an hour; after a day it is dropped."""
    failed_once_more(tx, failed.message.delivery, error)
    if now - failed.created > GIVE_UP:
        tx.execute(delete(outbox).where(outbox.c.id == failed.id))
        decide(tx, failed.message.delivery, DROPPED, now)
        return
    pause = min(MICROSECONDS << min(failed.tries, 12), _HOUR)
    later = update(outbox).where(outbox.c.id == failed.id).values(tries=failed.tries + 1, next_try=now + pause)
    tx.execute(later)


def count_waiting(tx: Connection) -> int:
    """Return how many things to tell and messages wait."""
    return tx.execute(select(func.count()).select_from(outbox)).scalar_one()


def _row(topic: str, payload: bytes, now: int, due: int) -> dict[str, object]:
    return {"created": now, "topic": topic, "payload": payload.decode(), "tries": 0, "next_try": due}
