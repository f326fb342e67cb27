"""Filling a store with very many bans, as a control plane would have written them: the same rows, the same chain.

What takes time is the database, not the rows: PostgreSQL gets them by COPY, SQLite by executemany without a journal and
without syncing, and the indexes of the large tables are made at the end. A fill that came to its `seconds` goes on
where it was: call `fill` again. One of SQLite that was killed is to be begun anew: without a journal it is broken.

    1,000 bans are a chunk: so many changes that add, and then those that end some of them (`ended` of them)
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import event, func, inspect, select, text

from authz.addresses import format_address
from authz.control.model.records import FOREVER, MICROSECONDS, Actor, Change, Entry, draft
from authz.control.store.ledger.chain import chained
from authz.control.store.ledger.changes import lock_head
from authz.control.store.ledger.follow import entry_row, network_rows
from authz.control.store.tables import changes, entries, entry_networks, heads
from authz.snapshot.ban_ids import ban_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Table

    from authz.control.store.database import Store
    from authz.control.store.ledger.changes import Head

CHUNK: Final = 1_000  # bans
LEAST: Final = 120  # seconds until the first ban ends
PAST: Final = 7200  # seconds before now at which the changes begin
STEP: Final = 10  # microseconds between two changes: the last one is behind us when all are written
_FIRST, _END = 0x0B000000, 0xC6000000  # the addresses are spread over these
_ACTOR: Final = Actor("main", "generator", "system", "import")
_TABLES: Final = (changes, entries, entry_networks)


class Fill(NamedTuple):
    """What to fill a store with.

    bans: how many; ended: the share of them that somebody has ended since; period: seconds in which the others end, one
    after the other.
    """

    bans: int
    ended: float = 0.0
    period: int = 7200

    @property
    def changes(self) -> int:
        """How many changes that makes."""
        whole, rest = divmod(self.bans, CHUNK)
        return self.bans + whole * self.ended_of_chunk + min(rest, self.ended_of_chunk)

    @property
    def ended_of_chunk(self) -> int:
        """How many bans of a chunk have ended: its first ones."""
        return int(CHUNK * self.ended)

    def address(self, number: int) -> int:
        """Return the address of a ban, as a number."""
        return _FIRST + (_END - _FIRST) // self.bans * number

    def client(self, number: int) -> str:
        """Return the address of a ban, as text."""
        return format_address(4, self.address(number))


def number_of(number: int) -> str:
    """Return the id of a ban."""
    return ban_id(1 << 40 | number)


def fill(store: Store, wanted: Fill, seconds: float = float("inf")) -> bool:
    """Write what is missing; return whether all is there. seconds: after which to stop until the next call."""
    with _hurrying(store):
        whole = _fill(store, wanted, time.monotonic() + seconds)
    if whole:
        _settle(store)
    return whole


def _fill(store: Store, wanted: Fill, end: float) -> bool:
    with store.writing() as tx:
        done = tx.execute(select(func.count()).select_from(entries)).scalar_one()
        if done >= wanted.bans and not _missing_indexes(tx):
            return True
        _indexes(tx, made=False)
    for start in range(done, wanted.bans, CHUNK):
        if time.monotonic() > end:
            return False
        with store.writing() as tx:
            _write_chunk(tx, wanted, start, store.now())
    with store.writing() as tx:
        _indexes(tx, made=True)
    return True


def _write_chunk(tx: Connection, wanted: Fill, start: int, now: int) -> None:
    head = lock_head(tx, "bans")
    if tx.dialect.name == "postgresql":
        tx.execute(text("SET LOCAL synchronous_commit = off"))
    begun = [_ban(wanted, number, head, now) for number in range(start, min(start + CHUNK, wanted.bans))]
    ended = begun[: wanted.ended_of_chunk]
    drafts = [draft(None, entry) for entry in begun] + [draft(entry, None, "a mistake") for entry in ended]
    made, last, at = [], head.hash, max(head.time, now - PAST * MICROSECONDS)
    for offset, written in enumerate(drafts, start=1):
        change = Change(
            layer="bans", sequence=head.sequence + offset, time=at + offset * STEP, tenant=_ACTOR.tenant,
            actor=_ACTOR.name, actor_kind=_ACTOR.kind, method=_ACTOR.method, request_id="", **written._asdict(),
        )  # fmt: skip
        last = chained(last, change)
        made.append(msgspec.structs.replace(change, hash=last))
    over = {change.subject: change.time for change in made[len(begun) :]}
    _insert(tx, changes, [msgspec.structs.asdict(change) for change in made])
    _insert(tx, entries, [
        entry_row(entry, change.time) | {"recorded_to": over.get(entry.id, FOREVER)}
        for entry, change in zip(begun, made, strict=False)
    ])  # fmt: skip
    _insert(tx, entry_networks, [
        row | {"recorded_to": over.get(entry.id, FOREVER)} for entry in begun for row in network_rows(entry)
    ])  # fmt: skip
    tx.execute(text("INSERT INTO prefix_lengths (length) VALUES (128) ON CONFLICT DO NOTHING"))
    tx.execute(heads.update().where(heads.c.layer == "bans").values(
        sequence=made[-1].sequence, time=made[-1].time, hash=last,
    ))  # fmt: skip


def _ban(wanted: Fill, number: int, head: Head, now: int) -> Entry:
    created = max(head.time, now - PAST * MICROSECONDS)
    expires = now // MICROSECONDS + LEAST + wanted.period * number // wanted.bans
    return Entry(
        id=number_of(number), version=1, tenant="main", layer="bans", created=created,
        networks=(wanted.client(number),), expires=expires, reason="scraping", author="generator",
    )  # fmt: skip


@contextlib.contextmanager
def _hurrying(store: Store) -> Iterator[None]:
    """Have SQLite keep no journal and sync nothing: it is a benchmark's store."""
    if store.is_postgresql:
        yield
        return
    event.listen(store.engine, "connect", _without_journal)
    store.engine.dispose()  # connections are made anew
    try:
        yield
    finally:
        event.remove(store.engine, "connect", _without_journal)
        store.engine.dispose()


def _without_journal(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-262144"):
        connection.execute(f"PRAGMA {pragma}")


def _settle(store: Store) -> None:
    """Have all of it on the disk: what a database and the kernel write later would be measured with what comes next."""
    if store.is_postgresql:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CHECKPOINT"))
    os.sync()


def _insert(tx: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0])
    values = (tuple(row.values()) for row in rows)
    if tx.dialect.name == "postgresql":
        _copy(tx, f"COPY {table.name} ({', '.join(map(_quoted, names))}) FROM STDIN", values)
        return
    places = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))}) VALUES ({places})"  # our names
    tx.connection.driver_connection.executemany(statement, values)  # type: ignore[union-attr]  # it is open


def _copy(tx: Connection, statement: str, values: Iterator[tuple[Any, ...]]) -> None:
    with tx.connection.driver_connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[union-attr]  # it is open
        for row in values:
            copy.write_row(row)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _missing_indexes(tx: Connection) -> set[str]:
    """Return those that a fill took away and did not come to make again."""
    made = {index["name"] for table in _TABLES for index in inspect(tx).get_indexes(table.name)}
    return {str(index.name) for table in _TABLES for index in table.indexes} - made


def _indexes(tx: Connection, *, made: bool) -> None:
    """Make the indexes of the large tables, or take them away: rows come faster without."""
    if made and tx.dialect.name == "postgresql":
        tx.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
    for table in _TABLES:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            index.drop(tx, checkfirst=True)
            if made:
                index.create(tx)
    if made and tx.dialect.name == "postgresql":
        tx.execute(text("ANALYZE"))
