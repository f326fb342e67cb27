"""The real Envoy 1.40 with the printed configuration, asking a real sidecar over TCP, a unix socket and mutual TLS."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
from typing import TYPE_CHECKING, Any, Self

import pytest
from support.processes import LOOPBACK, Sidecar, free_port, has_ipv6, wait_for
from support.proxies.certificates import make_certificate
from support.proxies.client import Client, Reply, Traffic, ask
from support.proxies.envoy import Envoy, adapt_envoy, check_of, endpoint_of
from support.proxies.upstream import Upstream
from support.publisher import Publisher

from authz.cli.proxy_config import render
from authz.serve.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com], deny: {status: 403, body: "Not from here.\\n"}}
  admin: {default: deny, deny: {status: 404, body: '{"error":"not found"}', content_type: application/json}}
  api: {dry_run: true}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], except: [203.0.113.10]}
  - {id: scrapers, list: deny, networks: [198.51.100.20-198.51.100.29], applications: [shop]}
  - {id: watched, list: deny, networks: [198.51.100.200], action: warn}
"""
BANNED = POLICY + "  - {id: banned, list: deny, networks: [198.51.100.77], applications: [shop]}\n"
CONFIG = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}}
grpc: {grpc}
http: {{listen: "off"}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [10.0.0.0/8, 127.0.0.1, "2001:db8:10::/48"]}}
decision_log: {{path: "off"}}
drain: 0s
"""
TLS = "tls: {certificate: grpc.pem, key: grpc.key, client_ca: envoy.pem}"  # both sides show a certificate

SOCKET = "it's %REQ(x)% {a: b} #1.sock"  # its name must not mean anything to Envoy

UNKNOWN = "198.51.100.77"  # on no list
OFFICE = "192.0.2.5"
BAD = "203.0.113.9"
SCRAPER = "198.51.100.25"
BALANCER = "10.0.0.1"  # a trusted proxy


class Stack:
    """An application, an Envoy before it, and a publisher and a sidecar beside it, in one folder.

    changed: parts of the sidecar's configuration, and what stands there instead.
    """

    def __init__(self, folder: Path, over: str, changed: Sequence[tuple[str, str]] = ()) -> None:
        self.folder = folder
        self.publisher = Publisher(folder)
        listen = f"unix:{SOCKET}" if over == "unix" else f"127.0.0.1:{free_port()}"
        grpc = f'{{listen: "{listen}"{", " + TLS if over == "tls" else ""}}}'
        for name in ("grpc", "envoy") if over == "tls" else ():
            make_certificate(folder, name)
        self.sidecar_config = CONFIG.format(grpc=grpc)
        for old, new in changed:
            assert old in self.sidecar_config
            self.sidecar_config = self.sidecar_config.replace(old, new)
        (folder / "authz.yaml").write_text(self.sidecar_config)
        self.upstream = Upstream()
        self.printed = render("envoy", load_config(folder / "authz.yaml", {}))
        self.envoy_config = adapt_envoy(self.printed, self.upstream)
        self.envoy: Envoy

    def start_sidecar(self) -> Sidecar:
        """Start a sidecar; the caller ends it."""
        return Sidecar(self.folder, self.sidecar_config)

    def ask(self, path: str, peer: str = UNKNOWN, xff: str | None = None, **more: Any) -> Reply:
        """Ask Envoy, which takes us for `peer`."""
        headers = [] if xff is None else [("X-Forwarded-For", xff)]
        return ask(self.envoy.ports["proxied"], path, headers, peer=peer, **more)

    def client(self, peer: str = UNKNOWN) -> Client:
        """Return a kept connection."""
        return Client(self.envoy.ports["proxied"], peer=peer)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.upstream)
            self.envoy = stack.enter_context(Envoy(self.folder, self.envoy_config))
            self._running = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()


@pytest.fixture(scope="module", params=["tcp", "unix", "tls"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, running; shared by the tests that change nothing."""
    stack = Stack(tmp_path_factory.mktemp("envoy"), request.param)
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop").status == 200, "the first answer")
        yield stack


@pytest.fixture(params=["tcp", "unix"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """An Envoy without a sidecar yet, for the tests that start and stop one."""
    with Stack(tmp_path, request.param) as stack:
        yield stack


# Allow and deny


def test_an_allowed_request_reaches_the_application_which_is_told_what_was_decided(stack: Stack) -> None:
    reply = stack.ask("/shop/cart?item=1", OFFICE)
    assert (reply.status, reply.body) == (200, b"upstream\n")
    seen = stack.upstream.last()
    assert (seen.method, seen.path) == ("GET", "/shop/cart?item=1")
    told = {name: value for name, value in seen.headers.items() if name.startswith("x-authz-")}
    assert told == {"x-authz-client-address": OFFICE, "x-authz-list": "allow", "x-authz-application": "shop"}
    stack.ask("/shop", UNKNOWN)
    assert stack.upstream.last().headers["x-authz-list"] == "none"


def test_a_denied_client_sees_the_status_body_and_reason_of_the_application(stack: Stack) -> None:
    before = len(stack.upstream.seen)
    denied = stack.ask("/shop", BAD)
    assert (denied.status, denied.body) == (403, b"Not from here.\n")
    assert (denied.headers["x-authz-reason"], denied.headers["content-type"]) == ("denylisted", "text/plain")
    denied = stack.ask("/", UNKNOWN, host="admin.example.com")
    assert (denied.status, denied.body) == (404, b'{"error":"not found"}')
    assert (denied.headers["x-authz-reason"], denied.headers["content-type"]) == ("default_deny", "application/json")
    assert len(stack.upstream.seen) == before


def test_a_request_with_a_body_is_decided_before_the_body_is_passed_on(stack: Stack) -> None:
    assert stack.ask("/shop", OFFICE, method="POST", body=b"a" * 10000).status == 200
    assert stack.upstream.last().body == b"a" * 10000
    assert stack.ask("/shop", OFFICE, method="POST", body=[b"in ", b"parts"]).status == 200
    assert stack.upstream.last().body == b"in parts"
    assert stack.ask("/shop", BAD, method="POST", body=b"a" * 10000).status == 403


# Which application


def test_an_application_is_named_by_the_route(stack: Stack) -> None:
    assert stack.ask("/shop", SCRAPER).headers["x-authz-reason"] == "denylisted"
    assert stack.ask("/shop/deep/er", SCRAPER).status == 403
    assert stack.ask("/shopping", SCRAPER).status == 200
    assert stack.upstream.last().headers["x-authz-application"] == "*"
    assert stack.ask("/api", SCRAPER).status == 200
    assert stack.upstream.last().headers["x-authz-application"] == "api"


@pytest.mark.parametrize(
    "host",
    [
        "admin.example.com",
        "admin.example.com:8080",
        "ADMIN.example.com",
        "admin.example.com.",
        "admin.example.com:",
        "admin.example.com.:",
    ],
)
def test_an_application_is_named_by_the_virtual_host_however_the_host_is_written(stack: Stack, host: str) -> None:
    assert stack.ask("/shop", UNKNOWN, host=host).status == 404
    assert stack.ask("/shop", OFFICE, host=host).status == 200
    assert stack.upstream.last().headers["x-authz-application"] == "admin"


@pytest.mark.parametrize(
    "host", ["shop.example.com", "shop.example.com:1", "SHOP.example.com", "shop.example.com.", "shop.example.com:"]
)
def test_a_request_whose_route_names_none_is_of_the_application_that_has_its_host(stack: Stack, host: str) -> None:
    assert stack.ask("/elsewhere", SCRAPER, host=host).status == 403
    assert stack.ask("/elsewhere", SCRAPER, host="other.example.com").status == 200


@pytest.mark.parametrize("path", ["/healthz/../shop", "/healthz/%2e%2e/shop", "//shop", "/./shop", "/api/../shop"])
def test_a_path_written_otherwise_does_not_get_around_its_route(stack: Stack, path: str) -> None:
    assert stack.ask(path, SCRAPER).status == 403


def test_a_step_up_that_only_some_applications_see_is_refused_or_taken(stack: Stack) -> None:
    before = len(stack.upstream.seen)
    assert stack.ask("/shop/..%3b/x", OFFICE).status == 400
    assert len(stack.upstream.seen) == before
    assert stack.ask("/shop/..;/x", SCRAPER).status == 200
    assert (stack.upstream.last().path, stack.upstream.last().headers["x-authz-application"]) == ("/x", "*")


@pytest.mark.parametrize(
    "host",
    ["admin.example.com..", "[admin.example.com]", "x@admin.example.com", "a,admin.example.com", "admin.example.co:a"],
)
def test_envoy_refuses_a_host_that_could_be_taken_for_another(stack: Stack, host: str) -> None:
    """`Host: admin.example.com..` with /shop/x was decided as `shop`, and the application got `admin.example.com.`."""
    before = len(stack.upstream.seen)
    assert stack.ask("/shop/x", OFFICE, host=host).status == 400
    assert len(stack.upstream.seen) == before


def test_escaped_slashes_are_sent_back_to_be_asked_for_as_they_are_meant(stack: Stack) -> None:
    reply = stack.ask("/healthz%2f..%2fshop", SCRAPER)
    assert (reply.status, reply.headers["location"]) == (307, "/shop")


def test_an_exempted_route_is_answered_without_asking(stack: Stack) -> None:
    reply = stack.ask("/healthz", BAD)
    assert (reply.status, reply.body) == (200, b"ok\n")
    assert stack.envoy.log_of("/healthz")["decision"] is None


# Who is the client


def test_a_peer_that_is_no_trusted_proxy_is_the_client_whatever_its_headers_say(stack: Stack) -> None:
    assert stack.ask("/shop", BAD, OFFICE).status == 403
    assert stack.ask("/shop", OFFICE, BAD).status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (BAD, BAD),
        (f"{OFFICE}, {BAD}", BAD),
        (f"{BAD}, {OFFICE}", OFFICE),
        (f"{BAD}, 10.9.9.9", BAD),
        (f"junk, {UNKNOWN}", UNKNOWN),
        (f"{OFFICE}:4711", OFFICE),
        ("[2001:db8:1::5]:443, 10.0.0.2", "2001:db8:1::5"),
        (f"::ffff:{BAD}", BAD),
    ],
)
def test_a_trusted_peer_says_who_the_client_is(stack: Stack, forwarded: str, client: str) -> None:
    reply = stack.ask("/shop", BALANCER, forwarded)
    assert reply.status == (403 if client == BAD else 200)
    if reply.status == 200:
        assert stack.upstream.last().headers["x-authz-client-address"] == client


@pytest.mark.parametrize("forwarded", ["junk", "unknown", f"{OFFICE}, junk", "fe80::1%eth0", "010.0.0.1"])
def test_a_chain_that_cannot_be_read_where_it_must_be_is_denied(stack: Stack, forwarded: str) -> None:
    reply = stack.ask("/shop", BALANCER, forwarded)
    assert (reply.status, reply.headers["x-authz-reason"]) == (403, "client_unresolved")


def test_several_lines_of_the_header_are_one_chain(stack: Stack) -> None:
    lines = [("X-Forwarded-For", OFFICE), ("x-forwarded-for", BAD)]
    assert ask(stack.envoy.ports["proxied"], "/shop", lines, peer=BALANCER).status == 403


def test_ipv6_peers_and_clients_are_decided_like_any_other(stack: Stack) -> None:
    assert stack.ask("/shop", "2001:db8:bad::7").status == 403
    assert stack.ask("/shop", "2001:db8:1:0:0::7").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == "2001:db8:1::7"
    assert stack.ask("/shop", "2001:db8:10::1", "2001:db8:bad::8").status == 403
    assert stack.ask("/shop", "2001:db8:10::1", OFFICE).status == 200


def test_an_ipv4_peer_that_looks_like_ipv6_is_the_ipv4_address(stack: Stack) -> None:
    assert stack.ask("/shop", f"::ffff:{BAD}").status == 403
    assert stack.ask("/shop", "::ffff:10.0.0.1", OFFICE).status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
def test_listeners_for_ipv6_and_for_both_families_tell_the_peer(stack: Stack) -> None:
    assert ask(stack.envoy.ports["edge6"], "/shop", address="::1").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == "::1"
    assert ask(stack.envoy.ports["mapped"], "/shop").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == LOOPBACK


@pytest.mark.parametrize("listener", ["edge", "mapped"])
def test_a_peer_on_this_machine_says_who_the_client_is(stack: Stack, listener: str) -> None:
    """Envoy appends its own address for a peer on loopback: that was the client, and a denied one got 200."""
    if listener not in stack.envoy.ports:
        pytest.skip("needs IPv6 on loopback")
    port = stack.envoy.ports[listener]
    assert ask(port, "/shop", [("X-Forwarded-For", BAD)]).status == 403
    assert ask(port, "/shop", [("X-Forwarded-For", OFFICE)]).status == 200
    headers = stack.upstream.last().headers
    assert headers["x-authz-client-address"] == OFFICE
    assert headers["x-forwarded-for"].replace(" ", "").removeprefix(f"{OFFICE},") in {LOOPBACK, f"::ffff:{LOOPBACK}"}


# What a client made up


def test_headers_that_a_client_made_up_to_look_like_ours_do_not_reach_the_application(stack: Stack) -> None:
    names = ["client-address", "list", "application", "decision", "reason", "entry", "serial", "status", "is-admin"]
    forged = [(f"X-Authz-{name}", "forged") for name in names]
    forged += [("x_authz_list", "forged"), ("X-Authz_List", "forged"), ("x-kept", "kept")]
    reply = ask(stack.envoy.ports["proxied"], "/shop", forged, peer=UNKNOWN)
    assert reply.status == 200
    headers = stack.upstream.last().headers
    assert headers["x-kept"] == "kept"
    ours = {name: value for name, value in headers.items() if "authz" in name}
    assert ours == {"x-authz-client-address": UNKNOWN, "x-authz-list": "none", "x-authz-application": "shop"}


def test_cookies_and_tokens_reach_the_application_and_not_the_sidecar(stack: Stack) -> None:
    secrets = [("Cookie", "a=1"), ("Authorization", "Bearer x")]
    assert ask(stack.envoy.ports["proxied"], "/shop", secrets, peer=UNKNOWN).status == 200
    headers = stack.upstream.last().headers
    assert (headers["cookie"], headers["authorization"]) == ("a=1", "Bearer x")
    manager = stack.envoy_config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert check_of(manager)["allowed_headers"] == {
        "patterns": [
            {"exact": "x-forwarded-for", "ignore_case": True},
            {"prefix": "x-authz-", "ignore_case": True},
            {"exact": "x-request-id"},
        ]
    }


# What is reported


def test_the_access_log_has_the_decision(stack: Stack) -> None:
    stack.ask("/shop/denied", SCRAPER)
    entry = stack.envoy.log_of("/shop/denied")
    wanted = {
        "status": 403,
        "details": "ext_authz_denied",
        "peer": SCRAPER,
        "decision": "deny",
        "reason": "denylisted",
        "list": "deny",
        "entry": "scrapers",
        "client": SCRAPER,
        "application": "shop",
        "enforced": True,
        "warnings": [],
    }
    assert {name: entry[name] for name in wanted} == wanted
    assert entry["serial"] >= 1
    assert int(entry["authz_us"]) > 0
    stack.ask("/shop/allowed", OFFICE)
    entry = stack.envoy.log_of("/shop/allowed")
    assert (entry["decision"], entry["list"], entry["entry"], entry["status"]) == ("allow", "allow", "office", 200)


def test_an_entry_that_warns_lets_in_and_is_reported(stack: Stack) -> None:
    assert stack.ask("/shop/watched", "198.51.100.200").status == 200
    entry = stack.envoy.log_of("/shop/watched")
    assert (entry["decision"], entry["reason"], entry["warnings"]) == ("allow", "default_allow", ["watched"])


def test_an_application_under_dry_run_lets_in_and_says_what_it_would_have_done(stack: Stack) -> None:
    assert stack.ask("/api/dry", BAD).status == 200
    assert stack.upstream.last().headers["x-authz-list"] == "deny"
    entry = stack.envoy.log_of("/api/dry")
    assert (entry["decision"], entry["reason"], entry["enforced"], entry["entry"]) == (
        "allow",
        "denylisted",
        False,
        "bad",
    )


# Reload, failure, restart


def test_no_request_fails_while_snapshots_are_replaced_and_each_takes_effect(stack: Stack) -> None:
    with Traffic(stack.client, "/shop") as traffic:
        for policy in (BANNED, POLICY, BANNED, POLICY, BANNED, POLICY):
            stack.publisher.publish(policy)
            wait_for(functools.partial(answered, stack, 403 if policy is BANNED else 200), "the new decision")
            traffic.wait_for_more(200)
    assert traffic.failures == []
    answers = {(reply.status, reply.headers.get("x-authz-reason")) for reply in traffic.replies}
    assert answers == {(200, None), (403, "denylisted")}


def answered(stack: Stack, status: int) -> bool:
    return stack.ask("/shop").status == status


def errors(stack: Stack) -> int:
    return stack.envoy.stat("http.edge.ext_authz.authz.error")


def test_without_a_sidecar_nobody_is_let_in_and_it_is_no_denial(alone: Stack) -> None:
    reply = alone.ask("/shop", OFFICE)
    assert (reply.status, reply.body) == (503, b"")
    assert errors(alone) == 1
    assert alone.ask("/healthz", OFFICE).status == 200
    alone.publisher.publish(POLICY)
    with alone.start_sidecar() as sidecar:
        wait_for(lambda: alone.ask("/shop", OFFICE).status == 200, "a sidecar that came")
        assert alone.ask("/shop", BAD).status == 403
        os.kill(sidecar.popen.pid, signal.SIGKILL)
        sidecar.wait()
        assert alone.ask("/shop", OFFICE).status == 503
        assert alone.ask("/shop", BAD).status == 503
    with alone.start_sidecar():
        wait_for(lambda: alone.ask("/shop", OFFICE).status == 200, "a sidecar that came back")
        assert alone.ask("/shop", BAD).status == 403
    assert alone.upstream.seen != []
    assert {seen.headers["x-authz-client-address"] for seen in alone.upstream.seen} == {OFFICE}


def test_without_a_snapshot_it_cannot_decide_and_says_so_until_one_comes(alone: Stack) -> None:
    with alone.start_sidecar() as sidecar:
        wait_for(lambda: "x-authz-reason" in alone.ask("/shop", OFFICE).headers, "an answer of the sidecar")
        before = errors(alone)
        reply = alone.ask("/shop/undecided", OFFICE)
        assert (reply.status, reply.headers["x-authz-reason"]) == (503, "no_snapshot")
        assert errors(alone) == before + 1
        assert alone.envoy.stat("http.edge.ext_authz.authz.denied") == 0
        assert alone.envoy.log_of("/shop/undecided")["details"] == "ext_authz_error"
        ready = ask(sidecar.ports["admin"], "/readyz")
        assert (ready.status, json.loads(ready.body)["ready"]) == (503, False)
        alone.publisher.publish(POLICY)
        wait_for(lambda: alone.ask("/shop", OFFICE).status == 200, "an answer by the first snapshot")
        assert alone.ask("/shop", BAD).status == 403
        assert ask(sidecar.ports["admin"], "/readyz").status == 200


def test_no_request_fails_while_one_of_two_sidecars_drains_and_ends(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    stack, other = Stack(first, "unix", [("drain: 0s", "drain: 2s")]), Stack(second, "unix")
    authz = stack.envoy_config["static_resources"]["clusters"][0]
    authz["load_assignment"]["endpoints"][0]["lb_endpoints"].append(
        {"endpoint": {"address": endpoint_of(other.envoy_config["static_resources"]["clusters"][0])}}
    )
    for one in (stack, other):
        one.publisher.publish(POLICY)
    with other.upstream, stack.start_sidecar() as ending, other.start_sidecar(), stack:
        wait_for(lambda: stack.envoy.stat("cluster.authz.membership_healthy") == 2, "both healthy")
        with Traffic(stack.client, "/shop") as traffic:
            traffic.wait_for_more(200)
            ending.popen.terminate()
            assert ending.wait() == 0
            traffic.wait_for_more(200)
        assert traffic.failures == []
        assert {reply.status for reply in traffic.replies} == {200}
        assert stack.envoy.stat("cluster.authz.membership_healthy") == 1


# Other configurations of the sidecar


def test_envoy_s_own_idea_of_the_client_is_believed_and_a_client_s_is_not(tmp_path: Path) -> None:
    header = "x-envoy-external-address"
    stack = Stack(tmp_path, "unix", [("client_address: {", f"client_address: {{header: {header}, ")])
    for listener in stack.envoy_config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        assert manager["xff_num_trusted_hops"] == 0
        manager["xff_num_trusted_hops"] = 1  # as the printed note says: BALANCER is before it
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop", BALANCER, OFFICE).status == 200, "the first answer")
        assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE
        forged = [("X-Forwarded-For", BAD), (header, OFFICE)]
        assert ask(stack.envoy.ports["proxied"], "/shop", forged, peer=BALANCER).status == 403
        assert ask(stack.envoy.ports["proxied"], "/shop", [(header, OFFICE)], peer=BAD).status == 403


def test_the_signal_of_a_waf_reaches_the_sidecar(tmp_path: Path) -> None:
    stack = Stack(tmp_path, "unix", [("drain:", "attack_signal: {header: x-waf-attack}\ndrain:")])
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop").status == 200, "the first answer")
        for signal_, expected in (("1", (403, "attack")), ("0", (200, None))):
            reply = ask(stack.envoy.ports["proxied"], "/shop", [("X-WAF-Attack", signal_)], peer=UNKNOWN)
            assert (reply.status, reply.headers.get("x-authz-reason")) == expected
