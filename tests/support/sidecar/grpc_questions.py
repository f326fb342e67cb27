"""Questions to the gRPC front, and a policy that answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.proxies.envoy_api import EnvoyAnswer, check_request, read_answer

if TYPE_CHECKING:
    from support.sidecar.fronts import Fronts

POLICY = """\
version: 1
applications:
  shop:
    hosts: [shop.example.com, xn--bcher-kva.example]
    deny: {status: 429, body: '{"error": "nicht für dich"}', content_type: application/json; charset=utf-8}
  admin: {default: deny}
  trial: {dry_run: true}
  soft: {mode: safe_blocking}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"]}
  - {id: watched, list: deny, networks: [198.51.100.0/25], action: warn}
  - {id: odd, list: gray, networks: [198.51.100.128/25]}
"""


def ask(fronts: Fronts, client: str | None = None, **request: Any) -> EnvoyAnswer:
    """Ask for a client behind the trusted proxy 10.0.0.1."""
    if client is not None:
        request.setdefault("headers", {"x-forwarded-for": client})
    return read_answer(fronts.check(check_request(request.pop("peer", "10.0.0.1"), **request)))


def metadata(**differing: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"decision": "allow", "list": "none", "reason": "default_allow", "entry": None,
                             "client": "192.0.2.7", "application": "shop", "serial": 41.0, "enforced": True,
                             "warnings": [], "layer": "policy" if differing.get("entry") else None}  # fmt: skip
    return usual | differing
