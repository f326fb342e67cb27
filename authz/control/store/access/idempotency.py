"""Answers of requests that carried an Idempotency-Key, so that repeating one does nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select

from authz.control.model.problems import OtherRequest
from authz.control.model.records import MICROSECONDS
from authz.control.store.tables import idempotency

if TYPE_CHECKING:
    from sqlalchemy import Connection

KEPT = 24 * 3600 * MICROSECONDS


class Answer(NamedTuple):
    """An answer as it was given.

    Attributes:
        body: JSON.
    """

    status: int
    body: str


def known_answer(tx: Connection, token: str, key: str, request: bytes, now: int) -> Answer | None:
    """Return the answer that this request had before; None: it is new. Raises OtherRequest. now: microseconds."""
    where = (idempotency.c.token == token) & (idempotency.c.key == key)
    row = tx.execute(select(idempotency).where(where)).first()
    if row is None:
        return None
    if row.created < now - KEPT:
        tx.execute(delete(idempotency).where(where))
        return None
    if bytes(row.request) != request:
        raise OtherRequest(
            "the Idempotency-Key was used for another request", hint="give each request a key of its own"
        )
    return Answer(row.status, row.answer)


def keep_answer(tx: Connection, token: str, key: str, request: bytes, answer: Answer, now: int) -> None:
    """Keep an answer for a day."""
    tx.execute(
        insert(idempotency).values(
            token=token, key=key, request=request, status=answer.status, answer=answer.body, created=now
        )
    )


def forget_answers(tx: Connection, now: int) -> None:
    """Let go of answers that are over a day old."""
    tx.execute(delete(idempotency).where(idempotency.c.created < now - KEPT))
