"""Layers that are missing or stale, and what follows from that. Pure: the time is given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from authz.engine.decision.outcome import NO_SNAPSHOT, STALE_SNAPSHOT

if TYPE_CHECKING:
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.entries.ruleset import Ruleset
    from authz.engine.settings import Settings


class Lapse(NamedTuple):
    """A layer that is missing, or stale from some time on.

    Attributes:
        layer: Its name.
        reason: `no_snapshot` or `stale_snapshot`.
        since: Seconds since 1970; minus infinity for a missing layer.
        then: What follows: `keep` and `ignore` decide with and without the layer; `deny` and `allow` are the answer.

    """

    layer: str
    reason: str
    since: float
    then: Literal["keep", "ignore", "deny", "allow"]

    @property
    def answers(self) -> bool:
        """Whether requests are answered without being decided."""
        return self.then in {"deny", "allow"}


def lapses(ruleset: Ruleset, settings: Settings) -> list[Lapse]:
    """Return all lapses that there are or will be: those that deny first, then by their time."""
    policy = ruleset.policy
    known = [Lapse(policy.layer, STALE_SNAPSHOT, stale_at(policy, settings.max_age), settings.when_stale)]
    for layer in settings.layers:
        file = ruleset.layers.get(layer.name)
        if file is None:
            known.append(Lapse(layer.name, NO_SNAPSHOT, -math.inf, layer.when_missing))
        else:
            known.append(Lapse(layer.name, STALE_SNAPSHOT, stale_at(file, layer.max_age), layer.when_stale))
    return sorted(known, key=lambda lapse: (lapse.then != "deny", lapse.since))


def stale_at(file: OpenedSnapshot, max_age: float) -> float:
    """Return the time from which on a file is stale, in seconds since 1970. max_age: seconds."""
    return min(file.created + max_age, file.expires)
