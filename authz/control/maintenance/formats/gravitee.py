"""Gravitee's ip-filtering policy: `{"whitelistIps": [...], "blacklistIps": [...]}`."""

from __future__ import annotations

from typing import Any

import orjson

from authz.control.maintenance.formats.imported import Imported
from authz.errors import InputError


def read_gravitee(text: str, application: str | None = None) -> Imported:
    """Read the policy, alone or anywhere in an API's definition. Raises InputError where it is not there."""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError("found no JSON, expected a policy or an API definition of Gravitee") from error
    policies = list(_policies(content))
    if not policies:
        raise InputError("found no whitelistIps or blacklistIps, expected Gravitee's ip-filtering policy")
    imported = Imported(application)
    for policy in policies:
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
    if imported.settings.get("default") == "deny" and any(e["list"] == "deny" for e in imported.entries):
        imported.settings["precedence"] = "deny_first"
    return imported


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
