"""Writing events: many rows in one transaction, counts by time, a partition a day in PostgreSQL, retention."""

from __future__ import annotations

import os
from array import array
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, text
from sqlalchemy.dialects import postgresql, sqlite

from authz.control.model.records import MICROSECONDS
from authz.control.store.tables import event_countries, event_counts, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Table

    from authz.addresses import Address
    from authz.control.detect.event import Event

MINUTE: Final = 60 * MICROSECONDS
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_MAX_APPLICATION: Final = 64  # characters; what is longer is counted together
OTHER: Final = "(other)"
_COLUMNS: Final = (
    "time", "status", "country", "application", "decision", "attacks", "method", "host", "path", "entry", "request_id",
    "payload", "reason", "id", "client",
)  # fmt: skip
_COUNTED: Final = 5  # of them: the first ones, by which events are counted
_INSERT: Final = f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  # of constants
_MAPPED: Final = 0xFFFF << 32  # IPv4 is kept as its mapped IPv6 address
_Row = tuple[Any, ...]


def client_key(client: Address) -> bytes:
    """Return the 16 bytes that a client has in the store."""
    return (client.value | _MAPPED if client.version == 4 else client.value).to_bytes(16, "big")


def no_country(_: Address) -> str:
    """Say that the country of a client is not known."""
    return ""


def write_events(tx: Connection, taken: Iterable[Event], country_of: Callable[[Address], str] = no_country) -> None:
    """Write events and their counts. country_of: returns the code of a client's country, or ""."""
    kept = [*taken]
    if not kept:
        return
    numbers = array("Q", os.urandom(8 * len(kept)))  # in one go: each by itself would be a call of the kernel
    rows = [_row(event, number >> 2, country_of(event.client)) for event, number in zip(kept, numbers, strict=True)]
    if tx.dialect.name == "postgresql":
        _make_partitions(tx, {row[0] // DAY for row in rows})
        _copy(tx, rows)
    else:
        tx.exec_driver_sql(_INSERT, rows)  # SQLAlchemy's own INSERT costs as much as all the rest of a row
    minutes: Tally[tuple[int | str, ...]] = Tally()
    hours: Tally[tuple[int | str, ...]] = Tally()
    like = Tally((row[0] // MINUTE, *row[1:_COUNTED]) for row in rows)
    for (minute, status, country, application, decision), count in like.items():
        name = application if len(application) <= _MAX_APPLICATION else OTHER
        minutes[minute, name, decision, status // 100] += count
        hours[minute * MINUTE // HOUR, name, decision, country] += count
    _add_counts(tx, event_counts, minutes)
    _add_counts(tx, event_countries, hours)


def _row(event: Event, number: int, country: str) -> _Row:
    """Return a row, in the order of _COLUMNS. number: its id, below 2^63."""
    time, client, application, method, host, path, status, attacks, payload, decision, entry, request_id, *_ = event
    texts: tuple[str, ...] = (
        application, decision, ",".join(attacks), method, host, path, entry, request_id, payload, event.reason,
    )  # fmt: skip
    if not _is_storable("".join(texts)):
        texts = tuple(map(_storable, texts))
    return int(time * MICROSECONDS), status, country, *texts, number, client_key(client)


def _is_storable(text: str) -> bool:
    return text.isascii() and "\0" not in text


def _storable(text: str) -> str:
    """Return a text as both stores can keep it: no NUL, no lone surrogate."""
    if _is_storable(text):
        return text
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _copy(tx: Connection, rows: Iterable[_Row]) -> None:
    """Write rows by COPY, which PostgreSQL takes several times as fast as INSERT."""
    cursor = tx.connection.cursor()
    with cursor.copy(f"COPY events ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _add_counts(tx: Connection, table: Table, tally: Tally[tuple[int | str, ...]]) -> None:
    key = [column.name for column in table.primary_key]
    values = [  # in one order: no deadlock
        dict(zip(key, place, strict=True)) | {"count": count} for place, count in sorted(tally.items())
    ]
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    adding = dialect.insert(table)
    more = {"count": table.c.count + adding.excluded.count}
    tx.execute(adding.on_conflict_do_update(index_elements=key, set_=more), values)


def _make_partitions(tx: Connection, days: set[int]) -> None:
    for day in sorted(days):
        name = f"events_{day}"
        if tx.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is None:
            tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('authz events'))"))  # another may make it now
            bounds = f"FROM ({day * DAY}) TO ({(day + 1) * DAY})"
            tx.execute(text(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF events FOR VALUES {bounds}"))


def drop_old_events(tx: Connection, before: int) -> None:
    """Delete events and counts from before a time (microseconds); in PostgreSQL whole days."""
    if tx.dialect.name == "postgresql":
        query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"
        for name in tx.execute(text(query)).scalars().all():
            day = name.removeprefix("events_")
            if day.isdigit() and (int(day) + 1) * DAY <= before:
                tx.execute(text(f"DROP TABLE {name}"))
    tx.execute(delete(events).where(events.c.time < before))
    tx.execute(delete(event_counts).where(event_counts.c.minute < before // MINUTE))
    tx.execute(delete(event_countries).where(event_countries.c.hour < before // HOUR))
