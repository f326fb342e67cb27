"""Pages of events for people, whose cost does not grow with the table.

What an index finds (a client, an entry, a time) is read from there. Whatever else is asked for (a decision, a status,
a country) is looked for among the next MAX_LOOKED events that the index gives, and the rest of the last one's second:
then the page says how far it came, and the next one goes on from there. So a value that hardly ever occurs costs as
much as one that always does. A whole second, because a tenant is told where to go on, and the last event that was
looked at may be another tenant's. Events of a client or of an entry lie apart in the table: MAX_SCATTERED of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select, tuple_

from authz.addresses import BITS
from authz.control.model.records import MICROSECONDS
from authz.control.store.entries.network_keys import keys_inside
from authz.control.store.events.search import Place, WantedEvents, conditions_of
from authz.control.store.tables import events

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, Select

MAX_LOOKED: Final = 20_000  # events that are read for one page
MAX_SCATTERED: Final = 5_000  # where each may be on another page of the disk


class EventPage(NamedTuple):
    """A page, newest first.

    Attributes:
        following: What the next one is before; None: this is the last.
        looked: How many were looked at, at most.
    """

    events: list[Row[Any]]
    following: Place | None
    looked: int = MAX_LOOKED


def find_event_page(
    tx: Connection, wanted: WantedEvents, *, before: Place | None = None, limit: int = 50, most: int = MAX_LOOKED
) -> EventPage:
    """Return a page of events. It has fewer than `limit` and a following one where `most` were looked at."""
    if _is_wide(wanted) and _has_few(tx, wanted, most):
        return _page([*tx.execute(_few(tx, wanted, before).limit(limit + 1))], limit, None)
    by_index = _by_index(wanted)
    if by_index.network is not None or by_index.entry is not None:
        most = min(most, MAX_SCATTERED)
    last = None if by_index == wanted else _last_looked_at(tx, by_index, before, most)
    query = _before(select(events).where(*_in_order_of_time(tx, wanted)), before)
    if last is not None:
        query = query.where(events.c.time >= last)
    return _page([*tx.execute(_newest(query).limit(limit + 1))], limit, last)._replace(looked=most)


def _page(rows: list[Row[Any]], limit: int, last: int | None) -> EventPage:
    if len(rows) > limit:
        return EventPage(rows[:limit], (rows[limit - 1].time, rows[limit - 1].id))
    return EventPage(rows, None if last is None else (last, 0))


def _is_wide(wanted: WantedEvents) -> bool:
    """Return whether a network is asked for: its events lie together by client, not by time."""
    return wanted.network is not None and wanted.network.length < BITS[wanted.network.version]


def _has_few(tx: Connection, wanted: WantedEvents, most: int) -> bool:
    of_network = WantedEvents(network=wanted.network)
    some = select(events.c.client).where(*conditions_of(tx, of_network)).limit(most + 1).subquery()
    return tx.execute(select(func.count()).select_from(some)).scalar_one() <= most


def _few(tx: Connection, wanted: WantedEvents, before: Place | None) -> Select[Any]:
    """Return the query for the events of a network with few: they are sorted, not looked for by time."""
    query = _before(select(events).where(*conditions_of(tx, wanted)), before)
    return query.order_by((events.c.time + 0).desc(), events.c.id.desc())


def _in_order_of_time(tx: Connection, wanted: WantedEvents) -> list[ColumnElement[bool]]:
    """Return what makes an event wanted. SQLite is not told to find a network by an index: it would sort all of it."""
    if wanted.network is None or not _is_wide(wanted) or tx.dialect.name != "sqlite":
        return conditions_of(tx, wanted)
    first, last = (key[:16] for key in keys_inside(wanted.network))
    client = func.coalesce(events.c.client, events.c.client)
    return [*conditions_of(tx, wanted._replace(network=None)), client.between(first, last)]


def _by_index(wanted: WantedEvents) -> WantedEvents:
    """Return what of it an index finds in the order of time."""
    network = None if _is_wide(wanted) or wanted.entry is not None else wanted.network
    return WantedEvents(network=network, entry=wanted.entry, begin=wanted.begin, end=wanted.end)


def _last_looked_at(tx: Connection, by_index: WantedEvents, before: Place | None, most: int) -> int | None:
    """Return where the last second that is looked at begins (microseconds); None: all are, for they are few."""
    query = _before(select(events.c.time, events.c.id).where(*conditions_of(tx, by_index)), before)
    row = tx.execute(_newest(query).offset(most - 1).limit(1)).first()
    return None if row is None else row.time // MICROSECONDS * MICROSECONDS


def _before(query: Select[Any], before: Place | None) -> Select[Any]:
    return query if before is None else query.where(_place() < tuple_(*before))


def _newest(query: Select[Any]) -> Select[Any]:
    return query.order_by(events.c.time.desc(), events.c.id.desc())


def _place() -> ColumnElement[Any]:
    return tuple_(events.c.time, events.c.id)
