"""Who and what is busiest: among the newest events, so that the answer costs the same however many there are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, select

from authz.addresses import Network, format_address
from authz.control.store.events.search import WantedEvents, client_of, conditions_of
from authz.control.store.tables import events

if TYPE_CHECKING:
    from sqlalchemy import Connection, Subquery

MOST: Final = 100_000  # events that are looked at
_MAPPED: Final = bytes(10) + b"\xff\xff"


class Busiest(NamedTuple):
    """What occurs most among `looked` events, each with how often.

    Attributes:
        complete: No event was left out.
    """

    clients: list[tuple[str, int]]
    networks: list[tuple[str, int]]
    entries: list[tuple[str, int]]
    applications: list[tuple[str, int]]
    looked: int
    complete: bool


def find_busiest(tx: Connection, wanted: WantedEvents, shown: int = 8) -> Busiest:
    """Return the clients, their networks (/24, /64), the entries and the applications with the most events."""
    columns = (events.c.client, events.c.entry, events.c.application, events.c.decision)
    newest = select(*columns).where(*conditions_of(tx, wanted._replace(decision=None)))
    some = newest.order_by(events.c.time.desc()).limit(MOST).subquery()
    query = select(some.c.client, some.c.entry, some.c.application)
    if wanted.decision is not None:
        query = query.where(some.c.decision == wanted.decision)
    clients: Counter[bytes] = Counter()
    entries: Counter[str] = Counter()
    applications: Counter[str] = Counter()
    for client, entry, application in tx.execute(query):
        clients[bytes(client)] += 1
        entries[entry] += 1
        applications[application] += 1
    networks: Counter[bytes] = Counter()
    for client, count in clients.items():
        networks[_network_key(client)] += count
    looked = clients.total()
    return Busiest(
        [(client_of(key), count) for key, count in clients.most_common(shown)],
        [(_network(key), count) for key, count in networks.most_common(shown)],
        [(name, count) for name, count in entries.most_common(shown + 1) if name][:shown],
        [(name, count) for name, count in applications.most_common(shown)],
        looked,
        _count(tx, some) < MOST,
    )


def _count(tx: Connection, some: Subquery) -> int:
    return tx.execute(select(func.count()).select_from(some)).scalar_one()


def _network_key(client: bytes) -> bytes:
    return client[:15] + b"\0" if client.startswith(_MAPPED) else client[:8] + bytes(8)


def _network(key: bytes) -> str:
    if key.startswith(_MAPPED):
        return str(Network(4, int.from_bytes(key[12:], "big"), 24))
    return f"{format_address(6, int.from_bytes(key, 'big'))}/64"
