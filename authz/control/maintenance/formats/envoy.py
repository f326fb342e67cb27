"""Envoy's RBAC filter: `rules: {action, policies: {NAME: {permissions, principals}}}`, as YAML or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from authz.control.maintenance.formats.imported import Imported
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADDRESSES: Final = ("direct_remote_ip", "remote_ip", "source_ip")
_OF_THE_PEER: Final = frozenset({"direct_remote_ip", "source_ip"})
_CONDITIONS: Final = ("condition", "checked_condition")


def read_envoy_rbac(text: str, application: str | None = None) -> Imported:
    """Read a filter's configuration.

    Args:
        text: The configuration, as YAML or JSON.
        application: Which application the entries are for; None: all.

    Raises:
        InputError: There are no rules in it.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError("found no YAML or JSON, expected the configuration of Envoy's RBAC filter") from error
    filters = [*_rules(content, "rules")]
    if not filters:
        raise InputError("found no `rules` with `policies`, expected the configuration of Envoy's RBAC filter")
    rules, imported = filters[0], Imported(application)
    if len(filters) > 1:
        imported.note(0, f"left out: {len(filters) - 1} more filters: import each separately")
    if any(True for _ in _rules(content, "shadow_rules")):
        imported.note(0, "left out: shadow_rules, which decide nothing")
    action = str(rules.get("action", "ALLOW")).upper()
    if action == "LOG":
        imported.note(0, "action LOG decides nothing: entries are on the deny list with action warn")
    for name, policy in rules["policies"].items():
        _policy(imported, str(name), policy or {}, action)
    if action == "ALLOW":
        imported.settings["default"] = "deny"
    return imported


def _rules(content: Any, key: str) -> Iterator[dict[str, Any]]:
    """Give what stands under `key` and has policies, however deep; without a key around it, as `rules`."""
    if isinstance(content, dict):
        if key == "rules" and isinstance(content.get("policies"), dict):
            yield content
            return
        for name, value in content.items():
            if name == key and isinstance(value, dict) and isinstance(value.get("policies"), dict):
                yield value
            elif name not in {"rules", "shadow_rules"}:
                yield from _rules(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from _rules(value, key)


def _policy(imported: Imported, name: str, policy: dict[str, Any], action: str) -> None:
    if policy.get("permissions") not in ([{"any": True}], None):
        imported.note(
            0, f"left out: policy '{name}' is for certain paths, methods or ports: name an application for them"
        )
        return
    if any(policy.get(name) for name in _CONDITIONS):
        imported.note(0, f"left out: policy '{name}' has a condition: authz decides by addresses only")
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
            if kind in _OF_THE_PEER:
                imported.note(0, f"policy '{name}': {kind} was the peer; authz decides by the client's address")
            return [f"{address['address_prefix']}/{length}"]
    inner = (principal.get("or_ids") or {}).get("ids") if isinstance(principal.get("or_ids"), dict) else None
    if isinstance(inner, list):
        return [network for part in inner for network in _networks(imported, name, part)]
    kinds = ", ".join(map(str, principal))
    imported.note(0, f"left out: a principal of policy '{name}' by {kinds}: authz decides by addresses only")
    return []
