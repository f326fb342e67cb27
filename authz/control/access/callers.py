"""From a bearer token to a caller."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import NetworkSet, parse_networks, try_parse_address
from authz.control.access.roles import RIGHTS, Right
from authz.control.model.problems import Forbidden, Unauthorized
from authz.control.model.records import MAIN_TENANT, Actor, ActorKind, Method
from authz.control.store.access.tokens import Tenant, Token, find_holder, holds

if TYPE_CHECKING:
    from authz.control.store.database import Store

MAX_SECRET = 200  # characters; longer is not looked up


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        address: Where the request came from; None: a unix socket.
        session: Of a person; empty: a token.
    """

    token: Token
    tenant: Tenant
    address: str | None
    request_id: str
    method: Method = "api"
    session: str = ""

    def need(self, right: Right) -> None:
        """Raise Forbidden where the caller's role does not give a right."""
        if right not in RIGHTS.get(self.token.role, ()):
            detail = f"the role '{self.token.role}' may not do that, expected one that may {right}"
            raise Forbidden(detail, code="role")

    def may(self, right: Right) -> bool:
        """Return whether the caller's role gives a right."""
        return right in RIGHTS.get(self.token.role, ())

    @property
    def sees(self) -> str | None:
        """The tenant whose rows it sees; None: all."""
        return None if self.tenant.name == MAIN_TENANT else self.tenant.name

    def owns(self, application: str) -> bool:
        """Return whether an application is the caller's; all are the main tenant's."""
        return self.sees is None or any(fnmatchcase(application, pattern) for pattern in self.tenant.applications)

    def actor(self) -> Actor:
        """Return the caller as who acts."""
        kind: ActorKind = "user" if self.session else "token"
        return Actor(self.tenant.name, self.token.name, kind, self.method, self.request_id, self.address)


def authenticate(store: Store, secret: str, address: str | None, request_id: str, method: Method = "api") -> Caller:
    """Return who has this token. Raises Unauthorized, and Forbidden where it is used from elsewhere than it may be."""
    if not secret or len(secret) > MAX_SECRET:
        raise Unauthorized("found no token, expected 'Authorization: Bearer TOKEN' (for commands: AUTHZ_TOKEN)")
    with store.asking() as tx:
        known = find_holder(tx, secret)
    if known is None:
        raise _unknown()
    token, tenant = known
    check_token(token, store.now(), address)
    return Caller(token, tenant, address, request_id, method)


def check_token(token: Token, now: int, address: str | None) -> None:
    """Raise Unauthorized where a token is no longer good, and Forbidden where it is used from elsewhere."""
    if not holds(token, now):
        raise _unknown()
    if token.networks and not _inside(address, token.networks):
        raise Forbidden(f"the token may not be used from {address or 'a unix socket'}", code="network")


def _unknown() -> Unauthorized:
    return Unauthorized("the token is unknown, has expired or was revoked")


def _inside(address: str | None, networks: tuple[str, ...]) -> bool:
    known = try_parse_address(address) if address else None
    return known is not None and known in NetworkSet(n for text in networks for n in parse_networks(text))
