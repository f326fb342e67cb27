"""Which requests a trigger counts, and what it tells apart in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from authz.addresses import NetworkSet
from authz.control.detect.path_pattern import decoded_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.detect.event import Event
    from authz.control.detect.triggers import CountRule, Where


def make_filter(where: Where) -> Callable[[Event], re.Match[str] | bool | None]:
    """Return the function that says whether an event counts: the match of its path where the trigger names paths."""
    networks = NetworkSet(network for several in where.network for network in several)
    patterns = [pattern.expression for pattern in where.path]
    attacks, any_attack = {*where.attack}, "any" in where.attack

    def plain(event: Event) -> bool:
        return (
            (not where.application or event.application in where.application)
            and (not where.method or event.method in where.method)
            and (not where.host or event.host in where.host)
            and (not where.status or any(first <= event.status <= last for first, last in where.status))
            and (event.decision == where.decision if where.decision else event.decision != "deny")
            and (not attacks or (bool(event.attacks) if any_attack else not attacks.isdisjoint(event.attacks)))
            and (not where.network or event.client in networks)
        )

    def counts(event: Event) -> re.Match[str] | bool | None:
        if not plain(event):
            return None
        if not patterns:
            return True
        path = decoded_path(event.path)
        return next((match for pattern in patterns if (match := pattern.fullmatch(path))), None)

    return counts


def make_distinguisher(count: CountRule) -> Callable[[Event, re.Match[str] | bool], str | None]:
    """Return the function that says what of an event is told apart; None: nothing, the event does not count."""
    distinct = count.distinct
    if distinct == "path":
        return lambda event, _: decoded_path(event.path)
    if distinct == "payload":
        # A WAF that does not show the payload leaves its types and the request: what repeats them is the same attack.
        return lambda event, _: event.payload or f"{','.join(sorted(event.attacks))} {event.path}"
    name = (distinct or "").removeprefix("param:")

    def parameter(_: Event, match: re.Match[str] | bool) -> str | None:
        return None if isinstance(match, bool) else match.groupdict().get(name)

    return parameter
