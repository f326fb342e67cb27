"""The real nginx with the printed configuration, asking a sidecar over TCP, a unix socket and TLS, and by a header.

What Envoy and nginx have in common is in test_client_address, test_interruptions and test_same_requests.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
from support.processes import has_ipv6, wait_for
from support.proxies.client import Traffic, ask
from support.proxies.stack import BAD, BALANCER, OFFICE, SCRAPER, UNKNOWN, NginxStack
from support.proxies.upstream import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com], deny: {status: 403, body: "nginx never shows this"}}
  api: {default: deny, deny: {status: 404}}
  admin: {hosts: [admin.example.com], default: deny}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], except: [203.0.113.10]}
  - {id: scrapers, list: deny, networks: [198.51.100.20-198.51.100.29], applications: [shop]}
  - {id: watched, list: deny, networks: [198.51.100.200], action: warn}
"""


@pytest.fixture(scope="module", params=["tcp", "unix", "header", "tls"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxStack]:
    """Everything, running; shared by the tests that change nothing."""
    stack = NginxStack(tmp_path_factory.mktemp("nginx"), request.param)
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        yield stack


@pytest.fixture(params=["tcp", "unix"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NginxStack]:
    """An nginx without a sidecar yet, for the tests that start and stop one."""
    with NginxStack(tmp_path, request.param) as stack:
        yield stack


# Allow and deny


def test_an_allowed_request_reaches_the_application_which_is_told_what_was_decided(stack: NginxStack) -> None:
    reply = stack.ask("/shop/cart?item=1", OFFICE)
    assert (reply.status, reply.body) == (200, b"upstream\n")
    seen = stack.upstream.last()
    assert (seen.method, seen.path, seen.headers["host"]) == ("GET", "/shop/cart?item=1", "test.example.com")
    told = {name: value for name, value in seen.headers.items() if name.startswith("x-authz-")}
    assert told == {"x-authz-client-address": OFFICE, "x-authz-list": "allow", "x-authz-application": "shop"}


def test_a_denied_client_sees_the_reason_as_json(stack: NginxStack) -> None:
    before = len(stack.upstream.seen)
    denied = stack.ask("/shop/", BAD)
    assert (denied.status, json.loads(denied.body)) == (403, {"error": "forbidden", "reason": "denylisted"})
    assert (denied.headers["x-authz-reason"], denied.headers["content-type"]) == ("denylisted", "application/json")
    assert len(stack.upstream.seen) == before


def test_a_request_with_a_body_is_decided_and_its_body_goes_to_the_application_alone(stack: NginxStack) -> None:
    client = stack.client(OFFICE)
    for body in (b"a" * 100_000, [b"in ", b"parts"], b""):
        assert client.ask("/shop/", method="POST", body=body).status == 200
        whole = body if isinstance(body, bytes) else b"".join(body)
        assert (stack.upstream.last().method, stack.upstream.last().body) == ("POST", whole)
    client.close()
    denied = stack.ask("/shop/", BAD, method="POST", body=b"a" * 100)
    assert (denied.status, denied.headers["x-authz-reason"]) == (403, "denylisted")


# Which application


def test_two_applications_are_told_apart_by_their_location(stack: NginxStack) -> None:
    assert stack.ask("/shop/", SCRAPER).status == 403
    assert stack.ask("/shop/deep/er", SCRAPER).status == 403
    assert stack.ask("/api/", SCRAPER).headers["x-authz-reason"] == "default_deny"
    assert stack.ask("/api/", OFFICE).status == 200
    assert stack.ask("/shop/", UNKNOWN).status == 200


def test_a_location_that_names_none_is_of_the_application_that_has_its_host(stack: NginxStack) -> None:
    assert stack.ask("/elsewhere", SCRAPER, host="shop.example.com").status == 403
    assert stack.ask("/elsewhere", SCRAPER, host="SHOP.example.com.:8080").status == 403
    assert stack.ask("/elsewhere", SCRAPER).status == 200


def test_the_application_gets_the_host_that_was_asked_about(stack: NginxStack) -> None:
    with socket.create_connection(("127.0.0.1", stack.nginx.ports.proxied), timeout=10) as connection:
        lines = (
            f"PROXY TCP4 {UNKNOWN} 192.0.2.250 4242 443",
            "GET http://asked.example.com/elsewhere HTTP/1.1",
            "Host: other.example.com",
            "Connection: close",
        )
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert stack.upstream.last().headers["host"] == "asked.example.com"


AMBIGUOUS = ["/healthz/../shop/", "/healthz%2f..%2fshop/", "//shop/", "/./shop/", "/api/../shop/", "/shop/..%2fx",
             "/shop/%2e%2e/", "/shop/%2E./x", "/shop/..%5cx", "/shop/..\\x", "/shop/..;/x", "/shop/..%3b/x", "/shop/..",
             "/shop/x%00", "/shop/.?a"]  # fmt: skip


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_nginx_never_decides_one_path_and_forwards_another(stack: NginxStack, path: str) -> None:
    """`GET /shop/..%2fx` from an address denied in `shop` was decided as `*`, and reached the application."""
    before = len(stack.upstream.seen)
    for peer in (SCRAPER, OFFICE):
        assert stack.ask(path, peer).status == 400
    assert len(stack.upstream.seen) == before


@pytest.mark.parametrize("path", ["/shop/a%20b", "/shop/..x/a.b/...", "/shop?a=/../%2f", "/shop/a%3Fb", "/shop"])
def test_nginx_forwards_a_plain_path_as_it_came(stack: NginxStack, path: str) -> None:
    assert stack.ask(path, OFFICE).status == 200
    assert stack.upstream.last().path == path
    assert stack.ask(path, SCRAPER).status == 403


@pytest.mark.parametrize(
    "host", ["admin.example.com..", "[admin.example.com]", "x@admin.example.com", "a,admin.example.com", "a b"]
)
def test_nginx_refuses_a_host_that_could_be_taken_for_another(stack: NginxStack, host: str) -> None:
    before = len(stack.upstream.seen)
    assert stack.ask("/shop/x", OFFICE, host=host).status == 400
    assert len(stack.upstream.seen) == before


@pytest.mark.parametrize("host", ["admin.example.com", "ADMIN.example.com.", "admin.example.com:8080"])
def test_nginx_decides_by_the_host_that_is_served_not_by_the_path_of_another_application(
    stack: NginxStack, host: str
) -> None:
    """`Host: admin.example.com` with /shop/x was decided as `shop`."""
    before = len(stack.upstream.seen)
    assert stack.ask("/shop/x", UNKNOWN, host=host).status == 403
    assert len(stack.upstream.seen) == before
    assert stack.ask("/shop/x", OFFICE, host=host).status == 200
    assert stack.upstream.last().headers["host"] == "admin.example.com"


@pytest.mark.parametrize("octet", ["\x0b", "\x0c", "\x01", "\x1f"])
def test_a_client_cannot_bring_cannot_decide_about_by_control_bytes(stack: NginxStack, octet: str) -> None:
    """nginx passes them on; the sidecar's 400 became 503, which is not what a client may bring about."""
    for peer in (BALANCER, BAD):
        assert stack.ask("/shop/", peer, f"{OFFICE}{octet}").status in {400, 403}


def test_an_exempted_location_is_answered_without_asking(stack: NginxStack) -> None:
    reply = stack.ask("/healthz", BAD)
    assert (reply.status, reply.body) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/_authz", "/_authz/shop"])
def test_clients_cannot_ask_the_sidecar_themselves(stack: NginxStack, path: str) -> None:
    assert stack.ask(path, OFFICE).status == 404


# Who is the client


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
def test_a_listener_for_ipv6_tells_the_peer(stack: NginxStack) -> None:
    bad = [("X-Forwarded-For", "2001:db8:bad::8")]
    assert ask(stack.nginx.ports.edge, "/shop/", bad, address="::1").status == 403
    assert ask(stack.nginx.ports.edge, "/shop/", address="::1").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == "::1"


# What a client made up


def test_headers_that_a_client_made_up_to_look_like_ours_do_not_reach_the_application(stack: NginxStack) -> None:
    names = ["client-address", "list", "application", "decision", "reason", "entry", "serial", "status"]
    forged = [(f"X-Authz-{name}", "forged") for name in names]
    forged += [("x_authz_list", "forged"), ("x-kept", "kept"), ("Cookie", "a=1"), ("Authorization", "Bearer x")]
    assert stack.ask_with("/shop/", forged, UNKNOWN).status == 200
    headers = stack.upstream.last().headers
    assert (headers["x-kept"], headers["cookie"], headers["authorization"]) == ("kept", "a=1", "Bearer x")
    ours = {name: value for name, value in headers.items() if "authz" in name}
    assert ours == {"x-authz-client-address": UNKNOWN, "x-authz-list": "none", "x-authz-application": "shop"}


def test_a_client_cannot_choose_its_application(stack: NginxStack) -> None:
    forged = [("X-Authz-Application", "api")]
    assert stack.ask_with("/shop/", forged, SCRAPER).status == 403
    assert stack.ask_with("/api/", [("X-Authz-Application", "shop")], UNKNOWN).status == 403
    assert stack.ask_with("/elsewhere", forged, UNKNOWN).status == 200


# What is reported


def test_the_access_log_has_the_decision(stack: NginxStack) -> None:
    stack.ask("/shop/denied", SCRAPER)
    entry = stack.nginx.log_of("/shop/denied")
    assert (entry["status"], entry["peer"], entry["client"]) == (403, SCRAPER, SCRAPER)
    assert (entry["decision"], entry["reason"], entry["list"]) == ("deny", "denylisted", "deny")
    assert (entry["application"], entry["entry"], len(entry["request_id"])) == ("shop", "scrapers", 32)
    assert (entry["host"], entry["method"], entry["path"]) == ("test.example.com", "GET", "/shop/denied")
    stack.ask("/shop/allowed", "198.51.100.200")
    entry = stack.nginx.log_of("/shop/allowed")
    assert (entry["decision"], entry["reason"], entry["status"]) == ("allow", "default_allow", 200)


def test_the_access_log_bounds_and_escapes_what_a_client_wrote(stack: NginxStack) -> None:
    path, long = '/shop/?a="', "/shop/?" + "x" * 3000
    for asked in (path, long):
        stack.ask(asked, SCRAPER, method="PUT")
    entry = stack.nginx.log_of(path)  # it is one line of JSON
    assert (entry["host"], entry["method"], entry["entry"]) == ("test.example.com", "PUT", "scrapers")
    assert stack.nginx.log_of(long[:1024])["application"] == "shop"


@pytest.mark.parametrize(
    ("peer", "status", "methods"),
    [(SCRAPER, 403, ["PUT", "HEAD", "M-SEARCH", "X" * 40]), (OFFICE, 200, ["PUT", "DELETE"])],
    ids=["denied", "allowed"],
)
def test_the_access_log_names_the_method_that_was_asked_by(
    stack: NginxStack, peer: str, status: int, methods: list[str]
) -> None:
    """It was GET for whoever was denied: the page of a denial is a request of nginx's own."""
    for method in methods:
        path = f"/shop/{status}/{method}"
        assert stack.ask(path, peer, method=method).status == status
        assert stack.nginx.log_of(path)["method"] == method[:32]


# Keep-alive


@pytest.mark.parametrize("peer", [OFFICE, BAD])
def test_many_requests_of_all_kinds_use_one_connection_to_the_sidecar(tmp_path: Path, peer: str) -> None:
    stack = NginxStack(tmp_path, "tcp")
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), Relay(stack.sidecar_port) as relay:
        server = f"server 127.0.0.1:{stack.sidecar_port};"
        assert stack.printed.count(server) == 1
        stack.printed = stack.printed.replace(server, f"server 127.0.0.1:{relay.port};")
        with stack:
            client = stack.client(peer)
            for number in range(60):
                body = [b"posted", None, [b"chunked"]][number % 3]
                reply = client.ask("/shop/", method="GET" if body is None else "POST", body=body)
                assert reply.status == (403 if peer == BAD else 200)
            client.close()
            assert relay.accepted == 1


# Failure


def test_without_a_sidecar_the_answer_is_an_error_as_json(alone: NginxStack) -> None:
    reply = alone.ask("/shop/", OFFICE)
    assert (reply.status, json.loads(reply.body)) == (503, {"error": "authorization_unavailable", "reason": ""})
    assert reply.headers["retry-after"] == "1"
    alone.publisher.publish(POLICY)
    with alone.start_sidecar():
        assert alone.ask("/shop/", OFFICE).status == 200  # at once: a sidecar that was away is not given up for a time


def test_without_a_snapshot_the_answer_has_the_reason(alone: NginxStack) -> None:
    with alone.start_sidecar():
        reply = alone.ask("/shop/", OFFICE)
        assert (reply.status, json.loads(reply.body)["reason"]) == (503, "no_snapshot")


# Other configurations of the sidecar


def test_a_socket_that_is_not_trusted_denies_everybody_as_the_printed_warning_says(tmp_path: Path) -> None:
    stack = NginxStack(tmp_path, "unix", [("trust_unix: true", "trust_unix: false")])
    assert "WARNING: client_address.trust_unix is off" in stack.printed
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        reply = stack.ask("/shop/", OFFICE)
        assert (reply.status, json.loads(reply.body)["reason"]) == (403, "peer_untrusted_transport")


@pytest.mark.parametrize(
    ("header", "forged"), [("x-real-ip", OFFICE), ("forwarded", f"for={OFFICE}"), ("cf-connecting-ip", OFFICE)]
)
def test_nginx_names_the_client_in_another_header_and_a_client_s_own_is_not_believed(
    tmp_path: Path, header: str, forged: str
) -> None:
    stack = NginxStack(tmp_path, "tcp", [("client_address: {", f"client_address: {{header: {header}, ")])
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        for peer in (BAD, "2001:db8:bad::7"):
            assert stack.ask_with("/shop/", [(header, forged)], peer).status == 403
        for peer in (OFFICE, "2001:db8:1::7"):
            assert stack.ask("/shop/", peer).status == 200
            assert stack.upstream.last().headers["x-authz-client-address"] == peer


def test_the_signal_of_a_waf_reaches_the_sidecar_and_what_is_secret_does_not_stop_keep_alive(tmp_path: Path) -> None:
    stack = NginxStack(tmp_path, "tcp", [("drain:", "attack_signal: {header: x-waf-attack}\ndrain:")])
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), Relay(stack.sidecar_port) as relay:
        stack.printed = stack.printed.replace(f":{stack.sidecar_port};", f":{relay.port};")
        with stack:
            client = stack.client(UNKNOWN)
            for number in range(30):
                body = [b"posted", None, [b"chunked"]][number % 3]
                headers = [("X-WAF-Attack", str(number % 2)), ("X-Authz-Application", "api"), ("Cookie", "a=1")]
                reply = client.ask("/shop/", headers, method="GET" if body is None else "POST", body=body)
                expected = (403, "attack") if number % 2 else (200, None)
                assert (reply.status, reply.headers.get("x-authz-reason")) == expected
            client.close()
            assert relay.accepted == 1


# Kept answers


@pytest.mark.parametrize("over", ["tcp", "header"])
def test_kept_answers_spare_questions_and_hold_for_the_client_they_were_given_to(tmp_path: Path, over: str) -> None:
    changed = [("unix_mode: 666", "unix_mode: 666, cache: 2s")]
    with NginxStack(tmp_path, over, changed) as stack, contextlib.ExitStack() as running:
        stack.publisher.publish(POLICY)
        sidecar = running.enter_context(stack.start_sidecar())
        for _ in range(100):
            assert stack.ask("/shop/", OFFICE).status == 200
            assert stack.ask("/shop/", BAD).status == 403
            assert stack.ask("/api/", OFFICE).status == 200
            assert stack.ask("/api/", UNKNOWN).status == 403
            assert stack.ask("/shop/", UNKNOWN, xff=OFFICE).status == 200
        text = ask(sidecar.ports["admin"], "/metrics").body.decode()
        asked = sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("authz_decisions_"))
        assert asked < 250
        assert stack.ask("/shop/", OFFICE).status == 200
        assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE
        stack.publisher.publish(POLICY + "  - {id: ban, list: deny, networks: [198.51.100.77]}\n")
        wait_for(lambda: stack.ask("/shop/", UNKNOWN).status == 403, "the ban, once what is kept is over")


def test_two_requests_with_other_headers_never_share_a_kept_answer(tmp_path: Path) -> None:
    """With parts joined by spaces, these two had one key: what is in one header here is in two there."""
    signal = "drain:", "attack_signal: {header: x-waf-attack}\ndrain:"
    with NginxStack(tmp_path, "tcp", [("unix_mode: 666", "unix_mode: 666, cache: 5s"), signal]) as stack:
        stack.publisher.publish(POLICY)
        allowed = OFFICE, f"q {OFFICE}, {BALANCER} t {OFFICE}, {BALANCER} q"
        unreadable = f"{OFFICE}, {BALANCER} q {OFFICE}", "t"
        with stack.start_sidecar():
            for (forwarded, attack), status in ((allowed, 200), (unreadable, 403)):
                headers = [("X-Forwarded-For", forwarded), ("X-WAF-Attack", attack)]
                assert stack.ask_with("/shop/", headers, BALANCER).status == status


def test_made_up_headers_leave_no_kept_answers_behind(tmp_path: Path) -> None:
    """Each X-Forwarded-For has a key of its own: one client could fill the folder, a file for each request."""
    with NginxStack(tmp_path, "tcp", [("unix_mode: 666", "unix_mode: 666, cache: 5s")]) as stack:
        stack.publisher.publish(POLICY)
        with stack.start_sidecar(), contextlib.closing(stack.client(UNKNOWN)) as client:
            for number in range(200):
                assert client.ask("/shop/", [("X-Forwarded-For", f"192.0.2.{number}")]).status == 200
            assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
            for _ in range(3):
                assert client.ask("/shop/", [("X-Forwarded-For", "192.0.2.1")]).status == 200
            assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


def test_a_flood_of_idle_connections_neither_locks_nginx_out_nor_costs_it_a_request(tmp_path: Path) -> None:
    """Its kept connections end now and then, and it sends the request again on a new one, which gets a place."""
    places = "unix_mode: 666, max_connections: 48, max_connections_per_peer: 48"  # more than are busy at once
    stack = NginxStack(tmp_path, "tcp", [("unix_mode: 666", places)])
    stack.publisher.publish(POLICY)
    asked = b"GET /v1/auth/shop HTTP/1.1\r\nHost: a\r\n\r\n"
    with stack.start_sidecar(), stack, contextlib.ExitStack() as flood:
        address = "127.0.0.1", stack.sidecar_port
        for _ in range(48):
            flood.enter_context(socket.create_connection(address)).sendall(asked)
        with Traffic(lambda: stack.client(OFFICE), "/shop/") as traffic:
            for number in range(200):
                hostile = flood.enter_context(socket.create_connection(address))
                if number % 2:
                    with contextlib.suppress(OSError):
                        hostile.sendall(asked)
                if number % 20 == 0:
                    traffic.wait_for_more(10)
            traffic.wait_for_more(50)
        assert traffic.failures == []
        assert {reply.status for reply in traffic.replies} == {200}
