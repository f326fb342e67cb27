"""Sessions of people: what a browser has in the place of a token.

    sign on     by a token, or by the claims of an identity provider: a new secret each time, the session before it ends
    a request   the cookie's secret -> the session -> a caller; what changes something also shows the CSRF token
    it ends     idle for too long, at its end, by signing out, by an administrator; with its token, where it has one

A session of a token has the rights that the token has now, and no longer than it. One of an identity provider has the
tenant and role that the claims gave at sign-on.

The secret is 256 random bits, kept as SHA-256. The CSRF token follows from it by HMAC: whoever cannot read the cookie
cannot make it, and nothing more has to be kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, NamedTuple

from authz.control.access.callers import MAX_SECRET, Caller, authenticate, check_token
from authz.control.model.problems import Forbidden, Missing, Unauthorized
from authz.control.model.records import MICROSECONDS, Actor
from authz.control.store.access import sessions as kept
from authz.control.store.access.sessions import Session
from authz.control.store.access.tokens import Tenant, Token, get_tenant, get_token, note

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.access.config import SignOn
    from authz.control.store.database import Store


class Person(NamedTuple):
    """Who signs on.

    Attributes:
        token: Id of the token that was shown; empty: an identity provider told the rest.
    """

    name: str
    tenant: str
    role: str
    token: str = ""


class SignedOn(NamedTuple):
    """A new session and its secret, for the cookie."""

    session: Session
    secret: str

    @property
    def csrf(self) -> str:
        """What requests that change something have to show."""
        return csrf_token(self.secret)


def sign_on_with_token(
    store: Store, times: SignOn, token: str, address: str | None, request_id: str, *, before: str = ""
) -> SignedOn:
    """Begin a session in exchange for a token. before: the secret of a session that it takes the place of.

    Raises:
        Unauthorized: The token is not known or no longer good.
        Forbidden: It may not be used from this address, or its role is of a machine.

    """
    caller = authenticate(store, token, address, request_id, "manual")
    if not (caller.may("read") or caller.may("approve")):
        raise Forbidden(f"the role '{caller.token.role}' is for machines, expected one of people", code="role")
    person = Person(caller.token.name, caller.tenant.name, caller.token.role, caller.token.id)
    return sign_on(store, times, person, address, request_id, before=before)


def sign_on(
    store: Store, times: SignOn, person: Person, address: str | None, request_id: str, *, before: str = ""
) -> SignedOn:
    """Begin a session of a person whom somebody has already verified. See `sign_on_with_token`."""
    now = store.now()
    secret = secrets.token_urlsafe(32)
    session = Session(
        "s-" + secrets.token_hex(6), person.tenant, person.name, person.role, person.token, address or "", now, now,
        now + int(times.longest * MICROSECONDS), 0,
    )  # fmt: skip
    actor = Actor(person.tenant, person.name, "user", "manual", request_id, address)
    with store.writing() as tx:
        old = kept.find_session(tx, before) if before else None
        if old is not None:
            kept.end_session(tx, old.id, now)
        kept.add_session(tx, session, secret)
        note(tx, actor, "session.begin", session.id, now, person.token or "oidc")
    return SignedOn(session, secret)


def caller_of_session(
    store: Store, times: SignOn, secret: str, address: str | None, request_id: str
) -> tuple[Caller, Session]:
    """Return who has a session. Raises Unauthorized, and Forbidden where its token may not be used from here."""
    now = store.now()
    if not secret or len(secret) > MAX_SECRET:
        raise _signed_off()
    with store.reading() as tx:
        session = kept.find_session(tx, secret)
        if session is None or not _holds(session, times, now):
            raise _signed_off()
        token, tenant = _rights(tx, session)
    check_token(token, now, address)
    if now - session.seen >= kept.WRITE_SEEN:
        with store.writing() as tx:
            kept.note_seen(tx, session.id, now)
    return Caller(token, tenant, address, request_id, "manual", session.id), session


def sign_out(store: Store, caller: Caller, session_id: str) -> None:
    """End a session: one's own, or as an administrator any of one's tenant. Raises Missing and Forbidden."""
    with store.writing() as tx:
        session = kept.get_session(tx, session_id)
        if session is None or caller.sees not in {None, session.tenant}:
            raise Missing("there is no such session")
        if session_id != caller.session:
            caller.need("admin")
        kept.end_session(tx, session_id, store.now())
        note(tx, caller.actor(), "session.end", session_id, store.now())


def csrf_token(secret: str) -> str:
    """Return the CSRF token of a session's secret."""
    mac = hmac.new(secret.encode(), b"authz csrf", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def check_csrf(secret: str, shown: str | None) -> None:
    """Compare in constant time. Raises Forbidden (`csrf`)."""
    if not hmac.compare_digest(csrf_token(secret).encode(), (shown or "").encode("utf-8", "surrogateescape")):
        raise Forbidden("found no CSRF token of this session, expected X-CSRF-Token", code="csrf")


def _holds(session: Session, times: SignOn, now: int) -> bool:
    return not session.ended and now < min(session.expires, session.seen + int(times.idle * MICROSECONDS))


def _rights(tx: Connection, session: Session) -> tuple[Token, Tenant]:
    """Return the token that the session stands for, or one that says what its claims gave."""
    token: Token | None = Token(
        session.id, session.tenant, session.name, session.role, (), session.created, None, None
    )  # fmt: skip
    if session.token:
        token = get_token(tx, session.token)
    tenant = token and get_tenant(tx, token.tenant)
    if token is None or tenant is None:
        raise _signed_off()
    return token, tenant


def _signed_off() -> Unauthorized:
    return Unauthorized("there is no such session, or it has ended", code="signed_off", hint="sign on again")
