"""Who is the client, through the real Envoy and the real nginx with the printed configurations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for
from support.proxies.stack import BAD, BALANCER, OFFICE, STACKS, UNKNOWN

if TYPE_CHECKING:
    from support.proxies.stack import Stack


def test_a_peer_that_is_no_trusted_proxy_is_the_client_whatever_its_headers_say(stack: Stack) -> None:
    assert stack.ask("/shop/", BAD, OFFICE).status == 403
    assert stack.ask("/shop/", OFFICE, BAD).status == 200
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
    reply = stack.ask("/shop/", BALANCER, forwarded)
    assert reply.status == (403 if client == BAD else 200)
    if reply.status == 200:
        assert stack.upstream.last().headers["x-authz-client-address"] == client


@pytest.mark.parametrize("forwarded", ["junk", "unknown", f"{OFFICE}, junk", "fe80::1%eth0", "010.0.0.1"])
def test_a_chain_that_cannot_be_read_where_it_must_be_is_denied(stack: Stack, forwarded: str) -> None:
    reply = stack.ask("/shop/", BALANCER, forwarded)
    assert (reply.status, reply.headers["x-authz-reason"]) == (403, "client_unresolved")


def test_several_lines_of_the_header_are_one_chain(stack: Stack) -> None:
    lines = [("X-Forwarded-For", OFFICE), ("x-forwarded-for", BAD)]
    assert stack.ask_with("/shop/", lines, BALANCER).status == 403


def test_ipv6_peers_and_clients_are_decided_like_any_other(stack: Stack) -> None:
    assert stack.ask("/shop/", "2001:db8:bad::7").status == 403
    assert stack.ask("/shop/", "2001:db8:1:0:0::7").status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == "2001:db8:1::7"
    assert stack.ask("/shop/", BALANCER, "2001:db8:bad::8").status == 403
    assert stack.ask("/shop/", "2001:db8:10::1", "2001:db8:bad::8").status == 403
    assert stack.ask("/shop/", "2001:db8:10::1", OFFICE).status == 200


def test_an_ipv4_peer_that_looks_like_ipv6_is_the_ipv4_address(stack: Stack) -> None:
    assert stack.ask("/shop/", f"::ffff:{BAD}").status == 403
    assert stack.ask("/shop/", "::ffff:10.0.0.1", OFFICE).status == 200
    assert stack.upstream.last().headers["x-authz-client-address"] == OFFICE


@pytest.mark.parametrize("name", ["envoy tcp", "nginx tcp"])
def test_the_quick_start_of_the_readme_holds_through_the_proxy_protocol(name: str, tmp_path: Path) -> None:
    """From this machine it is followed by tests/docs/test_followed.py; here the proxy is told who connects."""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    stack = STACKS[name](tmp_path)
    stack.publisher.publish(re.findall(r"```yaml\n(version: 1\n.*?)```", readme, re.DOTALL)[0])
    asked = re.findall(r"'X-Forwarded-For: (\S+)' http://127.0.0.1:8080(\S+) +# (\d+)", readme)
    assert [status for _, _, status in asked] == ["403", "200"]
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop/").status == 200, "the first answer")
        for client, path, status in asked:
            assert stack.ask(path, client).status == int(status)
            assert stack.ask(path, BALANCER, client).status == int(status)
            assert stack.ask(path, UNKNOWN, client).status == 200  # nobody believes a stranger
