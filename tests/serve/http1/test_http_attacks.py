"""Holes of the HTTP listeners that were found, each by a test that failed before it was closed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import pytest
import uvloop
from support.processes import Sidecar, wait_for
from support.proxies.client import ask
from support.sidecar.counting import Counting
from support.sidecar.fronts import Fronts, HttpServer
from support.sidecar.http2 import ManualTurns

from authz.serve.admin.health import Health
from authz.serve.admin.pages import Admin
from authz.serve.admin.status import Status
from authz.serve.http1 import connection as http1_connection
from authz.serve.http1 import listener as http1_listener
from authz.serve.http1.connection import HttpConnection
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import Answer, RequestHead
from authz.serve.layers.layers import Layers
from authz.serve.layers.memory import Memory
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.senders.events import EventSender

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

    from authz.serve.http1.messages import HeadParts

CONFIG: Final = "client_address: {trusted_proxies: [127.0.0.1]}\n"
PAGE: Final = f"""\
version: 1
applications:
  "*": {{default: deny, deny: {{body: "{"x" * 60000}"}}}}
"""


@pytest.mark.parametrize("octet", ["\x01", "\x0b", "\x0c", "\x1f", "\x7f", "\x00"])
def test_control_bytes_in_the_forwarding_header_are_a_denial_and_no_fault(publisher: Publisher, octet: str) -> None:
    """nginx passes VT and FF on; 400 is an error to it, and an error may be let through."""
    with HttpServer(Fronts(publisher, CONFIG)) as server, server.client() as client:
        answer = client.ask("/v1/auth/shop", f"X-Forwarded-For: 203.0.113.9{octet}")
    assert (answer.status, answer.header("decision")) == (403, "deny")
    assert answer.header("reason") in {"malformed_request", "client_unresolved"}


def test_headers_too_long_for_us_are_a_denial_and_no_fault(publisher: Publisher) -> None:
    with HttpServer(Fronts(publisher, CONFIG)) as server, server.client() as client:
        answer = client.ask("/v1/auth/shop", "X-Forwarded-For: " + "1.1.1.1, " * 9000)
    assert (answer.status, answer.header("reason")) == (403, "malformed_request")


def unsent(server: HttpServer) -> int:
    """Return the bytes of requests and answers that wait in the process."""
    return sum(c._transport.get_write_buffer_size() + len(c._unparsed) for c in server.connections.open)


def test_peers_that_never_read_hold_no_more_than_the_budget_of_all(publisher: Publisher) -> None:
    fronts = Fronts(publisher, CONFIG, PAGE)
    requests = b"GET /v1/forward HTTP/1.1\r\n\r\n" * 300
    with HttpServer(fronts, loop_factory=uvloop.new_event_loop) as server, contextlib.ExitStack() as stack:
        server.held._limit = limit = 1 << 20
        silent = [stack.enter_context(server.client()) for _ in range(12)]  # each asks for 18 MB of pages
        for client in silent:
            client.send(requests)
        wait_for(lambda: sum(fronts.counts().values()) >= 12 * 4, "answers to the first piece of each")
        wait_for(lambda: server.in_loop(lambda: unsent(server)) <= limit, "the largest to be ended")
        with server.client() as reader:
            assert reader.ask("/v1/forward").status == 403


def test_connections_that_do_not_read_share_one_budget_of_bytes() -> None:
    """What the kernel does not take is counted for all of them together."""

    class Unread(Counting):
        def get_write_buffer_size(self) -> int:
            return 300_000

    async def run() -> None:
        connections = HttpConnections(lambda _: Answer(b""), (), HttpLimits())
        connections.held._limit = 1 << 20
        transports = [Unread() for _ in range(12)]
        for transport in transports:
            connection = connections()
            connection.connection_made(transport)
            connection.pause_writing()
            assert connections.held.total <= 1 << 20
        assert sum(transport.aborted for transport in transports) == 12 - 3

    asyncio.run(run())


@pytest.mark.parametrize("reads", [1, 15])
def test_header_blocks_that_never_end_share_the_budget_of_bytes(reads: int) -> None:
    """4,096 connections with 64 kB each of a header block held 268 MB, which nobody counted."""
    head = b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: " + b"1.2.3.4, " * 6600
    size = len(head) // reads + 1

    class Lost(Counting):
        connection: http1_connection.HttpConnection

        def abort(self) -> None:
            super().abort()
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    async def run() -> None:
        connections = HttpConnections(lambda _: Answer(b""), (b"x-forwarded-for",), HttpLimits())
        connections.held._limit = 1 << 20
        transports = [Lost() for _ in range(40)]
        for transport in transports:
            transport.connection = connection = connections()
            connection.connection_made(transport)
            for begin in range(0, len(head), size):
                if not transport.aborted:
                    connection.data_received(head[begin : begin + size])
                for _ in range(20):
                    await asyncio.sleep(0)
            assert connections.held.total <= 1 << 20
        kept = [transport.connection for transport in transports if not transport.aborted]
        assert 10 < len(kept) < 20
        for connection in kept:
            connection.data_received(b"1.2.3.4\r\n\r\n")
            connection.check_time(connection.since)
        assert connections.held.total == 0

    asyncio.run(run())


def test_pipelining_on_one_connection_does_not_keep_the_loop_from_others() -> None:
    """A read brings 250 kB, which is thousands of requests: they are answered over many turns of the loop."""
    request = b"GET /v1/auth HTTP/1.1\r\n\r\n"
    count = 10_000
    most = 4 * 4096 // len(request) + 4  # requests in the pieces of a turn

    async def run() -> None:
        answer = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
        connection = HttpConnections(lambda _: answer, (), HttpLimits())()
        transport = Counting()
        connection.connection_made(transport)
        connection.data_received(request * count)
        assert transport.answers <= most
        assert not transport.reading
        before, turns = transport.answers, 0
        while transport.answers < count:
            await asyncio.sleep(0)
            assert transport.answers - before <= most
            before, turns = transport.answers, turns + 1
        assert turns > 10
        assert transport.reading

    asyncio.run(run())


def test_many_connections_that_pipeline_do_not_add_up() -> None:
    """Each read of up to 4 kB was parsed at once, whatever the number of connections that sent one."""
    request = b"GET /v1/auth HTTP/1.1\r\n\r\n"

    async def run() -> None:
        answer = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
        connections = HttpConnections(lambda _: answer, (), HttpLimits())
        hostile, polite = (connections(), Counting()), (connections(), Counting())
        for connection, transport in (hostile, polite):
            connection.connection_made(transport)
        hostile[0].data_received(request * 100)
        seen = hostile[1].answers
        for connection, _ in (hostile, polite):
            connection.data_received(request)
        assert (hostile[1].answers - seen, polite[1].answers) == (0, 1)
        await asyncio.sleep(0)
        assert hostile[1].answers - seen == 1
        assert hostile[1].reading

    asyncio.run(run())


@pytest.mark.parametrize("target", ["/v1/forward/shop", "/envoy/shop/x", "/v1/auth/shop", "/v1/forward/shop?details"])
def test_a_malformed_request_is_denied_in_the_form_of_its_target(publisher: Publisher, target: str) -> None:
    """A client behind a forward-auth proxy saw our headers."""
    shown = target in {"/v1/auth/shop", "/v1/forward/shop?details"}
    with HttpServer(Fronts(publisher, CONFIG)) as server, server.client() as client:
        answer = client.ask(target, "X-Forwarded-For: 203.0.113.9\x01")
    assert answer.status == 403
    assert any(name.startswith("x-authz") for name in answer.headers) == shown


@pytest.mark.parametrize("max_header", [65536, 20])
def test_pages_that_one_piece_of_requests_brings_about_have_a_limit(max_header: int) -> None:
    """A piece of 4 kB has 140 requests, and each may be answered by a page of 60 kB."""

    class Ending(Counting):
        ended = False

        def can_write_eof(self) -> bool:
            return True

        def write_eof(self) -> None:
            self.ended = True

    page = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n", bytes(60_000))
    transport = Ending()
    connection = HttpConnections(lambda _: page, (), HttpLimits(max_header=max_header), turns=ManualTurns())()
    connection.connection_made(transport)
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n" * 200)
    assert 1 < transport.answers <= 7
    assert transport.ended


def test_connections_that_time_out_together_are_ended_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands that were opened at once, or began a header each, were all ended in one turn of the event loop."""
    monkeypatch.setattr(http1_listener, "SWEEP", 0.01)
    count = 5 * http1_listener.SWEPT_AT_ONCE
    ended: list[HttpConnection] = []

    async def run() -> None:
        connections = HttpConnections(lambda _: Answer(b""), (), HttpLimits())
        for _ in range(count):
            connection = connections()
            connection.connection_made(Counting())
        faulty = next(iter(connections.open))

        def check_time(connection: HttpConnection, _now: float) -> None:
            ended.append(connection)
            assert connection is not faulty

        monkeypatch.setattr(HttpConnection, "check_time", check_time)
        connections.start()
        before = 0
        while len(ended) < 2 * count:
            await asyncio.sleep(0)
            assert len(ended) - before <= http1_listener.SWEPT_AT_ONCE
            before = len(ended)
        connections.stop()

    asyncio.run(run())
    assert set(ended[count:]) == set(ended[:count])


# The admin listener.

HOSTS: Final = [("127.0.0.1:9193", 200), ("localhost:9193", 200), ("LOCALHOST", 200), ("[::1]:9193", 200),
                ("authz.example.com", 200), ("attacker.example.com", 421), ("127.0.0.1.attacker.example", 421),
                ("localhost.attacker.example:9193", 421), ("[::1].attacker.example", 421), ("", 421)]  # fmt: skip


def admin_of(fronts: Fronts) -> Admin:
    memory = Memory(fronts.publisher.folder / "state.json")
    layers = Layers(memory, fronts.decider, fronts.metrics, lambda: None)
    log, events = DecisionLog(fronts.config.decision_log), EventSender(fronts.config.events)
    status = Status(Health(), layers, fronts.decider, fronts.metrics, log, events, fronts.clock)
    return Admin(fronts.config, status, fronts.decider, fronts.metrics, fronts.clock)


@pytest.mark.parametrize(("host", "status"), HOSTS)
@pytest.mark.parametrize("page", ["/explain?address=192.0.2.1", "/metrics", "/nothing"])
def test_the_admin_listener_answers_no_name_that_a_web_page_could_choose(
    publisher: Publisher, page: str, host: str, status: int
) -> None:
    admin = admin_of(Fronts(publisher, CONFIG + "admin: {hosts: [authz.example.com]}\n"))
    head = RequestHead(b"GET", page.encode(), {b"host": [host.encode()]}, "127.0.0.1")
    if page == "/nothing" and status == 200:
        status = 404
    assert admin.handle(head).head.startswith(f"HTTP/1.1 {status} ".encode())


def test_two_hosts_are_none(publisher: Publisher) -> None:
    head = RequestHead(b"GET", b"/metrics", {b"host": [b"localhost", b"localhost"]}, "127.0.0.1")
    assert admin_of(Fronts(publisher, CONFIG)).handle(head).head.startswith(b"HTTP/1.1 421 ")


def test_a_running_sidecar_shows_a_rebound_name_nothing_but_its_health(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish()
    with Sidecar(tmp_path) as sidecar:
        for page in ("/snapshot", "/metrics", "/explain?address=192.0.2.1"):
            assert ask(sidecar.ports["admin"], page, host="rebound.example.com").status == 421
            assert ask(sidecar.ports["admin"], page, host="127.0.0.1").status == 200
        assert ask(sidecar.ports["admin"], "/readyz", host="rebound.example.com").status == 200


# Health on the port that proxies use.


def test_the_http_front_answers_health_checks_of_proxies_on_its_own_port(publisher: Publisher, tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar:
        assert ask(sidecar.ports["http"], "/livez", host="authz").status == 200
        assert ask(sidecar.ports["http"], "/readyz", host="authz").status == 503
        publisher.publish()
        wait_for(lambda: ask(sidecar.ports["http"], "/readyz", host="authz").status == 200, "ready")
        assert ask(sidecar.ports["http"], "/snapshot", host="authz").status == 404


def test_a_target_that_is_none_of_ours_is_told_once_with_what_to_set(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy's http_service without a path_prefix asks with the client's path, and gets 404 for everybody."""
    with HttpServer(Fronts(publisher, CONFIG)) as server, server.client() as client:
        assert [client.ask(path).status for path in ("/cart", "/other", "/cart")] == [404, 404, 404]
    assert len(caplog.records) == 1
    assert "404 for '/cart'" in caplog.text
    assert "set path_prefix" in caplog.text


def test_pipelined_requests_that_waited_for_too_long_are_refused_at_once_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One 503 with Retry-After, and the end: under overload those that can still be answered in time are."""
    metrics = Metrics()
    asked: list[HeadParts] = []
    written: list[bytes] = []

    class Kept(Counting):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            written.append(bytes(data))

        def can_write_eof(self) -> bool:
            return False

    def handle(head: HeadParts) -> Answer:
        asked.append(head)
        return Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")

    async def run() -> None:
        connection = HttpConnections(handle, (), HttpLimits(), metrics)()
        connection.connection_made(Kept())
        connection.data_received(b"GET /v1/auth HTTP/1.1\r\n\r\n" * 1000)
        answered = len(asked)
        assert 0 < answered < 1000
        monkeypatch.setattr(http1_connection, "MAX_WAIT", -1.0)
        assert not connection.work()
        assert len(asked) == answered

    asyncio.run(run())
    refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    assert written[-1] == refused
    assert metrics.http_faults == {"503": 1}
