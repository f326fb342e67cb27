"""End to end: HTTP requests through a real Envoy, which decides in one way or another; each way has its own Envoy.

Envoy and whoever it asks share one core, the load has the other: so requests a second are what both cost together, as
in a pod with a limit. All get the same list and the same clients, whose addresses come in X-Forwarded-For.
"""

from __future__ import annotations

import http.client
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.contenders.envoy import (
    AIO,
    AUTHZ,
    FLOOR,
    OPA,
    RBAC,
    SAME,
    TONIC,
    TRIE,
    TRIES,
    UNFILTERED,
    UNIX,
    Contender,
    Starts,
)
from benchmarks.contenders.go_servers import NotBuilt
from benchmarks.data.networks import SlowTable, Table, address, hits, load_table, misses
from benchmarks.data.policies import Publisher, deny_table
from benchmarks.load.paced import Paced, flat_out, missing_paced, paced
from benchmarks.load.tools import HTTP_CONNECTIONS, Load, missing, wrk
from benchmarks.processes import cores, cpu_seconds, memory_of
from benchmarks.proxies.envoy import missing_envoy
from benchmarks.report.document import Check, Part
from benchmarks.rounds import interleaved, spread
from benchmarks.scale import FULL, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.scale import Scale

THROUGHPUT: Final = "requests per second"
LATENCY: Final = "latency at a fixed rate"
CPU: Final = "CPU time of one request"
RATES: Final = (1_000, 4_000)  # requests a second
_HEADROOM: Final = 1.5  # a rate is asked only of who could do so many times as much
_WARM_UP: Final = 0.2  # seconds
_MORE: Final = 5  # times as long, where nothing was answered
_CHECKED: Final = 20  # clients of a kind
_MEGABYTE: Final = 1_000_000
_PERCENTILES: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "worst": "worst"}
_DENYING: Final = (AUTHZ, TRIE, OPA, RBAC, TRIES)  # those that denied clients are measured with

Key = tuple[str, int]  # the name of a contender and the size of its list

_ABOUT: Final = (
    (
        "the ext_authz filter is as `authz print-config envoy` prints it, but for timeouts, health check and access "
        "log; the same for all servers that are asked"
    ),
    (
        "authz's answer (grpc-go): the program of the empty answer with an answer of authz, headers and metadata "
        "included; what lies between the two is what Envoy does with these"
    ),
    (
        "authz's decision (grpc-go): looks the last address of X-Forwarded-For up in a routing table (gaissmai/bart), "
        "and gives one of two answers of authz; no policy, log, metric or reload"
    ),
    (
        "RBAC, principals: one for each network, compared one after the other; RBAC, tries: the matcher API with the "
        "ip input matcher, 250,000 networks in each, for it takes 262,144 at most; their memory is what Envoy has more "
        "than without a filter, their start that of Envoy"
    ),
    (
        "OPA: its engine, a Go module, behind grpc-go (contenders/opa), without the decision log and the JSON of "
        "opa-envoy-plugin, which so cannot be faster; cidr_contains_matches over the whole list is the way that its "
        "documentation shows, measured with one connection; buckets by the first bits of the address is the fastest "
        "policy that we found"
    ),
    (
        "opa-envoy-plugin itself and kdwils/envoy-proxy-crowdsec-bouncer are not measured: the Go module proxy did not "
        "have them"
    ),
)


class Clients(NamedTuple):
    """Addresses on a list and others. checked: of both versions, few. allowed, denied: IPv4, to measure with."""

    checked: dict[str, bool]  # whether it is on the list
    allowed: list[str]
    denied: list[str]


class Round(NamedTuple):
    """Requests a second, and microseconds of CPU time for one: of Envoy, of the server that it asks (or 0), of both."""

    a_second: float
    envoy_us: float
    server_us: float
    both_us: float


class Field(NamedTuple):
    """A field of Round, as a measure."""

    name: str
    measure: str
    unit: str


_FIELDS: Final = (
    Field("a_second", THROUGHPUT, "1/s"),
    Field("both_us", f"{CPU}, Envoy and server", "us"),
    Field("envoy_us", f"{CPU}, Envoy", "us"),
    Field("server_us", f"{CPU}, server", "us"),
)


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure throughput, CPU time, latency, memory and start of all contenders, with lists of several sizes."""
    part = Part("envoy")
    part.skipped = missing_envoy() or missing("wrk") or missing_paced()
    if part.skipped:
        return part
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clients: dict[int, Clients] = {}
        contenders: dict[Key, Contender] = {}
        publisher = Publisher(Path(folder))
        for size in sorted({*scale.list_sizes, scale.policy}):
            note(f"starting all with {size:,} networks")
            table = load_table(size)
            clients[size] = _clients(table, scale.clients)
            publisher.publish(f"{size}.snapshot", deny_table(table))
            starts = Starts(Path(folder), stack, table, f"{size}.snapshot")
            started = _start(part, starts, clients[size], scale, size)
            note(f"checking all with {size:,} networks")
            contenders |= {
                (name, size): contender
                for name, contender in started.items()
                if _right(part, name, contender, clients[size])
            }
        _measure(part, contenders, clients, scale, note)
    part.compare(THROUGHPUT, UNIX, FLOOR)
    for other in (FLOOR, TONIC, SAME, TRIE, AIO, OPA, RBAC, TRIES):
        part.compare(THROUGHPUT, AUTHZ, other)
    for other in (FLOOR, TONIC, TRIE):
        part.compare(f"{CPU}, server", AUTHZ, other)
    part.notes += _notes(scale)
    return part


def _clients(table: Table, count: int) -> Clients:
    slow = SlowTable(table)

    def some(version: int, number: int, *, listed: bool) -> list[str]:
        values = hits(table, version, number) if listed else misses(table, slow, version, number)
        return [address(version, value).text for value in values]

    checked = {
        text: listed
        for version in (4, 6)
        for listed in (False, True)
        if table.of(version)
        for text in some(version, _CHECKED, listed=listed)
    }
    return Clients(checked, some(4, count, listed=False), some(4, count, listed=True))


def _start(part: Part, starts: Starts, clients: Clients, scale: Scale, size: int) -> dict[str, Contender]:
    """Start those with a list of this size; what is not built is noted."""
    started = starts.of_all_sizes(tries=size <= scale.policy or scale == FULL)
    if size == scale.policy:
        started |= starts.ours()
        for start in (
            partial(starts.floors, started[AUTHZ], clients.allowed[0]),
            partial(starts.tonic, build=scale != QUICK),
            partial(starts.deciding, started[AUTHZ], clients.allowed[0], clients.denied[0], build=scale != QUICK),
            partial(starts.opas, build=scale != QUICK),
        ):
            try:
                started |= start()
            except NotBuilt as error:
                part.notes.append(f"left out: {error}")
    return started


def _right(part: Part, name: str, contender: Contender, clients: Clients) -> bool:
    """Ask for clients that are on the list and for others, and return whether the answers were right."""
    check = Check(f"{name}, {contender.networks:,} networks", len(clients.checked))
    connection = http.client.HTTPConnection("127.0.0.1", contender.envoy.port, timeout=30.0)
    for client, listed in clients.checked.items():
        expected = 403 if listed and contender.decides else 200
        connection.request("GET", "/", headers={"X-Forwarded-For": client})
        answer = connection.getresponse()
        answer.read()
        if answer.status != expected:
            check.differences.append(f"client {client}: found {answer.status}, expected {expected}")
    connection.close()
    part.checks.append(check)
    return not check.differences


def _measure(
    part: Part,
    contenders: Mapping[Key, Contender],
    clients: Mapping[int, Clients],
    scale: Scale,
    note: Callable[[str], None],
) -> None:
    for contender in contenders.values():
        _warm_up(contender, clients[contender.networks].allowed)
    note("throughput, allowed clients")
    seconds = scale.load_seconds
    allowed = {
        key: partial(_round, contender, clients[key[1]].allowed, seconds) for key, contender in contenders.items()
    }
    rounds = interleaved(allowed, scale.load_rounds, 0)
    _add_rounds(part, rounds, "allowed")
    note("throughput, denied clients")
    usual = {key: contender for key, contender in contenders.items() if key[1] == scale.policy}
    denied = {
        key: partial(_round, contender, clients[key[1]].denied, seconds, denied=True)
        for key, contender in usual.items()
        if key[0] in _DENYING
    }
    _add_rounds(part, interleaved(denied, scale.load_rounds, 0), "denied")
    largest = AUTHZ, max(clients)
    if largest in contenders:
        usual[largest] = contenders[largest]
    for rate in RATES:
        note(f"latency at {rate:,} requests a second")
        able = {key for key in usual if spread([round_.a_second for round_ in rounds[key]]).median > _HEADROOM * rate}
        _measure_latency(
            part, {key: contender for key, contender in usual.items() if key in able}, clients, rate, scale
        )
        if usual.keys() - able:
            slow = ", ".join(sorted(name for name, _ in usual.keys() - able))
            part.notes.append(f"too slow for {rate:,} requests a second: {slow}")
    _add_resources(part, contenders, scale.policy)


# Throughput


def _warm_up(contender: Contender, clients: Sequence[str]) -> None:
    """Ask over as many connections as will be measured with: each makes Envoy and the server take memory."""
    if not contender.slow:
        flat_out(contender.url, _WARM_UP, in_turn=_headers(clients), connections=HTTP_CONNECTIONS)


def _headers(clients: Sequence[str]) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", client) for client in clients]


def _round(contender: Contender, clients: Sequence[str], seconds: float, *, denied: bool = False) -> Round:
    """Load a contender for one round. Raises RuntimeError where not all are allowed, or denied, or none is answered."""
    pids = [contender.envoy.pid] + ([contender.server.pid] if contender.server else [])
    before = [cpu_seconds(pid) for pid in pids]
    load = _load(contender, clients, seconds)
    if not load.requests:  # a machine that does much else
        load = _load(contender, clients, _MORE * max(seconds, 1.0))
    if not load.requests or load.good != (0 if denied else load.requests):
        raise RuntimeError(f"found {load.good} answers 2xx of {load.requests}, expected {'none' if denied else 'all'}")
    used = [(cpu_seconds(pid) - begin) / load.requests * 1e6 for pid, begin in zip(pids, before, strict=True)]
    return Round(load.requests / load.seconds, used[0], sum(used[1:]), sum(used))


def _load(contender: Contender, clients: Sequence[str], seconds: float) -> Load:
    """Load it by wrk, which knows whole seconds only and reports nothing of a few slow answers; else by flat_out."""
    if seconds >= 1.0 and not contender.slow:
        return wrk(contender.url, seconds, clients)
    connections = 1 if contender.slow else HTTP_CONNECTIONS
    load = flat_out(contender.url, seconds, in_turn=_headers(clients), connections=connections)
    return Load(load.answered, load.good, load.seconds, load.length)


def _add_rounds(part: Part, results: Mapping[Key, Sequence[Round]], clients: str) -> None:
    for field in _FIELDS:
        for (contender, size), loads in results.items():
            values = [float(getattr(load, field.name)) for load in loads]
            if any(values):
                part.add(field.measure, field.unit, {contender: values}, clients=clients, networks=f"{size:,}")


# Latency, memory, start


def _measure_latency(
    part: Part, contenders: Mapping[Key, Contender], clients: Mapping[int, Clients], rate: float, scale: Scale
) -> None:
    """Add the latency of allowed clients at a fixed rate."""
    works = {
        key: partial(_paced, contender, clients[key[1]].allowed, rate, scale.open_seconds / scale.load_rounds)
        for key, contender in contenders.items()
    }
    results = interleaved(works, scale.load_rounds, 0) if works else {}
    for percentile, field in _PERCENTILES.items():
        for (contender, size), runs in results.items():
            labels = {"rate": f"{rate:,}/s", "networks": f"{size:,}", "percentile": percentile}
            part.add(LATENCY, "us", {contender: [float(getattr(run, field)) for run in runs]}, **labels)


def _paced(contender: Contender, clients: Sequence[str], rate: float, seconds: float) -> Paced:
    run = paced(contender.url, rate, seconds, in_turn=_headers(clients), connections=HTTP_CONNECTIONS)
    if run.good != run.sent:
        raise RuntimeError(f"found {run.good} answers 2xx of {run.sent} at {rate:,} requests a second")
    return run


def _add_resources(part: Part, contenders: Mapping[Key, Contender], policy: int) -> None:
    """Add memory and start of who decides: of the server that is asked, or what an Envoy has more than one without."""
    plain = contenders.get((UNFILTERED, policy))
    for (name, size), contender in contenders.items():
        decider = contender.server or contender.envoy
        part.add("start to ready", "s", {name: [decider.ready_seconds]}, networks=f"{size:,}")
        if contender.server is not None:
            part.add("memory", "MB", {name: [_resident(decider.pid)]}, networks=f"{size:,}")
        elif plain is not None and contender is not plain:
            more = max(_resident(decider.pid) - _resident(plain.envoy.pid), 0.0)
            part.add("memory", "MB", {name: [more]}, networks=f"{size:,}")


def _resident(pid: int) -> float:
    return memory_of(pid)["VmRSS"] / _MEGABYTE


def _notes(scale: Scale) -> list[str]:
    server, load = cores()
    where = f"Envoy with one worker and the server that it asks share core {server}, the load has core {load}"
    asked = f"wrk with {HTTP_CONNECTIONS} kept connections, {scale.clients:,} clients in turn"
    return [f"{where}; {asked}; Envoy itself answers those that are let in", *_ABOUT]
