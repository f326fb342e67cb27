"""HTTP checks a second on one core: a real `authz serve`, load by wrk over kept connections, as nginx holds them."""

from __future__ import annotations

import http.client
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data import SlowTable, address, hits, load_table, misses
from benchmarks.fronts import BY_CPU_TIME, Target, measure, say_where
from benchmarks.load import HTTP_CONNECTIONS, Load, missing, wrk
from benchmarks.policies import APPLICATION, Publisher, deny_table
from benchmarks.report import Check, Part
from benchmarks.servers import Sidecar

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Address
    from benchmarks.scale import Scale

ALLOWED, DENIED, LOGGED = "authz, allowed", "authz, denied", "authz, denied, logged"
_PATH = f"/v1/auth/{APPLICATION}"


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure allowed and denied clients, the latter with and without a decision log."""
    part = Part("http")
    part.skipped = missing("wrk")
    if part.skipped:
        return part
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = load_table(scale.policy)
        Publisher(folder).publish("table.snapshot", deny_table(table))
        allowed = address(4, misses(table, SlowTable(table), 4, 1)[0])
        denied = address(4, hits(table, 4, 1)[0])
        start = partial(Sidecar, folder, snapshot="table.snapshot", grpc="off")
        note("allowed and denied clients")
        with start("plain") as plain, start("logged", log="log") as logged:
            targets = {}
            for contender, sidecar, client, status in (
                (ALLOWED, plain, allowed, 200),
                (DENIED, plain, denied, 403),
                (LOGGED, logged, denied, 403),
            ):
                part.checks.append(_right(contender, sidecar, client, status))
                if not part.checks[-1].differences:
                    targets[contender] = _target(sidecar, client, status, scale.load_seconds)
            if targets:
                measure(part, targets, scale.load_rounds)
    part.compare(BY_CPU_TIME, DENIED, LOGGED)
    say_where(part)
    part.notes.append(
        f"{HTTP_CONNECTIONS} kept connections, GET {_PATH} with X-Forwarded-For; TCP only, wrk knows no unix sockets; "
        f"a policy of {len(table.networks):,} networks ({table.source})"
    )
    return part


def _right(what: str, sidecar: Sidecar, client: Address, status: int) -> Check:
    """Ask once, and compare status and client."""
    connection = http.client.HTTPConnection("127.0.0.1", sidecar.ports["http"], timeout=10.0)
    connection.request("GET", _PATH, headers={"X-Forwarded-For": client.text})
    answer = connection.getresponse()
    connection.close()
    found = (answer.status, answer.getheader("X-Authz-Client-Address"))
    check = Check(what, 1)
    if found != (status, client.text):
        check.differences.append(f"found {found}, expected {(status, client.text)}")
    return check


def _target(sidecar: Sidecar, client: Address, status: int, seconds: float) -> Target:
    send = partial(wrk, f"http://127.0.0.1:{sidecar.ports['http']}{_PATH}", seconds, f"X-Forwarded-For: {client.text}")
    return Target(sidecar, partial(_checked, send, all_good=status == 200))


def _checked(send: Callable[[], Load], *, all_good: bool) -> Load:
    load = send()
    expected = load.requests if all_good else 0
    if load.good != expected or not load.requests:
        raise RuntimeError(f"found {load.good} answers 2xx of {load.requests}, expected {expected}")
    return load
