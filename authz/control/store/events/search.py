"""Asking for events: by client or network, application, entry, decision, status and time; and counts for charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import case, false, func, literal_column, or_, select, tuple_

from authz.addresses import format_address
from authz.control.model.records import MICROSECONDS
from authz.control.store.entries.network_keys import keys_inside
from authz.control.store.tables import event_countries, event_counts, events

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

    from authz.addresses import Network

_MAPPED = bytes(10) + b"\xff\xff"
Place = tuple[int, int]  # time, id


class WantedEvents(NamedTuple):
    """Which events; None: whatever.

    Attributes:
        network: An address (of full length), or a network that clients are in.
        begin, end: Microseconds, `end` not included.
        patterns: Of applications that may be seen, `shop` or `team-*`; None: all.
        country: A code (ISO 3166-1).
    """

    network: Network | None = None
    application: str | None = None
    entry: str | None = None
    decision: str | None = None
    status: int | None = None
    begin: int | None = None
    end: int | None = None
    patterns: tuple[str, ...] | None = None
    reason: str | None = None
    country: str | None = None


def client_of(key: bytes) -> str:
    """Return the address that 16 bytes of the store stand for, as text."""
    if key[:12] == _MAPPED:
        return format_address(4, int.from_bytes(key[12:], "big"))
    return format_address(6, int.from_bytes(key, "big"))


def find_events(
    tx: Connection, wanted: WantedEvents, *, before: Place | None = None, limit: int = 100
) -> list[Row[Any]]:
    """Return events, newest first, those before a place, at most `limit`."""
    query = select(events).where(*conditions_of(tx, wanted))
    if before is not None:
        query = query.where(tuple_(events.c.time, events.c.id) < tuple_(*before))
    return [*tx.execute(query.order_by(events.c.time.desc(), events.c.id.desc()).limit(limit))]


def next_events(
    tx: Connection, wanted: WantedEvents, order: Literal["time", "client"], *, after: Row[Any] | None, limit: int
) -> list[Row[Any]]:
    """Return events by time, or by client and time, those behind an event, at most `limit`."""
    columns = [events.c.time, events.c.id] if order == "time" else [events.c.client, events.c.time, events.c.id]
    query = select(events).where(*conditions_of(tx, wanted))
    if after is not None:
        query = query.where(tuple_(*columns) > tuple_(*(getattr(after, column.name) for column in columns)))
    return [*tx.execute(query.order_by(*columns).limit(limit))]


def count_events(tx: Connection, wanted: WantedEvents, most: int = 1_000_000) -> int:
    """Return how many events there are, at most `most`: the count goes no further."""
    some = select(events.c.time).where(*conditions_of(tx, wanted)).limit(most).subquery()
    return tx.execute(select(func.count()).select_from(some)).scalar_one()


def count_by_time(
    tx: Connection, begin: int, end: int, step: int, application: str | None = None,
    patterns: tuple[str, ...] | None = None,
) -> list[tuple[int, str, int]]:  # fmt: skip
    """Return counts for a chart, from the counts by the minute.

    begin, end: microseconds. step: minutes. Each item is the begin of a step (seconds since 1970), a decision, and how
    many there were.
    """
    minute = event_counts.c.minute
    bucket = (minute - minute % step).label("bucket")
    total = func.sum(event_counts.c.count)
    width = 60 * MICROSECONDS
    query = select(bucket, event_counts.c.decision, total).where(minute >= begin // width, minute < -(-end // width))
    if application is not None:
        query = query.where(event_counts.c.application == application)
    if patterns is not None:
        query = query.where(_named(tx, event_counts.c.application, patterns))
    rows = tx.execute(query.group_by("bucket", event_counts.c.decision).order_by("bucket", event_counts.c.decision))
    return [(int(row[0]) * 60, row[1], int(row[2])) for row in rows]


def events_came(
    tx: Connection, begin: int, end: int, patterns: tuple[str, ...] | None = None, *, answered: bool = False
) -> bool:  # fmt: skip
    """Return whether any events came in a time, by the counts by the minute.

    begin, end: microseconds. answered: whether any that tell the status of the answer.
    """
    minute, width = event_counts.c.minute, 60 * MICROSECONDS
    query = select(minute).where(minute >= begin // width, minute < -(-end // width))
    if answered:
        query = query.where(event_counts.c.status > 0)
    if patterns is not None:
        query = query.where(_named(tx, event_counts.c.application, patterns))
    return tx.execute(query.limit(1)).first() is not None


class CountryCount(NamedTuple):
    """How many events came from a country, and how many of them were denied.

    Attributes:
        country: Empty: not known.
    """

    country: str
    events: int
    denied: int


def count_by_country(
    tx: Connection, begin: int, end: int, application: str | None = None, patterns: tuple[str, ...] | None = None
) -> list[CountryCount]:
    """Return the countries of clients, those with most denials first; by whole hours.

    begin, end: microseconds; the hours that they lie in are counted whole.
    """
    table, width = event_countries, 3600 * MICROSECONDS
    denied = func.sum(case((table.c.decision == "deny", table.c.count), else_=0))
    query = select(table.c.country, func.sum(table.c.count), denied).where(
        table.c.hour >= begin // width, table.c.hour < -(-end // width)
    )
    if application is not None:
        query = query.where(table.c.application == application)
    if patterns is not None:
        query = query.where(_named(tx, table.c.application, patterns))
    counts = [CountryCount(row[0], int(row[1]), int(row[2])) for row in tx.execute(query.group_by(table.c.country))]
    return sorted(counts, key=lambda count: (-count.denied, -count.events, count.country))


def conditions_of(tx: Connection, wanted: WantedEvents) -> list[ColumnElement[bool]]:
    """Return what makes an event wanted, for a query."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.network is not None:
        first, last = (key[:16] for key in keys_inside(wanted.network))
        conditions.append(events.c.client == first if first == last else events.c.client.between(first, last))
    for name in ("application", "entry", "decision", "status", "reason", "country"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(events.c[name] == value)
    if wanted.entry:  # the index on entries has no events of none; a planner that does not see the value must know
        conditions.append(events.c.entry != literal_column("''"))
    if wanted.begin is not None:
        conditions.append(events.c.time >= wanted.begin)
    if wanted.end is not None:
        conditions.append(events.c.time < wanted.end)
    if wanted.patterns is not None:
        conditions.append(_named(tx, events.c.application, wanted.patterns))
    return conditions


def _named(tx: Connection, column: ColumnElement[str], patterns: tuple[str, ...]) -> ColumnElement[bool]:
    """Say that an application is named by one of the patterns; `*` stands for any text, `?` for one character."""
    if tx.dialect.name == "sqlite":  # whose LIKE takes no notice of case
        return or_(
            false(), *(column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]")) for pattern in patterns)
        )
    likes = (
        pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
        for pattern in patterns
    )
    return or_(false(), *(column.like(like, escape="\\") for like in likes))
