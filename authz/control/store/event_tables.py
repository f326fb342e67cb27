"""The tables of events: each of them, and their counts by time. In PostgreSQL a day is a partition of `events`."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text


class EventTables(NamedTuple):
    """The tables.

    Attributes:
        counts: By the minute.
        countries: By the hour, as there are many of them.
    """

    events: Table
    counts: Table
    countries: Table


def make_event_tables(metadata: MetaData) -> EventTables:
    """Return the tables, as parts of the metadata."""
    has_entry = text("entry <> ''")
    events = Table(
        "events",
        metadata,
        Column("time", BigInteger, nullable=False),  # microseconds since 1970
        Column("id", BigInteger, nullable=False),  # random: tells events of one microsecond apart
        Column("client", LargeBinary, nullable=False),  # 16 bytes, IPv4 as its mapped IPv6 address
        Column("application", Text, nullable=False),
        Column("method", Text, nullable=False),
        Column("host", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("status", Integer, nullable=False),  # 0: not known
        Column("decision", Text, nullable=False),
        Column("entry", Text, nullable=False),
        Column("attacks", Text, nullable=False),  # separated by commas
        Column("request_id", Text, nullable=False),
        Column("payload", Text, nullable=False, server_default=""),
        Column("reason", Text, nullable=False, server_default=""),
        Column("country", Text, nullable=False, server_default=""),  # of the client; empty: not known
        Index(None, "client", "time"),
        Index(None, "time", "id"),
        Index("ix_events_entry_time", "entry", "time", sqlite_where=has_entry, postgresql_where=has_entry),
    )
    counts = Table(
        "event_counts",
        metadata,
        Column("minute", BigInteger, primary_key=True, autoincrement=False),  # since 1970
        Column("application", Text, primary_key=True),
        Column("decision", Text, primary_key=True),
        Column("status", Integer, primary_key=True, autoincrement=False),  # 2 for 2xx; 0: not known
        Column("count", BigInteger, nullable=False),
    )
    countries = Table(
        "event_countries",
        metadata,
        Column("hour", BigInteger, primary_key=True, autoincrement=False),  # since 1970
        Column("application", Text, primary_key=True),
        Column("decision", Text, primary_key=True),
        Column("country", Text, primary_key=True),
        Column("count", BigInteger, nullable=False),
    )
    return EventTables(events, counts, countries)
