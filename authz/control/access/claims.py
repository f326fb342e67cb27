"""From the claims of an identity provider to a person: a name, a role, a tenant."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from authz.control.access.approvals import APPROVED_BY
from authz.control.access.sessions import Person
from authz.control.model.problems import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.control.access.config import Oidc

MAX_VALUES: Final = 1000  # of a claim that are looked at
MAX_NAME: Final = 100  # characters


def person_of(claims: Mapping[str, Any], config: Oidc) -> Person:
    """Return who has these claims. Raises Forbidden: no rule fits, or the claim that names the person is missing.

    An address of e-mail counts only where the provider says that it is the person's (`email_verified`).
    """
    usable = dict(claims)
    if usable.get("email_verified") is not True:
        usable.pop("email", None)
    name = next(_values(usable, config.name), "")
    if not name or len(name) > MAX_NAME or not name.isprintable() or APPROVED_BY in name:
        hint = "email_verified is not true" if config.name == "email" and "email" in claims else ""
        raise Forbidden(f"found no claim '{config.name}' that names a person", code="no_name", hint=hint)
    for rule in config.roles:
        if any(fnmatchcase(value, rule.has) for value in _values(usable, rule.claim)):
            return Person(name, rule.tenant, rule.role)
    raise Forbidden(f"no rule gives '{name}' a role", code="no_role", hint="sign_on.oidc.roles of control.yaml")


def _values(claims: Mapping[str, Any], path: str) -> Iterator[str]:
    """Give the texts of a claim: itself, or its elements. A claim whose name has dots is found by its whole name."""
    claim: Any = claims.get(path)
    if claim is None:
        claim = claims
        for step in path.split("."):
            claim = claim.get(step) if isinstance(claim, dict) else None
    for value in (claim if isinstance(claim, list) else [claim])[:MAX_VALUES]:
        if isinstance(value, str):
            yield value
