"""Compare the sidecars of two checkouts under one load generator: CPU time of a request, and latency at fixed rates.

    PYTHONPATH=tests python -m benchmarks.load.hot_path.in_turn before=../before now=. [--works WORK...] [--processes N]
        [--rounds N] [--seconds S] [--output FILE]

Each checkout has a `.venv` of its own. `make bench` in two checkouts compares their load generators, too, and a server
pays for waking one that sleeps. Here one generator asks all sidecars in turn, and there may be several of a checkout:
two processes of the same program differ by a few per cent, for their memory lies elsewhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from support.processes import ports_of

from authz.addresses import parse_address
from authz.serve.grpc.check import CHECK_METHOD
from benchmarks.load.messages import LARGE, SIZES, USUAL, check_request
from benchmarks.load.paced import Paced, flat_out, paced
from benchmarks.load.tools import CONNECTIONS, HTTP_CONNECTIONS, framed, h2load
from benchmarks.processes import CONFIG, LOOPBACK, Child, cpu_seconds
from benchmarks.report.machine import machine
from benchmarks.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POLICY: Final = """\
version: 1
applications: {shop: {}}
entries: [{id: list-1, list: deny, networks: [203.0.113.0/24], reason: measured}]
"""
_ALLOWED: Final = [f"198.51.{n >> 8}.{n & 255}" for n in range(100, 2100)]
_DENIED: Final = "203.0.113.9"
_FIRST: Final = 1000  # requests of h2load, by whose rate the number of the others is chosen
_HTTP_PATH: Final = "/v1/auth/shop"


class Run(NamedTuple):
    """What a round gave. us: CPU time of a request in microseconds. p50: microseconds; 0: not asked."""

    us: float
    p50: float = 0.0


class Checkout(Child):
    """A sidecar of another checkout. log: of decisions; `off` for none. unix: whether it listens on unix sockets."""

    def __init__(
        self, folder: Path, tree: Path, *, engine: str = "native", log: str = "off", unix: bool = False
    ) -> None:
        self._folder, self._unix = folder, unix
        command = ["env", f"PYTHONPATH={tree}", str(tree / ".venv/bin/python"), "-m", "authz"]
        folder.mkdir()
        (folder / "policy.yaml").write_text(_POLICY, encoding="utf-8")
        for steps in (
            ["keys", "generate", "keys", "--name", "bench"],
            ["snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/bench.key"],
        ):
            subprocess.run([*command, *steps], cwd=folder, check=True, capture_output=True)
        grpc, http = ("unix:grpc.sock", "unix:http.sock") if unix else (LOOPBACK, LOOPBACK)
        config = CONFIG.format(
            name="authz", snapshot="lists.snapshot", engine=engine, grpc=grpc, http=http, log=log, cache="0s"
        )
        (folder / "authz.yaml").write_text(config.replace(", cache: 0s", ""), encoding="utf-8")  # old ones have none
        super().__init__(folder, [*command, "serve", "--config", "authz.yaml"])
        self.ports = ports_of(self.wait_until(self._serving))

    def url(self, front: str) -> str:
        """Return the URL of `grpc` or `http`, for all load generators."""
        path = _HTTP_PATH if front == "http" else ""
        if self._unix:
            return f"{front}+unix:{self._folder}/{front}.sock{path and ':' + path}"
        return f"{front}://127.0.0.1:{self.ports[front]}{path}"

    def _serving(self) -> str | None:
        lines = self.lines
        return "\n".join(lines) if any(line.endswith("authz: serving") for line in lines) else None


class Work(NamedTuple):
    """A kind of load. sidecar: how the sidecar is started. load: puts it on one for some seconds."""

    sidecar: Mapping[str, Any]
    load: Callable[[Checkout, float], Run]


def _by_h2load(size: str, client: str, sidecar: Checkout, seconds: float) -> Run:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(framed(check_request(parse_address(client), SIZES[size])))
        send = partial(h2load, sidecar.url("grpc").replace("grpc:", "http:") + CHECK_METHOD, Path(file.name))
        first = send(_FIRST)
        count = max(int(first.requests / first.seconds * seconds), _FIRST)
        before = cpu_seconds(sidecar.pid)
        load = send(count)
    if load.good != count:
        raise RuntimeError(f"found {load.good} good answers, expected {count}")
    return Run((cpu_seconds(sidecar.pid) - before) / count * 1e6)


@cache
def _messages() -> list[bytes]:
    """Return a request about each client; to make them takes seconds."""
    return [check_request(client, SIZES[USUAL]) for client in map(parse_address, _ALLOWED)]


def _by_paced(front: str, rate: int, sidecar: Checkout, seconds: float) -> Run:
    """Ask about many clients in turn; rate: requests a second, 0: as fast as answers come."""
    ask: Callable[..., Paced] = partial(paced, rate=rate) if rate else flat_out
    if front == "grpc":
        ask = partial(ask, payload=_messages(), connections=CONNECTIONS)
    else:
        ask = partial(ask, in_turn=[("X-Forwarded-For", client) for client in _ALLOWED], connections=HTTP_CONNECTIONS)
    before = cpu_seconds(sidecar.pid)
    load = ask(sidecar.url(front), seconds=seconds)
    if load.good != load.sent:
        raise RuntimeError(f"found {load.good} good answers, expected {load.sent}")
    return Run((cpu_seconds(sidecar.pid) - before) / load.sent * 1e6, load.p50)


def works() -> dict[str, Work]:
    """Return what can be measured, by name."""
    kinds = {
        "gRPC, h2load, 582 B": Work({}, partial(_by_h2load, USUAL, _ALLOWED[0])),
        "gRPC, h2load, 2.5 kB": Work({}, partial(_by_h2load, LARGE, _ALLOWED[0])),
        "gRPC, h2load, denied": Work({}, partial(_by_h2load, USUAL, _DENIED)),
        "gRPC, h2load, denied and logged": Work({"log": "log"}, partial(_by_h2load, USUAL, _DENIED)),
        "gRPC, h2load, engine grpcio": Work({"engine": "grpcio"}, partial(_by_h2load, USUAL, _ALLOWED[0])),
    }
    for front in ("grpc", "http"):
        for socket, how in (("TCP", {}), ("unix socket", {"unix": True})):
            for rate in (0, 2_000, 10_000):
                what = f"{rate:,} a second" if rate else "many clients"
                name = f"{'gRPC' if front == 'grpc' else 'HTTP'}, {what}, {socket}"
                kinds[name] = Work(how, partial(_by_paced, front, rate))
    return kinds


def measure(
    trees: Mapping[str, Path], names: list[str], processes: int, rounds: int, seconds: float
) -> dict[str, dict[str, list[Run]]]:
    """Return the runs of each work, by the name of the checkout; those of its processes stand one behind the other."""
    runs: dict[str, dict[str, list[Run]]] = {}
    chosen = {name: work for name, work in works().items() if not names or any(part in name for part in names)}
    for name, work in chosen.items():
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            sidecars = {
                (tree, number): stack.enter_context(
                    Checkout(Path(folder, f"{tree}-{number}"), path.absolute(), **work.sidecar)
                )
                for number in range(processes)
                for tree, path in trees.items()
            }
            results = interleaved(
                {key: partial(work.load, sidecar, seconds) for key, sidecar in sidecars.items()}, rounds
            )
        runs[name] = {tree: [run for key, some in results.items() if key[0] == tree for run in some] for tree in trees}
        _print(name, runs[name])
    return runs


def _print(name: str, runs: Mapping[str, list[Run]]) -> None:
    for tree, some in runs.items():
        us = sorted(run.us for run in some)
        line = f"{name:40} {tree:10} CPU us: least {us[0]:6.2f} median {median(us):6.2f} most {us[-1]:6.2f}"
        p50 = [run.p50 for run in some]
        print(line + (f"   p50 us: {median(p50):6.1f}" if any(p50) else ""), flush=True)


def main() -> None:
    """Measure the checkouts that are named, print two lines for each work, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", metavar="NAME=CHECKOUT")
    parser.add_argument("--works", nargs="*", default=[], metavar="WORK", help="parts of their names; default: all")
    parser.add_argument("--processes", type=int, default=2, help="of each checkout; default: 2")
    parser.add_argument("--rounds", type=int, default=6, help="of each process, but for a first one; default: 6")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round; default: 1")
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    options = parser.parse_args()
    trees = {name: Path(tree) for name, _, tree in (text.partition("=") for text in options.trees)}
    runs = measure(trees, options.works, options.processes, options.rounds, options.seconds)
    if options.output:
        options.output.write_text(json.dumps({"machine": machine(), "runs": runs}) + "\n")


if __name__ == "__main__":
    main()
