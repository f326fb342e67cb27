"""A change against yesterday's events: how many of them, and of how many clients, it would have touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import parse_networks
from authz.control.model import SUBJECTS
from authz.control.store.event_impact import Impact, client_ranges, count_touched
from authz.control.store.event_search import WantedEvents
from authz.control.store.event_writing import DAY

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.model import Written


class Yesterday(NamedTuple):
    """Events of the 24 hours since `since` (microseconds) from addresses that an entry names.

    uncounted: subjects that the entry names otherwise than by networks: events do not say what they are.
    """

    since: int
    impact: Impact
    uncounted: tuple[str, ...]


def against_yesterday(
    tx: Connection, written: Written, now: int, patterns: tuple[str, ...] | None = None
) -> Yesterday:  # fmt: skip
    """Return what an entry would have touched, had it been there for a day.

    now: microseconds. patterns: of applications whose events may be seen; None: all. Raises AddressError for networks
    that are none.
    """
    networks = [network for text in written.networks for network in parse_networks(text)]
    exceptions = [network for text in written.except_ for network in parse_networks(text)]
    wanted = WantedEvents(begin=now - DAY, end=now, patterns=patterns)
    impact = count_touched(tx, client_ranges(networks, exceptions), written.applications, wanted)
    uncounted = tuple(name for name in SUBJECTS if name != "networks" and getattr(written, name))
    return Yesterday(now - DAY, impact, uncounted)
