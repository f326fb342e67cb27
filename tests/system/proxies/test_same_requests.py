"""The same requests through every proxy, with the configurations that are printed: the same answers and clients."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from hpack import Decoder
from support.processes import LOOPBACK, PATIENCE
from support.proxies.client import Client
from support.proxies.every import PROXIES
from support.proxies.same_requests import (
    ADMIN,
    BAD,
    BAD6,
    BALANCER,
    BALANCER6,
    EXCEPTION,
    OFFICE,
    OFFICE6,
    OTHER,
    SCRAPER,
    UNKNOWN,
    Case,
    Stack,
)  # fmt: skip
from support.sidecar.http2 import END, HEADERS, PREFACE, RESET, WHOLE, frame, raw_block, read_frames, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = {
    "*": (403, b"no\n", "text/plain"),
    "shop": (403, b'Not from {client}: $5, "x" \\ {} ; done.\n', "text/plain"),
    "admin": (404, b'{"error":"not found"}', "application/json"),
    "quiet": (429, b"", None),
}

CASES = [
    # By path, from a peer that is the client.
    Case(UNKNOWN, "/shop", "shop", UNKNOWN),
    Case(UNKNOWN, "/shop/", "shop", UNKNOWN),
    Case(OFFICE, "/shop/cart?item=1", "shop", OFFICE),
    Case(BAD, "/shop/cart", "shop", None),
    Case(EXCEPTION, "/shop/cart", "shop", EXCEPTION),
    Case(SCRAPER, "/shop", "shop", None),
    Case(SCRAPER, "/shop/deep/er?x=/api", "shop", None),
    Case(SCRAPER, "/shopping", "*", SCRAPER),
    Case(SCRAPER, "/SHOP", "*", SCRAPER),
    Case(SCRAPER, "/", "*", SCRAPER),
    Case(SCRAPER, "/x/shop", "*", SCRAPER),
    Case(BAD, "/", "*", None),
    Case(BAD, "/elsewhere?q=shop", "*", None),
    Case(BAD, "/api", "api", BAD),  # dry run
    Case(SCRAPER, "/api/v1", "api", SCRAPER),
    Case(UNKNOWN, "/quiet", "quiet", None),
    Case(OFFICE, "/quiet/x", "quiet", OFFICE),
    Case(OFFICE, "/shop/a%20b", "shop", OFFICE),
    # By host, whatever the path.
    Case(UNKNOWN, "/", "admin", None, host=ADMIN),
    Case(UNKNOWN, "/shop", "admin", None, host=ADMIN),
    Case(UNKNOWN, "/api/x", "admin", None, host="ADMIN.example.com"),
    Case(UNKNOWN, "/quiet", "admin", None, host=f"{ADMIN}:8080"),
    Case(OFFICE, "/shop", "admin", OFFICE, host=ADMIN),
    Case(OFFICE, "/", "admin", OFFICE, host="back.example.com"),
    Case(UNKNOWN, "/", "admin", None, host="back.example.com"),
    Case(UNKNOWN, "/", "*", UNKNOWN, host="xadmin.example.com"),
    # Methods.
    Case(OFFICE, "/shop", "shop", OFFICE, method="POST"),
    Case(BAD, "/shop", "shop", None, method="POST"),
    Case(OFFICE, "/shop", "shop", OFFICE, method="DELETE"),
    Case(BAD, "/shop", "shop", None, method="PUT"),
    # Who is the client.
    Case(BAD, "/shop", "shop", None, OFFICE),
    Case(OFFICE, "/shop", "shop", OFFICE, BAD),
    Case(BALANCER, "/shop", "shop", None, BAD),
    Case(BALANCER, "/shop", "shop", OFFICE, OFFICE),
    Case(BALANCER, "/shop", "shop", None, f"{OFFICE}, {BAD}"),
    Case(BALANCER, "/shop", "shop", OFFICE, f"{BAD}, {OFFICE}"),
    Case(BALANCER, "/shop", "shop", OFFICE, f"{OFFICE}, 10.9.9.9"),
    Case(BALANCER, "/shop", "shop", None, f"{BAD},10.9.9.9 , 10.8.8.8"),
    Case(BALANCER, "/shop", "shop", UNKNOWN, f"junk, {UNKNOWN}"),
    Case(BALANCER, "/shop", "shop", None, "junk"),
    Case(BALANCER, "/shop", "shop", None, f"{OFFICE}, unknown"),
    Case(BALANCER, "/shop", "shop", OFFICE, f"::ffff:{OFFICE}"),
    Case(BALANCER, "/shop", "shop", OFFICE6, f"[{OFFICE6}]:443"),
    Case(BALANCER, "/shop", "shop", None, BAD6),
    Case(BALANCER6, "/shop", "shop", OFFICE, OFFICE),
    Case(OFFICE6, "/shop", "shop", OFFICE6),
    Case(BAD6, "/shop", "shop", None),
    # From this machine, where TLS may have ended before.
    Case(None, "/shop", "shop", None, BAD),
    Case(None, "/shop", "shop", EXCEPTION, EXCEPTION),
    Case(None, "/", "admin", None, UNKNOWN, host=ADMIN),
]


@pytest.fixture(scope="module", params=PROXIES)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp(request.param), request.param)
    yield stack
    stack.close()


def denied_client(case: Case) -> str:
    """Return what the page calls the client of a denied request: the last of its chain that is no trusted proxy."""
    chain = [*(case.forwarded or "").replace(" ", "").split(","), case.peer or "127.0.0.1"]
    untrusted = [address for address in chain if not address.startswith(("10.", "127.", "2001:db8:10:"))]
    return untrusted[-1] if untrusted[-1] not in {"junk", "unknown"} else "unknown"


def test_there_are_fifty() -> None:
    assert len(CASES) == 50


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{CASES.index(case):02}")
def test_the_same_requests_get_the_same_answers_and_clients_through_every_proxy(stack: Stack, case: Case) -> None:
    before = len(stack.upstream.seen)
    reply = stack.ask(case)
    if case.client is None:
        status, body, content_type = PAGES[case.application]
        assert (reply.status, reply.body) == (status, body.replace(b"{client}", denied_client(case).encode()))
        if content_type is not None:
            assert reply.headers["content-type"] == content_type
        assert {name for name in reply.headers if name.startswith("x-authz-")} <= {"x-authz-reason"}
        assert len(stack.upstream.seen) == before
        return
    assert (reply.status, reply.body) == (200, b"upstream\n")
    seen = stack.upstream.last()
    assert (seen.method, seen.path) == (case.method, case.path)
    told = {name: seen.headers.get(f"x-authz-{name}") for name in ("client-address", "application", "dry-run")}
    dry_run = "denylisted" if (case.application, case.client) == ("api", BAD) else None
    assert told == {"client-address": case.client, "application": case.application, "dry-run": dry_run}
    assert seen.headers["x-forwarded-for"].replace(" ", "").split(",")[-1] in {case.peer, "127.0.0.1"}


NAMES = [
    "client-address",
    "list",
    "application",
    "decision",
    "reason",
    "entry",
    "serial",
    "status",
    "layer",
    "warnings",
    "dry-run",
]


def test_no_header_that_a_client_made_up_to_look_like_ours_reaches_the_application(stack: Stack) -> None:
    forged = [(f"X-Authz-{name.title()}", "forged") for name in NAMES] + [("x_authz_list", "forged"), ("X-Kept", "1")]
    assert stack.ask(CASES[0], *forged).status == 200
    headers = stack.upstream.last().headers
    assert headers["x-kept"] == "1"
    assert {value for name, value in headers.items() if "authz" in name.replace("_", "-")} == {UNKNOWN, "none", "shop"}


OURS = ("client-address", "list", "application", "dry-run")


def test_no_client_can_have_our_headers_dropped_on_the_way_to_the_application(stack: Stack) -> None:
    """What `Connection` names, a proxy takes off again (RFC 9110, 7.6.1)."""
    before, dry_run = len(stack.upstream.seen), Case(BAD, "/api", "api", BAD)
    named = ", ".join(f"X-Authz-{name.title()}" for name in OURS)
    replies = [stack.ask(dry_run, ("Connection", text)) for text in (named, named.lower(), f"keep-alive, {named}")]
    assert {reply.status for reply in replies} <= {200, 400, 403}
    for seen in stack.upstream.seen[before:]:
        assert [seen.headers.get(f"x-authz-{name}") for name in OURS] == [BAD, "deny", "api", "denylisted"]


def test_no_client_can_have_its_address_dropped_on_the_way_to_the_sidecar(stack: Stack) -> None:
    """Of a trusted proxy that passes `Connection` on as it came, only its own address would be left."""
    before = len(stack.upstream.seen)
    for text in ("X-Forwarded-For", "keep-alive, x-forwarded-for", "upgrade,X-Forwarded-For"):
        for peer in (None, BALANCER):
            assert stack.ask(Case(peer, "/shop", "shop", None, BAD), ("Connection", text)).status in {400, 403}
    assert len(stack.upstream.seen) == before


@pytest.mark.parametrize("application", ["quiet", "api"])
def test_a_client_cannot_choose_its_application(stack: Stack, application: str) -> None:
    assert stack.ask(Case(SCRAPER, "/shop", "shop", None), ("X-Authz-Application", application)).status == 403
    forged = ("X-Forwarded-Host", "elsewhere.example.com"), ("X-Forwarded-Uri", "/api")
    assert stack.ask(Case(UNKNOWN, "/", "admin", None, host=ADMIN), *forged).status == 404


@pytest.mark.parametrize("peer", [None, BALANCER])
def test_nobody_behind_a_balancer_chooses_an_application_by_x_forwarded_host(stack: Stack, peer: str | None) -> None:
    """Balancers pass it on as it came; through Traefik and Caddy it was the host that the sidecar decided for."""
    forged = ("X-Forwarded-Host", ADMIN)
    assert stack.ask(Case(peer, "/", "*", UNKNOWN, UNKNOWN), forged).status == 200
    assert stack.upstream.last().headers["x-authz-application"] == "*"
    assert stack.ask(Case(peer, "/", "admin", None, UNKNOWN, host=ADMIN), ("X-Forwarded-Host", OTHER)).status == 404


PATHS = ["/shop/..%2fx", "/shop/%2e%2e/x", "/shop/..%5cx", "/api/..%2fshop", "/api/../shop", "//shop", "/./shop",
         "/api/%2e%2e/shop", "/%73hop", "/api/..;/shop", "/api/..%3b/shop", "/shop/../x"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_the_path_that_is_decided_is_the_one_that_is_forwarded_or_it_is_refused(stack: Stack, path: str) -> None:
    before = len(stack.upstream.seen)
    reply = stack.ask(Case(SCRAPER, path, "", None))
    if reply.status == 200:
        (seen,) = stack.upstream.seen[before:]
        assert seen.path in {"/x", "/api/..%3b/shop"}
        assert "shop" not in seen.path
    else:
        assert reply.status in {307, 400, 403}
        assert len(stack.upstream.seen) == before


PARAMETERS = ["/shop;x/cart", "/shop;", "/%73hop;x=1/cart", "/shop%3bx/cart", "/;/shop/cart", "/;x=1/shop"]


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters_in_a_path_lead_past_no_application(stack: Stack, path: str) -> None:
    """Applications in Java leave them out (RFC 3986, 3.3): /shop;x/cart and /;x/shop/cart are /shop/cart to them."""
    before = len(stack.upstream.seen)
    assert stack.ask(Case(SCRAPER, path, "", None)).status in {400, 403}
    assert len(stack.upstream.seen) == before


@pytest.mark.parametrize(
    ("path", "application"), [("/shop/cart;jsessionid=1", "shop"), ("/login;jsessionid=1?x=1", "*")]
)
def test_parameters_that_hide_no_application_are_let_through(stack: Stack, path: str, application: str) -> None:
    assert stack.ask(Case(OFFICE, path, application, OFFICE)).status == 200
    seen = stack.upstream.last()
    assert (seen.path, seen.headers["x-authz-application"]) == (path, application)


@pytest.mark.parametrize("path", ["/shop/%", "/shop/%zz", "/shop/%u0061", "/%73hop/%2", "/%u0073hop/x"])
def test_an_invalid_escape_hides_no_application(stack: Stack, path: str) -> None:
    """HAProxy found no application in such a path, decided by the general settings, and passed it on."""
    before = len(stack.upstream.seen)
    assert stack.ask(Case(SCRAPER, path, "", None)).status in {400, 403}
    assert len(stack.upstream.seen) == before


READ_INSTEAD = [
    ("X-Forwarded-Host", ADMIN),
    ("X_Forwarded_Host", ADMIN),
    ("X-Original-URL", "/quiet"),
    ("X-Rewrite-URL", "/quiet"),
    ("X_Rewrite_URL", "/quiet"),
]


@pytest.mark.parametrize("peer", [None, OFFICE, BALANCER])
def test_no_client_has_the_application_read_another_host_or_path_than_was_decided(
    stack: Stack, peer: str | None
) -> None:
    """Many frameworks take them for what was asked: Symfony and IIS the path, Express, Rails and Spring the host."""
    assert stack.ask(Case(peer, "/shop", "shop", OFFICE, OFFICE), *READ_INSTEAD).status == 200
    headers = stack.upstream.last().headers
    names = {name.lower().replace("_", "-") for name, _ in READ_INSTEAD}
    told = {name: value for name, value in headers.items() if name.replace("_", "-") in names}
    assert told in ({}, {"x-forwarded-host": OTHER})


def upgraded(port: int, client: str, *lines: str) -> bytes:
    """Ask for another protocol, and say something in it. Return what came."""
    head = ["GET /shop/x HTTP/1.1", f"Host: {OTHER}", f"X-Forwarded-For: {client}", *lines, "", ""]
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join(head).encode())
        came = connection.recv(65536)
        if came.startswith(b"HTTP/1.1 101 "):
            connection.sendall(b"unchecked")
            while not came.endswith(b"unchecked") and (data := connection.recv(65536)):
                came += data
        return came


WEBSOCKET = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
H2C = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")


def test_a_websocket_is_decided_once_and_then_passes(stack: Stack) -> None:
    port, before = stack.ports.edge, len(stack.upstream.seen)
    assert upgraded(port, BAD, "Connection: Upgrade", *WEBSOCKET).startswith(b"HTTP/1.1 403 ")
    assert len(stack.upstream.seen) == before
    came = upgraded(port, OFFICE, "Connection: Upgrade", *WEBSOCKET)
    assert came.startswith(b"HTTP/1.1 101 ")
    assert came.endswith(b"unchecked")
    assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE


@pytest.mark.parametrize("upgrades", [H2C, (*WEBSOCKET, *H2C), (*H2C, *WEBSOCKET), ("Upgrade: websocket, h2c",)])
def test_no_upgrade_to_http_2_leads_past_the_check(stack: Stack, upgrades: tuple[str, ...]) -> None:
    """Behind it a client would ask the application itself, for any path and with any header of ours."""
    before = len(stack.upstream.seen)
    upgraded(stack.ports.edge, OFFICE, "Connection: Upgrade, HTTP2-Settings", *upgrades)
    for seen in stack.upstream.seen[before:]:
        assert seen.headers.get("upgrade", "websocket").lower() == "websocket"


def http2_status(port: int, path: str, host: str, client: str, *more: tuple[str, str]) -> str:
    """Ask over HTTP/2 without TLS, which the proxy takes for what it is by how it begins."""
    asked = [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", path)]
    return http2_answer(port, [*asked, ("x-forwarded-for", client), *more])


def http2_answer(port: int, asked: list[tuple[str, str]]) -> str:
    """Send a request of these fields. Return the status, or "" where the stream or the connection is ended."""
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as connection:
        connection.sendall(PREFACE + settings() + frame(HEADERS, END | WHOLE, 1, raw_block(asked)))
        rest, decoder = b"", Decoder()
        while data := connection.recv(65536):
            frames, rest = read_frames(rest + data)
            for kind, _, _, payload in frames:
                if kind == HEADERS:
                    return {str(name): str(value) for name, value in decoder.decode(payload)}[":status"]
                if kind == RESET:
                    return ""
    return ""


def test_http_2_is_answered_as_http_1_is(stack: Stack, request: pytest.FixtureRequest) -> None:
    """HAProxy puts scheme and host before such a path, and what was printed refused that, all of it, as ambiguous."""
    proxy = request.node.callspec.params["stack"]
    if proxy in {"nginx", "caddy", "apache"}:
        pytest.skip(f"what is printed for {proxy} has no HTTP/2 without TLS")
    for case in (Case(None, "/shop/x?u=http://a//b", "shop", OFFICE, OFFICE), Case(None, "/shop", "shop", None, BAD),
                 Case(None, "/", "admin", None, UNKNOWN, ADMIN)):  # fmt: skip
        status = 200 if case.client else PAGES[case.application][0]
        assert http2_status(stack.ports.edge, case.path, case.host, str(case.forwarded)) == str(status)
        assert stack.ask(case).status == status
    assert http2_status(stack.ports.edge, "//shop", OTHER, SCRAPER) != "200"
    before = len(stack.upstream.seen)
    http2_status(stack.ports.edge, "/", OTHER, UNKNOWN, ("host", ADMIN))  # RFC 9113, 8.3.1: `:authority` counts
    assert {seen.headers["host"] for seen in stack.upstream.seen[before:]} <= {OTHER}


def test_connect_opens_no_way_past_the_check(stack: Stack, request: pytest.FixtureRequest) -> None:
    before = len(stack.upstream.seen)
    head = f"CONNECT {OTHER}:80 HTTP/1.1\r\nHost: {OTHER}:80\r\nX-Forwarded-For: {OFFICE}\r\n\r\n"
    with socket.create_connection((LOOPBACK, stack.ports.edge), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        assert not connection.recv(64).startswith(b"HTTP/1.1 200")
    if request.node.callspec.params["stack"] not in {"nginx", "caddy", "apache"}:
        asked = [(":method", "CONNECT"), (":authority", f"{OTHER}:80"), ("x-forwarded-for", OFFICE)]
        assert http2_answer(stack.ports.edge, asked) != "200"
    assert len(stack.upstream.seen) == before


def test_a_target_with_a_host_of_its_own_names_the_application_that_is_served(stack: Stack) -> None:
    """RFC 9112, 3.2.2: it counts, and not `Host`."""
    before = len(stack.upstream.seen)
    for target, host in ((f"http://{ADMIN}/shop", OTHER), (f"http://{OTHER}/shop", ADMIN), (f"http://{ADMIN}/", ADMIN)):
        assert stack.ask(Case(None, target, "", None, SCRAPER, host)).status in {400, 403, 404}
    assert len(stack.upstream.seen) == before
    stack.ask(Case(None, f"http://{ADMIN}/", "*", UNKNOWN, UNKNOWN))
    stack.ask(Case(None, f"http://{OTHER}/", "admin", None, UNKNOWN, ADMIN))
    assert {(seen.path, seen.headers["host"]) for seen in stack.upstream.seen[before:]} <= {("/", OTHER)}


HOSTS = ["admin.example.com..", "[admin.example.com]", "x@admin.example.com", "admin.example.com,x"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_could_be_taken_for_another_application_is_refused(stack: Stack, host: str) -> None:
    before = len(stack.upstream.seen)
    assert stack.ask(Case(UNKNOWN, "/shop", "", None, host=host)).status in {400, 403}
    assert len(stack.upstream.seen) == before


def test_one_connection_serves_allowed_and_denied_requests(stack: Stack) -> None:
    client = Client(stack.ports.edge)
    try:
        for number in range(20):
            forwarded = [("X-Forwarded-For", BAD if number % 2 else OFFICE)]
            assert client.ask("/shop", forwarded).status == (403 if number % 2 else 200)
    finally:
        client.close()


def test_deny_bodies_are_what_the_policy_says(stack: Stack) -> None:
    assert json.loads(stack.ask(Case(UNKNOWN, "/", "admin", None, host=ADMIN)).body) == {"error": "not found"}
