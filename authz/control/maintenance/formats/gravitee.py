"""Gravitee's ip-filtering policy: `{"whitelistIps": [...], "blacklistIps": [...]}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from authz.control.maintenance.formats.imported import Imported
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_gravitee(text: str, application: str | None = None) -> Imported:
    """Read the policy, alone or anywhere in an API's definition.

    Args:
        text: JSON.
        application: Which application the entries are for; None: all.

    Raises:
        InputError: The policy is not in it.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError("found no JSON, expected a policy or an API definition of Gravitee") from error
    policies = list(_policies(content))
    if not policies:
        raise InputError("found no whitelistIps or blacklistIps, expected Gravitee's ip-filtering policy")
    imported = Imported(application)
    if len(policies) > 1:
        imported.note(0, f"{len(policies)} policies, each of a flow of its own in Gravitee, are one list here")
    if steps := [*_switched_off(content)]:
        imported.note(0, f"{len(steps)} of the steps are switched off in Gravitee, or have a condition: check them")
    for policy in policies:
        _add_policy(imported, policy)
    if imported.settings.get("default") == "deny" and any(e["list"] == "deny" for e in imported.entries):
        imported.settings["precedence"] = "deny_first"
    return imported


def _add_policy(imported: Imported, policy: dict[str, Any]) -> None:
    allowed, denied = policy.get("whitelistIps") or [], policy.get("blacklistIps") or []
    hosts = [str(item) for item in (*allowed, *denied) if not str(item)[:1].isdigit() and ":" not in str(item)]
    if allowed:
        imported.settings["default"] = "deny"
        imported.add("allow", [str(item) for item in allowed if item not in hosts], 0, reason="Gravitee whitelist")
    if denied:
        imported.add("deny", [str(item) for item in denied if item not in hosts], 0, reason="Gravitee blacklist")
    if hosts:
        imported.note(0, f"left out: host names {', '.join(hosts)}: write them as `hosts` of an entry")
    if policy.get("matchAllFromXForwardedFor"):
        imported.settings["match"] = "path"
        imported.note(0, "matchAllFromXForwardedFor: `match: path` holds the deny list against the whole chain")


def _switched_off(content: Any) -> Iterator[Any]:
    """Give the steps around a policy that does not always work."""
    if isinstance(content, dict):
        inner = content.get("configuration")
        if (
            isinstance(inner, dict)
            and [*_policies(inner)]
            and (content.get("enabled") is False or content.get("condition"))
        ):
            yield content
        for value in content.values():
            yield from _switched_off(value)
    elif isinstance(content, list):
        for value in content:
            yield from _switched_off(value)


def _policies(content: Any) -> Any:
    if isinstance(content, dict):
        if "whitelistIps" in content or "blacklistIps" in content:
            yield content
        else:
            for value in content.values():
                yield from _policies(value)
    elif isinstance(content, list):
        for value in content:
            yield from _policies(value)
