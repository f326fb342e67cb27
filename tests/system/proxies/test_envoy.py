"""The real Envoy 1.40 with the printed configuration, asking a real sidecar over TCP, a unix socket and mutual TLS.

What Envoy and nginx have in common is in test_client_address, test_interruptions and test_same_requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import LOOPBACK, has_ipv6, wait_for
from support.proxies.client import Traffic, ask
from support.proxies.programs.envoy import check_of, endpoint_of
from support.proxies.stack import BAD, BALANCER, OFFICE, POLICY, SCRAPER, UNKNOWN, EnvoyStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=["tcp", "unix", "tls"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyStack]:
    """Everything, running; shared by the tests that change nothing."""
    stack = EnvoyStack(tmp_path_factory.mktemp("envoy"), request.param)
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop").status == 200, "the first answer")
        yield stack


@pytest.fixture(params=["tcp", "unix"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EnvoyStack]:
    """An Envoy without a sidecar yet, for the tests that start and stop one."""
    with EnvoyStack(tmp_path, request.param) as stack:
        yield stack


# Allow and deny


def test_an_allowed_request_reaches_the_application_which_is_told_what_was_decided(stack: EnvoyStack) -> None:
    reply = stack.ask("/shop/cart?item=1", OFFICE)
    assert (reply.status, reply.body) == (200, b"upstream\n")
    seen = stack.upstream.last()
    assert (seen.method, seen.path) == ("GET", "/shop/cart?item=1")
    told = {name: value for name, value in seen.headers.items() if name.startswith("x-authz-")}
    assert told == {"x-authz-client-address": OFFICE, "x-authz-list": "allow", "x-authz-application": "shop"}
    stack.ask("/shop", UNKNOWN)
    assert stack.upstream.last().headers["x-authz-list"] == "none"


def test_a_denied_client_sees_the_status_body_and_reason_of_the_application(stack: EnvoyStack) -> None:
    before = len(stack.upstream.seen)
    denied = stack.ask("/shop", BAD)
    assert (denied.status, denied.body) == (403, b"Not from here.\n")
    assert (denied.headers["x-authz-reason"], denied.headers["content-type"]) == ("denylisted", "text/plain")
    denied = stack.ask("/", UNKNOWN, host="admin.example.com")
    assert (denied.status, denied.body) == (404, b'{"error":"not found"}')
    assert (denied.headers["x-authz-reason"], denied.headers["content-type"]) == ("default_deny", "application/json")
    assert len(stack.upstream.seen) == before


def test_a_request_with_a_body_is_decided_before_the_body_is_passed_on(stack: EnvoyStack) -> None:
    assert stack.ask("/shop", OFFICE, method="POST", body=b"a" * 10000).status == 200
    assert stack.upstream.last().body == b"a" * 10000
    assert stack.ask("/shop", OFFICE, method="POST", body=[b"in ", b"parts"]).status == 200
    assert stack.upstream.last().body == b"in parts"
    assert stack.ask("/shop", BAD, method="POST", body=b"a" * 10000).status == 403


# Which application


def test_an_application_is_named_by_the_route(stack: EnvoyStack) -> None:
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
def test_an_application_is_named_by_the_virtual_host_however_the_host_is_written(stack: EnvoyStack, host: str) -> None:
    assert stack.ask("/shop", UNKNOWN, host=host).status == 404
    assert stack.ask("/shop", OFFICE, host=host).status == 200
    assert stack.upstream.last().headers["x-authz-application"] == "admin"


@pytest.mark.parametrize(
    "host", ["shop.example.com", "shop.example.com:1", "SHOP.example.com", "shop.example.com.", "shop.example.com:"]
)
def test_a_request_whose_route_names_none_is_of_the_application_that_has_its_host(stack: EnvoyStack, host: str) -> None:
    assert stack.ask("/elsewhere", SCRAPER, host=host).status == 403
    assert stack.ask("/elsewhere", SCRAPER, host="other.example.com").status == 200


@pytest.mark.parametrize("path", ["/healthz/../shop", "/healthz/%2e%2e/shop", "//shop", "/./shop", "/api/../shop"])
def test_a_path_written_otherwise_does_not_get_around_its_route(stack: EnvoyStack, path: str) -> None:
    assert stack.ask(path, SCRAPER).status == 403


def test_a_step_up_that_only_some_applications_see_is_refused_or_taken(stack: EnvoyStack) -> None:
    before = len(stack.upstream.seen)
    assert stack.ask("/shop/..%3b/x", OFFICE).status == 400
    assert len(stack.upstream.seen) == before
    assert stack.ask("/shop/..;/x", SCRAPER).status == 200
    assert (stack.upstream.last().path, stack.upstream.last().headers["x-authz-application"]) == ("/x", "*")


@pytest.mark.parametrize(
    "host",
    ["admin.example.com..", "[admin.example.com]", "x@admin.example.com", "a,admin.example.com", "admin.example.co:a"],
)
def test_envoy_refuses_a_host_that_could_be_taken_for_another(stack: EnvoyStack, host: str) -> None:
    """`Host: admin.example.com..` with /shop/x was decided as `shop`, and the application got `admin.example.com.`."""
    before = len(stack.upstream.seen)
    assert stack.ask("/shop/x", OFFICE, host=host).status == 400
    assert len(stack.upstream.seen) == before


def test_escaped_slashes_are_sent_back_to_be_asked_for_as_they_are_meant(stack: EnvoyStack) -> None:
    reply = stack.ask("/healthz%2f..%2fshop", SCRAPER)
    assert (reply.status, reply.headers["location"]) == (307, "/shop")


def test_an_exempted_route_is_answered_without_asking(stack: EnvoyStack) -> None:
    reply = stack.ask("/healthz", BAD)
    assert (reply.status, reply.body) == (200, b"ok\n")
    assert stack.envoy.log_of("/healthz")["decision"] is None


# Who is the client


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
def test_listeners_for_ipv6_and_for_both_families_tell_the_peer(stack: EnvoyStack) -> None:
    assert ask(stack.envoy.ports["edge6"], "/shop", address="::1").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == "::1"
    assert ask(stack.envoy.ports["mapped"], "/shop").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == LOOPBACK


@pytest.mark.parametrize("listener", ["edge", "mapped"])
def test_a_peer_on_this_machine_says_who_the_client_is(stack: EnvoyStack, listener: str) -> None:
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


def test_headers_that_a_client_made_up_to_look_like_ours_do_not_reach_the_application(stack: EnvoyStack) -> None:
    names = ["client-address", "list", "application", "decision", "reason", "entry", "serial", "status", "is-admin"]
    forged = [(f"X-Authz-{name}", "forged") for name in names]
    forged += [("x_authz_list", "forged"), ("X-Authz_List", "forged"), ("x-kept", "kept")]
    reply = stack.ask_with("/shop", forged, UNKNOWN)
    assert reply.status == 200
    headers = stack.upstream.last().headers
    assert headers["x-kept"] == "kept"
    ours = {name: value for name, value in headers.items() if "authz" in name}
    assert ours == {"x-authz-client-address": UNKNOWN, "x-authz-list": "none", "x-authz-application": "shop"}


@pytest.mark.parametrize(("count", "status"), [(70, 200), (95, 500), (150, 431)])
def test_a_request_with_more_headers_than_envoy_takes_with_ours_goes_no_further(
    stack: EnvoyStack, count: int, status: int
) -> None:
    before = len(stack.upstream.seen)
    reply = stack.ask_with("/shop", [(f"x-{number}", "a") for number in range(count)], OFFICE)
    assert reply.status == status
    assert len(stack.upstream.seen) - before == (status == 200)


def test_cookies_and_tokens_reach_the_application_and_not_the_sidecar(stack: EnvoyStack) -> None:
    secrets = [("Cookie", "a=1"), ("Authorization", "Bearer x")]
    assert stack.ask_with("/shop", secrets, UNKNOWN).status == 200
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


def test_the_access_log_has_the_decision(stack: EnvoyStack) -> None:
    stack.ask("/shop/denied", SCRAPER)
    entry = stack.envoy.log_of("/shop/denied")
    assert len(entry["request_id"]) == 36  # Envoy's own
    wanted = {
        "host": "test.example.com",
        "method": "GET",
        "path": "/shop/denied",
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


def test_the_access_log_bounds_and_escapes_what_a_client_wrote(stack: EnvoyStack) -> None:
    path, long = '/shop/?a="', "/shop/?" + "x" * 3000
    for asked in (path, long):
        stack.ask(asked, SCRAPER, host="TEST.example.com", method="PUT")
    entry = stack.envoy.log_of(path)  # it is one line of JSON
    assert (entry["host"], entry["method"], entry["entry"]) == ("TEST.example.com", "PUT", "scrapers")
    assert stack.envoy.log_of(long[:1024])["application"] == "shop"


def test_an_entry_that_warns_lets_in_and_is_reported(stack: EnvoyStack) -> None:
    assert stack.ask("/shop/watched", "198.51.100.200").status == 200
    entry = stack.envoy.log_of("/shop/watched")
    assert (entry["decision"], entry["reason"], entry["warnings"]) == ("allow", "default_allow", ["watched"])


def test_an_application_under_dry_run_lets_in_and_says_what_it_would_have_done(stack: EnvoyStack) -> None:
    assert stack.ask("/api/dry", BAD).status == 200
    assert stack.upstream.last().headers["x-authz-list"] == "deny"
    entry = stack.envoy.log_of("/api/dry")
    assert (entry["decision"], entry["reason"], entry["enforced"], entry["entry"]) == (
        "allow",
        "denylisted",
        False,
        "bad",
    )


# Failure, restart


def errors(stack: EnvoyStack) -> int:
    return stack.envoy.stat("http.edge.ext_authz.authz.error")


def test_without_a_sidecar_it_is_an_error_and_no_denial(alone: EnvoyStack) -> None:
    reply = alone.ask("/shop", OFFICE)
    assert (reply.status, reply.body) == (503, b"")
    assert errors(alone) == 1


def test_without_a_snapshot_it_is_an_error_with_the_reason(alone: EnvoyStack) -> None:
    with alone.start_sidecar():
        wait_for(lambda: "x-authz-reason" in alone.ask("/shop", OFFICE).headers, "an answer of the sidecar")
        before = errors(alone)
        reply = alone.ask("/shop/undecided", OFFICE)
        assert (reply.status, reply.headers["x-authz-reason"]) == (503, "no_snapshot")
        assert errors(alone) == before + 1
        assert alone.envoy.stat("http.edge.ext_authz.authz.denied") == 0
        assert alone.envoy.log_of("/shop/undecided")["details"] == "ext_authz_error"


def test_no_request_fails_while_one_of_two_sidecars_drains_and_ends(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    stack, other = EnvoyStack(first, "unix", [("drain: 0s", "drain: 2s")]), EnvoyStack(second, "unix")
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
        wait_for(lambda: stack.envoy.stat("cluster.authz.membership_healthy") == 1, "the one that ended is given up")


# Other configurations of the sidecar


def test_envoy_s_own_idea_of_the_client_is_believed_and_a_client_s_is_not(tmp_path: Path) -> None:
    header = "x-envoy-external-address"
    stack = EnvoyStack(tmp_path, "unix", [("client_address: {", f"client_address: {{header: {header}, ")])
    for listener in stack.envoy_config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        assert manager["xff_num_trusted_hops"] == 0
        manager["xff_num_trusted_hops"] = 1  # as the printed note says: BALANCER is before it
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop", BALANCER, OFFICE).status == 200, "the first answer")
        assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE
        forged = [("X-Forwarded-For", BAD), (header, OFFICE)]
        assert stack.ask_with("/shop", forged, BALANCER).status == 403
        assert stack.ask_with("/shop", [(header, OFFICE)], BAD).status == 403


def test_the_signal_of_a_waf_reaches_the_sidecar(tmp_path: Path) -> None:
    stack = EnvoyStack(tmp_path, "unix", [("drain:", "attack_signal: {header: x-waf-attack}\ndrain:")])
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop").status == 200, "the first answer")
        for signal_, expected in (("1", (403, "attack")), ("0", (200, None))):
            reply = stack.ask_with("/shop", [("X-WAF-Attack", signal_)], UNKNOWN)
            assert (reply.status, reply.headers.get("x-authz-reason")) == expected


def test_an_envoy_that_keeps_no_header_table_is_answered(tmp_path: Path) -> None:
    """RFC 7541, 4.2: it ends the connection where the first block of headers does not say that no table is used."""
    stack = EnvoyStack(tmp_path, "tcp")
    cluster = stack.envoy_config["static_resources"]["clusters"][0]
    (options,) = cluster["typed_extension_protocol_options"].values()
    options["explicit_http_config"]["http2_protocol_options"]["hpack_table_size"] = 0
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop").status == 200, "the first answer")
        for _ in range(3):  # on the same connection
            assert stack.ask("/shop", OFFICE).status == 200
            assert (reply := stack.ask("/shop", BAD)).status == 403
            assert reply.headers["x-authz-reason"] == "denylisted"
        assert stack.envoy.stat("cluster.authz.upstream_cx_protocol_error") == 0
