"""`sign_on` of control.yaml: sessions of people, and the identity provider that they may come from."""

from __future__ import annotations

from typing import Annotated

import msgspec

from authz.control.access.roles import ROLES, Role
from authz.control.model.records import MAIN_TENANT
from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration


def _issuer(text: str) -> str:
    local = text.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
    if not (text.startswith("https://") or local):
        raise BadValue(text)
    return text


class ClaimRule(msgspec.Struct, frozen=True, kw_only=True):
    """One of `sign_on.oidc.roles`: whoever has a value in a claim has a role. The first rule that fits counts."""

    claim: str  # such as groups; dots lead into objects: realm_access.roles
    has: str  # the value, or a pattern such as *@example.com
    role: Role
    tenant: str = MAIN_TENANT


class Oidc(msgspec.Struct, frozen=True, kw_only=True):
    """`sign_on.oidc`: an identity provider (OpenID Connect). Whom no rule gives a role does not sign on."""

    issuer: Annotated[str, Scalar(_issuer, "the https URL of an OpenID provider, the same as its `issuer`")]
    client_id: str
    roles: tuple[ClaimRule, ...]
    client_secret_file: str | None = None  # none: a public client, by PKCE alone
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name: str = "email"  # the claim that names the person in history
    userinfo: bool = False  # also ask the userinfo endpoint for claims


class SignOn(msgspec.Struct, frozen=True, kw_only=True):
    """How people sign on, and for how long."""

    idle: Duration = 1800.0  # a session ends after this long without a request
    longest: Duration = 12 * 3600.0  # and at the latest after this long
    oidc: Oidc | None = None


PEOPLE = tuple(role for role in ROLES if role not in {"sidecar", "source"})  # roles that a person can have
