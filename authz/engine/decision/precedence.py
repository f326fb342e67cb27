"""Which of several entries decides: the order of precedence of an application.

allow_first    allow, deny, gray         the first list that has an entry; in it the longest prefix
deny_first     deny, allow, gray         the same
most_specific  the longest prefix        at equal length allow, deny, gray
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from authz.engine.model import Application, Match

_ORDER: Final[dict[str, dict[str, int]]] = {
    "allow_first": {"allow": 0, "deny": 1, "gray": 2},
    "deny_first": {"deny": 0, "allow": 1, "gray": 2},
    "most_specific": {"allow": 0, "deny": 1, "gray": 2},
}


def first_of(application: Application, matches: list[Match]) -> Match | None:
    """Return the entry that decides; None if there is none."""
    if len(matches) < 2:
        return matches[0] if matches else None
    order = _ORDER[application.precedence]
    if application.precedence == "most_specific":
        return min(matches, key=lambda m: (-m.length, order[m.entry.list]), default=None)
    return min(matches, key=lambda m: (order[m.entry.list], -m.length), default=None)
