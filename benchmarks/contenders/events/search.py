"""Search over very many events: by address and the rest, and charts, in PostgreSQL and in SQLite.

    python -m benchmarks.contenders.events.search [--events 20000000] [--keep FOLDER] [--stores STORE] [--json FILE]

Each question is asked through the functions that the API calls. PostgreSQL runs with the settings of its packages.
--keep: a folder of `benchmarks.contenders.events.filled`; without it a store is filled first, and removed afterwards:
twenty million events take some 6 GB of disk.
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
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from authz.addresses import parse_network
from authz.control.store.events.search import (
    WantedEvents,
    client_of,
    count_by_country,
    count_by_time,
    find_events,
)
from authz.control.store.events.writing import DAY
from benchmarks.contenders.events.filled import (
    COUNTRIES,
    DAYS,
    ENTRIES,
    STORES,
    client_key,
    client_number,
    fill,
    opened,
    size_of,
)
from benchmarks.load.control.stored_bans import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from authz.control.store.database import Store
    from benchmarks.contenders.events.filled import Wanted


def measure(store: Store, filled: Wanted, questions: int) -> dict[str, Any]:
    """Ask everything, and return milliseconds by question."""
    few, days = questions // 10, [filled.begin + day * DAY for day in range(DAYS)]
    searches = _searches(filled, questions)
    figures = {name: _times(partial(_find, store, wanted) for wanted in of) for name, of in searches.items()}
    chosen = [days[number % DAYS] for number in range(few)]
    return figures | {
        "chart of a day": _times(partial(_chart, store, begin, None) for begin in chosen),
        "chart of a day, one application": _times(partial(_chart, store, begin, "app-3") for begin in chosen),
        "countries of a day": _times(partial(_countries, store, begin) for begin in chosen),
        "chart of a day from the events themselves": _times(partial(_raw_chart, store, begin) for begin in days[:5]),
    }


def _searches(filled: Wanted, questions: int) -> dict[str, list[WantedEvents]]:
    chance, end, few = random.Random(2), filled.end, range(questions // 10)
    some = [client_of(client_key(client_number(chance))) for _ in range(questions)]
    absent = [f"203.0.{chance.randrange(256)}.{chance.randrange(256)}" for _ in range(questions)]
    networks = [parse_network(client.rpartition(".")[0] + ".0/24") for client in some[: len(few)]]
    hours = [filled.begin + number * DAY // 24 for number in few]
    yesterday = WantedEvents(begin=end - 2 * DAY, end=end - DAY)
    return {
        "by address": [WantedEvents(parse_network(client)) for client in some + absent],
        "by address, in one day": [yesterday._replace(network=parse_network(client)) for client in some],
        "by network /24": [WantedEvents(network) for network in networks],
        "by entry": [WantedEvents(entry=number_of(number % ENTRIES)) for number in few],
        "by application": [WantedEvents(application=f"app-{number % 20}") for number in few],
        "by reason and country": [WantedEvents(reason="blocklist", country=COUNTRIES[n % 8]) for n in few],
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


def brin(store: Store, filled: Wanted) -> dict[str, Any]:
    """Return what BRIN on the time costs and gives in the place of the index on time and id. It is taken back."""
    with store.engine.connect() as tx, contextlib.closing(tx.begin()):
        kept = _index_bytes(tx, r'btree \("?time"?, id\)')
        tx.execute(text("CREATE INDEX brin_time ON events USING brin (time)"))
        made = _index_bytes(tx, "USING brin")
        tx.execute(text("DROP INDEX ix_events_time_id"))
        begin = filled.begin + 2 * DAY
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


def one_store(folder: Path, name: str, count: int, questions: int) -> dict[str, Any]:
    """Fill a store where it is not, and ask it."""
    with opened(folder, name, count, 0) as filled:
        begun = time.perf_counter()
        fill(filled)
        result: dict[str, Any] = {
            "events": filled.wanted.events,
            "load_seconds": round(time.perf_counter() - begun),
            "bytes": size_of(filled.store),
            "questions": measure(filled.store, filled.wanted, questions),
        }
        if filled.store.is_postgresql:
            result["brin"] = brin(filled.store, filled.wanted)
    return result


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=20_000_000)
    options.add_argument("--questions", type=int, default=500)
    options.add_argument("--stores", nargs="+", default=STORES, choices=STORES)
    options.add_argument("--keep", type=Path, help="a folder with stores that are filled, or to be filled and kept")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    figures = {}
    for name in given.stores:
        with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
            folder = Path(temporary)
            folder.chmod(0o755)  # PostgreSQL's user has to get in
            figures[name] = one_store(
                given.keep.resolve() if given.keep else folder, name, given.events, given.questions
            )
        content = json.dumps(figures, indent=2)
        if given.json:
            given.json.write_text(content + "\n")
        sys.stdout.write(content + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
