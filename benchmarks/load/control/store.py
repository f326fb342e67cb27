"""A store of millions of changes: fill it, and ask it.

    python benchmarks/load/control/store.py fill FOLDER --bans 5263000 [--server | --store URL] [--seconds 300]
    python benchmarks/load/control/store.py ask FOLDER [--server] [--questions 1000]

`fill` makes a folder of `authz control init`, and 1.9 changes a ban in its store: nine of ten bans were ended since. It
can be ended, or given a number of seconds, and goes on with the next call. `ask` runs the control plane over it, asks
by HTTP, one question after the other, and prints the times and the size as JSON. `--server` starts a PostgreSQL server
whose data are beside the folder, and ends it afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[3]))  # `python store.py` puts only this folder there
sys.path.insert(1, str(Path(__file__).parents[3] / "tests"))  # for support

from support.processes import free_port
from support.servers import postgresql

from authz.addresses import format_address
from authz.control.config import load_control_config
from authz.control.maintenance.init import make_folder
from authz.control.store.database import create_store, migrate, open_store
from authz.serve.config.values import Listen
from authz.times import format_moment
from benchmarks.load.control.api import Api
from benchmarks.load.control.control_plane import ControlPlane
from benchmarks.load.control.stored_bans import CHUNK, Fill, fill

_ADDED = 0xC6120000  # 198.18.0.0/15, kept for benchmarks by RFC 2544
PERIOD = 30 * 86400  # seconds in which the bans end: so they hold while they are asked for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill or ask, and return the exit status: 0; 3 where more is to be filled."""
    options = _options(arguments)
    with _server(options):
        return _fill(options) if options.what == "fill" else _ask(options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/load/control/store.py", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("what", choices=["fill", "ask"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bans", type=int, default=500_000)
    parser.add_argument("--ended", type=float, default=0.9, help="share of the bans that were ended since")
    parser.add_argument("--store", default="sqlite:///control.sqlite")
    parser.add_argument("--server", action="store_true", help="a PostgreSQL server of its own, in the folder")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop filling after this long")
    parser.add_argument("--questions", type=int, default=1000)
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _server(options: argparse.Namespace) -> Iterator[None]:
    if not options.server:
        yield
        return
    data = options.folder.absolute().with_name(f"{options.folder.name}.pg")
    with postgresql.server(data, durable=True) as folder:
        if not (options.folder / "made.json").exists():
            options.store = postgresql.new_database(folder, "bench")
        os.environ["AUTHZ_CONTROL_STORE"] = postgresql.url_of(folder, "bench")  # its socket is elsewhere each time
        yield


def _fill(options: argparse.Namespace) -> int:
    known = options.folder / "made.json"
    if not known.exists():
        made = make_folder(options.folder, Listen("127.0.0.1", free_port()), store=options.store)
        content = {"url": made.url, "token": made.token, "bans": options.bans, "ended": options.ended}
        known.write_text(json.dumps(content))
    of = json.loads(known.read_text())
    wanted = Fill(of["bans"], of["ended"], PERIOD)
    store = create_store(load_control_config(options.folder / "control.yaml", os.environ).store)
    begin, cpu = time.perf_counter(), time.process_time()
    whole = fill(store, wanted, options.seconds)
    store.close()
    spent = {"seconds": round(time.perf_counter() - begin, 1), "cpu": round(time.process_time() - cpu, 1)}
    print(json.dumps({"whole": whole, "changes": wanted.changes} | spent))  # what it is for
    return 0 if whole else 3


def _ask(options: argparse.Namespace) -> int:
    of = json.loads((options.folder / "made.json").read_text())
    wanted, api = Fill(of["bans"], of["ended"], PERIOD), Api(of["url"], of["token"])
    answer: dict[str, Any] = {"changes": wanted.changes}
    migrate(load_control_config(options.folder / "control.yaml", os.environ).store)  # it may be of a version before
    with ControlPlane(options.folder, of["url"]) as control:
        begin = time.perf_counter()
        while not api.ready():  # the signer is told all bans first
            control.check()
            time.sleep(0.5)
        answer["seconds until ready"] = round(time.perf_counter() - begin, 1)
        then = format_moment(int(time.time()))
        for name, question in _questions(api, wanted, then).items():
            answer[name] = _times(question, options.questions)
        control.check()
    files = [*options.folder.glob("control.sqlite*")]
    answer["bytes"] = sum(file.stat().st_size for file in files) or _database_size(options.folder)
    answer["bytes a change"] = round(answer["bytes"] / wanted.changes)
    print(json.dumps(answer, indent=1))  # what it is for
    return 0


def _questions(api: Api, wanted: Fill, then: str) -> dict[str, Callable[[int], Any]]:
    # Bans at the ends of chunks were not ended, where not all were; places are spread over the whole store.
    def client(number: int) -> str:
        return wanted.client((number * 7919 % (wanted.bans // CHUNK) + 1) * CHUNK - 1)

    begin = int(time.time())  # other addresses than the run before: those are banned for an hour

    def add(number: int) -> Any:
        address = format_address(4, _ADDED + (begin + number) % (1 << 17))
        return api.ask("POST", "/v1/bans", {"address": address, "reason": "guessing"})

    return {
        "add": add,
        "entry by address": lambda number: api.ask("GET", f"/v1/entries?address={client(number)}"),
        "as of": lambda number: api.ask("GET", f"/v1/entries?address={client(number)}&at={then}"),
        "history by address": lambda number: _found(api.ask("GET", f"/v1/history?address={client(number)}")),
    }


def _found(answer: Any) -> Any:
    if not answer["items"]:
        raise RuntimeError("found no history, expected some")
    return answer


def _times(question: Callable[[int], Any], count: int) -> dict[str, float]:
    times = []
    for number in range(count):
        begin = time.perf_counter()
        question(number)
        times.append((time.perf_counter() - begin) * 1000)
    times.sort()
    places = {"p50": 0.5, "p99": 0.99, "worst": 1.0}
    return {name: round(times[min(int(count * share), count - 1)], 2) for name, share in places.items()}


def _database_size(folder: Path) -> int:
    store = open_store(load_control_config(folder / "control.yaml", os.environ).store)
    with store.reading() as tx:
        size: int = tx.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    store.close()
    return size


if __name__ == "__main__":
    sys.exit(main())
