"""What of a configuration counts for a decision. The sidecar makes it from authz.yaml, a library user by hand."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from authz.engine.request.client_address import Rules


class AttackSignal(NamedTuple):
    """Where a WAF before us says that a request is an attack.

    Attributes:
        header: The name of a header, lower case; None: no header.
        metadata: Namespace and key of Envoy's dynamic metadata; None: no metadata.

    """

    header: str | None = None
    metadata: tuple[str, str] | None = None


class LayerSettings(NamedTuple):
    """What becomes of requests where a layer behind the policy is missing or stale.

    Attributes:
        name: The layer, as its files name it.
        when_missing: Decide without it, or do not decide at all.
        when_stale: Decide by it all the same, decide without it, or do not decide at all.
        max_age: Seconds since its file was made, after which it is stale. An expired file is stale, too.

    """

    name: str
    when_missing: Literal["ignore", "deny"] = "ignore"
    when_stale: Literal["keep", "ignore", "deny"] = "keep"
    max_age: float = math.inf


class Settings(NamedTuple):
    """How requests are read and decided.

    Attributes:
        rules: How the client is found.
        unknown: How requests for unknown applications are decided: `deny`; `default` for the settings of `*`; `auto`
            for `deny` if the policy names any application, otherwise `default`.
        when_missing: The answer before the first policy.
        when_stale: The answer by a policy that is too old; `keep` continues to use it.
        max_age: Seconds since the policy was made, after which it is stale. An expired one is stale, too.
        attack_signal: Which header or metadata key a WAF sets for an attack.
        layers: The layers behind the policy that are expected.

    """

    rules: Rules = Rules()
    unknown: Literal["auto", "default", "deny"] = "auto"
    when_missing: Literal["deny", "allow"] = "deny"
    when_stale: Literal["keep", "deny", "allow"] = "keep"
    max_age: float = math.inf
    attack_signal: AttackSignal = AttackSignal()
    layers: tuple[LayerSettings, ...] = ()
