"""Who was listed before: periods that grow for those who come back."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from authz.addresses import Network
    from authz.control.detect.triggers.file import Reaction, Trigger

LISTED: Final = "listed"  # why a client is not to be listed: it is already
MAX_OFFENCES: Final = 100_000  # that MemoryOffences keeps


class Offences(Protocol):
    """Counts how often a trigger listed a client lately."""

    def before(self, trigger: Trigger, subject: Network, now: float) -> int:
        """Return how often `trigger` listed `subject` within its `forget`, not counting now."""

    def add(self, trigger: Trigger, subject: Network, now: float) -> None:
        """Remember a listing at `now` (seconds since 1970)."""


class MemoryOffences:
    """Offences of this process, for a trial on a log; the control plane asks its history."""

    def __init__(self) -> None:
        # How often, and when last. Not a plain dict, whose first key is slow to find after many deletions.
        self._known: OrderedDict[tuple[str, Network], tuple[int, float]] = OrderedDict()

    def before(self, trigger: Trigger, subject: Network, now: float) -> int:
        """Return how often; see Offences."""
        count, last = self._known.get((trigger.name, subject), (0, 0.0))
        return count if now - last <= trigger.then.forget else 0

    def add(self, trigger: Trigger, subject: Network, now: float) -> None:
        """Remember a listing; see Offences."""
        count = self.before(trigger, subject, now)
        if len(self._known) >= MAX_OFFENCES:
            self._known.popitem(last=False)
        self._known[trigger.name, subject] = count + 1, now


def grown_period(then: Reaction, before: int) -> float | None:
    """Return the seconds of a listing after `before` earlier ones; None: forever.

    period * grow ** before, at most `max`: 1h with grow 2 and max 4h gives 1h, 2h, 4h, 4h, ...
    """
    if then.period is None:
        return None
    period: float = then.period
    for _ in range(min(before, 64)):
        period *= then.grow
        if period >= then.max:
            return then.max
    return period
