"""The aims of the project as data, and whether a run met them.

An aim speaks of all figures that its words cover, whatever the request, the address or the size of the list: the worst
of them decides, by its median. What a run did not measure is neither met nor missed, and a smoke run measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.report.findings import (
    Case,
    Figures,
    NotMeasuredError,
    growth,
    not_to_be_had,
    quotients,
    together,
    values,
)
from benchmarks.report.tables import number, with_quartiles
from benchmarks.rounds import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.report.findings import Document, Find

MET, MISSED, UNKNOWN = "met", "missed", "not measured"


@dataclass(frozen=True)
class Aim:
    """measure, goal: in words. find: the figures. limit: at most, or with `more` at least. unit: of the figures.

    judged: makes one value of the rounds of a case; the median, but `max` where the aim speaks of every request.
    """

    measure: str
    goal: str
    find: Find
    limit: float
    unit: str = "x"
    more: bool = False
    judged: Callable[[Sequence[float]], float] = median


_POLICY: Final = "100,000"  # networks in the lists of the fronts and the proxies (scale.policy)
_LARGEST: Final = "1,000,000"
_IPV6: Final = "150,849 IPv6"  # of the sample of 1 M networks
_LISTS_OF_RBAC: Final = r"\d{1,3},\d{3}"  # 1 k to 100 k


def _envoy(contender: str, networks: str = _POLICY, clients: str = "allowed|denied") -> Figures:
    where = (("networks", networks), ("clients", clients))
    return Figures("envoy", "requests per second", contender, "1/s", where)


def _envoy_p99(contender: str, networks: str = _POLICY) -> Figures:
    where = (("networks", networks), ("percentile", "p99"))
    return Figures("envoy", "latency at a fixed rate", contender, "us", where)


def _envoy_cpu(contender: str) -> Figures:
    """Return the CPU time of who is asked, without Envoy's."""
    where = (("networks", _POLICY), ("clients", "allowed"))
    return Figures("envoy", "CPU time of one request, server", contender, "us", where)


def _envoy_memory(contender: str) -> Figures:
    return Figures("envoy", "memory", contender, "MB", (("networks", _POLICY),))


def _against_peer(name: str, contender: str) -> tuple[Aim, ...]:
    """Return the aims against one peer. A rate that is too much for the peer is left out."""
    measure = f"through Envoy, against {name} with 100,000 entries: "
    p99 = quotients(_envoy_p99("authz"), _envoy_p99(contender), may_be_missing=True)
    return (
        Aim(f"{measure}throughput", "ahead", quotients(_envoy("authz"), _envoy(contender)), 1.0, more=True),
        Aim(f"{measure}p99, at rates that both sustain", "ahead", p99, 1.0),
        Aim(f"{measure}memory", "ahead", quotients(_envoy_memory("authz"), _envoy_memory(contender)), 1.0),
    )


def _against_rbac(how: str, contender: str) -> tuple[Aim, ...]:
    """Return the aims against one way to give RBAC a list."""
    measure = f"through Envoy, against RBAC {how}, from 1 k networks on: "
    throughput = quotients(_envoy("authz", _LISTS_OF_RBAC), _envoy(contender, _LISTS_OF_RBAC))
    ours, theirs = _envoy_p99("authz", _LISTS_OF_RBAC), _envoy_p99(contender, _LISTS_OF_RBAC)
    return (
        Aim(f"{measure}throughput", "ahead", throughput, 1.0, more=True),
        Aim(f"{measure}p99, at rates that both sustain", "ahead", quotients(ours, theirs, may_be_missing=True), 1.0),
    )


def _a_cpu_second(part: str, contender: str) -> Figures:
    return Figures(part, "checks per CPU second of the server", contender, "1/s")


def _nginx(contender: str) -> Figures:
    """Return the figures by CPU time: on one core wrk is slower than an nginx that answers itself."""
    measure = "requests per CPU second of nginx and server"
    return Figures("nginx", measure, contender, "1/s", (("networks", _POLICY),))


def _lookup(contender: str, table: str = f"849,151 IPv4|{_IPV6}") -> Figures:
    """Return the figures of tables: by default of the sample of 1 M networks, which has so many of each version."""
    return Figures("lookup", "time of one look-up", contender, "ns", (("table", f"BGP ({table})"),))


def _reload(name: str, contender: str, *where: tuple[str, str]) -> Figures:
    return Figures("reload", name, contender, "ms", (("policy", f"{_LARGEST} networks .*"), *where))


def _build(name: str, unit: str) -> Figures:
    return Figures("lookup", name, "authz", unit, (("table", "BGP, whole .*"),))


AIMS: Final = (
    Aim(
        "checks per CPU second, gRPC, against grpc.aio with the same work", "8 x or more",
        quotients(_a_cpu_second("grpc", "authz native"), _a_cpu_second("grpc", "authz grpcio")), 8.0, more=True,
    ),
    Aim(
        "through Envoy, against tonic's empty answer: CPU time of the server for a check", "no higher",
        quotients(_envoy_cpu("authz"), _envoy_cpu("empty answer (tonic)")), 1.0,
    ),
    Aim(
        "through Envoy, against the empty Go answer: throughput", "0.9 x or more",
        quotients(_envoy("authz", clients="allowed"), _envoy("empty answer (grpc-go)")), 0.9, more=True,
    ),
    Aim(
        "through Envoy, against the empty Go answer: p99", "within 1.2 x",
        quotients(_envoy_p99("authz"), _envoy_p99("empty answer (grpc-go)")), 1.2,
    ),
    *(
        Aim(
            f"through Envoy, against {name} with 100,000 entries", "ahead in throughput, p99 and memory",
            not_to_be_had("the Go module proxy answers 403 for it"), 1.0, more=True,
        )
        for name in ("opa-envoy-plugin", "the CrowdSec bouncer")
    ),
    *_against_peer("OPA's engine behind grpc-go (not the plugin)", "OPA, buckets"),
    *_against_rbac("with a principal for each network", "RBAC, principals"),
    *_against_rbac("by the matcher API", "RBAC, tries"),
    Aim(
        "through Envoy, 1 M networks against 1 k: throughput", "flat: 0.95 x or more",
        growth(_envoy("authz", "1,000"), _envoy("authz", _LARGEST), "networks"), 0.95, more=True,
    ),
    Aim(
        "HTTP front, checks per CPU second, against uvicorn answering empty", "2 x or more",
        quotients(_a_cpu_second("http", "authz"), _a_cpu_second("http", "uvicorn")), 2.0, more=True,
    ),
    Aim(
        "through nginx, against nginx answering itself: throughput", "0.9 x or more",
        quotients(_nginx("authz"), _nginx("static 204")), 0.9, more=True,
    ),
    Aim(
        "through nginx, against another nginx that returns 204: throughput", "0.9 x or more",
        quotients(_nginx("authz"), _nginx("another nginx's 204")), 0.9, more=True,
    ),
    Aim(
        "through nginx that keeps answers for 1 s, 50 clients, against nginx answering itself: throughput",
        "0.6 x or more", quotients(_nginx("authz, cache, 50"), _nginx("static 204")), 0.6, more=True,
    ),
    Aim(
        "lookup at 1 M against pytricia, hits and misses", "1.5 x faster or more",
        quotients(_lookup("pytricia"), _lookup("authz")), 1.5, more=True,
    ),
    Aim(
        "IPv6 lookup at 1 M against pytricia, hits and misses", "as fast or faster",
        quotients(_lookup("pytricia", _IPV6), _lookup("authz", _IPV6)), 1.0, more=True,
    ),
    Aim(
        "lookup at 1 M against 10 k", "at most 1.5 x the time",
        together(
            growth(_lookup("authz", "8,515 IPv4"), _lookup("authz", "849,151 IPv4"), "table"),
            growth(_lookup("authz", "1,485 IPv6"), _lookup("authz", _IPV6), "table"),
        ), 1.5,
    ),
    Aim(
        "reload of 1 M networks: from the rename to the first new answer", "under 100 ms",
        values(_reload("rename to first new answer", "authz")), 100.0, "ms",
    ),
    Aim(
        "reload of 1 M networks: the slowest request meanwhile, of all reloads", "none slower than 10 ms because of it",
        values(_reload("latency", "during a reload", ("latency", "worst"))), 10.0, "ms", judged=max,
    ),
    Aim("build of the BGP table (1.06 M): time", "under 5 s", values(_build("authz build, time", "s")), 5.0, "s"),
    Aim(
        "build of the BGP table (1.06 M): memory", "under 600 MB",
        values(_build("authz build, memory", "MB")), 600.0, "MB",
    ),
    Aim(
        "resident memory but for the snapshot file", "under 60 MB",
        values(Figures("memory", "resident memory beyond the snapshot file", "authz", "MB")), 60.0, "MB",
    ),
)  # fmt: skip


class Result(NamedTuple):
    """What became of an aim. state: met, missed, not measured; found: the worst figure, or why there is none."""

    aim: Aim
    state: str
    found: str


def results(document: Document) -> list[Result]:
    """Return what became of all aims."""
    return [judge(aim, document) for aim in AIMS]


def judge(aim: Aim, document: Document) -> Result:
    """Compare the worst of the figures that an aim speaks of with its limit."""
    if document["scale"].get("name") == "quick":
        return Result(aim, UNKNOWN, "a smoke run")
    try:
        cases = aim.find(document)
    except NotMeasuredError as error:
        return Result(aim, UNKNOWN, str(error))
    worst = (min if aim.more else max)(cases, key=lambda case: aim.judged(case.rounds))
    value = aim.judged(worst.rounds)
    good = value >= aim.limit if aim.more else value <= aim.limit
    return Result(aim, MET if good else MISSED, _found(aim, worst, len(cases)))


def _found(aim: Aim, worst: Case, count: int) -> str:
    """Return such as `6.04 (5.75-6.04) x; 2.5 kB, allowed: the worst of 3`."""
    text = number(aim.judged(worst.rounds), aim.unit)
    if aim.judged is median:
        text = with_quartiles(*spread(worst.rounds), aim.unit)
    where = "; ".join(filter(None, (worst.where, f"the worst of {count}" if count > 1 else "")))
    return f"{text} {aim.unit}{f'; {where}' if where else ''}"
