"""Several control planes that share the counting: events a second, and what each event costs, by one and by two.

    python -m benchmarks.contenders.events.sharing [--events 200000] [--rounds 3] [--json FILE]

Real control planes with twenty triggers over one PostgreSQL, in turn: one that counts by itself, one through Valkey,
two through Valkey. As many events as there is room for are sent to all of them at once by `POST /v1/events`; a round
ends when all are counted, each once. Where all of them run on one machine the CPU time of each says more than the
clock: what two machines would count in a second is the sum of what each counts in a second of its own core. Events are
kept in the store as well, as in use, beside the counting.
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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from benchmarks.contenders.counting import detector, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.processes import Process

WAYS: Final = {"one by itself": (1, False), "one through Valkey": (1, True), "two through Valkey": (2, True)}
BATCH: Final = 2000  # events of a request
PATIENCE: Final = 300.0  # seconds
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Plane(NamedTuple):
    """A control plane that runs, and a client of it."""

    process: Process
    client: httpx.Client

    def counted(self) -> int:
        """Return how many events it has counted."""
        return int(self.client.get("/v1/triggers").json()["events"])

    def cpu(self) -> float:
        """Return the seconds of CPU that it has had."""
        return _cpu(self.process.pid)


@contextlib.contextmanager
def planes(count: int, *, shared: bool) -> Iterator[tuple[list[Plane], int | None]]:
    """Give control planes over one PostgreSQL, and the process id of the Valkey by which they share."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))
    from support.control import init  # noqa: PLC0415  # needs the extra control
    from support.processes import free_port  # noqa: PLC0415  # tests/ is on the path by now
    from support.servers import postgresql  # noqa: PLC0415  # the same

    with contextlib.ExitStack() as stack:
        first = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "0"
        socket = stack.enter_context(postgresql.server(durable=True))
        url, token = init(first, store=postgresql.new_database(socket, "bench"))
        detector(first.parent)
        settings = (first / "control.yaml").read_text() + "triggers: ../triggers.yaml\nrate: 1000000\n"
        valkey = None
        if shared:
            valkey, where = _valkey(stack, first.parent)
            settings += f"streams: {{url: '{where}', partitions: 16}}\n"
        running = []
        for number in range(count):
            here = first.parent / str(number)
            own = url if number == 0 else f"http://127.0.0.1:{free_port()}"
            if number:
                (here / "state").mkdir(parents=True)
                (here / "keys").symlink_to(first / "keys")
            (here / "control.yaml").write_text(
                settings.replace(url.removeprefix("http://"), own.removeprefix("http://"))
            )
            running.append(_plane(stack, here, own, token))
        if shared:
            _until(lambda: all(f"counting {16 // count} of 16" in plane.process.output for plane in running), "shares")
        yield running, valkey


def _valkey(stack: contextlib.ExitStack, folder: Path) -> tuple[int, str]:
    from support.processes import Process, free_port  # noqa: PLC0415  # see `planes`
    from support.servers.valkey import program  # noqa: PLC0415  # the same

    path, port = program(), free_port()
    if path is None:
        raise SystemExit("found no Valkey or Redis (apt-get install redis-server)")
    command = [path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = stack.enter_context(Process(command, cwd=folder))
    process.wait_for_line(r"Ready to accept connections")
    return process.pid, f"valkey://127.0.0.1:{port}/0"


def _plane(stack: contextlib.ExitStack, folder: Path, url: str, token: str) -> Plane:
    from support.processes import Process  # noqa: PLC0415  # see `planes`

    serve = [sys.executable, "-m", "authz", "control", "serve", "--config", "control.yaml"]
    process = stack.enter_context(Process(serve, cwd=folder))
    process.wait_for_line(r"control: listening on")
    headers = {"Authorization": f"Bearer {token}"}
    return Plane(process, stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)))


def one_round(running: list[Plane], valkey: int | None, lines: list[bytes]) -> dict[str, Any]:
    """Send events to all control planes, and wait until they are counted. Raises SystemExit where one is lost."""
    counted, cpu = [plane.counted() for plane in running], [plane.cpu() for plane in running]
    broker = _cpu(valkey) if valkey else 0.0
    begun = time.monotonic()
    senders = [
        threading.Thread(target=_send, args=(plane.client, lines[number :: len(running)]))
        for number, plane in enumerate(running)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    def done() -> list[int]:
        return [plane.counted() - before for plane, before in zip(running, counted, strict=True)]

    _until(lambda: sum(done()) >= len(lines), f"{len(lines)} events are counted")
    seconds = time.monotonic() - begun
    shares, spent = done(), [plane.cpu() - before for plane, before in zip(running, cpu, strict=True)]
    if sum(shares) != len(lines):
        raise SystemExit(f"found {sum(shares)} events counted, expected {len(lines)}")
    return {
        "events_per_second": round(len(lines) / seconds),
        "counted_by_each": shares,
        "events_per_cpu_second_of_each": [round(share / used) for share, used in zip(shares, spent, strict=True)],
        "events_per_cpu_second_of_valkey": round(len(lines) / (_cpu(valkey) - broker)) if valkey else None,
    }


def _send(client: httpx.Client, lines: list[bytes]) -> None:
    for start in range(0, len(lines), BATCH):
        content = b"".join(lines[start : start + BATCH])
        while client.post("/v1/events", content=content).status_code == httpx.codes.TOO_MANY_REQUESTS:
            time.sleep(0.02)


def _until(true: Any, why: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE:.0f} seconds: {why}")
        time.sleep(0.05)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(events: int, rounds: int) -> dict[str, Any]:
    """Measure each way."""
    figures = {}
    for name, (count, shared) in WAYS.items():
        with planes(count, shared=shared) as (running, valkey):
            made = []
            for number in range(rounds):
                lines = [_line(request, number) for request in requests(events, 20_000)]
                made.append(one_round(running, valkey, lines))
        each = [sum(round_["events_per_cpu_second_of_each"]) for round_ in made]
        figures[name] = {
            "events_per_second": statistics.median(round_["events_per_second"] for round_ in made),
            "events_per_second_of_a_core_each": statistics.median(each),
            "rounds": made,
        }  # fmt: skip
    return figures


def _line(event: dict[str, Any], number: int) -> bytes:
    """Return an event that is no repetition of one of another round."""
    more = {"time": time.time(), "request_id": f"{number}-{event['request_id']}"}
    return json.dumps(event | more).encode() + b"\n"


def main() -> None:
    """Measure, and print JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    text = json.dumps(measure(given.events, given.rounds), indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
