"""The open-loop load generator of the benchmarks: what a stalled server does is seen by all that should have asked."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
METHOD = "/envoy.service.auth.v3.Authorization/Check"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.load.paced import missing_paced

    reason = missing_paced()
    if reason is not None:
        pytest.skip(reason)


class Line(NamedTuple):
    """A line of a series. due: ns since 1970. latency: ns."""

    due: int
    latency: int
    status: int
    length: int
    crc: int


def lines_of(path: Path) -> list[Line]:
    return [Line(*map(int, line.split())) for line in path.read_text().splitlines()]


class Answerer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers each request on a kept connection by what `answer` writes. heads: header blocks that came."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: Callable[[Answerer, socket.socket], None]) -> None:
        self.answer = answer
        self.lock = threading.Lock()
        self.heads: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/path?x=1"


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = cast("Answerer", self.server)
        left = b""
        with contextlib.suppress(OSError):
            while True:
                head, mark, left = left.partition(b"\r\n\r\n")
                if mark:
                    with server.lock:
                        server.heads.append(head)
                        server.answer(server, self.request)
                    continue
                data = self.request.recv(65536)
                if not data:
                    return
                left = head + data


@contextlib.contextmanager
def answering(answer: Callable[[Answerer, socket.socket], None]) -> Iterator[Answerer]:
    with Answerer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def say(answer: bytes) -> Callable[[Answerer, socket.socket], None]:
    return lambda _, connection: connection.sendall(answer)


def test_a_stall_is_seen_by_every_request_that_was_due_in_it(tmp_path: Path) -> None:
    from benchmarks.load.paced import paced

    stall: list[int] = []

    def answer(server: Answerer, connection: socket.socket) -> None:
        if len(server.heads) == 40:  # nobody is answered while the lock is held
            stall.append(time.time_ns())
            time.sleep(0.4)
            stall.append(time.time_ns())
        connection.sendall(OK)

    with answering(answer) as server:
        result = paced(server.url, 200, 1.0, connections=1, series=tmp_path / "series")
    begin, end = stall
    lines = lines_of(tmp_path / "series")
    due_then = [line for line in lines if begin < line.due < end]
    assert (result.sent, result.answered, result.good) == (200, 200, 200)
    whole = min(end, lines[-1].due) - begin  # what came late to the server may have its stall behind the last one
    assert len(due_then) >= whole / 1e9 * 200 - 2
    slack = 1_000_000  # ns by which two clocks may part
    assert all(line.due + line.latency >= end - slack for line in due_then)
    # Two fifths of all requests were due then, evenly; so these percentiles are bound from below, whatever the machine.
    assert result.p90 >= 250_000
    assert result.worst >= result.p999 >= result.p99 >= 350_000
    assert result.opened > 1


def test_requests_are_due_at_even_distances_and_the_percentiles_are_those_of_the_series(tmp_path: Path) -> None:
    from benchmarks.load.paced import paced

    with answering(say(OK)) as server:
        result = paced(server.url, 400, 0.5, headers=[("X-Forwarded-For", "192.0.2.1")], series=tmp_path / "series")
    lines = lines_of(tmp_path / "series")
    assert [line.due - lines[0].due for line in lines] == [number * 2_500_000 for number in range(200)]
    assert {line[2:] for line in lines} == {(200, 2, zlib.crc32(b"ok"))}
    latencies = sorted(line.latency / 1e3 for line in lines)
    for percentile, share in ((result.p50, 0.5), (result.p90, 0.9), (result.p99, 0.99), (result.p999, 0.999)):
        assert percentile == latencies[ceil(share * 200) - 1]
    assert result.worst == latencies[-1]
    assert len(server.heads) == 200
    assert server.heads[0].split(b"\r\n") == [
        b"GET /path?x=1 HTTP/1.1",
        b"Host: " + server.url.split("/")[2].encode(),
        b"X-Forwarded-For: 192.0.2.1",
    ]


def test_a_request_without_an_answer_counts_with_its_time_out(tmp_path: Path) -> None:
    from benchmarks.load.paced import paced

    with answering(lambda *_: None) as server:
        result = paced(server.url, 100, 0.2, timeout=0.3, series=tmp_path / "series")
    assert (result.sent, result.answered, result.good) == (20, 0, 0)
    assert result.p50 >= 300_000
    assert {line.status for line in lines_of(tmp_path / "series")} == {-1}


def test_where_every_connection_is_busy_requests_wait_and_are_counted() -> None:
    from benchmarks.load.paced import paced

    def answer(server: Answerer, connection: socket.socket) -> None:
        if len(server.heads) == 1:
            time.sleep(0.2)
        connection.sendall(OK)

    with answering(answer) as server:
        result = paced(server.url, 200, 0.3, connections=2, most=2)
    assert (result.sent, result.good, result.opened) == (60, 60, 2)
    assert result.waited >= 0.2 * 200 - 5  # but for two under way, and those due before the first had arrived


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (OK.replace(b"200 OK", b"403 Forbidden"), 403, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbye", 200, b"bye"),
        (CHUNKED + b"2\r\nab\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200, b"ab0123456789"),
    ],
    ids=["403", "no content", "early hints", "close", "chunked"],
)
@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in pieces"])
def test_answers_of_every_form_are_read(tmp_path: Path, answer: bytes, status: int, body: bytes, whole: bool) -> None:
    from benchmarks.load.paced import paced

    step = len(answer) if whole else 7

    def write(_: Answerer, connection: socket.socket) -> None:
        for start in range(0, len(answer), step):
            connection.sendall(answer[start : start + step])
        if b"close" in answer:
            connection.shutdown(socket.SHUT_WR)

    with answering(write) as server:
        result = paced(server.url, 500, 0.1, series=tmp_path / "series")
    assert (result.sent, result.answered, result.good) == (50, 50, 50 if status < 300 else 0)
    assert {line[2:] for line in lines_of(tmp_path / "series")} == {(status, len(body), zlib.crc32(body))}


def test_a_connection_that_is_closed_costs_its_request_only() -> None:
    from benchmarks.load.paced import paced

    def answer(server: Answerer, connection: socket.socket) -> None:
        if len(server.heads) % 10:
            connection.sendall(OK)
        else:
            connection.shutdown(socket.SHUT_RDWR)

    with answering(answer) as server:
        result = paced(server.url, 500, 0.2)
    assert (result.sent, result.answered, result.good) == (100, 90, 90)


def test_flat_out_keeps_connections_busy_and_opens_no_more() -> None:
    from benchmarks.load.paced import flat_out

    with answering(say(OK)) as server:
        result = flat_out(server.url, 1.0, connections=3)  # in which a busy machine answers more than the first
    assert result.good == result.sent == len(server.heads) > 3
    assert (result.opened, result.waited) == (3, 0)


def test_headers_are_sent_in_turn() -> None:
    from benchmarks.load.paced import paced

    with answering(say(OK)) as server:
        clients = [("X-Forwarded-For", f"192.0.2.{number}") for number in range(7)]
        result = paced(server.url, 500, 0.1, headers=[("X-A", "b")], in_turn=clients)
    assert (result.good, result.length) == (50, 2 * 50)
    heads = [head.split(b"\r\n")[2:] for head in server.heads]
    assert sorted(heads) == sorted([b"X-A: b", b"X-Forwarded-For: 192.0.2.%d" % (number % 7)] for number in range(50))


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    from benchmarks.load.paced import paced

    for url in (f"http+unix:{tmp_path}/none:/", f"grpc+unix:{tmp_path}/none", "gopher://127.0.0.1:70"):
        with pytest.raises(RuntimeError, match="the load generator failed"):
            paced(url, 10, 0.1)


def doubled(message: bytes, context: grpc.ServicerContext) -> bytes:
    """Answer with the message, twice; `no` is refused, `late` waits until it is given up."""
    if message == b"no":
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    if message == b"late":
        over = threading.Event()
        if context.add_callback(over.set):  # else it is given up already, and nobody would wake us
            over.wait()
    assert dict(context.invocation_metadata())["x-test"] == "1"
    return message * 2


@pytest.fixture(params=["tcp", "unix"])
def echo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    _, service, method = METHOD.split("/")
    methods = {method: grpc.unary_unary_rpc_method_handler(doubled)}
    server = grpc.server(ThreadPoolExecutor(4), handlers=[grpc.method_handlers_generic_handler(service, methods)])
    if request.param == "tcp":
        url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        server.add_insecure_port(f"unix:{tmp_path}/s")
        url = f"grpc+unix:{tmp_path}/s"
    server.start()
    yield url
    server.stop(0).wait()


@pytest.mark.parametrize("message", [b"", b"\x00\xff" * 300, bytes(54_000)], ids=["empty", "600 B", "54 kB"])
def test_grpc_messages_arrive_and_come_back(echo: str, tmp_path: Path, message: bytes) -> None:
    from benchmarks.load.paced import flat_out, paced

    series = tmp_path / "series"
    result = paced(echo, 200, 0.25, payload=message, headers=[("x-test", "1")], series=series)
    assert (result.sent, result.answered, result.good, result.opened) == (50, 50, 50, 4)
    assert {line[2:] for line in lines_of(series)} == {(0, 2 * len(message), zlib.crc32(message * 2))}
    result = flat_out(echo, 1.0, payload=message, headers=[("x-test", "1")], connections=2, streams=4)
    assert result.good == result.sent > 8
    assert result.length == result.sent * 2 * len(message)


def test_grpc_messages_are_sent_in_turn(echo: str, tmp_path: Path) -> None:
    from benchmarks.load.paced import paced

    messages = [b"a", b"bb", b"", b"dddd"]
    series = tmp_path / "series"
    result = paced(echo, 200, 0.1, payload=messages, headers=[("x-test", "1")], series=series)
    assert result.good == 20
    assert [line.crc for line in lines_of(series)] == [zlib.crc32(messages[number % 4] * 2) for number in range(20)]


@pytest.mark.parametrize(
    ("url", "message", "answered", "status"),
    [("", b"no", 50, 7), ("/other.Service/Call", b"", 50, 12), ("", b"late", 0, -1)],
    ids=["refused", "no such method", "late"],
)
def test_grpc_calls_that_fail_are_answered_but_not_good(
    echo: str, tmp_path: Path, url: str, message: bytes, answered: int, status: int
) -> None:
    from benchmarks.load.paced import paced

    url = echo + (":" if url and "unix" in echo else "") + url
    series = tmp_path / "series"
    timeout = 30.0 if answered else 0.3
    result = paced(url, 500, 0.1, payload=message, headers=[("x-test", "1")], series=series, timeout=timeout)
    assert (result.sent, result.answered, result.good) == (50, answered, 0)
    assert {line.status for line in lines_of(series)} == {status}
