"""Limits of the HTTP front: size, time, connections, and peers that do not read."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvloop
from support.processes import wait_for
from support.sidecar.fronts import Fronts, HttpClient, HttpServer
from support.sidecar.http_questions import ALLOWED, CONFIG, LOOPS, addresses, expected_addresses, numbered, serving

from authz.serve.http1 import connection as http1_connection
from authz.serve.http1.connection import HttpConnection
from authz.serve.http1.listener import SWEEP, HttpLimits
from authz.serve.listeners import places
from authz.serve.listeners.places import STUCK

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher


def connected(server: HttpServer) -> Any:
    return wait_for(lambda: len(server.connections.open), "a connection")


BIG: Final = "X-Forwarded-For: 192.0.2.7\r\nX: "


def request_of(size: int) -> bytes:
    """Return a request whose header block has this many bytes."""
    start, end = f"GET /v1/auth HTTP/1.1\r\n{BIG}".encode(), b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("chunk", [1 << 20, 16384, 1000, 100])
def test_a_header_block_under_the_limit_is_answered_however_it_comes(publisher: Publisher, chunk: int) -> None:
    with serving(publisher, max_header=32768) as server, server.client() as client:
        data = request_of(32768 - 100)
        for _ in range(2):
            for start in range(0, len(data), chunk):
                client.send(data[start : start + chunk])
            assert client.read().status == 200


@pytest.mark.parametrize("chunk", [1 << 20, 16384, 1000, 100])
def test_a_header_block_over_the_limit_is_denied_however_it_comes(publisher: Publisher, chunk: int) -> None:
    with serving(publisher, max_header=32768) as server, server.client() as client:
        data = request_of(60_000)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(data), chunk):
                client.send(data[start : start + chunk])
        answer = client.read()
        assert client.rest() == b""
        assert server.fronts.metrics.http_faults == {"431": 1}

    assert (answer.status, answer.header("reason")) == (403, "malformed_request")
    assert answer.headers["connection"] == "close"


def test_many_small_headers_are_denied_too(publisher: Publisher) -> None:
    with serving(publisher, max_header=2000) as server, server.client() as client:
        client.send(b"GET /v1/auth HTTP/1.1\r\n" + b"A: b\r\n" * 400 + b"\r\n")
        assert client.read().status == 403


def test_a_long_target_is_denied(publisher: Publisher) -> None:
    with serving(publisher, max_header=2000) as server, server.client() as client:
        client.send(b"GET /v1/auth?" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n")
        assert client.read().status == 403


def test_a_header_block_without_an_end_is_denied_and_is_not_kept(publisher: Publisher) -> None:
    with serving(publisher, max_header=2000) as server, server.client() as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(b"GET /v1/auth HTTP/1.1\r\n")
            for _ in range(1000):
                client.send(b"A" * 1000)
        assert client.read().status == 403


def test_a_header_of_54_kilobytes_is_read(server: HttpServer) -> None:
    chain = ", ".join(["1.1.1.1"] * 6000 + ["192.0.2.7"])
    with server.client() as client:
        assert client.ask("/v1/auth", f"X-Forwarded-For: {chain}").header("client-address") == "192.0.2.7"


def test_headers_that_do_not_end_in_time_are_408(publisher: Publisher) -> None:
    with serving(publisher, header_timeout=0.1) as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED).status == 200
        client.send(b"GET /v1/auth HTTP/1.1\r\nHost: a\r\n")
        answer = client.read()
        assert client.rest() == b""
        assert server.fronts.metrics.http_faults == {"408": 1}

    assert (answer.status, answer.headers["connection"]) == (408, "close")


def test_headers_that_dribble_are_408(publisher: Publisher) -> None:
    """Each byte is progress, and none of them moves the end."""
    with serving(publisher, header_timeout=0.1, idle_timeout=60.0) as server, server.client() as client:
        ended = threading.Event()

        def dribble() -> None:
            with contextlib.suppress(OSError):
                client.send(b"GET /v1/auth HTTP/1.1\r\nA: ")
                while not ended.wait(0.01):
                    client.send(b"a")

        sender = threading.Thread(target=dribble)
        sender.start()
        try:
            assert client.read().status == 408
        finally:
            ended.set()
            sender.join(20)


def test_an_idle_connection_is_closed_without_a_word(publisher: Publisher) -> None:
    with serving(publisher) as server, server.client() as client, server.client() as used:
        assert used.ask("/v1/auth", ALLOWED).status == 200
        server.in_loop(lambda: setattr(server.connections, "limits", HttpLimits(idle_timeout=0.1)))
        assert client.rest() == b""
        assert used.rest() == b""
        wait_for(lambda: server.fronts.metrics.http_connections == 0)
        assert not server.connections.open
        assert server.fronts.metrics.http_faults == {}


def test_a_client_that_does_not_close_after_the_last_answer_is_closed(publisher: Publisher) -> None:
    with serving(publisher) as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED, "Connection: close").status == 200
        wait_for(lambda: not server.connections.open)


BEGUN: Final = b"GET /v1/auth HTTP/1.1\r\n"  # of a request
REST: Final = f"{ALLOWED}\r\n\r\n".encode()


@pytest.fixture
def never_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no connection give way because its request took long to come: the machine may be slow."""
    monkeypatch.setattr(http1_connection, "STUCK", 60.0)


@pytest.mark.usefixtures("never_stuck")
def test_more_connections_than_allowed_are_closed_at_once_where_none_is_idle(publisher: Publisher) -> None:
    with serving(publisher, max_connections=3) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(3)]
        for client in clients:
            assert client.ask("/v1/auth", ALLOWED).status == 200
            client.send(BEGUN)
        wait_for(lambda: not server.in_loop(server.connections.places.idle), "no idle connection")
        for _ in range(5):
            with server.client() as refused:
                assert refused.rest() == b""
        assert server.fronts.metrics.http_connections == 3
        for client in clients:
            client.send(REST)
            assert client.read().status == 200

        clients[1].socket.close()
        wait_for(lambda: len(server.connections.open) == 2)
        with server.client() as admitted:
            assert admitted.ask("/v1/auth", ALLOWED).status == 200


def test_as_many_idle_connections_as_may_be_open_do_not_lock_a_new_proxy_out(publisher: Publisher) -> None:
    """Those that never asked go first, and then those that were idle for longest."""
    with serving(publisher, max_connections=4) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.client()) for _ in range(4)]
        wait_for(lambda: len(server.connections.open) == 4)
        proxies = []
        for _ in range(4):
            proxies.append(stack.enter_context(server.client()))
            assert proxies[-1].ask("/v1/auth", ALLOWED).status == 200
        assert [client.rest() for client in idle] == [b""] * 4
        proxies.append(stack.enter_context(server.client()))
        assert proxies[-1].ask("/v1/auth", ALLOWED).status == 200
        assert server.in_loop(server.connections.places.idle) == server.fronts.metrics.http_connections == 4


@pytest.mark.usefixtures("never_stuck")
def test_a_connection_with_a_request_or_an_answer_under_way_does_not_give_way(publisher: Publisher) -> None:
    with serving(publisher, max_connections=2) as server, server.client() as begun, server.client() as sent:
        assert sent.ask("/v1/auth", ALLOWED).status == 200
        begun.send(BEGUN)
        wait_for(lambda: server.in_loop(server.connections.places.idle) == 1, "one idle connection")

        def arrive() -> bool:
            sent.send(BEGUN + REST)  # the loop has not read it yet
            return server.connections.places.admit(server.connections(), 2)

        assert not server.in_loop(arrive)
        assert sent.read().status == 200
        begun.send(REST)
        assert begun.read().status == 200


def test_requests_that_never_end_do_not_keep_a_proxy_of_their_address_out(publisher: Publisher) -> None:
    """They took all places that the address may have, for ten seconds at a time, and those of its kept connections."""
    with serving(publisher, max_connections_per_peer=3) as server, contextlib.ExitStack() as stack:
        proxy = stack.enter_context(server.client())
        assert proxy.ask("/v1/auth", ALLOWED).status == 200
        for client in [stack.enter_context(server.client()) for _ in range(2)]:
            client.send(BEGUN)
        wait_for(lambda: server.in_loop(server.connections.places.idle) == 1, "two requests under way")

        def wait() -> None:
            for connection in server.connections.open:
                connection.since -= STUCK + SWEEP

        server.in_loop(wait)
        for _ in range(2):
            other = stack.enter_context(server.client())
            assert other.ask("/v1/auth", ALLOWED).status == 200
        assert proxy.ask("/v1/auth", ALLOWED).status == 200


def test_connections_beyond_the_most_do_not_each_cost_a_look_at_all(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, is_idle = 0, HttpConnection.idle.fget  # type: ignore[attr-defined]  # a property
    monkeypatch.setattr(places, "_NEW", 60.0)  # all are alike, however slowly they come

    def idle(self: HttpConnection) -> bool:
        nonlocal looks
        looks += 1
        return bool(is_idle(self))

    with serving(publisher, max_connections=50) as server, contextlib.ExitStack() as stack:
        monkeypatch.setattr(HttpConnection, "idle", property(idle))
        clients = [stack.enter_context(server.client()) for _ in range(150)]
        assert clients[-1].ask("/v1/auth", ALLOWED).status == 200
        assert len(server.connections.open) == 50
    assert looks < 100 * 4


PAGE: Final = f"""\
version: 1
applications:
  "*": {{default: deny, deny: {{body: "{"x" * 1000}"}}}}
"""


def unsent(server: HttpServer) -> int:
    """Return how many bytes of answers and requests wait in the process, for all connections."""
    return sum(
        connection._transport.get_write_buffer_size() + len(connection._unparsed)
        for connection in server.connections.open
    )


def send_until_stuck(client: HttpClient, data: bytes) -> int:
    """Send `data` again and again, until nobody takes any more; return how many bytes were taken."""
    client.socket.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 27:
            sent += client.socket.send(data[sent % len(data) :])
    client.socket.settimeout(20)
    return sent


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("unix", [False, True])
def test_who_does_not_read_is_not_read_and_costs_little_and_may_still_read_later(
    publisher: Publisher, loop: str, unix: bool
) -> None:
    fronts = Fronts(publisher, CONFIG, PAGE)
    path = publisher.folder / "s" if unix else None
    with HttpServer(fronts, unix=path, loop_factory=LOOPS[loop]) as server, server.client() as client:
        request = b"GET /v1/forward HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
        sent = send_until_stuck(client, request * 1000)
        answered = sum(fronts.counts().values())

        assert sent < 1 << 25, "the server goes on reading"
        # Never more answers than one piece of a few kilobytes asks for.
        assert server.in_loop(lambda: unsent(server)) < 8 << 20

        whole = sent // len(request)
        for _ in range(whole):
            answer = client.read()
            assert (answer.status, len(answer.body)) == (403, 1000)
        client.send(request[sent % len(request) :])
        assert client.read().status == 403

    assert answered < whole
    assert sum(fronts.counts().values()) == whole + 1


def test_who_never_reads_is_closed_in_the_end(publisher: Publisher) -> None:
    fronts = Fronts(publisher, CONFIG, PAGE)
    limits = HttpLimits(idle_timeout=0.2)
    with HttpServer(fronts, limits, loop_factory=uvloop.new_event_loop) as server, server.client() as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            send_until_stuck(client, b"GET /v1/forward HTTP/1.1\r\n\r\n" * 1000)
        wait_for(lambda: not server.connections.open)


def test_a_client_that_vanishes_is_forgotten(publisher: Publisher) -> None:
    import struct

    with serving(publisher) as server:
        for data in (b"", b"GET /v1/auth HT", numbered(1), numbered(100)):
            with server.client() as client:
                client.send(data)
                connected(server)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_for(lambda: not server.connections.open)
        with server.client() as client:
            assert client.ask("/v1/auth", ALLOWED).status == 200


def test_the_end_of_the_server_sends_what_was_answered(publisher: Publisher) -> None:
    with serving(publisher) as server:
        client = HttpClient(server.connect())
        client.send(numbered(50))
        wait_for(lambda: sum(server.fronts.counts().values()) == 50)
    with client.socket:
        assert addresses([client.read() for _ in range(50)]) == expected_addresses(50)
        assert client.rest() == b""


def test_a_folder_with_a_socket_is_all_that_a_unix_listener_needs(fronts: Fronts, tmp_path: Path) -> None:
    with HttpServer(fronts, unix=tmp_path / "s") as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED).header("client-address") == "192.0.2.7"
