"""Envoy's RBAC filter: `rules: {action, policies: {NAME: {permissions, principals}}}`, as YAML or JSON."""

from __future__ import annotations

from typing import Any, Final

import yaml

from authz.control.maintenance.formats.imported import Imported
from authz.errors import InputError

_ADDRESSES: Final = ("direct_remote_ip", "remote_ip", "source_ip")


def read_envoy_rbac(text: str, application: str | None = None) -> Imported:
    """Read a filter's configuration. Raises InputError where there are no rules in it."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError("found no YAML or JSON, expected the configuration of Envoy's RBAC filter") from error
    rules = _rules(content)
    if rules is None:
        raise InputError("found no `rules` with `policies`, expected the configuration of Envoy's RBAC filter")
    imported = Imported(application)
    action = str(rules.get("action", "ALLOW")).upper()
    if action == "LOG":
        imported.note(0, "action LOG decides nothing: entries are on the deny list with action warn")
    for name, policy in rules["policies"].items():
        _policy(imported, str(name), policy or {}, action)
    if action == "ALLOW":
        imported.settings["default"] = "deny"
    return imported


def _rules(content: Any) -> dict[str, Any] | None:
    if isinstance(content, dict):
        if isinstance(content.get("policies"), dict):
            return content
        for value in content.values():
            inner = _rules(value)
            if inner is not None:
                return inner
    if isinstance(content, list):
        return next((inner for value in content if (inner := _rules(value)) is not None), None)
    return None


def _policy(imported: Imported, name: str, policy: dict[str, Any], action: str) -> None:
    if policy.get("permissions") not in ([{"any": True}], None):
        imported.note(
            0, f"left out: policy '{name}' is for certain paths, methods or ports: name an application for them"
        )
        return
    networks = [n for principal in policy.get("principals") or () for n in _networks(imported, name, principal)]
    if not networks:
        return
    more = {"reason": f"Envoy RBAC policy {name}", "action": "warn" if action == "LOG" else ""}
    imported.add("allow" if action == "ALLOW" else "deny", networks, 0, **more)


def _networks(imported: Imported, name: str, principal: Any) -> list[str]:
    if not isinstance(principal, dict):
        return []
    if principal.get("any") is True:
        imported.note(0, f"policy '{name}' is for everybody: set `default` of the application")
        return []
    for kind in _ADDRESSES:
        address = principal.get(kind)
        if isinstance(address, dict) and "address_prefix" in address:
            length = address.get("prefix_len", 0)
            length = length.get("value", 0) if isinstance(length, dict) else length
            if kind == "source_ip":
                imported.note(0, f"policy '{name}': source_ip was the peer; authz decides by the client's address")
            return [f"{address['address_prefix']}/{length}"]
    inner = (principal.get("or_ids") or {}).get("ids") if isinstance(principal.get("or_ids"), dict) else None
    if isinstance(inner, list):
        return [network for part in inner for network in _networks(imported, name, part)]
    kinds = ", ".join(map(str, principal))
    imported.note(0, f"left out: a principal of policy '{name}' by {kinds}: authz decides by addresses only")
    return []
