"""What the benchmarks of both fronts share: rounds of load against running sidecars, and the figures of each round."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.rounds import interleaved
from benchmarks.servers import Sidecar, cores, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.load import Load
    from benchmarks.report import Part


BY_CPU_TIME: Final = "checks per CPU second of the server"
BY_WALL_TIME: Final = "checks per second"


class Target(NamedTuple):
    """A sidecar, and what puts load on it and checks what came back."""

    sidecar: Sidecar
    load: Callable[[], Load]


class Figures(NamedTuple):
    """A round. Requests by wall time and by the server's CPU time, and the CPU time of one in microseconds."""

    a_second: float
    a_cpu_second: float
    cpu_us: float


def measure(part: Part, targets: Mapping[str, Target], rounds: int, **labels: str) -> None:
    """Add the figures of all targets, measured in turn."""
    results = interleaved({name: partial(_round, target) for name, target in targets.items()}, rounds)
    for field, name, unit in (
        ("a_cpu_second", BY_CPU_TIME, "1/s"),
        ("a_second", BY_WALL_TIME, "1/s"),
        ("cpu_us", "CPU time of one check", "us"),
    ):
        values = {target: [getattr(figures, field) for figures in found] for target, found in results.items()}
        part.add(name, unit, values, **labels)


def _round(target: Target) -> Figures:
    before = cpu_seconds(target.sidecar.pid)
    load = target.load()
    used = cpu_seconds(target.sidecar.pid) - before
    used = max(used, 0.01)  # the kernel counts in ticks of 10 ms; only a smoke run is shorter
    return Figures(load.requests / load.seconds, load.requests / used, used / load.requests * 1e6)


def say_where(part: Part) -> None:
    """Note on which cores server and load ran."""
    server, load = cores()
    shared = "; there is no other, so they share it and throughput says little" if server == load else ""
    part.notes.append(f"the server has core {server}, the load generator core {load}{shared}; traffic on loopback")
