"""Search over very many events: by address and the rest, and charts, in PostgreSQL and in SQLite.

    python -m benchmarks.contenders.events.search [--events 20000000] [--stores postgresql sqlite] [--json FILE]

A week of events of half a million addresses, some of which send thousands. PostgreSQL makes them itself, with indexes;
SQLite's indexes are made afterwards, for that takes minutes instead of hours.
Each question is asked through the functions that the API calls. PostgreSQL runs with the settings of its packages.
Twenty million events take some 10 GB of disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from authz.addresses import parse_network
from authz.control.store.database import create_store
from authz.control.store.events.search import (
    WantedEvents,
    client_of,
    count_by_country,
    count_by_time,
    find_events,
)
from authz.control.store.events.writing import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from authz.control.store.database import Store

Row = tuple[Any, ...]
START: Final = 1_790_035_200 * 10**6  # the begin of a day, in microseconds
DAYS: Final = 7
CLIENTS: Final = 500_000
COLUMNS: Final = (
    "time", "id", "client", "application", "method", "host", "path", "status", "decision", "entry", "attacks",
    "request_id", "payload", "reason", "country",
)  # fmt: skip
_MAPPED: Final = bytes(10) + b"\xff\xff"
_COUNTRIES: Final = ("DE", "FR", "US", "CN", "BR", "IN", "RU", "GB", "")
_BATCH: Final = 50_000
_CHUNK: Final = 200_000  # events of a transaction in PostgreSQL
_GENERATE: Final = """
INSERT INTO events (time, id, client, application, method, host, path, status, decision, entry, attacks, request_id,
                    payload, reason, country)
SELECT :start + n * :step, n, decode('00000000000000000000ffff' || lpad(to_hex(184549376 + c), 8, '0'), 'hex'),
       'app-' || c % 20, 'GET', 'www.example.com', '/articles/' || n % 9973 || '/comments?page=' || n % 7,
       CASE n % 20 WHEN 0 THEN 403 ELSE 200 END, CASE n % 20 WHEN 0 THEN 'deny' ELSE 'allow' END,
       CASE n % 20 WHEN 0 THEN 'entry-' || c % 1000 ELSE '' END, '', lpad(to_hex(n), 32, '0'), '',
       CASE n % 20 WHEN 0 THEN 'blocklist' ELSE 'default' END, ('{DE,FR,US,CN,BR,IN,RU,GB,""}'::text[])[1 + c % 9]
FROM (SELECT n, (:clients * random() ^ 4)::bigint AS c FROM generate_series(:first ::bigint, :last ::bigint) n) made
"""
_INDEXES: Final = (
    "CREATE INDEX ix_events_client_time ON events (client, time)",
    "CREATE INDEX ix_events_time_id ON events (time, id)",
    "CREATE INDEX ix_events_entry_time ON events (entry, time) WHERE entry <> ''",
)
_COUNTS: Final = """
INSERT INTO event_counts (minute, application, decision, status, count)
SELECT time / 60000000, application, decision, status / 100, count(*) FROM events GROUP BY 1, 2, 3, 4;
INSERT INTO event_countries (hour, application, decision, country, count)
SELECT time / 3600000000, application, decision, country, count(*) FROM events GROUP BY 1, 2, 3, 4
"""


def rows(count: int) -> Iterator[Row]:
    """Give events in the order of their times."""
    chance = random.Random(1)
    step = DAYS * DAY // count
    for number in range(count):
        client = client_number(chance)
        denied = number % 20 == 0
        yield (
            START + number * step, number, _MAPPED + (0x0B000000 + client).to_bytes(4, "big"),
            f"app-{client % 20}", "GET", "www.example.com", f"/articles/{number % 9973}/comments?page={number % 7}",
            403 if denied else 200, "deny" if denied else "allow", f"entry-{client % 1000}" if denied else "", "",
            f"{number:032x}", "", "blocklist" if denied else "default", _COUNTRIES[client % len(_COUNTRIES)],
        )  # fmt: skip


def client_number(chance: random.Random) -> int:
    """Return a client: few send much, most send little."""
    return int(CLIENTS * chance.random() ** 4)


def load_postgresql(store: Store, count: int) -> None:
    """Have the server make the same events as `rows`, a partition a day."""
    with store.writing() as tx:
        for day in range(START // DAY, START // DAY + DAYS + 1):
            bounds = f"FROM ({day * DAY}) TO ({(day + 1) * DAY})"
            tx.execute(text(f"CREATE TABLE events_{day} PARTITION OF events FOR VALUES {bounds}"))
    for first in range(0, count, _CHUNK):
        with store.writing() as tx:
            last = min(first + _CHUNK, count) - 1
            values = {"start": START, "step": DAYS * DAY // count, "first": first, "last": last, "clients": CLIENTS}
            tx.execute(text(_GENERATE), values)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.execute(text("VACUUM ANALYZE"))


def load_sqlite(store: Store, count: int) -> None:
    """Write the events, and make the indexes."""
    into = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    with store.writing() as tx:
        for name in ("ix_events_client_time", "ix_events_time_id", "ix_events_entry_time"):
            tx.execute(text(f"DROP INDEX {name}"))
    for batch in _batches(count):
        with store.writing() as tx:
            tx.exec_driver_sql(into, batch)
    for index in (*_INDEXES, "ANALYZE"):
        with store.writing() as tx:
            tx.execute(text(index))


def _batches(count: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows(count):
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def measure(store: Store, questions: int) -> dict[str, Any]:
    """Ask everything, and return milliseconds by question."""
    few, days = questions // 10, [START + day * DAY for day in range(DAYS)]
    found = {name: _times(partial(_find, store, wanted) for wanted in of) for name, of in _searches(questions).items()}
    chosen = [days[number % DAYS] for number in range(few)]
    return found | {
        "chart of a day": _times(partial(_chart, store, begin, None) for begin in chosen),
        "chart of a day, one application": _times(partial(_chart, store, begin, "app-3") for begin in chosen),
        "countries of a day": _times(partial(_countries, store, begin) for begin in chosen),
        "chart of a day from the events themselves": _times(partial(_raw_chart, store, begin) for begin in days[:5]),
    }


def _searches(questions: int) -> dict[str, list[WantedEvents]]:
    chance, end, few = random.Random(2), START + DAYS * DAY, range(questions // 10)
    some = [client_of(_MAPPED + (0x0B000000 + client_number(chance)).to_bytes(4, "big")) for _ in range(questions)]
    absent = [f"203.0.{chance.randrange(256)}.{chance.randrange(256)}" for _ in range(questions)]
    networks = [parse_network(client.rpartition(".")[0] + ".0/24") for client in some[: len(few)]]
    hours = [START + number * DAY // 24 for number in few]
    yesterday = WantedEvents(begin=end - 2 * DAY, end=end - DAY)
    return {
        "by address": [WantedEvents(parse_network(client)) for client in some + absent],
        "by address, in one day": [yesterday._replace(network=parse_network(client)) for client in some],
        "by network /24": [WantedEvents(network) for network in networks],
        "by entry": [WantedEvents(entry=f"entry-{number % 1000}") for number in few],
        "by application": [WantedEvents(application=f"app-{number % 20}") for number in few],
        "by reason and country": [WantedEvents(reason="blocklist", country=_COUNTRIES[n % 8]) for n in few],
        "newest": [WantedEvents() for _ in few],
        "newest of one hour": [WantedEvents(begin=begin, end=begin + DAY // 24) for begin in hours],
    }


def _find(store: Store, wanted: WantedEvents) -> int:
    with store.reading() as tx:
        return len(find_events(tx, wanted))


def _chart(store: Store, begin: int, application: str | None) -> int:
    with store.reading() as tx:
        return len(count_by_time(tx, begin, begin + DAY, 5, application))


def _raw_chart(store: Store, begin: int) -> int:
    query = "SELECT time / 300000000, decision, count(*) FROM events WHERE time >= :a AND time < :b GROUP BY 1, 2"
    with store.reading() as tx:
        return len(tx.execute(text(query), {"a": begin, "b": begin + DAY}).all())


def _countries(store: Store, begin: int) -> int:
    with store.reading() as tx:
        return len(count_by_country(tx, begin, begin + DAY))


def _times(calls: Iterable[Callable[[], int]]) -> dict[str, float]:
    times, answers = [], 0
    for call in calls:
        begun = time.perf_counter()
        answers += call()
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    return {
        "questions": len(times), "rows": answers, "median_ms": round(statistics.median(times), 2),
        "p99_ms": round(times[min(len(times) - 1, len(times) * 99 // 100)], 2), "slowest_ms": round(times[-1], 2),
    }  # fmt: skip


def brin(store: Store) -> dict[str, Any]:
    """Return what BRIN on the time costs and gives in the place of the index on time and id."""
    with store.writing() as tx:
        kept = _index_bytes(tx, r'btree \("?time"?, id\)')
        tx.execute(text("CREATE INDEX brin_time ON events USING brin (time)"))
        made = _index_bytes(tx, "USING brin")
        tx.execute(text("DROP INDEX ix_events_time_id"))
    with store.reading() as tx:
        begin = START + 2 * DAY
        times = {}
        for name, wanted in {
            "newest": WantedEvents(),
            "newest of one hour": WantedEvents(begin=begin, end=begin + DAY // 24),
        }.items():
            begun = time.perf_counter()
            find_events(tx, wanted)
            times[name] = round((time.perf_counter() - begun) * 1000, 1)
    return {"index_bytes": kept, "brin_bytes": made, "milliseconds_with_brin": times}


def _index_bytes(tx: Any, definition: str) -> int:
    query = "SELECT coalesce(sum(pg_relation_size(indexrelid)), 0) FROM pg_index WHERE pg_get_indexdef(indexrelid) ~ :n"
    return int(tx.execute(text(query), {"n": definition}).scalar_one())


def one_store(name: str, count: int, questions: int) -> dict[str, Any]:
    """Load a store, and ask it."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
    from support.servers import postgresql  # noqa: PLC0415  # needs the extra control

    with contextlib.ExitStack() as stack:
        if name == "postgresql":
            url = postgresql.new_database(stack.enter_context(postgresql.server()), "bench")
        else:
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/store.sqlite"
        store = create_store(url)
        stack.callback(store.close)
        begun = time.perf_counter()
        (load_postgresql if store.is_postgresql else load_sqlite)(store, count)
        result: dict[str, Any] = {"events": count, "load_seconds": round(time.perf_counter() - begun)}
        with store.writing() as tx:
            for query in _COUNTS.split(";"):
                tx.execute(text(query))
            size = "SELECT pg_database_size(current_database())" if store.is_postgresql else (
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")  # fmt: skip
            result["bytes"] = tx.execute(text(size)).scalar_one()
        result["questions"] = measure(store, questions)
        if store.is_postgresql:
            result["brin"] = brin(store)
    return result


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=20_000_000)
    options.add_argument("--questions", type=int, default=500)
    options.add_argument("--stores", nargs="+", default=["postgresql", "sqlite"], choices=["postgresql", "sqlite"])
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    found = {}
    for name in given.stores:
        found[name] = one_store(name, given.events, given.questions)
        content = json.dumps(found, indent=2)
        if given.json:
            given.json.write_text(content + "\n")
        sys.stdout.write(content + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
