"""From an event to a listing: a real control plane with twenty triggers, asked while events pour in.

    python -m benchmarks.contenders.events.listing [--listings 200] [--rate 2000] [--sidecars 3] [--json FILE]

Events come by `POST /v1/events` in batches, at a fixed rate. Again and again a new client exceeds a limit; times count
from the begin of the request that carries its last event until `GET /v1/entries` shows the entry, which is asked every
few milliseconds, and until the last of several sidecars denies the client. Then as many events as there is room for are
sent at once, and the CPU time of the control plane is read: that is receiving, decoding, counting and storing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from benchmarks.contenders.counting import APPLICATIONS, detector, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.processes import Process

BATCH: Final = 100
BURST: Final = 5000  # events of a batch, where as many as possible are sent
PATIENCE: Final = 60.0  # seconds
_START: Final = 180.0  # seconds for a program to start, on a busy machine
_DENIED: Final = 403
_SIDECAR: Final = """
grpc: {listen: "127.0.0.1:%d"}
http: {listen: "127.0.0.1:%d"}
admin: {listen: "127.0.0.1:%d"}
drain: 0s
"""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def control_plane(folder: Path, store: str, sidecars: int) -> Iterator[tuple[httpx.Client, int, list[httpx.Client]]]:
    """Give a client of a running control plane with twenty triggers, its process id, and clients of its sidecars."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
    from support.control import init  # noqa: PLC0415  # needs the extra control
    from support.processes import Process as Program  # noqa: PLC0415  # tests/ is on the path by now
    from support.processes import free_port  # noqa: PLC0415  # the same
    from support.servers import postgresql  # noqa: PLC0415  # the same

    with contextlib.ExitStack() as stack:
        options = {}
        if store == "postgresql":
            options["store"] = postgresql.new_database(stack.enter_context(postgresql.server(durable=True)), "bench")
        url, token = init(folder / "control", **options)
        detector(folder)
        with (folder / "control" / "control.yaml").open("a") as file:
            file.write("triggers: ../triggers.yaml\nrate: 1000000\n")
        serve = [sys.executable, "-m", "authz", "control", "serve", "--config", "control.yaml"]
        process = stack.enter_context(Program(serve, cwd=folder / "control"))
        _started(process, "control: listening")
        headers = {"Authorization": f"Bearer {token}"}
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=PATIENCE))
        for name in APPLICATIONS:
            client.put(f"/v1/applications/{name}?wait=published&timeout=60", json={}).raise_for_status()
        probes = []
        for number in range(sidecars):
            own, port = folder / f"sidecar-{number}", free_port()
            own.mkdir()
            (own / "keys").symlink_to(folder / "control" / "keys")
            (own / "authz.yaml").write_text(
                (folder / "control" / "authz.yaml").read_text() + _SIDECAR % (free_port(), port, free_port())
            )
            sidecar = Program([sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"], cwd=own)
            _started(stack.enter_context(sidecar), "authz: serving")
            probes.append(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)))
        yield client, process.pid, probes


def _started(process: Process, line: str) -> None:
    """Wait until a program prints that it serves; on a busy machine that takes its time."""
    end = time.monotonic() + _START
    while line not in process.output:
        if process.popen.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"{process.command} does not serve: {process.output[-2000:]}")
        time.sleep(0.1)


class Background(threading.Thread):
    """Sends events at a fixed rate, and counts those that were refused."""

    def __init__(self, client: httpx.Client, rate: int) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._pause = BATCH / rate
        self._ended = threading.Event()
        self.sent = self.refused = 0

    def run(self) -> None:
        """Send until the end."""
        lines = [_line(request | {"time": None}) for request in requests(20_000, 20_000) if request["status"] == 200]
        due, number = time.monotonic(), 0
        while not self._ended.is_set():
            number += 1
            some = lines[number * BATCH % len(lines) :][:BATCH]
            answer = self._client.post("/v1/events", content=b"".join(some))
            self.sent, self.refused = self.sent + len(some), self.refused + len(some) * (answer.status_code == 429)
            due += self._pause
            self._ended.wait(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """End."""
        self._ended.set()
        self.join()


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode() + b"\n"


def listings(client: httpx.Client, sidecars: list[httpx.Client], count: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from the event that is one too many until the entry is there, and until all sidecars deny."""
    taken, denied = [], []
    for number in range(count):
        address, application = f"198.18.{number // 250}.{number % 250}", APPLICATIONS[number % 5]
        guess = {"client": address, "application": application, "method": "POST", "path": "/login", "status": 401}
        client.post("/v1/events", content=_line(guess) * 30).raise_for_status()
        time.sleep(0.1)
        begun = time.perf_counter()
        client.post("/v1/events", content=_line(guess)).raise_for_status()
        while not client.get("/v1/entries", params={"address": address}).json()["items"]:
            _wait(begun, f"{address} is not listed")
        taken.append((time.perf_counter() - begun) * 1000)
        for sidecar in sidecars:
            while sidecar.get(f"/v1/auth/{application}", headers={"X-Forwarded-For": address}).status_code != _DENIED:
                _wait(begun, f"{address} is not denied")
        denied.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.05)
    return sorted(taken), sorted(denied)


def _wait(begun: float, why: str) -> None:
    if time.perf_counter() - begun > PATIENCE:
        raise SystemExit(f"{why} within {PATIENCE} seconds")
    time.sleep(0.002)


def all_at_once(client: httpx.Client, pid: int, count: int) -> dict[str, float]:
    """Return events for each CPU second of the control plane: received, decoded, counted, stored."""
    lines = [_line(request) for request in requests(count, 20_000)]
    before, known = _cpu(pid), _kept(client)
    for start in range(0, count, BURST):
        content = b"".join(lines[start : start + BURST])
        while client.post("/v1/events", content=content).status_code == 429:
            time.sleep(0.05)
    while _kept(client) - known < count:
        time.sleep(0.2)
    return {"events": count, "events_per_cpu_second": round(count / (_cpu(pid) - before))}


def _kept(client: httpx.Client) -> float:
    values = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    return float(values["authz_control_events_kept_total"]) + float(values["authz_control_events_lost_total"])


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def one_store(store: str, count: int, rate: int, burst: int, sidecars: int) -> dict[str, Any]:
    """Measure over one store."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        control_plane(Path(temporary), store, sidecars) as (client, pid, probes),
    ):
        background = Background(client, rate)
        background.start()
        before, begun = _cpu(pid), time.monotonic()
        try:
            listed, denied = listings(client, probes, count)
        finally:
            background.close()
        spent = (_cpu(pid) - before) / (time.monotonic() - begun)
        return {
            "listings": count, "events_per_second_meanwhile": round(background.sent / (time.monotonic() - begun)),
            "refused": background.refused, "cores": round(spent, 2), "to the entry": _summary(listed),
            f"to the denial by the last of {sidecars} sidecars": _summary(denied),
            "burst": all_at_once(client, pid, burst),
        }  # fmt: skip


def _summary(times: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(times), 1), "p99_ms": round(times[len(times) * 99 // 100], 1),
        "slowest_ms": round(times[-1], 1),
    }  # fmt: skip


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--listings", type=int, default=200)
    options.add_argument("--rate", type=int, default=2000, help="events a second meanwhile")
    options.add_argument("--sidecars", type=int, default=3)
    options.add_argument("--burst", type=int, default=100_000)
    options.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"], choices=["postgresql", "sqlite"])
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    figures = {
        store: one_store(store, given.listings, given.rate, given.burst, given.sidecars) for store in given.stores
    }
    text = json.dumps(figures, indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
