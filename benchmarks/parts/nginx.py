"""A real nginx that asks authz by auth_request, beside one that asks itself, that has the list itself, or asks nobody.

    no auth                nothing decides
    static 204             auth_request to a location of the same nginx: `return 204`
    another nginx's 204    the same over a kept connection, to an nginx that does nothing else: what asking costs
    authz                  over kept TCP connections, or a unix socket
    authz, cache 1 s       the same over TCP, and nginx keeps each client's answer for up to a second
    authz, cache, 50       the same, asked for 50 of the clients only, so that more answers come from the cache
    geo                    the geo module with the list in its file, and `return 403`

nginx and whom it asks share a core, and the load generator has the other: so the throughput tells what a request costs
altogether, and no work is hidden on a core that would idle. Those who ask nobody are faster than wrk on one core, and
so their requests per second are wrk's; requests per CPU second are their own.
"""

from __future__ import annotations

import http.client
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.serve.config.values import Listen
from benchmarks.data.networks import SlowTable, address, hits, load_table, misses
from benchmarks.data.policies import Publisher, deny_table
from benchmarks.load.paced import flat_out, missing_paced, paced
from benchmarks.load.tools import HTTP_CONNECTIONS, missing, wrk
from benchmarks.parts.common.fronts import LATENCY, measure_latency
from benchmarks.processes import Sidecar, cores, cpu_seconds, memory_of
from benchmarks.proxies.nginx import (
    PATH,
    Nginx,
    asking,
    asking_itself,
    asking_nobody,
    empty_server,
    knowing,
    missing_nginx,
)
from benchmarks.report.document import Check, Part
from benchmarks.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.data.networks import Table
    from benchmarks.scale import Scale

NO_AUTH, STATIC, HOP, GEO = "no auth", "static 204", "another nginx's 204", "geo"
AUTHZ, UNIX, CACHED, CACHED_FEW = "authz", "authz, unix socket", "authz, cache 1 s", "authz, cache, 50"
THROUGHPUT: Final = "requests per second"
BY_CPU_TIME: Final = "requests per CPU second of nginx and server"
RATE: Final = 2_000  # requests a second
_MAX_CONNECTIONS: Final = 200  # connections at that rate; with those to authz nginx has 1,024 at most
_CHECKED: Final = 50  # clients of each kind and version
_WARM_UP: Final = 0.2  # seconds
_KEPT: Final = 1.0  # seconds that nginx may keep an answer, with the cache
_FEW: Final = 50  # clients, such as of an office or of a page that loads
_MEGABYTE: Final = 1_000_000


class Key(NamedTuple):
    """A contender, and how many networks the list has."""

    name: str
    networks: int


class Clients(NamedTuple):
    """Addresses as text. allowed, denied: some of both versions, to check; asked: allowed ones, IPv4, to measure."""

    allowed: list[str]
    denied: list[str]
    asked: list[str]


class Contender(NamedTuple):
    """An nginx and whom it asks, if anybody. decides: whether there are clients that it denies."""

    nginx: Nginx
    server: Sidecar | Nginx | None
    clients: Clients
    decides: bool


class Round(NamedTuple):
    """A round: requests by wall time, and by the CPU time of nginx and server; the CPU time of one in microseconds."""

    a_second: float
    a_cpu_second: float
    nginx_us: float
    server_us: float


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure all of them with the usual list, and authz and geo with the largest as well."""
    part = Part("nginx")
    part.skipped = missing_nginx() or missing("wrk")
    if part.skipped:
        return part
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        start = _Starts(stack, Path(name), scale)
        note(f"{scale.policy:,} networks")
        contenders = start.all(scale.policy)
        largest = max(scale.list_sizes)
        if largest != scale.policy:
            note(f"{largest:,} networks")
            contenders |= start.with_list(largest)
        for key, contender in list(contenders.items()):
            part.checks.append(_right(f"{key.name}, {key.networks:,} networks", contender))
            if part.checks[-1].differences:
                del contenders[key]
        note("wrk")
        _throughput(part, contenders, scale)
        note(f"{RATE:,} requests a second")
        _latency(part, contenders, scale)
        _resources(part, contenders)
    for measured in (BY_CPU_TIME, THROUGHPUT):
        for ours in (AUTHZ, UNIX, CACHED, CACHED_FEW):
            for other in (NO_AUTH, STATIC, HOP, GEO):
                part.compare(measured, ours, other)
    _say_how(part, scale, start.source)
    return part


class _Starts:
    """Starts everything in a folder; the stack ends it."""

    def __init__(self, stack: ExitStack, folder: Path, scale: Scale) -> None:
        self._stack = stack
        self._folder = folder
        self._scale = scale
        self._publisher = Publisher(folder)
        self.source = ""

    def all(self, networks: int) -> dict[Key, Contender]:
        """Start every contender, with a list of so many networks."""
        contenders = self.with_list(networks)
        clients = contenders[Key(AUTHZ, networks)].clients
        unix = self._stack.enter_context(
            Sidecar(self._folder, "unix", snapshot=f"{networks}.snapshot", grpc="off", http="unix:http.sock")
        )
        empty = self._nginx("empty", empty_server())
        to_unix = self._nginx("to-unix", asking(Listen(path=self._folder / "http.sock")))
        contenders[Key(UNIX, networks)] = Contender(to_unix, unix, clients, decides=True)
        keeps = self._stack.enter_context(
            Sidecar(self._folder, "kept", snapshot=f"{networks}.snapshot", grpc="off", cache=f"{_KEPT:g}s")
        )
        memory = self._stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))  # in memory, as /run is
        where = Listen(host="127.0.0.1", port=keeps.ports["http"])
        to_kept = self._nginx("to-kept", asking(where, _KEPT, Path(memory) / "kept"))
        contenders[Key(CACHED, networks)] = Contender(to_kept, keeps, clients, decides=True)
        few = clients._replace(asked=clients.asked[:_FEW])
        contenders[Key(CACHED_FEW, networks)] = Contender(to_kept, keeps, few, decides=True)
        hop = self._nginx("to-empty", asking(Listen(host="127.0.0.1", port=empty.port)))
        contenders[Key(HOP, networks)] = Contender(hop, empty, clients, decides=False)
        for name, config in ((STATIC, asking_itself()), (NO_AUTH, asking_nobody())):
            nginx = self._nginx(name.replace(" ", "-"), config)
            contenders[Key(name, networks)] = Contender(nginx, None, clients, decides=False)
        return contenders

    def with_list(self, networks: int) -> dict[Key, Contender]:
        """Start those whose cost may depend on the list."""
        table = load_table(networks)
        self.source = table.source
        self._publisher.publish(f"{networks}.snapshot", deny_table(table))
        clients = _clients(table, self._scale.clients)
        sidecar = self._stack.enter_context(
            Sidecar(self._folder, f"authz-{networks}", snapshot=f"{networks}.snapshot", grpc="off")
        )
        asks = self._nginx(f"to-authz-{networks}", asking(Listen(host="127.0.0.1", port=sidecar.ports["http"])))
        knows = self._nginx(f"geo-{networks}", knowing(table.networks, self._folder, f"{networks}.geo"))
        return {
            Key(AUTHZ, networks): Contender(asks, sidecar, clients, decides=True),
            Key(GEO, networks): Contender(knows, None, clients, decides=True),
        }

    def _nginx(self, name: str, config: str) -> Nginx:
        return self._stack.enter_context(Nginx(self._folder, name, config))


def _clients(table: Table, count: int) -> Clients:
    slow = SlowTable(table)
    few = min(_CHECKED, count)
    allowed = [address(version, value).text for version in (4, 6) for value in misses(table, slow, version, few)]
    denied = [address(version, value).text for version in (4, 6) for value in hits(table, version, few)]
    return Clients(allowed, denied, [address(4, value).text for value in misses(table, slow, 4, count)])


def _right(what: str, contender: Contender) -> Check:
    """Ask for clients that are on the list and for others."""
    clients = contender.clients
    check = Check(what, len(clients.allowed) + len(clients.denied))
    connection = http.client.HTTPConnection("127.0.0.1", contender.nginx.port, timeout=10.0)
    for client in clients.allowed + clients.denied:
        expected = 403 if contender.decides and client in clients.denied else 200
        connection.request("GET", PATH, headers={"X-Forwarded-For": client})
        answer = connection.getresponse()
        answer.read()
        if answer.status != expected:
            check.differences.append(f"client {client}: found {answer.status}, expected {expected}")
    connection.close()
    return check


def _throughput(part: Part, contenders: Mapping[Key, Contender], scale: Scale) -> None:
    for contender in contenders.values():
        if missing_paced() is None:
            flat_out(contender.nginx.url, _WARM_UP, in_turn=_headers(contender), connections=HTTP_CONNECTIONS)
    works = {key: partial(_round, contender, scale.load_seconds) for key, contender in contenders.items()}
    results = interleaved(works, scale.load_rounds, 0)
    for field, name, unit in (
        ("a_cpu_second", BY_CPU_TIME, "1/s"),
        ("a_second", THROUGHPUT, "1/s"),
        ("nginx_us", "CPU time of one request, nginx", "us"),
        ("server_us", "CPU time of one request, server", "us"),
    ):
        for key, loads in results.items():
            values = [float(getattr(load, field)) for load in loads]
            if any(values):
                part.add(name, unit, {key.name: values}, networks=f"{key.networks:,}")


def _round(contender: Contender, seconds: float) -> Round:
    pids = [contender.nginx.pid] + ([contender.server.pid] if contender.server else [])
    before = [cpu_seconds(pid) for pid in pids]
    load = wrk(contender.nginx.url, seconds, contender.clients.asked)
    if load.good != load.requests:
        raise RuntimeError(f"found {load.good} answers 2xx of {load.requests}, expected all")
    used = [(cpu_seconds(pid) - begin) / load.requests * 1e6 for pid, begin in zip(pids, before, strict=True)]
    return Round(load.requests / load.seconds, 1e6 / sum(used), used[0], sum(used[1:]))


def _latency(part: Part, contenders: Mapping[Key, Contender], scale: Scale) -> None:
    """Add the latency of those who ask somebody else; `static 204` stands for those who do not."""
    reason = missing_paced()
    if reason:
        part.notes.append(f"no {LATENCY}: {reason}")
        return
    works = {
        key.name: partial(
            paced, contender.nginx.url, RATE, scale.open_seconds / 2,
            in_turn=_headers(contender), connections=HTTP_CONNECTIONS, most=_MAX_CONNECTIONS,
        )
        for key, contender in contenders.items()
        if key.networks == scale.policy and key.name in {STATIC, HOP, AUTHZ, UNIX, CACHED, CACHED_FEW}
    }  # fmt: skip
    if works:
        measure_latency(part, works, scale.load_rounds, RATE, networks=f"{scale.policy:,}")


def _headers(contender: Contender) -> Sequence[tuple[str, str]]:
    return [("X-Forwarded-For", client) for client in contender.clients.asked]


def _resources(part: Part, contenders: Mapping[Key, Contender]) -> None:
    """Add memory and start of who has the list: the sidecar, or the nginx with the geo module."""
    for key, contender in contenders.items():
        if contender.decides:
            decider = contender.server or contender.nginx
            labels = {"networks": f"{key.networks:,}"}
            part.add("memory", "MB", {key.name: [memory_of(decider.pid)["VmRSS"] / _MEGABYTE]}, **labels)
            part.add("start to ready", "s", {key.name: [decider.ready_seconds]}, **labels)


def _say_how(part: Part, scale: Scale, source: str) -> None:
    server, load = cores()
    part.notes.append(
        f"with the cache authz is asked about a client once in {_KEPT:g} s or more: the faster clients come round, the "
        "more answers come from the cache"
    )
    part.notes.append(
        f"nginx (one worker) and whom it asks share core {server}, wrk and paced have core {load}: requests per second "
        "are what one core does for all of it, or what wrk can do, which is less for those who ask nobody; requests "
        "per CPU second do not depend on wrk; with authz on a core of its own, the CPU time of nginx would be the bound"
    )
    part.notes.append(
        f"{HTTP_CONNECTIONS} kept connections, {scale.clients:,} allowed clients in turn by X-Forwarded-For; nginx "
        f"answers with empty_gif; no access log; networks: {source}; memory is that of the sidecar, or of the nginx "
        "worker with geo"
    )
