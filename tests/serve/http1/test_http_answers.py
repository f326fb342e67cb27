"""What the HTTP front answers, over real sockets."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest
from support.sidecar.fronts import NOW, Fronts, HttpServer
from support.sidecar.http_questions import ALLOWED, ANY, CONFIG, DENIED, serving

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

    from authz.serve.http1.messages import Answer, HeadParts


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


def test_nginx_is_told_what_the_printed_configuration_reads_and_no_more(server: HttpServer) -> None:
    """Each header costs nginx time: it copies it, and compares its name with those of all its variables."""
    told = {
        "x-authz-decision": "allow",
        "x-authz-reason": "allowlisted",
        "x-authz-list": "allow",
        "x-authz-application": "shop",
        "x-authz-entry": "office",
        "x-authz-client-address": "192.0.2.7",
    }
    denied = told | {
        "content-length": "0",
        "x-authz-decision": "deny",
        "x-authz-reason": "denylisted",
        "x-authz-list": "deny",
        "x-authz-entry": "bad",
        "x-authz-client-address": "203.0.113.9",
    }
    with server.client() as client:
        for _ in range(3):
            answers = [client.ask(f"/v1/nginx/{name}", who) for name in ("shop", "trial") for who in (ALLOWED, DENIED)]
            assert [answer.status for answer in answers] == [204, 403, 204, 204]
            assert (answers[0].phrase, answers[0].headers, answers[1].headers) == ("No Content", told, denied)
            assert answers[3].header("dry-run") == "denylisted"


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


@pytest.mark.parametrize("target", ["/v1/auth/shop", "/v1/nginx/shop", "/v1/forward/shop", "/envoy/shop/"])
def test_cannot_decide_is_503_to_every_caller(publisher: Publisher, target: str) -> None:
    with HttpServer(Fronts(publisher, CONFIG, policy=None)) as server, server.client() as client:
        answer = client.ask(target, ALLOWED)

    assert (answer.status, answer.phrase, answer.body) == (503, "Service Unavailable", b"")
    assert answer.header("reason") == ("no_snapshot" if target in {"/v1/auth/shop", "/v1/nginx/shop"} else None)


@pytest.mark.parametrize("target", ["/v1/auth/shop", "/v1/nginx/shop", "/v1/forward/shop"])
def test_a_fault_of_our_own_is_503(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    with serving(publisher) as server, server.client() as client, caplog.at_level(logging.ERROR):
        monkeypatch.setattr(server.fronts.decider, "decide", fail)
        answer = client.ask(target, ALLOWED)

    assert (answer.status, answer.header("reason")) == (
        503,
        None if target.startswith("/v1/forward") else "internal_error",
    )
    assert "ZeroDivisionError" in caplog.text
    assert server.fronts.counts() == {("http", "*", "deny", "internal_error", "none", "true"): 1}


def test_a_handler_that_fails_is_500_and_the_end_of_the_connection(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: HeadParts) -> Answer:
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
        for target in ["/v1/nginx", "/v1/nginx/<b>", *targets]:
            for chain in chains:
                answer = client.ask(target, f"X-Forwarded-For: {chain}", "Host: \xe9<b>", "X-Authz-Reason: <b>")
                if answer.header("reason") == "malformed_request":
                    break  # a target that is none
                values = [value for name, value in answer.headers.items() if name.startswith("x-authz-")]
                assert all(re.fullmatch(r"[A-Za-z0-9_.:-]+|\*", value) for value in values), values
                assert b"<b>" not in answer.body


# HttpLimits.


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
