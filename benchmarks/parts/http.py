"""HTTP checks a second on one core, and their latency: a real `authz serve`, kept connections as nginx holds them.

Beside it uvicorn with uvloop and httptools, one worker, no log, no headers of its own, and an application that answers
an empty 200 to everybody: what an HTTP server in Python costs that does nothing.
"""

from __future__ import annotations

import http.client
import re
import socket
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.data.policies import APPLICATION
from benchmarks.load.paced import flat_out, missing_paced, paced
from benchmarks.load.tools import HTTP_CONNECTIONS, Load, missing, wrk
from benchmarks.parts.common import fronts
from benchmarks.processes import Child, Sidecar
from benchmarks.report.document import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.load.paced import Paced
    from benchmarks.parts.common.fronts import Stage
    from benchmarks.scale import Scale

AUTHZ, DENIED, LOGGED, UNIX = "authz", "authz, denied", "authz, denied, logged", "authz, unix socket"
UVICORN = "uvicorn"
WRK, PACED = "wrk", "paced"
RATE: Final = 10_000  # requests a second
_PATH: Final = f"/v1/auth/{APPLICATION}"
_PROJECT: Final = Path(__file__).parents[2]


class Uvicorn(Child):
    """uvicorn with the empty application."""

    def __init__(self, folder: Path) -> None:
        options = ("--loop", "uvloop", "--http", "httptools", "--lifespan", "off", "--workers", "1", "--port", "0")
        quiet = ("--no-access-log", "--no-server-header", "--no-date-header", "--app-dir", str(_PROJECT))
        application = "benchmarks.contenders.http_floor:app"
        super().__init__(folder, [sys.executable, "-m", "uvicorn", application, *options, *quiet])
        self._port = self.wait_until(lambda: re.search(r"running on http://127\.0\.0\.1:(\d+)", self.output))[1]

    def url(self, front: str) -> str:
        """Return where it serves, as a sidecar does."""
        return f"{front}://127.0.0.1:{self._port}"


class Contender(NamedTuple):
    """A server, and clients that it answers with a status."""

    server: Sidecar | Uvicorn
    clients: list[str]
    status: int


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure allowed and denied clients, the latter with and without a decision log, and uvicorn."""
    part = Part("http")
    part.skipped = missing("wrk")
    if part.skipped:
        return part
    with fronts.stage(scale) as stage:
        contenders = _start(stage)
        for contender, target in list(contenders.items()):
            part.checks.append(_right(contender, target))  # and they are warm then
            if part.checks[-1].differences:
                del contenders[contender]
        note("wrk")
        _measure_by_wrk(part, scale, contenders)
        reason = missing_paced()
        if reason:
            part.notes.append(f"no unix socket and no latency: {reason}")
        else:
            _measure_by_paced(part, scale, contenders, note)
        fronts.conclude(
            part,
            ((AUTHZ, UVICORN), (DENIED, LOGGED), (UNIX, AUTHZ)),
            f"{HTTP_CONNECTIONS} kept connections for throughput, GET {_PATH} with X-Forwarded-For, {scale.clients:,} "
            f"clients in turn; a policy of {len(stage.table.networks):,} networks ({stage.table.source}); wrk knows no "
            "unix sockets",
        )
    if find_spec("uvicorn") is None:
        part.notes.append("no uvicorn: it is not installed")
    return part


def _start(stage: Stage) -> dict[str, Contender]:
    allowed, denied = ([client.text for client in some] for some in stage.clients)
    start = partial(Sidecar, stage.folder, snapshot="table.snapshot", grpc="off")
    begin = stage.stack.enter_context
    plain = begin(start("plain"))
    contenders = {
        AUTHZ: Contender(plain, allowed, 200),
        DENIED: Contender(plain, denied, 403),
        LOGGED: Contender(begin(start("logged", log="log")), denied, 403),
        UNIX: Contender(begin(start("unix", http="unix:http.sock")), allowed, 200),
    }
    if find_spec("uvicorn"):
        contenders[UVICORN] = Contender(begin(Uvicorn(stage.folder)), allowed, 200)
    return contenders


def _right(what: str, contender: Contender) -> Check:
    """Ask once for each client, and compare status, body and, of authz, the client."""
    connection = _connect(contender.server.url("http"))
    check = Check(what, len(contender.clients))
    for client in contender.clients:
        connection.request("GET", _PATH, headers={"X-Forwarded-For": client})
        answer = connection.getresponse()
        found = (answer.status, answer.getheader("X-Authz-Client-Address"), answer.read())
        expected = (contender.status, client if isinstance(contender.server, Sidecar) else None, b"")
        if found != expected:
            check.differences.append(f"found {found}, expected {expected}")
    connection.close()
    return check


def _connect(url: str) -> http.client.HTTPConnection:
    kind, _, where = url.partition(":")
    if kind == "http":
        return http.client.HTTPConnection(where.removeprefix("//"), timeout=10.0)
    connection = http.client.HTTPConnection("localhost", timeout=10.0)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(where.removesuffix(":"))
    return connection


def _measure_by_wrk(part: Part, scale: Scale, contenders: Mapping[str, Contender]) -> None:
    targets = {
        name: fronts.Target(contender.server.pid, partial(_by_wrk, contender, scale.load_seconds))
        for name, contender in contenders.items()
        if name != UNIX
    }
    if targets:
        fronts.measure(part, targets, scale.load_rounds, load=WRK)


def _by_wrk(contender: Contender, seconds: float) -> Load:
    """Return what wrk got. Raises RuntimeError where it is not 2xx always, or where it should be never."""
    load = wrk(contender.server.url("http") + _PATH, seconds, contender.clients)
    expected = load.requests if contender.status == 200 else 0
    if load.good != expected:
        raise RuntimeError(f"found {load.good} answers 2xx of {load.requests}, expected {expected}")
    return load


def _measure_by_paced(
    part: Part, scale: Scale, contenders: Mapping[str, Contender], note: Callable[[str], None]
) -> None:
    asked = {name: contender for name, contender in contenders.items() if name in {AUTHZ, UNIX, UVICORN}}
    if not asked:
        return
    note("paced")
    targets = {
        name: fronts.Target(contender.server.pid, partial(_flat_out, contender, scale.load_seconds / 2))
        for name, contender in asked.items()
    }
    fronts.measure(part, targets, scale.load_rounds, load=PACED)
    note(f"{RATE:,} requests a second")
    works = {name: partial(_at_rate, contender, scale.open_seconds / 2) for name, contender in asked.items()}
    fronts.measure_latency(part, works, scale.load_rounds, RATE)


def _flat_out(contender: Contender, seconds: float) -> Load:
    ask = partial(flat_out, in_turn=_headers(contender), connections=HTTP_CONNECTIONS)
    return fronts.load_of(fronts.checked(partial(ask, contender.server.url("http") + _PATH, seconds)))


def _at_rate(contender: Contender, seconds: float) -> Paced:
    ask = partial(paced, in_turn=_headers(contender), connections=HTTP_CONNECTIONS)
    return ask(contender.server.url("http") + _PATH, RATE, seconds)


def _headers(contender: Contender) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", client) for client in contender.clients]
