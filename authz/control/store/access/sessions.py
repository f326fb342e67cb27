"""Sessions of people. The cookie's secret is kept as its SHA-256, like a token's."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select, update

from authz.control.store.access.tokens import hash_of
from authz.control.store.tables import sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

WRITE_SEEN = 60_000_000  # microseconds between two notes of when it was seen
_KEPT = 7 * 86_400_000_000  # microseconds that an ended session stays in the list


class Session(NamedTuple):
    """A session. Times: microseconds since 1970.

    Attributes:
        ended: 0: it was not ended.
        token: Id of the token that was exchanged for it, whose rights it has now; empty: tenant and role are its own.
        address: Where the sign-on came from; empty: a unix socket.
    """

    id: str
    tenant: str
    name: str
    role: str
    token: str
    address: str
    created: int
    seen: int
    expires: int
    ended: int


def add_session(tx: Connection, session: Session, secret: str) -> None:
    """Keep a new session; those that are long over are let go of."""
    tx.execute(delete(sessions).where(sessions.c.expires < session.created - _KEPT))
    tx.execute(insert(sessions).values(**session._asdict(), sha256=hash_of(secret)))


def find_session(tx: Connection, secret: str) -> Session | None:
    """Return the session of a cookie's secret, whether it still holds or not. See `find_holder` of the timing."""
    wanted = hash_of(secret)
    row = tx.execute(select(sessions).where(sessions.c.sha256 == wanted)).first()
    if row is None or not secrets.compare_digest(bytes(row.sha256), wanted):
        return None
    return _session(row)


def get_session(tx: Connection, session_id: str) -> Session | None:
    """Return a session by its id, which is no secret."""
    row = tx.execute(select(sessions).where(sessions.c.id == session_id)).first()
    return None if row is None else _session(row)


def list_sessions(tx: Connection, tenant: str | None, now: int) -> list[Session]:
    """Return the sessions of a tenant, or all, that were not ended and are not over, newest first."""
    query = select(sessions).where(sessions.c.ended == 0, sessions.c.expires > now)
    query = query if tenant is None else query.where(sessions.c.tenant == tenant)
    return [_session(row) for row in tx.execute(query.order_by(sessions.c.created.desc()).limit(1000))]


def note_seen(tx: Connection, session_id: str, now: int) -> None:
    """Write that a session was used."""
    tx.execute(update(sessions).where(sessions.c.id == session_id, sessions.c.seen < now).values(seen=now))


def end_session(tx: Connection, session_id: str, now: int) -> None:
    """End a session; a second call is harmless."""
    tx.execute(update(sessions).where(sessions.c.id == session_id, sessions.c.ended == 0).values(ended=now))


def _session(row: Row[tuple[object, ...]]) -> Session:
    return Session(*(getattr(row, name) for name in Session._fields))
