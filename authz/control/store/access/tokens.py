"""Tokens and tenants. A token is kept as its SHA-256: 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import secrets
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import bindparam, insert, select, update

from authz.control.model.records import FOREVER, MAIN_TENANT, MICROSECONDS
from authz.control.store.tables import audit, tenants, tokens

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from authz.control.model.records import Actor

TOKEN_PREFIX = "authz_"  # noqa: S105  # lets scanners of leaked secrets find one


_HOLDER = (
    select(tokens, tenants.c.applications.label("tenant_applications"), tenants.c.created.label("tenant_created"))
    .join(tenants, tenants.c.name == tokens.c.tenant)
    .where(tokens.c.sha256 == bindparam("wanted"))
)


class Token(NamedTuple):
    """A token, without its secret.

    Attributes:
        networks: Empty: from anywhere.
        created: Microseconds.
        expires: Seconds.
        person: Whose it is, as sign-on names people; empty: its name says it.
    """

    id: str
    tenant: str
    name: str
    role: str
    networks: tuple[str, ...]
    created: int
    expires: int | None
    revoked: int | None
    person: str = ""

    @property
    def who(self) -> str:
        """The person behind it: the same one by two tokens, or by a token and by sign-on, is one for four eyes."""
        return (self.person or self.name).casefold()


class Tenant(NamedTuple):
    """A tenant.

    Attributes:
        applications: Patterns of the names that are its own.
    """

    name: str
    applications: tuple[str, ...]
    created: int


def add_token(
    tx: Connection, *, tenant: str, name: str, role: str, networks: tuple[str, ...] = (), expires: int | None = None,
    now: int, person: str = "",
) -> tuple[Token, str]:  # fmt: skip
    """Make a token; return it with its secret, which nobody can tell again."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = Token("t-" + secrets.token_hex(6), tenant, name, role, networks, now, expires, None, person)
    tx.execute(
        insert(tokens).values(
            id=token.id, sha256=hash_of(secret), tenant=tenant, name=name, role=role,
            networks=msgspec.json.encode(networks).decode(), created=now,
            expires=FOREVER if expires is None else expires, revoked=0, person=person,
        )
    )  # fmt: skip
    return token, secret


def hash_of(secret: str) -> bytes:
    """Return what a secret is found by."""
    return hashlib.sha256(secret.encode()).digest()


def find_holder(tx: Connection, secret: str) -> tuple[Token, Tenant] | None:
    """Return the token of a secret, whether it still holds or not, and its tenant: in one question, for each request.

    The look-up is by a hash of the whole secret, and the found hash is compared in constant time: how long it takes
    tells nothing of a secret that is nearly right.
    """
    wanted = hash_of(secret)
    row = tx.execute(_HOLDER, {"wanted": wanted}).first()
    if row is None or not secrets.compare_digest(bytes(row.sha256), wanted):
        return None
    patterns = msgspec.json.decode(row.tenant_applications, type=tuple[str, ...])
    return _token(row), Tenant(row.tenant, patterns, row.tenant_created)


def get_token(tx: Connection, token_id: str) -> Token | None:
    """Return a token by its id."""
    row = tx.execute(select(tokens).where(tokens.c.id == token_id)).first()
    return None if row is None else _token(row)


def list_tokens(tx: Connection, tenant: str | None) -> list[Token]:
    """Return the tokens of a tenant, or all, oldest first."""
    query = select(tokens).order_by(tokens.c.created, tokens.c.id)
    return [_token(row) for row in tx.execute(query if tenant is None else query.where(tokens.c.tenant == tenant))]


def revoke_token(tx: Connection, token_id: str, now: int) -> None:
    """End a token; a second call is harmless."""
    tx.execute(update(tokens).where(tokens.c.id == token_id, tokens.c.revoked == 0).values(revoked=now))


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        row.id, row.tenant, row.name, row.role, msgspec.json.decode(row.networks, type=tuple[str, ...]), row.created,
        None if row.expires == FOREVER else row.expires, row.revoked or None, row.person,
    )  # fmt: skip


def holds(token: Token, now: int) -> bool:
    """Return whether a token is good at a time (microseconds)."""
    return token.revoked is None and (token.expires is None or now < token.expires * MICROSECONDS)


def put_tenant(tx: Connection, name: str, applications: tuple[str, ...], now: int) -> Tenant:
    """Make a tenant, or give it other applications."""
    patterns = msgspec.json.encode(applications).decode()
    if get_tenant(tx, name) is None:
        tx.execute(insert(tenants).values(name=name, applications=patterns, created=now))
    else:
        tx.execute(update(tenants).where(tenants.c.name == name).values(applications=patterns))
    return Tenant(name, applications, now)


def get_tenant(tx: Connection, name: str) -> Tenant | None:
    """Return a tenant; None: there is none."""
    row = tx.execute(select(tenants).where(tenants.c.name == name)).first()
    return None if row is None else _tenant(row)


def list_tenants(tx: Connection) -> list[Tenant]:
    """Return all tenants by name."""
    return [_tenant(row) for row in tx.execute(select(tenants).order_by(tenants.c.name))]


def owner_of(tx: Connection, applications: tuple[str, ...]) -> Tenant:
    """Return the tenant whose patterns name the applications; the main one where none or several do."""
    known = {tenant.name: tenant for tenant in list_tenants(tx)}
    main = known.pop(MAIN_TENANT)  # `authz control init` makes it
    owners = [
        tenant
        for tenant in known.values()
        if applications
        and all(any(fnmatchcase(name, pattern) for pattern in tenant.applications) for name in applications)
    ]
    return owners[0] if len(owners) == 1 else main


def _tenant(row: Row[tuple[object, ...]]) -> Tenant:
    return Tenant(row.name, msgspec.json.decode(row.applications, type=tuple[str, ...]), row.created)


def note(tx: Connection, actor: Actor, action: str, subject: str, now: int, detail: str = "") -> None:
    """Write who did what to tokens, tenants and keys."""
    tx.execute(
        insert(audit).values(
            time=now, tenant=actor.tenant, actor=actor.name, action=action, subject=subject,
            request_id=actor.request_id, detail=detail,
        )
    )  # fmt: skip


class Note(NamedTuple):
    """Something that was done.

    Attributes:
        time: Microseconds.
    """

    id: int
    time: int
    tenant: str
    actor: str
    action: str
    subject: str
    request_id: str
    detail: str


def list_notes(
    tx: Connection, tenant: str | None, *, since: int | None, actor: str | None, before: int | None, limit: int
) -> list[Note]:
    """Return what `note` wrote, newest first. before: an id; None: from the newest on."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    wanted = (("tenant", tenant), ("actor", actor))
    for name, value in wanted:
        query = query if value is None else query.where(audit.c[name] == value)
    query = query if since is None else query.where(audit.c.time >= since)
    query = query if before is None else query.where(audit.c.id < before)
    return [Note(*(getattr(row, name) for name in Note._fields)) for row in tx.execute(query)]
