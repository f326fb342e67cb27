"""Who and what is busiest: among the newest events, so that the answer costs the same however many there are.

How many are looked at is found in the index first: of those before, and of those that are not wanted, no row is read.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, select

from authz.addresses import Network, format_address
from authz.control.store.events.search import WantedEvents, client_of, conditions_of
from authz.control.store.tables import events

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_EVENTS: Final = 20_000  # events that are looked at
_MAPPED: Final = bytes(10) + b"\xff\xff"


class Busiest(NamedTuple):
    """What occurs most, each with how often.

    Attributes:
        since: Of the newest MAX_EVENTS events, when the oldest came (microseconds); None: of all.
    """

    clients: list[tuple[str, int]]
    networks: list[tuple[str, int]]
    entries: list[tuple[str, int]]
    applications: list[tuple[str, int]]
    since: int | None


def find_busiest(tx: Connection, wanted: WantedEvents, shown: int = 8) -> Busiest:
    """Return the clients, their networks (/24, /64), the entries and the applications with the most events."""
    since = _since(tx, wanted)
    some = wanted if since is None else wanted._replace(begin=since)
    clients: Counter[bytes] = Counter()
    entries: Counter[str] = Counter()
    applications: Counter[str] = Counter()
    columns = (events.c.client, events.c.entry, events.c.application, func.count())
    query = select(*columns).where(*conditions_of(tx, some)).group_by(*columns[:3])
    for client, entry, application, count in tx.execute(query):
        clients[bytes(client)] += count
        entries[entry] += count
        applications[application] += count
    networks: Counter[bytes] = Counter()
    for client, count in clients.items():
        networks[_network_key(client)] += count
    return Busiest(
        [(client_of(key), count) for key, count in clients.most_common(shown)],
        [(_network(key), count) for key, count in networks.most_common(shown)],
        [(name, count) for name, count in entries.most_common(shown + 1) if name][:shown],
        [(name, count) for name, count in applications.most_common(shown)],
        since,
    )


def _since(tx: Connection, wanted: WantedEvents) -> int | None:
    """Return the time of the last event that is looked at, by the index on times; None: all are."""
    of_time = WantedEvents(begin=wanted.begin, end=wanted.end)
    query = select(events.c.time).where(*conditions_of(tx, of_time)).order_by(events.c.time.desc())
    row = tx.execute(query.offset(MAX_EVENTS - 1).limit(1)).first()
    return None if row is None else row.time


def _network_key(client: bytes) -> bytes:
    return client[:15] + b"\0" if client.startswith(_MAPPED) else client[:8] + bytes(8)


def _network(key: bytes) -> str:
    if key.startswith(_MAPPED):
        return str(Network(4, int.from_bytes(key[12:], "big"), 24))
    return f"{format_address(6, int.from_bytes(key, 'big'))}/64"
