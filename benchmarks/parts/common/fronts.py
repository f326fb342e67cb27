"""What the benchmarks of the fronts share: rounds of load against running servers, and the figures of each round."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.data.networks import SlowTable, address, hits, load_table, misses
from benchmarks.data.policies import Publisher, deny_table
from benchmarks.load.tools import Load
from benchmarks.processes import cores, cpu_seconds
from benchmarks.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from authz.addresses import Address
    from benchmarks.data.networks import Table
    from benchmarks.load.paced import Paced
    from benchmarks.report.document import Part
    from benchmarks.scale import Scale


BY_CPU_TIME: Final = "checks per CPU second of the server"
BY_WALL_TIME: Final = "checks per second"
LATENCY: Final = "latency at a fixed rate"
_PERCENTILES: Final = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999"), ("worst", "worst"))


class Clients(NamedTuple):
    """Different IPv4 clients that are asked about in turn, so that nobody is fast by remembering one of them."""

    allowed: list[Address]
    denied: list[Address]


def some_clients(table: Table, count: int) -> Clients:
    """Return as many clients of each kind for a policy that denies a table."""
    slow = SlowTable(table)
    allowed = [address(4, value) for value in misses(table, slow, 4, count)]
    return Clients(allowed, [address(4, value) for value in hits(table, 4, count)])


class Target(NamedTuple):
    """A server, and what puts load on it and checks what came back."""

    pid: int
    load: Callable[[], Load]


class Figures(NamedTuple):
    """A round. Requests by wall time and by the server's CPU time, and the CPU time of one in microseconds."""

    a_second: float
    a_cpu_second: float
    cpu_us: float


def measure(part: Part, targets: Mapping[str, Target], rounds: int, **labels: str) -> None:
    """Add the figures of all targets, measured in turn. They have been warmed up."""
    results = interleaved({name: partial(_round, target) for name, target in targets.items()}, rounds, 0)
    for field, name, unit in (
        ("a_cpu_second", BY_CPU_TIME, "1/s"),
        ("a_second", BY_WALL_TIME, "1/s"),
        ("cpu_us", "CPU time of one check", "us"),
    ):
        values = {target: [getattr(figures, field) for figures in rounds] for target, rounds in results.items()}
        part.add(name, unit, values, **labels)


def _round(target: Target) -> Figures:
    before = cpu_seconds(target.pid)
    load = target.load()
    used = cpu_seconds(target.pid) - before
    return Figures(load.requests / load.seconds, load.requests / used, used / load.requests * 1e6)


def measure_latency(
    part: Part, asked: Mapping[str, Callable[[], Paced]], rounds: int, rate: int, **labels: str
) -> None:
    """Add the percentiles of all contenders at a rate, measured in turn; a note says how exact the load was."""
    results = interleaved({name: partial(checked, ask) for name, ask in asked.items()}, rounds, 0)
    for percentile, field in _PERCENTILES:
        values = {name: [float(getattr(run, field)) for run in runs] for name, runs in results.items()}
        part.add(LATENCY, "us", values, **labels, rate=f"{rate:,}/s", percentile=percentile)
    behind = max(run.behind for runs in results.values() for run in runs)
    part.notes.append(
        f"at {rate:,} requests a second the load generator sent 99 % within {behind:,.0f} us of when they were due, "
        "in the worst round; that is part of the latency"
    )


def checked(ask: Callable[[], Paced]) -> Paced:
    """Let `paced` ask, and return what it found. Raises RuntimeError where an answer was not good."""
    run = ask()
    if run.good != run.sent or not run.sent:
        raise RuntimeError(f"found {run.good} good answers to {run.sent} requests, expected as many")
    return run


def load_of(run: Paced) -> Load:
    """Return a run of `paced` as those of the other load generators."""
    return Load(run.sent, run.good, run.seconds, run.length)


class Stage(NamedTuple):
    """What a benchmark of a front has in place: a folder with a snapshot that denies a table, and clients to ask about.

    stack: ends what is started on it.
    """

    folder: Path
    table: Table
    clients: Clients
    stack: ExitStack


@contextmanager
def stage(scale: Scale) -> Iterator[Stage]:
    """Publish `table.snapshot` in a folder of its own, which is gone at the end, as are the servers on the stack."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        table = load_table(scale.policy)
        Publisher(Path(name)).publish("table.snapshot", deny_table(table))
        yield Stage(Path(name), table, some_clients(table, scale.clients), stack)


def conclude(part: Part, pairs: Sequence[tuple[str, str]], *notes: str) -> None:
    """Compare contenders, by CPU time and by wall time, and note how all of it was measured."""
    for measured in (BY_CPU_TIME, BY_WALL_TIME):
        for contender, other in pairs:
            part.compare(measured, contender, other)
    say_where(part)
    part.notes += notes


def missing_decoder() -> str | None:
    """Return why there is no independent decoder of the answers; None where there is one."""
    try:
        import envoy_data_plane  # noqa: F401, PLC0415
    except ImportError as error:
        return f"it needs {error.name}"
    return None


def say_where(part: Part) -> None:
    """Note on which cores server and load ran."""
    server, load = cores()
    shared = "; there is no other, so they share it and throughput says little" if server == load else ""
    part.notes.append(f"the server has core {server}, the load generator core {load}{shared}; traffic on loopback")
