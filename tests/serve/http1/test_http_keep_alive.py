"""Keep-alive and pipelining of the HTTP front, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from support.sidecar.http_questions import ALLOWED, DENIED, HIDDEN, addresses, expected_addresses, numbered

from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import Answer

if TYPE_CHECKING:
    from support.sidecar.fronts import HttpServer

    from authz.serve.http1.messages import HeadParts


def test_a_connection_serves_many_requests(server: HttpServer) -> None:
    with server.client() as client:
        for number in range(200):
            assert client.ask("/v1/auth/shop", ALLOWED if number % 2 else DENIED).status == (200 if number % 2 else 403)
        assert len(server.connections.open) >= 1


def test_a_hundred_requests_in_one_write_are_answered_in_order(server: HttpServer) -> None:
    with server.client() as client:
        client.send(numbered(100))
        assert addresses([client.read() for _ in range(100)]) == expected_addresses(100)


def test_requests_that_come_byte_by_byte_are_answered_in_order(server: HttpServer) -> None:
    with server.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) if server.unix is None else None
        for byte in numbered(5):
            client.send(bytes([byte]))
        assert addresses([client.read() for _ in range(5)]) == expected_addresses(5)


def test_the_server_sees_each_byte_alone() -> None:
    """The kernel may join small writes; here nobody can."""
    answered = []

    def handler(head: HeadParts) -> Answer:
        answered.append(head[2][b"x-forwarded-for"][0].decode())
        return Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")

    async def run() -> bytes:
        connection = HttpConnections(handler, [b"x-forwarded-for"], HttpLimits(max_header=200))()
        transport = FakeTransport()
        connection.connection_made(transport)
        for byte in numbered(50):
            connection.data_received(bytes([byte]))
            await asyncio.sleep(0)
        return bytes(transport.written)

    assert asyncio.run(run()) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 50
    assert answered == expected_addresses(50)


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = bytearray()
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take them; nothing waits here."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended


@pytest.mark.parametrize("cut", range(1, 120, 7))
def test_requests_cut_anywhere_are_answered_in_order(server: HttpServer, cut: int) -> None:
    data = numbered(2)
    with server.client() as client:
        client.send(data[:cut])
        client.send(data[cut:])
        assert addresses([client.read(), client.read()]) == expected_addresses(2)


def test_thousands_of_requests_in_one_write_whose_last_is_cut_are_all_answered(server: HttpServer) -> None:
    """What is counted against the limit of a header block is that block, not the requests before it."""
    count = 5000
    data = numbered(count)
    with server.client() as client:
        sender = threading.Thread(target=client.send, args=(data[:-3],))
        sender.start()
        answers = [client.read() for _ in range(count - 1)]
        sender.join(20)
        client.send(data[-3:])
        answers.append(client.read())

    assert addresses(answers) == expected_addresses(count)


def test_connections_do_not_see_each_others_requests(server: HttpServer) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(50)]
        for number, client in enumerate(clients):
            client.send(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: 198.18.0.{number}\r\n".encode())
        for client in clients:
            client.send(b"\r\n")
        assert addresses([client.read() for client in clients]) == expected_addresses(50)


def test_http_1_0_is_answered_and_closed(server: HttpServer) -> None:
    with server.client() as client:
        client.send(f"GET /v1/auth HTTP/1.0\r\n{ALLOWED}\r\n\r\n".encode())
        answer = client.read()
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("version", ["", " HTTP/0.9", " HTTP/2.0", " RTSP/1.0"])
def test_a_version_that_is_none_of_ours_is_decided_alike_and_closed(server: HttpServer, version: str) -> None:
    with server.client() as client:
        client.send(f"GET /v1/auth{version}\r\n{DENIED}\r\n\r\n".encode() + HIDDEN)
        answer = client.read()
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (403, "close")


@pytest.mark.parametrize("header", ["Connection: close", "connection: Close, x-other", "Connection: x-other, close"])
def test_connection_close_is_heeded(server: HttpServer, header: str) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth", ALLOWED, header)
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_a_client_that_has_said_all_gets_its_answers(server: HttpServer) -> None:
    with server.client() as client:
        client.send(numbered(10))
        client.socket.shutdown(socket.SHUT_WR)
        assert addresses([client.read() for _ in range(10)]) == expected_addresses(10)
        assert client.rest() == b""
