"""The HTTP front over real sockets, byte by byte: routes, keep-alive, pipelining, limits, and what attackers send."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvloop
from support.fronts import NOW, Fronts, HttpAnswer, HttpClient, HttpServer
from support.processes import wait_for
from support.publisher import Publisher

from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import Answer, RequestHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# An address of 203.0.113.0/24 is denied everywhere, by a status that says which application it was.
POLICY: Final = """\
version: 1
applications:
  "*": {deny: {status: 499}}
  shop: {hosts: [shop.example.com], deny: {status: 429, body: "slow down\\n", content_type: text/html}}
  admin: {default: deny, hosts: [admin.example.com], deny: {status: 401}}
  trial: {dry_run: true}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24]}
"""
ANY, SHOP, ADMIN = "499", "429", "401"
CONFIG: Final = "client_address: {trusted_proxies: [127.0.0.1], trust_unix: true}\n"
ALLOWED, DENIED = "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 203.0.113.9"


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Fronts:
    return Fronts(Publisher(tmp_path_factory.mktemp("http")), CONFIG, POLICY)


@pytest.fixture(scope="module", params=["tcp-uvloop", "unix-uvloop", "tcp-asyncio", "unix-asyncio"])
def server(
    request: pytest.FixtureRequest, fronts: Fronts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HttpServer]:
    transport, loop = request.param.split("-")
    path = tmp_path_factory.mktemp("socket") / "http.sock" if transport == "unix" else None
    with HttpServer(fronts, unix=path, loop_factory=LOOPS[loop]) as server:
        yield server


LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


@contextlib.contextmanager
def serving(publisher: Publisher, config: str = CONFIG, **limits: Any) -> Iterator[HttpServer]:
    """Give a server of its own, for tests with limits or a configuration of their own."""
    with HttpServer(
        Fronts(publisher, config, POLICY), HttpLimits(**limits), loop_factory=uvloop.new_event_loop
    ) as server:
        yield server


def connected(server: HttpServer) -> Any:
    return wait_for(lambda: len(server.connections.open), "a connection")


# What is answered.


def serial_of(server: HttpServer) -> int:
    assert server.fronts.decider.ruleset is not None
    return server.fronts.decider.ruleset.serial


def test_an_allowed_request_gets_200_without_a_body_and_says_why(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth/shop", ALLOWED)

    assert (answer.status, answer.phrase, answer.body) == (200, "OK", b"")
    assert answer.headers == {
        "content-length": "0",
        "x-authz-decision": "allow",
        "x-authz-reason": "allowlisted",
        "x-authz-list": "allow",
        "x-authz-application": "shop",
        "x-authz-entry": "office",
        "x-authz-status": "200",
        "x-authz-serial": str(serial_of(server)),
        "x-authz-layer": "policy",
        "x-authz-client-address": "192.0.2.7",
    }


def test_a_denied_request_gets_403_without_a_body_and_its_status_in_a_header(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth/shop", DENIED)

    assert (answer.status, answer.phrase, answer.body) == (403, "Forbidden", b"")
    assert answer.headers == {
        "content-length": "0",
        "x-authz-decision": "deny",
        "x-authz-reason": "denylisted",
        "x-authz-list": "deny",
        "x-authz-application": "shop",
        "x-authz-entry": "bad",
        "x-authz-status": "429",
        "x-authz-serial": str(serial_of(server)),
        "x-authz-layer": "policy",
        "x-authz-client-address": "203.0.113.9",
    }


@pytest.mark.parametrize("target", ["/v1/forward/shop", "/envoy/shop/cart?a=b"])
def test_callers_that_pass_the_answer_on_get_the_status_and_the_body(server: HttpServer, target: str) -> None:
    with server.client() as client:
        answer = client.ask(target, DENIED)
        assert client.ask(target, ALLOWED).body == b""

    assert (answer.status, answer.phrase, answer.body) == (429, "Too Many Requests", b"slow down\n")
    assert answer.headers == {"content-type": "text/html", "content-length": "10"}  # the client sees all of it


def test_a_proxy_that_takes_our_headers_off_again_may_ask_for_them(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/forward/shop?details", DENIED)
        assert client.ask("/v1/forward?details", DENIED).header("status") == ANY

    assert (answer.status, answer.body) == (429, b"slow down\n")
    assert (answer.header("reason"), answer.header("entry")) == ("denylisted", "bad")


def test_a_client_that_is_not_known_is_not_in_the_answer(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth/shop")

    assert answer.header("reason") == "forwarded_missing"
    assert answer.header("client-address") is None


def test_dry_run_is_200_with_the_reason(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth/trial", DENIED)

    assert (answer.status, answer.header("decision"), answer.header("reason")) == (200, "allow", "denylisted")


@pytest.mark.parametrize("target", ["/v1/auth/shop", "/v1/forward/shop", "/envoy/shop/"])
def test_cannot_decide_is_503_to_every_caller(publisher: Publisher, target: str) -> None:
    with HttpServer(Fronts(publisher, CONFIG, policy=None)) as server, server.client() as client:
        answer = client.ask(target, ALLOWED)

    assert (answer.status, answer.phrase, answer.body) == (503, "Service Unavailable", b"")
    assert answer.header("reason") == ("no_snapshot" if target == "/v1/auth/shop" else None)


@pytest.mark.parametrize("target", ["/v1/auth/shop", "/v1/forward/shop"])
def test_a_fault_of_our_own_is_503(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    with serving(publisher) as server, server.client() as client, caplog.at_level(logging.ERROR):
        monkeypatch.setattr(server.fronts.decider, "check", fail)
        answer = client.ask(target, ALLOWED)

    assert (answer.status, answer.header("reason")) == (
        503,
        "internal_error" if target.startswith("/v1/auth") else None,
    )
    assert "ZeroDivisionError" in caplog.text
    assert server.fronts.counts() == {("http", "*", "deny", "internal_error", "none", "true"): 1}


def test_a_handler_that_fails_is_500_and_the_end_of_the_connection(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: RequestHead) -> Answer:
        raise ZeroDivisionError

    with serving(publisher) as server, server.client() as client, caplog.at_level(logging.ERROR):
        monkeypatch.setattr(server.connections, "handler", fail)
        answer = client.ask("/v1/auth", ALLOWED)
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert "ZeroDivisionError" in caplog.text


def test_every_value_that_we_write_is_a_token_or_an_address(server: HttpServer) -> None:
    chains = ["192.0.2.7", "2001:DB8::77", "evil\t<b>", "::ffff:192.0.2.7", "[2001:db8::7]:80", "\xff", "6.6.6.6, x"]
    targets = ["/v1/auth", "/v1/auth/shop", "/v1/forward/<b>", "/v1/forward/%0d%0aa:b", '/envoy/a"b/', "/envoy/'/?\x7f"]
    with server.client() as client:
        for target in targets:
            for chain in chains:
                answer = client.ask(target, f"X-Forwarded-For: {chain}", "Host: \xe9<b>", "X-Authz-Reason: <b>")
                if answer.header("reason") == "malformed_request":
                    break  # a target that is none
                values = [value for name, value in answer.headers.items() if name.startswith("x-authz-")]
                assert all(re.fullmatch(r"[A-Za-z0-9_.:-]+|\*", value) for value in values), values
                assert b"<b>" not in answer.body


# Routes.


@pytest.mark.parametrize(
    ("target", "status", "application"),
    [
        ("/v1/auth", 403, ANY),
        ("/v1/auth?application=shop", 403, ANY),
        ("/v1/auth/shop", 403, SHOP),
        ("/v1/auth/shop?next=/admin", 403, SHOP),
        ("/v1/auth/admin", 403, ADMIN),
        ("/v1/auth/nobody", 403, ANY),
        ("/v1/auth/SHOP", 403, ANY),
        ("/v1/auth/sh%6fp", 403, ANY),  # nothing is decoded
        ("/v1/auth/%73%68%6f%70", 403, ANY),
        ("/v1/auth/shop%2F", 403, ANY),
        ("/v1/auth/shop;a", 403, ANY),
        ("/v1/auth/shop#admin", 403, ANY),
        ("/v1/auth/*", 403, ANY),
        ("/v1/forward/shop", 429, SHOP),
        ("/v1/forward/admin?x", 401, ADMIN),
        ("/v1/forward", 499, ANY),
        ("/envoy/shop/", 429, SHOP),
        ("/envoy/shop/v1/auth/admin", 429, SHOP),
        ("/envoy/shop//envoy/admin/../../admin/", 429, SHOP),
        ("/envoy/admin/x?/shop/", 401, ADMIN),
        ("/envoy/sh%6fp/", 499, ANY),
    ],
)
def test_the_application_is_the_part_of_the_path_that_the_proxy_writes(
    server: HttpServer, target: str, status: int, application: str
) -> None:
    with server.client() as client:
        answer = client.ask(target, DENIED)

    assert (answer.status, answer.header("status") or str(answer.status)) == (status, application)


@pytest.mark.parametrize(
    "target",
    ["/", "/v1", "/v1/", "/v1/auth/", "/v1/auth/shop/", "/v1/auth/shop/admin", "/v1/authz", "/v1/auth%2Fshop",
     "/V1/auth", "//v1/auth", "/v1//auth", "/x/../v1/auth", "/v1/forward/", "/v1/forward/shop/", "/v1/forwarded/x",
     "/envoy", "/envoy/", "/envoy/shop", "/envoy/shop?/", "/envoy//", "/envoy//admin/", "/envoys/shop/", "/livez",
     "/metrics", "http://authz/v1/auth/shop", "http://authz/envoy/shop/", "https://shop.example.com/v1/auth", "*",
     "/?/v1/auth"],
)  # fmt: skip
def test_any_other_target_is_not_found_and_never_allowed(server: HttpServer, target: str) -> None:
    before = server.fronts.metrics.http_faults.get("404", 0)
    with server.client() as client:
        answer = client.ask(target, ALLOWED, method="OPTIONS")

    assert (answer.status, answer.headers) == (404, {"content-length": "0"})
    assert server.fronts.metrics.http_faults["404"] == before + 1


METHODS: Final = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "MKCOL", "QUERY", "PURGE"]


@pytest.mark.parametrize("method", METHODS)
def test_any_method_is_answered_alike(server: HttpServer, method: str) -> None:
    with server.client() as client:
        for header, status in ((ALLOWED, 200), (DENIED, 403)):
            answer = client.ask("/v1/auth/shop", header, method=method)
            assert (answer.status, answer.body, answer.headers["content-length"]) == (status, b"", "0")


def test_head_is_answered_without_the_body_that_is_announced(server: HttpServer) -> None:
    with server.client() as client:
        head = client.ask("/v1/forward/shop", DENIED, method="HEAD")
        after = client.ask("/v1/forward/shop", DENIED)

    assert (head.status, head.headers) == (after.status, after.headers)
    assert after.body == b"slow down\n"


@pytest.mark.parametrize("method", ["FOO", "get", "G\x00T", "GET\t", ""])
def test_a_method_that_the_parser_does_not_know_is_denied(server: HttpServer, method: str) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth/shop", ALLOWED, method=method)
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (403, "close")


def test_the_host_names_the_application_where_the_path_does_not(server: HttpServer) -> None:
    with server.client() as client:
        client.send(f"GET /v1/auth HTTP/1.1\r\nHOST: Shop.Example.com:8080\r\n{DENIED}\r\n\r\n".encode())
        assert client.read().header("status") == SHOP
        client.send(f"GET /v1/auth/admin HTTP/1.1\r\nHost: shop.example.com\r\n{DENIED}\r\n\r\n".encode())
        assert client.read().header("status") == ADMIN


def test_the_forwarded_host_counts_for_forward_callers_only(server: HttpServer) -> None:
    host = "X-Forwarded-Host: shop.example.com"
    with server.client() as client:
        assert client.ask("/v1/forward", DENIED, host).status == 429
        assert client.ask("/v1/forward", DENIED).status == 499
        assert client.ask("/v1/forward/admin", DENIED, host).status == 401
        assert client.ask("/v1/auth", DENIED, host).header("status") == ANY
        assert client.ask("/v1/forward", DENIED, "X-Forwarded-Host: shop.example.com, admin.example.com").status == 499


# The application in a header.

BY_HEADER: Final = CONFIG + "application: {http: header, header: X-App}\n"


@pytest.mark.parametrize(
    ("headers", "application"),
    [
        (["X-App: shop"], SHOP),
        (["x-app:admin"], ADMIN),
        (["X-App: shop "], SHOP),
        (["X-App: nobody"], ANY),
        ([], ANY),
        (["X-App:"], ANY),
        (["X-App: shop", "X-App: admin"], ANY),
        (["X-App: admin", "X-App: shop"], ANY),
        (["X-App: shop", "X-App: shop"], ANY),
        (["X-App: shop, admin"], ANY),
        (["X_App: shop"], ANY),
        (["X-App: sh\xf6p"], ANY),
    ],
)
@pytest.mark.parametrize("target", ["/v1/auth", "/v1/forward", "/envoy/whatever/admin"])
def test_the_application_is_that_of_the_header_and_a_second_line_is_not_believed(
    server_by_header: HttpServer, target: str, headers: list[str], application: str
) -> None:
    with server_by_header.client() as client:
        answer = client.ask(target, DENIED, *headers)
        assert (answer.header("status") or str(answer.status)) == application


@pytest.fixture(scope="module")
def server_by_header(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    with serving(Publisher(tmp_path_factory.mktemp("by-header")), BY_HEADER) as server:
        yield server


@pytest.mark.parametrize("target", ["/v1/auth/shop", "/v1/forward/shop"])
def test_a_path_that_names_an_application_too_is_a_conflict(server_by_header: HttpServer, target: str) -> None:
    with server_by_header.client() as client:
        assert client.ask(target, ALLOWED, "X-App: shop").status == 404


def test_where_the_path_names_it_no_header_does(server: HttpServer) -> None:
    with server.client() as client:
        assert client.ask("/v1/auth", DENIED, "X-Authz-Application: shop", "X-App: shop").header("status") == ANY


# The client.


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9, 192.0.2.7", "127.0.0.1", ""], "192.0.2.7"),
        (["203.0.113.9 ,\t192.0.2.7\t , "], "192.0.2.7"),
        (["192.0.2.7", "unknown"], None),
        (["unknown", "192.0.2.7"], "192.0.2.7"),
        (["[2001:db8:1::7]:4711"], "2001:db8:1::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7%eth0"], None),
    ],
)
def test_the_lines_of_the_header_are_one_chain_in_their_order(
    server: HttpServer, lines: list[str], client: str | None
) -> None:
    with server.client() as connection:
        names = ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"]
        answer = connection.ask("/v1/auth", *(f"{name}: {line}" for name, line in zip(names, lines, strict=False)))

    assert answer.header("client-address") == client
    assert answer.header("reason") == ("client_unresolved" if client is None else "allowlisted")


def test_an_untrusted_caller_is_the_client(publisher: Publisher) -> None:
    with serving(publisher, "client_address: {trusted_proxies: [10.0.0.0/8]}\n") as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED).header("client-address") == "127.0.0.1"


def test_a_caller_on_a_unix_socket_is_believed_only_where_it_is_told(publisher: Publisher) -> None:
    fronts = Fronts(publisher, "client_address: {trusted_proxies: [127.0.0.0/8]}\n", POLICY)
    with HttpServer(fronts, unix=publisher.folder / "s") as server, server.client() as client:
        answer = client.ask("/v1/auth", ALLOWED)

    assert (answer.status, answer.header("reason")) == (403, "peer_untrusted_transport")


def test_an_attack_signal_in_a_header(publisher: Publisher) -> None:
    with serving(publisher, CONFIG + "attack_signal: {header: x-waf}\n") as server, server.client() as client:
        clean = "X-Forwarded-For: 198.51.100.1"
        assert client.ask("/v1/auth", clean).status == 200
        assert client.ask("/v1/auth", clean, "X-WAF: 0").status == 200
        assert client.ask("/v1/auth", clean, "X-WAF: 1").header("reason") == "attack"
        assert client.ask("/v1/auth", clean, "X-WAF: 0", "X-WAF: 1").header("reason") == "attack"


# Keep-alive and pipelining.


def test_a_connection_serves_many_requests(server: HttpServer) -> None:
    with server.client() as client:
        for number in range(200):
            assert client.ask("/v1/auth/shop", ALLOWED if number % 2 else DENIED).status == (200 if number % 2 else 403)
        assert len(server.connections.open) >= 1


def numbered(count: int, target: str = "/v1/forward/shop", host: str = "authz") -> bytes:
    """Return requests from the clients 198.18.0.0, 198.18.0.1, ..."""
    return b"".join(
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 198.18.{n >> 8}.{n & 255}\r\n\r\n".encode()
        for n in range(count)
    )


def addresses(answers: list[HttpAnswer]) -> list[str | None]:
    return [answer.header("client-address") for answer in answers]


def expected_addresses(count: int) -> list[str]:
    return [f"198.18.{n >> 8}.{n & 255}" for n in range(count)]


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

    def handler(head: RequestHead) -> Answer:
        answered.append(head.headers[b"x-forwarded-for"][0].decode())
        return Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")

    async def run() -> bytes:
        connection = HttpConnections(handler, [b"x-forwarded-for"], HttpLimits(max_header=200))()
        transport = FakeTransport()
        connection.connection_made(transport)
        for byte in numbered(50):
            connection.data_received(bytes([byte]))
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


# Bodies: never waited for, and never taken for a request.

HIDDEN: Final = b"GET /v1/auth/shop HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"


def test_the_answer_comes_before_the_body_and_ends_the_connection(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth", ALLOWED, "Content-Length: 1000000", method="POST")

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        client.send(b"x" * 1000)
        assert client.rest() == b""


@pytest.mark.parametrize(
    "announced",
    [f"Content-Length: {len(HIDDEN)}", "Content-Length: 1", "Transfer-Encoding: chunked", "Transfer-Encoding: xchunked",
     "Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked", "Content-Length: 00000",
      "Expect: 100-continue\r\nContent-Length: 5"],
)  # fmt: skip
def test_what_comes_behind_an_announced_body_is_never_answered(server: HttpServer, announced: str) -> None:
    with server.client() as client:
        request = f"POST /v1/auth/shop HTTP/1.1\r\nHost: a\r\n{DENIED}\r\n{announced}\r\n\r\n".encode()
        client.send(request + HIDDEN + HIDDEN)
        answer = client.read()
        rest = client.rest()

    assert (answer.status, answer.headers["connection"], rest) == (403, "close", b"")


def test_a_chunked_body_and_its_trailers_change_nothing(server: HttpServer) -> None:
    with server.client() as client:
        head = f"POST /v1/auth/shop HTTP/1.1\r\nHost: a\r\n{DENIED}\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head.encode() + b"5\r\nabcde\r\n0\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n" + HIDDEN)
        answer = client.read()
        assert client.rest() == b""

    assert answer.header("client-address") == "203.0.113.9"


def test_content_length_0_keeps_the_connection(server: HttpServer) -> None:
    """So Envoy announces that there is no body."""
    with server.client() as client:
        for _ in range(3):
            assert "connection" not in client.ask("/v1/auth", ALLOWED, "Content-Length: 0", method="POST").headers


SMUGGLING: Final = {
    "two different lengths": b"POST /v1/auth HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 50\r\n\r\n",
    "two equal lengths": b"POST /v1/auth HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "two lengths in a line": b"POST /v1/auth HTTP/1.1\r\nContent-Length: 0, 50\r\n\r\n",
    "a length with a sign": b"POST /v1/auth HTTP/1.1\r\nContent-Length: +0\r\n\r\n",
    "a negative length": b"POST /v1/auth HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a hexadecimal length": b"POST /v1/auth HTTP/1.1\r\nContent-Length: 0x0\r\n\r\n",
    "an endless length": b"POST /v1/auth HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "length, then chunked": b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then length": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunked, then another": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "space before the colon": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For : 192.0.2.7\r\n\r\n",
    "a folded header": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9,\r\n 192.0.2.7\r\n\r\n",
    "a folded first header": b"GET /v1/auth HTTP/1.1\r\n X-Forwarded-For: 192.0.2.7\r\n\r\n",
    "bare LF after the request line": b"GET /v1/auth HTTP/1.1\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
    "bare LF after a header": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\nHost: a\r\n\r\n",
    "bare LF at the end": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\n\n",
    "bare CR in a header": b"GET /v1/auth HTTP/1.1\r\nA: b\rX-Forwarded-For: 192.0.2.7\r\n\r\n",
    "NUL in a value": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\0\r\n\r\n",
    "NUL in a name": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded\0-For: 192.0.2.7\r\n\r\n",
    "NUL in the target": b"GET /v1/auth\0 HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
    "a control character": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\x01\r\n\r\n",
    "no name": b"GET /v1/auth HTTP/1.1\r\n: 192.0.2.7\r\n\r\n",
    "no colon": b"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For\r\n\r\n",
    "a space in the target": b"GET /v1/auth x HTTP/1.1\r\n\r\n",
    "a version that is none": b"GET /v1/auth HTTP/1.10\r\n\r\n",
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
    "the PROXY protocol": b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\nGET /v1/auth HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_what_two_readers_could_read_in_two_ways_is_denied_and_the_end(server: HttpServer, name: str) -> None:
    with server.client() as client:
        client.send(SMUGGLING[name] + HIDDEN)
        answer = client.read()
        rest = client.rest()

    assert (answer.status, answer.header("reason"), answer.headers["connection"]) == (403, "malformed_request", "close")
    assert rest == b""


def test_requests_before_a_broken_one_are_answered(server: HttpServer) -> None:
    with server.client() as client:
        client.send(numbered(3) + b"nonsense\r\n\r\n" + HIDDEN)
        assert [client.read().status for _ in range(4)] == [200, 200, 200, 403]
        assert client.rest() == b""


def test_faults_are_counted_by_status(publisher: Publisher) -> None:
    with serving(publisher) as server:
        for _ in range(2):
            with server.client() as client:
                client.send(b"nonsense\r\n\r\n")
                client.rest()
        with server.client() as client:
            client.ask("/nowhere")

        assert server.fronts.counts("authz_http_faults_total") == {("400",): 2, ("404",): 1}
        assert server.fronts.counts() == {("http", "*", "deny", "malformed_request", "none", "true"): 2}


def test_empty_lines_before_a_request_are_skipped(server: HttpServer) -> None:
    with server.client() as client:
        client.send(b"\r\n\r\n" + numbered(1) + b"\r\n" + numbered(1))
        assert [client.read().status, client.read().status] == [200, 200]


@pytest.mark.parametrize(
    "headers", [["Connection: Upgrade", "Upgrade: websocket"], ["Connection: upgrade", "Upgrade: h2c"]]
)
def test_a_request_to_upgrade_is_answered_like_any_other_and_ends_the_connection(
    server: HttpServer, headers: list[str]
) -> None:
    with server.client() as client:
        lines = "".join(f"{header}\r\n" for header in [DENIED, *headers])
        client.send(f"GET /v1/auth/shop HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode() + HIDDEN)
        answer = client.read()
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (403, "close")


def test_the_upgrade_header_of_a_client_alone_changes_nothing(server: HttpServer) -> None:
    """So nginx passes it on: its own Connection header is empty."""
    with server.client() as client:
        assert client.ask("/v1/auth/shop", ALLOWED, "Upgrade: websocket").status == 200
        assert client.ask("/v1/auth/shop", DENIED).status == 403


def test_connect_is_never_allowed(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("shop.example.com:443", ALLOWED, method="CONNECT")
        client.send(HIDDEN)
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (404, "close")


# HttpLimits.

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
    with serving(publisher, idle_timeout=0.1) as server, server.client() as client, server.client() as used:
        assert used.ask("/v1/auth", ALLOWED).status == 200
        assert client.rest() == b""
        assert used.rest() == b""
        wait_for(lambda: not server.connections.open)
        assert server.fronts.metrics.http_connections == 0
        assert server.fronts.metrics.http_faults == {}


def test_a_client_that_does_not_close_after_the_last_answer_is_closed(publisher: Publisher) -> None:
    with serving(publisher) as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED, "Connection: close").status == 200
        wait_for(lambda: not server.connections.open)


def test_more_connections_than_allowed_are_closed_at_once(publisher: Publisher) -> None:
    with serving(publisher, max_connections=3) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(3)]
        for client in clients:
            assert client.ask("/v1/auth", ALLOWED).status == 200
        for _ in range(5):
            with server.client() as refused:
                assert refused.rest() == b""
        assert clients[0].ask("/v1/auth", ALLOWED).status == 200
        assert server.fronts.metrics.http_connections == 3

        clients[1].socket.close()
        wait_for(lambda: len(server.connections.open) == 2)
        with server.client() as admitted:
            assert admitted.ask("/v1/auth", ALLOWED).status == 200


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


def test_decisions_are_counted_once_each(publisher: Publisher) -> None:
    with serving(publisher) as server, server.client() as client:
        for header, times in ((ALLOWED, 3), (DENIED, 2)):
            for _ in range(times):
                client.ask("/v1/auth/shop", header)

        assert server.fronts.counts() == {
            ("http", "shop", "allow", "allowlisted", "allow", "true"): 3,
            ("http", "shop", "deny", "denylisted", "deny", "true"): 2,
        }


def test_a_window_opens_and_closes_while_connections_are_open(publisher: Publisher) -> None:
    policy = """\
version: 1
entries:
  - {list: deny, networks: [192.0.2.0/24], starts: 2027-01-15T08:10:00Z, expires: 2027-01-15T08:20:00Z}
"""
    fronts = Fronts(publisher, CONFIG, policy)
    with HttpServer(fronts) as server, server.client() as client:
        for seconds, status in ((0, 200), (599, 200), (600, 403), (1199, 403), (1200, 200)):
            fronts.now = NOW + seconds
            assert client.ask("/v1/auth", ALLOWED).status == status, seconds


def test_a_folder_with_a_socket_is_all_that_a_unix_listener_needs(fronts: Fronts, tmp_path: Path) -> None:
    with HttpServer(fronts, unix=tmp_path / "s") as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED).header("client-address") == "192.0.2.7"
