"""Counting events for triggers: events a second on one core, and memory with very many clients.

    python -m benchmarks.contenders.counting [--events 300000] [--clients 1000000] [--json FILE]

Twenty triggers of all kinds over five applications. Each event comes as a line of JSON, as for `POST /v1/events`, is
decoded, known again where it repeats, and counted; listings are made and not written. The store and the network are not
in it. Where fail2ban is installed, its own tool (`fail2ban-regex`) reads the same requests as a log of nginx; so does
CrowdSec, with three of its scenarios and its local API.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from authz.addresses import Address, format_address
from authz.control.detect.counting.detector import Detector
from authz.control.detect.counting.repeated import Repeated
from authz.control.detect.event import Event, read_event
from authz.control.detect.listing.offences import MemoryOffences
from authz.control.detect.logs import parser
from authz.control.detect.triggers.file import read_triggers
from benchmarks.contenders import crowdsec

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATIONS: Final = ("shop", "blog", "api", "admin", "forum")
START: Final = 1_790_000_000.0
_KINDS: Final = (
    "kind: brute_force, where: {{application: {app}, path: /login, status: 401}}, count: {{over: 30, within: 30s}}",
    "kind: forced_browsing, where: {{application: {app}}}, count: {{over: 100, within: 1m}}",
    "kind: bola, where: {{application: {app}, path: '/orders/{{id}}'}}, count: {{over: 50, within: 10m}}",
    "kind: rate, where: {{application: {app}}}, count: {{over: 1000, within: 1m}}",
)


def detector(folder: Path) -> Detector:
    """Return a detector with twenty triggers."""
    lines = [f"  - {{name: {app}-{number}, {kind.format(app=app)}}}" for app in APPLICATIONS
             for number, kind in enumerate(_KINDS)]  # fmt: skip
    (folder / "triggers.yaml").write_text("triggers:\n" + "\n".join(lines) + "\n")
    return Detector(read_triggers(folder / "triggers.yaml").triggers, lambda _: None, MemoryOffences())


def requests(count: int, clients: int) -> Iterator[dict[str, Any]]:
    """Give requests of many clients, a few of whom guess passwords or look for what is not there."""
    chance = random.Random(1)
    for number in range(count):
        guessing, crawling = chance.random() < 0.02, chance.random() < 0.02
        low = chance.randrange(20 if guessing or crawling else clients)
        path = "/login" if guessing else f"/x/{number}" if crawling else f"/orders/{chance.randrange(1000)}"
        yield {
            "time": START + number / 10_000, "client": format_address(4, 0x0B000000 + low),
            "application": APPLICATIONS[low % 5], "method": "POST" if guessing else "GET", "host": "example.com",
            "path": path, "status": 401 if guessing else 404 if crawling else 200, "decision": "allow",
            "request_id": f"{number:032x}",
        }  # fmt: skip


def throughput(folder: Path, count: int) -> dict[str, float]:
    """Return events a second of CPU, from bytes to listings, and what they are made of."""
    lines = [json.dumps(request).encode() for request in requests(count, 20_000)]
    gc.collect()
    begun = time.process_time()
    events = [read_event(line, START) for line in lines]
    decoded = time.process_time()
    work, repeated, listings = detector(folder), Repeated(), 0
    started = time.process_time()
    for event in events:
        if not repeated.before(hash(event), event.time):
            listings += len(work.feed(event, event.time))
    counted = time.process_time()
    decoding, counting = decoded - begun, counted - started
    return {
        "events": count, "triggers": len(work.triggers), "evaluations": work.evaluations, "listings": listings,
        "decode_us": decoding / count * 1e6, "count_us": counting / count * 1e6,
        "events_per_second": count / (decoding + counting),
    }  # fmt: skip


def memory(folder: Path, clients: int, requests: int) -> dict[str, float]:
    """Return what it takes to count so many clients, each of which sends so many requests within a minute."""
    work, repeated = detector(folder), Repeated()
    gc.collect()
    before = _resident()
    for number in range(clients * requests):
        event = _event_of(number % clients, number)
        repeated.before(hash(event), START)
        work.feed(event, START)
    return {
        "clients": clients, "requests_of_each": requests, "counters": work.clients, "evicted": work.evicted,
        "estimated_megabytes": work.memory / 1e6, "megabytes": (_resident() - before) / 1e6,
    }  # fmt: skip


def _in_fresh_process(folder: Path, clients: int, requests: int) -> dict[str, float]:
    """Return `memory` of a process that has freed nothing that it could use again."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(memory, folder, clients, requests).result()


def _event_of(client: int, number: int) -> Event:
    return Event(
        START + number / 1e6, Address(4, 0x0B000000 + client, ""), APPLICATIONS[client % 5], "GET", "", "/", 200,
        request_id=str(number),
    )  # fmt: skip


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def nginx_log(folder: Path, count: int) -> Path:
    """Write the same requests as nginx's combined log."""
    path = folder / "access.log"
    with path.open("w") as file:
        for event in requests(count, 20_000):
            when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(event["time"]))
            request = f"{event['method']} {event['path']} HTTP/1.1"
            file.write(f'{event["client"]} - - [{when}] "{request}" {event["status"]} 10 "-" "curl/8"\n')
    return path


def same_log(folder: Path, count: int) -> dict[str, Any]:
    """Return lines a second of CPU on one log of nginx: ours with twenty triggers, and those of others."""
    path, read, work = nginx_log(folder, count), parser("nginx"), detector(folder)
    begun = time.process_time()
    with path.open("rb") as lines:
        for line in lines:
            event = read(line, START)
            work.feed(event, event.time)
    figures: dict[str, Any] = {"lines": count, "authz_lines_per_second": count / (time.process_time() - begun)}
    if shutil.which("fail2ban-regex"):
        pattern = r'^<HOST> - - \[[^\]]*\] "POST /login[^"]*" 401 '
        before = os.times()
        subprocess.run(["fail2ban-regex", str(path), pattern], stdout=subprocess.DEVNULL, check=False)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        figures["fail2ban_lines_per_second"] = count / spent
    why = crowdsec.missing()
    return figures | {"crowdsec": why or crowdsec.read_log(folder, path, 28080)}


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=300_000)
    options.add_argument("--clients", type=int, default=1_000_000)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        figures = {
            "throughput": throughput(folder, given.events),
            "same_log": same_log(folder, given.events // 10),
            "memory": [_in_fresh_process(folder, given.clients, requests) for requests in (1, 2, 5)],
        }
    text = json.dumps(figures, indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
