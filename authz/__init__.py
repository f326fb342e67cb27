"""authz: allow or deny by client address and application, for Envoy, NGINX and other proxies.

As a library: open a snapshot, decide, explain.

    decider = authz.Decider(authz.Settings())
    decider.load(authz.open_snapshot("lists.snapshot", ["keys/2026.pub"]))
    outcome, client = decider.check(authz.Request("203.0.113.9", application="shop"), time.time())
    if outcome.decision == "deny": ...

What is not in `__all__` may change in any version. See docs/library.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from authz.engine.decider import Decider
    from authz.engine.decision import Outcome
    from authz.engine.explain import explain
    from authz.engine.open import open_snapshot
    from authz.engine.request import Request
    from authz.engine.ruleset import Ruleset
    from authz.engine.settings import Settings

__version__ = "0.1.0"
__all__ = ["Decider", "Outcome", "Request", "Ruleset", "Settings", "explain", "open_snapshot"]

_PLACES = {
    "Decider": "authz.engine.decider",
    "Outcome": "authz.engine.decision",
    "Request": "authz.engine.request",
    "Ruleset": "authz.engine.ruleset",
    "Settings": "authz.engine.settings",
    "explain": "authz.engine.explain",
    "open_snapshot": "authz.engine.open",
}


def __getattr__(name: str) -> Any:  # PEP 562: `import authz` alone loads nothing
    if name not in _PLACES:
        raise AttributeError(f"module 'authz' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
