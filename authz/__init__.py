"""authz: allow or deny by client address and application, for Envoy, NGINX and other proxies.

As a library: open a snapshot, decide, explain.

    decider = authz.Decider(authz.Settings())
    decider.load(authz.open_snapshot("lists.snapshot", ["keys/2026.pub"]))
    outcome, client = decider.check(authz.Request("203.0.113.9", application="shop"), time.time())
    if outcome.decision == "deny": ...

`AuthorizationServicer` answers Envoy's ext_authz in your own grpcio server.

What is not in `__all__` may change in any version. See docs/guides/library.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from authz.engine.decision.decider import Decider
    from authz.engine.decision.explain import explain
    from authz.engine.decision.outcome import Outcome
    from authz.engine.entries.open import open_snapshot
    from authz.engine.entries.ruleset import Ruleset
    from authz.engine.request.request import Request
    from authz.engine.settings import Settings
    from authz.serve.grpc.servicer import AuthorizationServicer, add_AuthorizationServicer_to_server

__version__ = "0.1.0"
__all__ = [
    "AuthorizationServicer",
    "Decider",
    "Outcome",
    "Request",
    "Ruleset",
    "Settings",
    "add_AuthorizationServicer_to_server",
    "explain",
    "open_snapshot",
]

_PLACES = {
    "AuthorizationServicer": "authz.serve.grpc.servicer",
    "add_AuthorizationServicer_to_server": "authz.serve.grpc.servicer",
    "Decider": "authz.engine.decision.decider",
    "Outcome": "authz.engine.decision.outcome",
    "Request": "authz.engine.request.request",
    "Ruleset": "authz.engine.entries.ruleset",
    "Settings": "authz.engine.settings",
    "explain": "authz.engine.decision.explain",
    "open_snapshot": "authz.engine.entries.open",
}


def __getattr__(name: str) -> Any:  # PEP 562: `import authz` alone loads nothing
    if name not in _PLACES:
        raise AttributeError(f"module 'authz' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
