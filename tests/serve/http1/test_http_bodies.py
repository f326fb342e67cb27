"""Bodies and smuggling: a body is never waited for, and never taken for a request."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import pytest
from support.sidecar.http_questions import ALLOWED, DENIED, HIDDEN, numbered, serving

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher
    from support.sidecar.fronts import HttpServer


def test_the_answer_comes_before_the_body_and_ends_the_connection(server: HttpServer) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth", ALLOWED, "Content-Length: 1000000", method="POST")

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        with contextlib.suppress(BrokenPipeError):  # where it came too late for the server to wait for it
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
        with contextlib.suppress(BrokenPipeError):  # as above
            client.send(HIDDEN)
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (404, "close")
