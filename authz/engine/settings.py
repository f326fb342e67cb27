"""What of a configuration counts for a decision. The sidecar makes it from authz.yaml, a library user by hand."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from authz.engine.client_address import Rules


class AttackSignal(NamedTuple):
    """Where a WAF before us says that a request is an attack.

    header: the name of a header, lower case; None: none. metadata: namespace and key of Envoy's dynamic metadata; None:
    none.
    """

    header: str | None = None
    metadata: tuple[str, str] | None = None


class Settings(NamedTuple):
    """How requests are read and decided.

    Attributes:
        rules: how the client is found.
        unknown: what an application is that the policy does not name: `default` for the settings of `*`, or `deny`.
        when_missing: the answer before the first snapshot.
        when_stale: the answer by a snapshot that is too old; `keep` decides by it all the same.
        max_age: seconds since a snapshot was made, after which it is stale.
        attack_signal: what a WAF sets.

    """

    rules: Rules = Rules()
    unknown: Literal["default", "deny"] = "default"
    when_missing: Literal["deny", "allow"] = "deny"
    when_stale: Literal["keep", "deny", "allow"] = "keep"
    max_age: float = math.inf
    attack_signal: AttackSignal = AttackSignal()
