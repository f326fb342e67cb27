"""How many events a set of addresses accounts for: by application, over a time, counted up to a bound."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import case, func, or_, select

from authz.addresses import NetworkSet
from authz.control.store.events.search import WantedEvents, conditions_of
from authz.control.store.tables import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from authz.addresses import Network

MAX_EVENTS: Final = 20_000  # events that are counted; each of them may be on another page of the disk
_RANGES: Final = 200  # of a query
_MAPPED: Final = 0xFFFF << 32
_Range = tuple[bytes, bytes]  # first and last client


class Touched(NamedTuple):
    """Events of an application, or of all.

    Attributes:
        denied: How many of them were denied already.
    """

    application: str
    events: int
    denied: int
    clients: int


class Impact(NamedTuple):
    """What addresses account for.

    Attributes:
        complete: False: there were more events than are counted.
    """

    total: Touched
    applications: list[Touched]
    complete: bool


def client_ranges(networks: Iterable[Network], exceptions: Iterable[Network]) -> list[_Range]:
    """Return the addresses of networks without those of the exceptions, as ranges of clients that do not overlap."""
    covered, excepted = NetworkSet(networks), NetworkSet(exceptions)
    bounds: list[_Range] = []
    for version, mapped in ((4, _MAPPED), (6, 0)):
        for first, end in _difference(covered.bounds[version], excepted.bounds[version]):
            bounds.append(((first | mapped).to_bytes(16, "big"), (end - 1 | mapped).to_bytes(16, "big")))
    return bounds


def _difference(bounds: Sequence[int], without: Sequence[int]) -> Iterator[tuple[int, int]]:
    for first, end in pairwise(sorted({*bounds, *without})):
        if bisect_right(bounds, first) & 1 and not bisect_right(without, first) & 1:
            yield first, end


def count_touched(
    tx: Connection, ranges: Sequence[_Range], applications: Sequence[str], wanted: WantedEvents, most: int = MAX_EVENTS
) -> Impact:
    """Count the events of clients in the ranges. applications: empty: all. wanted: what else holds for them."""
    by_application: dict[str, list[int]] = {}  # events, denied, clients
    clients: set[bytes] = set()
    events_found = 0
    for start in range(0, len(ranges), _RANGES):
        if events_found >= most:
            break
        some = _some(tx, ranges[start : start + _RANGES], applications, wanted, most - events_found)
        for name, client, many, denied in tx.execute(_grouped(some)):
            known = by_application.setdefault(name, [0, 0, 0])
            known[:] = known[0] + many, known[1] + int(denied), known[2] + 1
            clients.add(bytes(client))
            events_found += many
    touched = [Touched(name, *counts) for name, counts in by_application.items()]
    touched.sort(key=lambda item: (-item.events, item.application))
    total = Touched("", events_found, sum(item.denied for item in touched), len(clients))
    return Impact(total, touched, complete=events_found < most)


def _some(
    tx: Connection, ranges: Sequence[_Range], applications: Sequence[str], wanted: WantedEvents, limit: int
) -> Any:
    where = [*conditions_of(tx, wanted), or_(*(events.c.client.between(*bounds) for bounds in ranges))]
    if applications:
        where.append(events.c.application.in_(applications))
    return select(events.c.application, events.c.client, events.c.decision).where(*where).limit(limit).subquery()


def _grouped(some: Any) -> Any:
    """Return the query for the events of each client in each application: the table is read once."""
    denied = func.sum(case((some.c.decision == "deny", 1), else_=0))
    columns = some.c.application, some.c.client
    return select(*columns, func.count(), denied).group_by(*columns)
