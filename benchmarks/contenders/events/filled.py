"""A store with very many events and entries, filled once and asked by several benchmarks.

    python -m benchmarks.contenders.events.filled FOLDER [--stores postgresql sqlite] [--seconds 300]

A week of events of half a million addresses, some of which send thousands, up to the moment at which the filling
began. PostgreSQL makes them itself, with its indexes; SQLite's are made afterwards, for that takes minutes instead of
hours. Entries are bans of single addresses, as `benchmarks.load.control.stored_bans` writes them. A fill that was ended
goes on where it was: run it again. FOLDER/STORE/fill.json says what the store is filled with; PostgreSQL's user must be
able to enter FOLDER. Twenty million events and a million entries take some 8 GB in each store.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from authz.control.maintenance.init import make_folder
from authz.control.store.database import Store, create_store
from authz.control.store.events.writing import DAY
from authz.serve.config.values import Listen
from benchmarks.load.control.stored_bans import Fill, number_of
from benchmarks.load.control.stored_bans import fill as fill_bans

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[Any, ...]
DAYS: Final = 7
CLIENTS: Final = 500_000
ENTRIES: Final = 1000  # different entries that events name
STORES: Final = ("postgresql", "sqlite")
COUNTRIES: Final = ("DE", "FR", "US", "CN", "BR", "IN", "RU", "GB", "")
MAPPED: Final = bytes(10) + b"\xff\xff"
FIRST_CLIENT: Final = 0x0B000000
COLUMNS: Final = (
    "time", "id", "client", "application", "method", "host", "path", "status", "decision", "entry", "attacks",
    "request_id", "payload", "reason", "country",
)  # fmt: skip
_CHUNK: Final = 200_000  # events of a transaction
_PERIOD: Final = 90 * 86400  # seconds in which the bans end
_GENERATE: Final = """
INSERT INTO events (time, id, client, application, method, host, path, status, decision, entry, attacks, request_id,
                    payload, reason, country)
SELECT :begin + n * :step, n, decode('00000000000000000000ffff' || lpad(to_hex(184549376 + c), 8, '0'), 'hex'),
       'app-' || c % 20, 'GET', 'www.example.com', '/articles/' || n % 9973 || '/comments?page=' || n % 7,
       CASE n % 20 WHEN 0 THEN 403 ELSE 200 END, CASE n % 20 WHEN 0 THEN 'deny' ELSE 'allow' END,
       CASE n % 20 WHEN 0 THEN (CAST(:names AS text[]))[1 + c % 1000] ELSE '' END, '', lpad(to_hex(n), 32, '0'), '',
       CASE n % 20 WHEN 0 THEN 'blocklist' ELSE 'default' END, ('{DE,FR,US,CN,BR,IN,RU,GB,""}'::text[])[1 + c % 9]
FROM (SELECT n, (:clients * random() ^ 4)::bigint AS c FROM generate_series(:first ::bigint, :last ::bigint) n) made
"""
_INDEXES: Final = {
    "ix_events_client_time": "CREATE INDEX ix_events_client_time ON events (client, time)",
    "ix_events_time_id": "CREATE INDEX ix_events_time_id ON events (time, id)",
    "ix_events_entry_time": "CREATE INDEX ix_events_entry_time ON events (entry, time) WHERE entry <> ''",
}
_COUNTS: Final = {  # in the order of time, as a control plane writes them
    "event_counts": "INSERT INTO event_counts (minute, application, decision, status, count) "
    "SELECT time / 60000000, application, decision, status / 100, count(*) FROM events GROUP BY 1, 2, 3, 4 ORDER BY 1",
    "event_countries": "INSERT INTO event_countries (hour, application, decision, country, count) "
    "SELECT time / 3600000000, application, decision, country, count(*) FROM events GROUP BY 1, 2, 3, 4 ORDER BY 1",
}


class Wanted(NamedTuple):
    """What to fill a store with, and what time it covers: microseconds, `end` not included."""

    events: int
    entries: int
    begin: int
    end: int

    @property
    def step(self) -> int:
        """Microseconds from one event to the next."""
        return (self.end - self.begin) // self.events


class Filled(NamedTuple):
    """A store that is filled, or is about to be. folder: of its control plane. database: URL of the store."""

    wanted: Wanted
    folder: Path
    database: str
    store: Store


def client_number(chance: random.Random) -> int:
    """Return a client: few send much, most send little."""
    return int(CLIENTS * chance.random() ** 4)


def client_key(number: int) -> bytes:
    """Return the key of a client in the store."""
    return MAPPED + (FIRST_CLIENT + number).to_bytes(4, "big")


@contextlib.contextmanager
def opened(folder: Path, name: str, events: int, entries: int, log: Path | None = None) -> Iterator[Filled]:
    """Give a store of a folder, made where there is none; it is not filled yet.

    events, entries: of a new store; one that is there says what it has. log: where PostgreSQL writes its own.
    """
    sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
    from support.processes import free_port  # noqa: PLC0415  # needs the extra control
    from support.servers import postgresql  # noqa: PLC0415  # the same

    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    control = own / "control"
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{control}/control.sqlite"
        if name == "postgresql":
            made = (own / "data").exists()
            socket = stack.enter_context(postgresql.server(own / "data", log=log))
            url = postgresql.url_of(socket, "bench") if made else postgresql.new_database(socket, "bench")
        if not control.exists():
            token = make_folder(control, Listen("127.0.0.1", free_port()), store=url).token
            (control / "token").write_text(token)
        wanted = _wanted(own / "fill.json", events, entries)
        store = create_store(url)
        stack.callback(store.close)
        yield Filled(wanted, control, url, store)


def _wanted(file: Path, events: int, entries: int) -> Wanted:
    if not file.exists():
        now = int(time.time()) * 10**6
        file.write_text(json.dumps(Wanted(events, entries, now - DAYS * DAY, now)._asdict()))
    return Wanted(**json.loads(file.read_text()))


def fill(filled: Filled, seconds: float = float("inf")) -> bool:
    """Write what is missing; return whether all is there. seconds: after which no further step is begun."""
    end = time.monotonic() + seconds
    store, wanted = filled.store, filled.wanted
    steps = _postgresql_events(store, wanted) if store.is_postgresql else _sqlite_events(store, wanted)
    for _ in steps:
        if time.monotonic() > end:
            return False
    for table, query in _COUNTS.items():
        if _some(store, table):
            continue
        with store.writing() as tx:
            if store.is_postgresql:
                tx.execute(text("SET LOCAL work_mem = '512MB'"))
            tx.execute(text(query))
        _analyze(store)
        if time.monotonic() > end:
            return False
    return fill_bans(store, Fill(wanted.entries, period=_PERIOD), end - time.monotonic())


def _some(store: Store, table: str) -> bool:
    with store.reading() as tx:
        return tx.execute(text(f"SELECT 1 FROM {table} LIMIT 1")).first() is not None


def _analyze(store: Store) -> None:
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.execute(text("VACUUM ANALYZE" if store.is_postgresql else "ANALYZE"))


def _postgresql_events(store: Store, wanted: Wanted) -> Iterator[None]:
    """Have the server make the same events as `rows`, a partition a day."""
    with store.writing() as tx:
        for day in range(wanted.begin // DAY, wanted.end // DAY + 1):
            bounds = f"FROM ({day * DAY}) TO ({(day + 1) * DAY})"
            tx.execute(text(f"CREATE TABLE IF NOT EXISTS events_{day} PARTITION OF events FOR VALUES {bounds}"))
        done = tx.execute(text("SELECT id FROM events ORDER BY time DESC, id DESC LIMIT 1")).scalar()
    for first in range(0 if done is None else done + 1, wanted.events, _CHUNK):
        with store.writing() as tx:
            last = min(first + _CHUNK, wanted.events) - 1
            tx.execute(text(_GENERATE), {
                "begin": wanted.begin, "step": wanted.step, "first": first, "last": last, "clients": CLIENTS,
                "names": [number_of(number) for number in range(ENTRIES)],
            })  # fmt: skip
        yield


def _sqlite_events(store: Store, wanted: Wanted) -> Iterator[None]:
    into = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    with store.reading() as tx:
        done = tx.execute(text("SELECT id FROM events ORDER BY rowid DESC LIMIT 1")).scalar()
    start = 0 if done is None else done + 1
    if start < wanted.events:
        with store.writing() as tx:
            for index in _INDEXES:
                tx.execute(text(f"DROP INDEX IF EXISTS {index}"))
    for first in range(start, wanted.events, _CHUNK):
        with store.writing() as tx:
            tx.exec_driver_sql(into, list(rows(wanted, first, min(first + _CHUNK, wanted.events))))
        yield
    for index, query in _INDEXES.items():
        with store.writing() as tx:
            known = tx.execute(text("SELECT 1 FROM sqlite_master WHERE name = :name"), {"name": index}).first()
            if known is not None:
                continue
            tx.execute(text(query))
        yield


def rows(wanted: Wanted, first: int, end: int) -> Iterator[Row]:
    """Give events in the order of their times."""
    chance = random.Random(first)
    names = [number_of(number) for number in range(ENTRIES)]
    for number in range(first, end):
        client = client_number(chance)
        denied = number % 20 == 0
        yield (
            wanted.begin + number * wanted.step, number, client_key(client), f"app-{client % 20}", "GET",
            "www.example.com", f"/articles/{number % 9973}/comments?page={number % 7}", 403 if denied else 200,
            "deny" if denied else "allow", names[client % ENTRIES] if denied else "", "", f"{number:032x}", "",
            "blocklist" if denied else "default", COUNTRIES[client % len(COUNTRIES)],
        )  # fmt: skip


def size_of(store: Store) -> int:
    """Return the bytes of a store."""
    query = "SELECT pg_database_size(current_database())" if store.is_postgresql else (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")  # fmt: skip
    with store.reading() as tx:
        return int(tx.execute(text(query)).scalar_one())


def main() -> None:
    """Fill, as far as that goes in the time given."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--events", type=int, default=20_000_000)
    options.add_argument("--entries", type=int, default=1_000_000)
    options.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    options.add_argument("--seconds", type=float, default=float("inf"), help="after which no further step is begun")
    given = options.parse_args()
    end = time.monotonic() + given.seconds
    for name in given.stores:
        with opened(given.folder.resolve(), name, given.events, given.entries) as filled:
            done = fill(filled, end - time.monotonic())
            sys.stdout.write(f"{name}: {'filled' if done else 'not filled yet: run it again'}\n")


if __name__ == "__main__":
    main()
