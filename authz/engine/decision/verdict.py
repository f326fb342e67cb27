"""The decision: a pure function of application, matches, attack signal and time.

1. Entries out of their window, or not of this application, are dropped.
2. `action: warn` entries are reported as warnings and dropped. So are deny entries in the modes `off` and `monitoring`
   when `denylist_in_monitoring` is false; so are gray entries, unreported, in every mode but `safe_blocking`.
3. Of what is left, the application's precedence takes one entry: see precedence.py.
4. The mode says what it means:

       mode               allow list   deny list   gray list                           no list
       off, monitoring    allow        deny        -                                   default
       safe_blocking      allow        deny        attack signal: deny, else allow     default
       block              allow        deny        -                                   attack signal: deny, else default

A run: application `shop`, block, allow_first; the client is on `tor` (deny, /32) and `office` (allow, /24): `office`
decides, `allowlisted`. An hour later `office` has expired: `tor` decides, `denylisted`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from authz.engine.decision.precedence import first_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.engine.model import Application, Entry, ListName, Match

ALLOWLISTED: Final = "allowlisted"
DENYLISTED: Final = "denylisted"
GRAYLISTED: Final = "graylisted"
GRAYLISTED_ATTACK: Final = "graylisted_attack"
ATTACK: Final = "attack"
DEFAULT_ALLOW: Final = "default_allow"
DEFAULT_DENY: Final = "default_deny"

_make = tuple.__new__  # of a NamedTuple whose fields are at hand
DECIDED: Final = frozenset(
    {ALLOWLISTED, DENYLISTED, GRAYLISTED, GRAYLISTED_ATTACK, ATTACK, DEFAULT_ALLOW, DEFAULT_DENY}
)  # the reasons of `decide`; every other one means that no entry was looked at

MAX_WARNINGS: Final = 16  # entries that a verdict names in `warnings`: answers and logs repeat them


class Verdict(NamedTuple):
    """What was decided, before `dry_run`.

    Attributes:
        entry: The one that decided; None: no entry did.
        layer: The layer of that entry.
        warned: The entries that would have decided, but have the action `warn`.
        since: The verdict is the same from here on: no entry's window opens or closes before `until`. Seconds since
            1970.
        until: The verdict is the same before this. Seconds since 1970.
    """

    decision: Literal["allow", "deny"]
    reason: str
    list: ListName | Literal["none"] = "none"
    entry: Entry | None = None
    layer: str | None = None
    warned: tuple[Match, ...] = ()
    since: float = -math.inf
    until: float = math.inf

    @property
    def warnings(self) -> tuple[str, ...]:
        """The ids of the entries that only warned, the first `MAX_WARNINGS` of them."""
        return tuple([match.entry.id for match in self.warned[:MAX_WARNINGS]]) if self.warned else ()

    @property
    def warning_layers(self) -> tuple[str, ...]:
        """The layers of these entries, in the same order."""
        return tuple([match.layer for match in self.warned[:MAX_WARNINGS]]) if self.warned else ()


def decide(application: Application, matches: Iterable[Match], *, attack: bool, now: float) -> Verdict:
    """Decide one request.

    Args:
        application: The application that is asked for.
        matches: In any order, an entry at most once.
        attack: Whether the request carries an attack signal.
        now: Seconds since 1970.
    """
    since, until = -math.inf, math.inf  # when windows last opened or closed, and when they will next
    deciding: list[Match] = []
    warned: list[Match] = []
    for match in matches:
        entry = match.entry
        if not entry.concerns(application.name):
            continue
        for bound in (entry.starts, entry.expires):
            if bound is not None and bound <= now:
                since = max(since, bound)
            elif bound is not None:
                until = min(until, bound)
        if not entry.active(now):
            continue
        if only_warns(application, entry):
            warned.append(match)
        elif entry.list != "gray" or application.mode == "safe_blocking":
            deciding.append(match)
    first = first_of(application, deciding)
    if first is None:
        decision, reason = _meaning(application, None, attack=attack)
        return _make(Verdict, (decision, reason, "none", None, None, tuple(warned), since, until))
    entry, _, layer = first
    decision, reason = _meaning(application, entry.list, attack=attack)
    return _make(Verdict, (decision, reason, entry.list, entry, layer, tuple(warned), since, until))


def only_warns(application: Application, entry: Entry) -> bool:
    """Return whether the entry is reported instead of deciding."""
    if entry.action == "warn":
        return True
    reporting = application.mode in {"off", "monitoring"} and not application.denylist_in_monitoring
    return entry.list == "deny" and reporting


def _meaning(application: Application, on: ListName | None, *, attack: bool) -> tuple[Literal["allow", "deny"], str]:
    if on == "allow":
        return "allow", ALLOWLISTED
    if on == "deny":
        return "deny", DENYLISTED
    if on == "gray":
        return ("deny", GRAYLISTED_ATTACK) if attack else ("allow", GRAYLISTED)
    if attack and application.mode == "block":
        return "deny", ATTACK
    return ("allow", DEFAULT_ALLOW) if application.default == "allow" else ("deny", DEFAULT_DENY)
