"""Checks a second and CPU time by number of workers, with TLS and without, over 50 connections; beside empty servers.

    make bench-cores [ARGS='--seconds 5 --output FILE']

    authz                    `authz serve` with 1 and 2 workers, plain and over TLS
    tonic, grpc-go           the same load, answered by an empty message, with as many threads as we have processes
    grpc-go, deciding        the same load, the same networks, and the answers that authz gives

The load is h2load on the same machine, so figures of a second are those of both together; CPU time of a check is the
server's alone, of all its processes. Each round of each server follows one of every other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.processes import Process, ports_of
from support.publishing.publisher import Publisher
from support.servers.certificates import Authority

from benchmarks.contenders import go_servers  # behind the path of the tests
from benchmarks.contenders.building import NotBuilt
from benchmarks.contenders.envoy import answer_of
from benchmarks.contenders.go_servers import GoServer
from benchmarks.load.tools import framed, missing
from benchmarks.processes import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

_CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_CONNECTIONS: Final = 50
_STREAMS: Final = 4
_ROUNDS: Final = 3
_CLIENT: Final = "192.0.2.7"
_DENIED: Final = ("203.0.113.0/24", "2001:db8:bad::/48")  # of the policy
_CONFIG: Final = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], state: {name}.json}}
grpc: {{listen: "127.0.0.1:0"{tls}}}
http: {{listen: "off"}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [127.0.0.0/8]}}
application: {{unknown: default}}
decision_log: {{path: "off"}}
workers: {workers}
drain: 0s
"""
_TLS: Final = ", tls: {certificate: server.pem, key: server.key.pem}"


class Server(NamedTuple):
    """What is asked. pid: of its first process."""

    url: str
    pid: int


class Round(NamedTuple):
    """A round. microseconds: of CPU a check."""

    checks_a_second: float
    microseconds: float


def main() -> None:
    """Measure, print a line for each server, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round, about; default: %(default)s")
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    options = parser.parse_args()
    if (reason := missing("h2load")) is not None:
        parser.error(reason)
    with tempfile.TemporaryDirectory() as where, ExitStack() as stack:
        folder = Path(where)
        (folder / "frame").write_bytes(framed(_message()))
        servers = _ours(folder, stack)
        servers |= _others(folder, stack, _port(next(iter(servers.values()))))
        counts = {name: _count(server, folder, options.seconds) for name, server in servers.items()}
        rounds: dict[str, list[Round]] = {name: [] for name in servers}
        for _ in range(_ROUNDS):
            for name, server in servers.items():
                rounds[name].append(_round(server, folder, counts[name]))
    results = [_result(name, figures) for name, figures in rounds.items()]
    for result in results:
        print(json.dumps(result))
    if options.output:
        what = {"connections": _CONNECTIONS, "streams": _STREAMS, "cpus": os.cpu_count(), "results": results}
        options.output.write_text(json.dumps(what, indent=1) + "\n")


def _message() -> bytes:
    from authz.addresses import parse_address  # noqa: PLC0415  # behind the path of the tests
    from benchmarks.load.messages import SIZES, USUAL, check_request  # noqa: PLC0415  # the same

    return check_request(parse_address(_CLIENT), SIZES[USUAL])


def _ours(folder: Path, stack: ExitStack) -> dict[str, Server]:
    Publisher(folder).publish()
    Authority(folder, "authority").issue("server", "127.0.0.1")
    servers = {}
    for workers in (1, 2):
        for scheme, tls in (("http", ""), ("https", _TLS)):
            name = f"authz, {workers} worker{'s' * (workers > 1)}{', TLS' * bool(tls)}"
            config = folder / f"{scheme}-{workers}.yaml"
            config.write_text(_CONFIG.format(name=config.stem, tls=tls, workers=workers))
            command = [sys.executable, "-m", "authz", "serve", "--config", config.name]
            process = stack.enter_context(Process(command, cwd=folder))
            process.wait_for_line(r"authz: serving( with|$)")
            servers[name] = Server(f"{scheme}://127.0.0.1:{ports_of(process.output)['grpc']}{_CHECK}", process.pid)
    return servers


def _others(folder: Path, stack: ExitStack, port: int) -> dict[str, Server]:
    """Return those that are not ours. port: of an authz that gives the answers for the one that decides."""
    (folder / "networks").write_text("".join(f"{network}\n" for network in _DENIED))
    for name, client in (("allow", _CLIENT), ("deny", _DENIED[0].partition("/")[0])):
        (folder / name).write_bytes(answer_of(port, client))
    deciding = [folder / name for name in ("networks", "allow", "deny")]
    servers = {}
    for name, program, arguments, variable in (
        ("tonic, empty", "tonic", [], "TOKIO_WORKER_THREADS"),
        ("grpc-go, empty", "floor", [], "GOMAXPROCS"),
        ("grpc-go, deciding", "trie", deciding, "GOMAXPROCS"),
    ):
        for threads in (1, 2):
            os.environ[variable] = str(threads)
            try:
                server = stack.enter_context(GoServer(folder, go_servers.program(program), *arguments))
            except NotBuilt as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                break
            finally:
                del os.environ[variable]
            what = f"{name}, {threads} thread{'s' * (threads > 1)}"
            servers[what] = Server(f"http://127.0.0.1:{server.port}{_CHECK}", server.pid)
    return servers


def _port(server: Server) -> int:
    return urlsplit(server.url).port or 0


def _processes(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _round(server: Server, folder: Path, count: int) -> Round:
    pids = _processes(server.pid)
    before = sum(map(cpu_seconds, pids))
    rate = _load(server, folder, count)
    return Round(round(rate), round((sum(map(cpu_seconds, pids)) - before) / count * 1e6, 2))


def _load(server: Server, folder: Path, count: int) -> float:
    """Send so many checks; return how many a second were answered. Raises RuntimeError where one was not."""
    command = [
        "h2load", "-t1", f"-c{_CONNECTIONS}", f"-m{_STREAMS}", f"-n{count}", "-d", str(folder / "frame"),
        "-H", "content-type: application/grpc", "-H", "te: trailers", server.url,
    ]  # fmt: skip
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    good = re.search(r"status codes: (\d+) 2xx", text)
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", text)
    if good is None or rate is None or int(good[1]) != count:
        raise RuntimeError(f"{server.url}: expected {count} good answers, found:\n{text}")
    return float(rate[1])


def _count(server: Server, folder: Path, seconds: float) -> int:
    warm: Callable[[], float] = partial(_load, server, folder, 5_000)
    warm()
    return max(5_000, int(warm() * seconds))


def _result(name: str, rounds: list[Round]) -> dict[str, object]:
    return {
        "server": name,
        "checks_a_second": statistics.median(round_.checks_a_second for round_ in rounds),
        "cpu_us_a_check": statistics.median(round_.microseconds for round_ in rounds),
        "rounds": [round_._asdict() for round_ in rounds],
    }


if __name__ == "__main__":
    main()
