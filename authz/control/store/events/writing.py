"""Writing events: many rows in one transaction, counts by time, a partition a day in PostgreSQL, retention."""

from __future__ import annotations

import secrets
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, text
from sqlalchemy.dialects import postgresql, sqlite

from authz.addresses import network_of
from authz.control.model.records import MICROSECONDS
from authz.control.store.entries.network_keys import key_of
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
_COLUMNS: Final = tuple(column.name for column in events.columns)


def client_key(client: Address) -> bytes:
    """Return the 16 bytes that a client has in the store."""
    return key_of(network_of(client, 32 if client.version == 4 else 128))[:16]


def no_country(_: Address) -> str:
    """Say that the country of a client is not known."""
    return ""


def write_events(tx: Connection, taken: Iterable[Event], country_of: Callable[[Address], str] = no_country) -> None:
    """Write events and their counts. country_of: returns the code of a client's country, or ""."""
    rows = [_row(event, country_of(event.client)) for event in taken]
    if not rows:
        return
    if tx.dialect.name == "postgresql":
        _make_partitions(tx, {row["time"] // DAY for row in rows})
        _copy(tx, rows)
    else:
        tx.execute(insert(events), rows)
    minutes: Tally[tuple[int | str, ...]] = Tally()
    hours: Tally[tuple[int | str, ...]] = Tally()
    for row in rows:
        application = row["application"] if len(row["application"]) <= _MAX_APPLICATION else OTHER
        minutes[row["time"] // MINUTE, application, row["decision"], row["status"] // 100] += 1
        hours[row["time"] // HOUR, application, row["decision"], row["country"]] += 1
    _add_counts(tx, event_counts, minutes)
    _add_counts(tx, event_countries, hours)


def _row(event: Event, country: str) -> dict[str, Any]:
    return {
        "time": int(event.time * MICROSECONDS),
        "id": secrets.randbits(62),
        "client": client_key(event.client),
        **{name: _storable(getattr(event, name)) for name in
           ("application", "method", "host", "path", "decision", "entry", "request_id", "payload", "reason")},
        "status": event.status,
        "attacks": _storable(",".join(event.attacks)),
        "country": country,
    }  # fmt: skip


def _storable(value: str) -> str:
    """Return a text as both stores can keep it: no NUL, no lone surrogate."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _copy(tx: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows by COPY, which PostgreSQL takes several times as fast as INSERT."""
    cursor = tx.connection.cursor()
    with cursor.copy(f"COPY events ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([row[name] for name in _COLUMNS])


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
