"""Writing events: many rows in one transaction, counts by the minute, a partition a day in PostgreSQL, retention."""

from __future__ import annotations

import secrets
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, text
from sqlalchemy.dialects import postgresql, sqlite

from authz.addresses import network_of
from authz.control.model import MICROSECONDS
from authz.control.store.network_keys import key_of
from authz.control.store.tables import event_counts, events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from authz.addresses import Address
    from authz.control.detect.event import Event

DAY: Final = 86400 * MICROSECONDS
_MAX_APPLICATION: Final = 64  # characters; what is longer is counted together
OTHER: Final = "(other)"


def client_key(client: Address) -> bytes:
    """Return the 16 bytes that a client has in the store."""
    return key_of(network_of(client, 32 if client.version == 4 else 128))[:16]


def write_events(tx: Connection, taken: Iterable[Event]) -> None:
    """Write events and their counts."""
    rows = [_row(event) for event in taken]
    if not rows:
        return
    if tx.dialect.name == "postgresql":
        _make_partitions(tx, {row["time"] // DAY for row in rows})
    tx.execute(insert(events), rows)
    tally: Tally[tuple[int, str, str, int]] = Tally()
    for row in rows:
        application = row["application"] if len(row["application"]) <= _MAX_APPLICATION else OTHER
        tally[row["time"] // (60 * MICROSECONDS), application, row["decision"], row["status"] // 100] += 1
    _add_counts(tx, tally)


def _row(event: Event) -> dict[str, Any]:
    return {
        "time": int(event.time * MICROSECONDS),
        "id": secrets.randbits(62),
        "client": client_key(event.client),
        **{name: _storable(getattr(event, name)) for name in
           ("application", "method", "host", "path", "decision", "entry", "request_id", "payload")},
        "status": event.status,
        "attacks": _storable(",".join(event.attacks)),
    }  # fmt: skip


def _storable(value: str) -> str:
    """Return a text as both stores can keep it: no NUL, no lone surrogate."""
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _add_counts(tx: Connection, tally: Tally[tuple[int, str, str, int]]) -> None:
    values = [
        {"minute": minute, "application": application, "decision": decision, "status": status, "count": count}
        for (minute, application, decision, status), count in sorted(tally.items())  # one order: no deadlock
    ]
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    adding = dialect.insert(event_counts)
    key = [event_counts.c.minute, event_counts.c.application, event_counts.c.decision, event_counts.c.status]
    more = {"count": event_counts.c.count + adding.excluded.count}
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
    tx.execute(delete(event_counts).where(event_counts.c.minute < before // (60 * MICROSECONDS)))
