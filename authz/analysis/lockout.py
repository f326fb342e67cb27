"""Would a snapshot lock somebody out? Which of some networks are denied, where, by what, and from when on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import Network, range_to_networks
from authz.analysis.space import cut_of
from authz.engine.decision.verdict import Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from authz.analysis.space import Cut
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Application, Match


class Denial(NamedTuple):
    """Part of a network that is denied.

    Attributes:
        network: The one that was asked for.
        application: Its name; `*` is every one that is not named.
        entry: The id of the one that denies; None: the application denies whoever is on no list.
        example: A network of it that is denied.
        since: Seconds since 1970: the time that was asked for, or a later one when a window opens or closes.
    """

    network: Network
    application: str
    entry: str | None
    reason: str
    example: Network
    since: float


def would_deny(loaded: OpenedSnapshot, networks: Iterable[Network], now: float) -> list[Denial]:
    """Return where and by what the networks, or parts of them, are denied at `now` (seconds since 1970) or later.

    For requests without an attack signal. One denial for each network, application and entry, in the order of
    `networks`, with the earliest time. Applications in dry_run deny nobody and are left out.
    """
    denials: dict[tuple[Network, str, str | None], Denial] = {}
    spaces = {version: cut_of(loaded.index, version) for version in (4, 6)}
    for network in networks:
        cut, sets = spaces[network.version]
        first, end = cut.within(network)
        numbers, places = np.unique(sets[first:end], return_index=True)
        for number, place in zip(numbers.tolist(), (places + first).tolist(), strict=True):
            matches = loaded.matches(network.version, number)
            for application, verdict, since in _denials(loaded.applications, matches, now):
                entry = verdict.entry.id if verdict.entry else None
                example = common(cut, place, network)
                denial = Denial(network, application.name, entry, verdict.reason, example, since)
                known = denials.setdefault(denial[:3], denial)
                if since < known.since:
                    denials[denial[:3]] = denial
    return list(denials.values())


def common(cut: Cut, piece: int, network: Network) -> Network:
    """Return the first network of what a piece and a network, which overlap, have in common."""
    first, last = cut.ranges(np.array([piece])).bounds(0)
    return range_to_networks(cut.version, max(first, network.value), min(last, network.last))[0]


def over_time(application: Application, matches: Sequence[Match], now: float) -> Iterator[tuple[float, Verdict]]:
    """Yield the verdict at `now`, and each time after it that a window opens or closes."""
    at = now
    while True:
        verdict = decide(application, matches, attack=False, now=at)
        yield at, verdict
        if verdict.until == float("inf"):
            return
        at = verdict.until


def _denials(
    applications: Iterable[Application], matches: Sequence[Match], now: float
) -> Iterator[tuple[Application, Verdict, float]]:
    for application in applications:
        if not application.dry_run:
            for since, verdict in over_time(application, matches, now):
                if verdict.decision == "deny":
                    yield application, verdict, since
