"""Overload of a real sidecar: what is late is not decided, what waited too long is refused, and others are answered.

Peers ask without a pause, a thousand requests at a time, until the admin listener and health checks were answered often
enough. Then each answer that they got is compared with what the sidecar says it decided and refused.

`make chaos ARGS='tests/system/chaos/test_overload.py'` goes on for a minute, with the queue time that is built in, and
shows how long a polite client waited. OVERLOAD_REPORT names a file that gets the figures, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hpack import Decoder
from support.processes import PATIENCE, Sidecar, wait_for
from support.sidecar.http2 import GOAWAY, HEADERS, plain_block, read_frames
from support.sidecar.running import ALLOWED, get

from authz.serve.listeners.budget import MAX_WAIT
from benchmarks.attacks.peers import CHECK, END, call, opening, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from support.publishing.publisher import Publisher

CONFIG: Final = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
client_address: {trusted_proxies: ["127.0.0.0/8"]}
application: {unknown: default}
decision_log: {path: "off"}
drain: 0s
"""
SHORT_QUEUE: Final = """\
from authz.serve.listeners import budget

budget.MAX_WAIT = 0.05
"""  # of the process, as `sitecustomize`: to queue for the seconds that are built in takes more peers than a test has
HEALTH: Final = "/grpc.health.v1.Health/Check"
LATE_AFTER: Final = ("grpc-timeout", "20m")  # milliseconds
AT_ONCE: Final = 1000  # requests of a peer
OK, LATE, REFUSED = "0", "4", "14"  # of gRPC
REQUEST: Final = f"GET /v1/auth HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {ALLOWED}\r\n\r\n".encode()


class Calls:
    """A connection over which calls are made. As a context manager: closed at the end."""

    def __init__(self, port: int, path: str = CHECK, *fields: tuple[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.sendall(opening())
        self._head = plain_block(path, *fields)
        self._message = request_of(ALLOWED) if path == CHECK else b""
        self._stream, self._rest = 1, b""
        self._known: dict[bytes, str] = {}  # the status that a header block has; we take no table, so it always does

    def ask(self, count: int = 1) -> Counter[str]:
        """Return how many calls of `count` got which status."""
        last = self._stream + 2 * count
        self._socket.sendall(b"".join(call(n, self._head, self._message) for n in range(self._stream, last, 2)))
        self._stream = last
        statuses = Counter[str]()
        while statuses.total() < count:
            frames, self._rest = read_frames(self._rest + self._received())
            gone = [frame.payload for frame in frames if frame.kind == GOAWAY]
            assert not gone, gone
            statuses.update(
                self._status(frame.payload) for frame in frames if frame.kind == HEADERS and frame.flags & END
            )
        return statuses

    def _received(self) -> bytes:
        data = self._socket.recv(1 << 18)
        assert data, "the sidecar ended the connection"
        return data

    def _status(self, block: bytes) -> str:
        if block not in self._known:
            self._known[block] = {str(name): str(value) for name, value in Decoder().decode(block)}["grpc-status"]
        return self._known[block]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def pipelined(port: int) -> Counter[str]:
    """Send requests at once; return how many got which status. A 503 is the last answer of a connection."""
    statuses, rest = Counter[str](), b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(REQUEST * AT_ONCE)
        while statuses.total() < AT_ONCE and not statuses["503"]:
            data = connection.recv(1 << 18)
            assert data, "the sidecar ended the connection"
            *heads, rest = (rest + data).split(b"\r\n\r\n")
            for head in heads:
                statuses[head[9:12].decode()] += 1
                assert b"Retry-After: 1" in head or b" 503 " not in head
    return statuses


class Load:
    """Peers that ask without a pause, until `end` is set. answers: by front, how many had which status."""

    def __init__(self, ports: dict[str, int], peers: int) -> None:
        self.end = threading.Event()
        self.answers: dict[str, Counter[str]] = {"grpc": Counter(), "http": Counter()}
        self.faults: list[BaseException] = []
        self._ports = ports
        self._lock = threading.Lock()
        work: list[Callable[[], None]] = [self._call, lambda: self._call(LATE_AFTER), self._request]
        self._threads = [threading.Thread(target=self._guarded, args=(work[n % 3],)) for n in range(peers)]

    def _call(self, *fields: tuple[str, str]) -> None:
        with Calls(self._ports["grpc"], CHECK, *fields) as calls:
            while not self.end.is_set():
                self._note("grpc", calls.ask(AT_ONCE))

    def _request(self) -> None:
        while not self.end.is_set():
            self._note("http", pipelined(self._ports["http"]))

    def _note(self, front: str, statuses: Counter[str]) -> None:
        with self._lock:
            self.answers[front].update(statuses)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # told at the end, whatever it is
            self.faults.append(error)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask meanwhile; at the end all have their answers."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.end.set()
            for thread in self._threads:
                thread.join()


def counted(sidecar: Sidecar, name: str, label: str = "") -> int:
    """Return the sum of a metric, of the series with a label."""
    text = get(sidecar.ports["admin"], "/metrics").body.decode()
    return int(sum(float(value) for value in re.findall(rf"^{name}(?:{{.*{label}.*}})? (\S+)$", text, re.MULTILINE)))


def test_overload_is_refused_and_counted_while_admin_and_health_answer(publisher: Publisher) -> None:
    publisher.publish()
    (publisher.folder / "sitecustomize.py").write_text(SHORT_QUEUE)
    path = os.pathsep.join(filter(None, (str(publisher.folder), os.environ.get("PYTHONPATH"))))
    with Sidecar(publisher.folder, CONFIG, env=os.environ | {"PYTHONPATH": path}) as sidecar:
        load = Load(sidecar.ports, peers=18)
        with load.running():
            for _ in range(10):
                for page in ("/livez", "/readyz", "/metrics"):
                    assert get(sidecar.ports["admin"], page).status == 200
                with Calls(sidecar.ports["grpc"], HEALTH) as health:
                    assert health.ask() == {OK: 1}
            grpc, http = load.answers["grpc"], load.answers["http"]
            wait_for(lambda: load.faults or (grpc[LATE] and grpc[REFUSED] and grpc[OK] and http["503"] and http["200"]))
        assert load.faults == []
        assert set(grpc) == {OK, LATE, REFUSED}
        assert set(http) == {"200", "503"}
        assert counted(sidecar, "authz_grpc_refused_total") == grpc[REFUSED]
        assert counted(sidecar, "authz_grpc_deadline_exceeded_total") == grpc[LATE]
        assert counted(sidecar, "authz_http_faults_total", 'status="503"') == http["503"]
        # What was late or refused was not decided.
        assert counted(sidecar, "authz_decisions_total", 'front="grpc"') == grpc[OK]
        with Calls(sidecar.ports["grpc"]) as calls:
            assert calls.ask(100) == {OK: 100}
        assert "Traceback" not in sidecar.output


@pytest.mark.long
def test_overload_of_a_minute_ends_within_a_second_and_keeps_no_polite_client_waiting(publisher: Publisher) -> None:
    publisher.publish()
    waits: list[float] = []
    with Sidecar(publisher.folder, CONFIG) as sidecar, Calls(sidecar.ports["grpc"]) as polite:
        load = Load(sidecar.ports, peers=90)
        with load.running():
            end = time.monotonic() + float(os.environ.get("OVERLOAD", "60"))
            while time.monotonic() < end:
                begin = time.monotonic()
                assert polite.ask() == {OK: 1}
                waits.append(time.monotonic() - begin)
                assert get(sidecar.ports["admin"], "/readyz").status == 200
                time.sleep(0.02)
        begin = time.monotonic()
        assert polite.ask(100) == {OK: 100}
        recovery = time.monotonic() - begin
    cuts = statistics.quantiles(waits, n=100)
    figures = {
        "polite_ms": {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3, "most": max(waits) * 1e3, "calls": len(waits)},
        "hundred_calls_after_the_end_ms": recovery * 1e3,
        "answers": load.answers,
    }
    print(json.dumps(figures))  # noqa: T201  # the figures of the page
    if "OVERLOAD_REPORT" in os.environ:
        Path(os.environ["OVERLOAD_REPORT"]).write_text(json.dumps(figures, indent=1) + "\n")
    assert load.faults == []
    assert max(waits) < MAX_WAIT
    assert recovery < 1.0
