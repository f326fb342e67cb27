"""The decision of every address: decide() once for each match set, then arrays over all pieces.

    deciding = Deciding(loaded, now=now)
    deciding.of(shop).reasons[sets]     the reason of each piece, when `sets` are the numbers of their match sets
    deciding.space(shop, 4)             the IPv4 space, cut only where the decision changes

A decision is that of a request whose client has the address. What else may decide is left out: an unresolved client, a
stale snapshot and, for applications with `match: path`, the other addresses of the forwarding chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from authz.analysis.space import Cut, cut_of
from authz.engine.decision import verdict as d

if TYPE_CHECKING:
    from collections.abc import Hashable

    from authz.analysis.space import Array, Ranges
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Application, ListName

REASONS: Final = (
    d.ALLOWLISTED, d.DEFAULT_ALLOW, d.GRAYLISTED, d.DENYLISTED, d.DEFAULT_DENY, d.GRAYLISTED_ATTACK, d.ATTACK
)  # fmt: skip
FIRST_DENYING: Final = REASONS.index(d.DENYLISTED)  # the reasons from here on deny
NO_ENTRY: Final = -1


class SetDecisions(NamedTuple):
    """What each match set decides for one application.

    Attributes:
        reasons: By the number of the set, places in `REASONS` (u8).
        entries: The number of the entry that decides, or `NO_ENTRY` (i64).
        enforced: False under dry_run, where the answer is allow whatever the reason.
    """

    reasons: Array
    entries: Array
    enforced: bool

    @property
    def denied(self) -> Array:
        """Whether the answer is deny, by the number of the set."""
        return self.reasons >= FIRST_DENYING if self.enforced else np.zeros(len(self.reasons), np.bool_)


class Decided(NamedTuple):
    """The address space of one version, cut where the reason changes.

    Attributes:
        reasons: Of each piece, places in `REASONS`.
    """

    cut: Cut
    reasons: Array

    def ranges(self, *reasons: str) -> Ranges:
        """Return the addresses that are decided for one of these reasons."""
        codes = [REASONS.index(reason) for reason in reasons]
        return self.cut.ranges(np.flatnonzero(np.isin(self.reasons, codes)))

    def counts(self) -> dict[str, int]:
        """Return how many addresses are decided for each reason that occurs."""
        return {REASONS[code]: self.ranges(REASONS[code]).addresses() for code in np.unique(self.reasons)}


class Deciding:
    """Decides for all applications of a snapshot.

    Args:
        loaded: The snapshot.
        now: Seconds since 1970.
        attack: Whether the requests carry an attack signal.
        only: The list whose entries are looked at, as if the others were empty; None: all.
    """

    def __init__(
        self, loaded: OpenedSnapshot, *, now: float, attack: bool = False, only: ListName | None = None
    ) -> None:  # fmt: skip
        self.loaded = loaded
        self.now = now
        self.attack = attack
        self.only = only
        self._named = named_applications(loaded)
        self._known: dict[Hashable, SetDecisions] = {}

    def of(self, application: Application) -> SetDecisions:
        """Return what each match set decides; applications with equal settings and entries share the work."""
        key = alike(application, self._named)
        if key not in self._known:
            self._known[key] = self._decide(application)
        return self._known[key]

    def space(self, application: Application, version: int) -> Decided:
        """Return the decision of every address of a version (4 or 6)."""
        cut, sets = cut_of(self.loaded.index, version)
        reasons = self.of(application).reasons[sets]
        kept = np.ones(len(reasons), np.bool_)
        kept[1:] = reasons[1:] != reasons[:-1]
        return Decided(Cut(version, cut.high[kept], cut.low[kept]), reasons[kept])

    def _decide(self, application: Application) -> SetDecisions:
        count = self.loaded.index.set_count
        reasons, entries = np.zeros(count, np.uint8), np.full(count, NO_ENTRY, np.int64)
        numbers = {entry.id: number for number, entry in enumerate(self.loaded.entries)}
        for number in range(count):
            # For IPv4 all lengths would be 96 more, which changes nothing in their order.
            matches = self.loaded.matches(6, number)
            looked_at = matches if self.only is None else [m for m in matches if m.entry.list == self.only]
            verdict = d.decide(application, looked_at, attack=self.attack, now=self.now)
            reasons[number] = REASONS.index(verdict.reason)
            if verdict.entry is not None:
                entries[number] = numbers[verdict.entry.id]
        return SetDecisions(reasons, entries, not application.dry_run)


def named_applications(loaded: OpenedSnapshot) -> set[frozenset[str]]:
    """Return each set of names that an entry gives as its applications."""
    return {entry.applications for entry in loaded.entries if entry.applications}


def alike(application: Application, named: set[frozenset[str]]) -> Hashable:
    """Return a key that is equal for applications for which everything is decided alike. named: as above."""
    a = application
    settings = a.mode, a.default, a.precedence, a.denylist_in_monitoring, a.dry_run
    return settings, frozenset(names for names in named if a.name in names)
