"""Many connections at once: nobody waits for all of them, and none holds what is over."""

from __future__ import annotations

import asyncio
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from support.sidecar.counting import Counting

from authz.serve.http1 import connection as http1_connection
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import Answer
from authz.serve.http1.page_connection import PageConnection
from authz.serve.listeners import budget
from authz.serve.listeners.budget import LAST, Turns

if TYPE_CHECKING:
    from authz.serve.http1.messages import HeadParts


@pytest.mark.parametrize("number", [10, 1000])
def test_small_reads_of_many_connections_do_not_add_up(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Nobody else was answered for seconds where thousands of connections sent 130 requests each at once."""
    request, cost = b"GET /v1/auth HTTP/1.1\r\n\r\n", 10e-6
    now = 1000.0

    def answer(_: object) -> Answer:
        nonlocal now
        now += cost
        return Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")

    clock = SimpleNamespace(monotonic=lambda: now, thread_time=lambda: now)
    monkeypatch.setattr(budget, "time", clock)
    monkeypatch.setattr(budget, "SECONDS_AT_ONCE", 0.003)
    monkeypatch.setattr(budget, "SECONDS_A_TURN", 0.004)
    monkeypatch.setattr(http1_connection, "_now", clock.monotonic)

    async def run() -> None:
        connections = HttpConnections(answer, (), HttpLimits(), turns=Turns(last=LAST))
        hostile = [(connections(), Counting("192.0.2.1")) for _ in range(number)]
        polite = connections(), Counting("192.0.2.2")
        for connection, transport in (*hostile, polite):
            connection.connection_made(transport)
        for turn in range(1, 4):  # in each, all of them can be read
            begin = now
            for connection, transport in hostile:
                if transport.reading:
                    connection.data_received(request * 130)
            polite[0].data_received(request)
            assert now - begin < 0.005
            await asyncio.sleep(0)
            assert polite[1].answers == turn
            assert now - begin < 0.015
        for _ in range(number):
            await asyncio.sleep(0)
        assert {transport.answers % 130 for _, transport in hostile} == {0}
        assert all(transport.answers for _, transport in hostile)

    asyncio.run(run())


def test_an_idle_connection_holds_nothing_of_its_last_request() -> None:
    """3,000 connections, each with 3,250 lines of a header that was answered, held 535 MB as long as they stayed."""
    lines = b"".join(b"X-Forwarded-For: %d\r\n" % number for number in range(2000))
    asked = b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + lines + b"\r\n"

    async def run() -> int:
        connections = HttpConnections(lambda _: Answer(b""), [b"x-forwarded-for"], HttpLimits(max_header=1 << 17))
        made = [connections() for _ in range(20)]
        for connection in made:
            connection.connection_made(Counting())
        tracemalloc.start()
        try:
            for connection in made:
                connection.data_received(asked)
            for _ in range(300):
                await asyncio.sleep(0)
            assert all(connection.latest for connection in made)
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert asyncio.run(run()) < 20 * 4000


def test_a_probe_of_the_admin_listener_does_not_wait_for_pages() -> None:
    async def run() -> None:
        asked: list[bytes] = []

        def handler(parts: HeadParts) -> Answer:
            asked.append(parts[1])
            return Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")

        connections = HttpConnections(handler, (), HttpLimits(), turns=Turns(pieces=1), connection=PageConnection)
        made = [connections() for _ in range(51)]
        for connection in made:
            connection.connection_made(Counting())
        for connection in made[1:]:
            connection.data_received(b"GET /explain HTTP/1.1\r\n\r\n" * 3)
        made[0].data_received(b"GET /livez HTTP/1.1\r\n\r\n")
        made[1].data_received(b"GET /livez HTTP/1.1\r\n\r\n")  # behind its own, as answers come in order
        assert asked == [b"/livez"]
        await asyncio.sleep(0)
        assert asked == [b"/livez", b"/explain"]

    asyncio.run(run())


REQUEST = b"GET /v1/auth HTTP/1.1\r\n\r\n"
NOTHING = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")


class Closing(Counting):
    """Tells when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every read wait for its turn but the first in each turn of the event loop."""
    monkeypatch.setattr(budget, "SECONDS_AT_ONCE", 0.0)


def pair(connections: HttpConnections) -> tuple[http1_connection.HttpConnection, Closing]:
    connection, transport = connections(), Closing()
    connection.connection_made(transport)
    return connection, transport


def with_a_request_that_waits(
    connections: HttpConnections,
) -> tuple[http1_connection.HttpConnection, http1_connection.HttpConnection, Closing]:
    """Return a connection that was read at once, and one that waits for its turn, with its transport."""
    (first, _), (connection, transport) = pair(connections), pair(connections)
    for each in (first, connection):
        each.data_received(REQUEST)
    return first, connection, transport


@pytest.mark.usefixtures("waiting")
def test_a_peer_that_sends_more_before_its_turn_is_not_read_from() -> None:
    async def run() -> None:
        connections = HttpConnections(lambda _: NOTHING, (), HttpLimits(), turns=Turns(last=LAST))
        _, connection, transport = with_a_request_that_waits(connections)
        assert (transport.answers, transport.reading) == (0, True)
        connection.data_received(REQUEST * 200)
        assert (transport.answers, transport.reading) == (0, False)
        assert connections.held.total >= len(REQUEST) * 201
        for _ in range(10):
            await asyncio.sleep(0)
        assert (transport.answers, transport.reading, connections.held.total) == (201, True, 0)

    asyncio.run(run())


@pytest.mark.usefixtures("waiting")
def test_a_request_that_waits_for_its_turn_is_answered_though_its_peer_sends_no_more() -> None:
    async def run() -> None:
        connections = HttpConnections(lambda _: NOTHING, (), HttpLimits(), turns=Turns(last=LAST))
        first, connection, transport = with_a_request_that_waits(connections)
        assert connection.eof_received() is True
        assert not transport.closed
        await asyncio.sleep(0)
        assert (transport.answers, transport.closed) == (1, True)
        assert first.eof_received() is False

    asyncio.run(run())


@pytest.mark.usefixtures("waiting")
def test_a_connection_with_a_request_that_waits_for_its_turn_is_not_idle() -> None:
    async def run() -> None:
        connections = HttpConnections(lambda _: NOTHING, (), HttpLimits(), turns=Turns(last=LAST))
        _, connection, transport = with_a_request_that_waits(connections)
        connection.check_time(connection.since + 1000)
        assert (connection.idle, transport.closed) == (False, False)
        await asyncio.sleep(0)
        assert transport.answers == 1
        connection.check_time(connection.since + 1000)
        assert transport.closed

    asyncio.run(run())


def test_what_looks_like_a_probe_and_ends_a_request_has_a_turn() -> None:
    async def run() -> tuple[bytes, ...]:
        asked: list[bytes] = []

        def handler(parts: HeadParts) -> Answer:
            asked.append(parts[1])
            return NOTHING

        connections = HttpConnections(handler, (), HttpLimits(), turns=Turns(pieces=1), connection=PageConnection)
        made = [pair(connections)[0] for _ in range(20)]
        for connection in made:
            connection.data_received(b"GET /explain HTTP/1.1\r\nA: ")
        for _ in range(40):
            await asyncio.sleep(0)
        for connection in made:
            connection.data_received(b"GET /livez HTTP/1.1\r\n\r\n")
        return tuple(asked)

    assert asyncio.run(run()) == ()
