"""Which requests a trigger counts, and what it tells apart in them.

What few requests differ in (application, method, status, …) is asked first: the detector remembers its answer for each
combination. Then come addresses and paths, for the triggers that are left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from authz.addresses import NetworkSet
from authz.control.detect.triggers.path_pattern import canonical_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.detect.counting.places import Places
    from authz.control.detect.event import Event
    from authz.control.detect.triggers.file import CountRule, Where

MAX_PATHS = 4096  # of which a trigger remembers whether it means them

Match = re.Match[str] | bool | None


def make_kind_filter(where: Where) -> Callable[[Event], bool]:
    """Return the function that says whether an event of this application, method, host, status … can count."""
    attacks, any_attack = {*where.attack}, "any" in where.attack

    def counts(event: Event) -> bool:
        return (
            (not where.application or event.application in where.application)
            and (not where.method or event.method in where.method)
            and (not where.host or event.host in where.host)
            and (not where.status or any(first <= event.status <= last for first, last in where.status))
            and (event.decision == where.decision if where.decision else not _on_a_list(event))
            and (not attacks or (bool(event.attacks) if any_attack else not attacks.isdisjoint(event.attacks)))
        )

    return counts


def _on_a_list(event: Event) -> bool:
    """Return whether authz denied a request for who sent it. One that it denied for a WAF's signal counts."""
    return event.decision == "deny" and (bool(event.entry) or not event.attacks)


def make_client_filter(where: Where, places: Places) -> Callable[[Event], bool] | None:
    """Return the function that says whether a client can count: by network, country, system; None: each can."""
    if not (where.network or where.country or where.asn):
        return None
    networks = NetworkSet(network for several in where.network for network in several)

    def counts(event: Event) -> bool:
        client = event.client
        return (
            (not where.network or client in networks)
            and (not where.country or places.in_countries(client, where.country))
            and (not where.asn or places.in_asns(client, where.asn))
        )

    return counts


def make_path_filter(where: Where) -> Callable[[str], Match] | None:
    """Return the function from a path to its match; None if every path counts."""
    if not where.path:
        return None
    patterns = [pattern.expression for pattern in where.path]
    known: dict[str, Match] = {}

    def match(path: str) -> Match:
        try:
            return known[path]
        except KeyError:
            pass
        canonical = canonical_path(path)
        first = next((match for pattern in patterns if (match := pattern.fullmatch(canonical))), None)
        if len(known) >= MAX_PATHS:
            known.clear()
        known[path] = first
        return first

    return match


def make_distinguisher(count: CountRule) -> Callable[[Event, Match], str | None]:
    """Return the function that says what of an event is told apart; None: nothing, the event does not count."""
    distinct = count.distinct
    if distinct == "path":
        return lambda event, _: canonical_path(event.path)
    if distinct == "payload":
        # A WAF that does not show the payload leaves its types and the request: what repeats them is the same attack.
        return lambda event, _: event.payload or f"{','.join(sorted(event.attacks))} {event.path}"
    name = (distinct or "").removeprefix("param:")

    def parameter(_: Event, match: Match) -> str | None:
        return match.groupdict().get(name) if isinstance(match, re.Match) else None

    return parameter
