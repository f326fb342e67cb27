"""Gravitee's ip-filtering policy: `{"whitelistIps": [...], "blacklistIps": [...]}`."""

from __future__ import annotations

from typing import Any

import orjson

from authz.control.maintenance.formats.found import Found
from authz.errors import InputError


def read_gravitee(text: str, application: str | None = None) -> Found:
    """Read the policy, alone or anywhere in an API's definition. Raises InputError where it is not there."""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError("found no JSON, expected a policy or an API definition of Gravitee") from error
    policies = list(_policies(content))
    if not policies:
        raise InputError("found no whitelistIps or blacklistIps, expected Gravitee's ip-filtering policy")
    found = Found(application)
    for policy in policies:
        allowed, denied = policy.get("whitelistIps") or [], policy.get("blacklistIps") or []
        hosts = [str(one) for one in (*allowed, *denied) if not str(one)[:1].isdigit() and ":" not in str(one)]
        if allowed:
            found.settings["default"] = "deny"
            found.add("allow", [str(one) for one in allowed if one not in hosts], 0, reason="Gravitee whitelist")
        if denied:
            found.add("deny", [str(one) for one in denied if one not in hosts], 0, reason="Gravitee blacklist")
        if hosts:
            found.note(0, f"left out: host names {', '.join(hosts)}: write them as `hosts` of an entry")
        if policy.get("matchAllFromXForwardedFor"):
            found.settings["match"] = "path"
            found.note(0, "matchAllFromXForwardedFor: `match: path` holds the deny list against the whole chain")
    if found.settings.get("default") == "deny" and any(e["list"] == "deny" for e in found.entries):
        found.settings["precedence"] = "deny_first"
    return found


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
