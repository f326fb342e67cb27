"""Who is the client, through real proxies with the printed configurations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.processes import Sidecar, free_port, wait_for
from support.proxies.client import ask
from support.proxies.every import start_proxy
from support.proxies.stack import BAD, BALANCER, OFFICE, STACKS, UNKNOWN
from support.proxies.upstream import Upstream
from support.publishing.publisher import Publisher

from authz.cli.sidecar.proxy_config import parts_of, render
from authz.publisher.policy.read import read_applications
from authz.serve.config.config import load_config

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


REAL_IP: Final = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub]}}
grpc: {{listen: "off"}}
http: {{listen: "127.0.0.1:{}"}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{header: x-real-ip, trusted_proxies: [10.0.0.0/8, 127.0.0.1]}}
decision_log: {{path: "off"}}
drain: 0s
"""
DENIES_ONE: Final = f"version: 1\nentries: [{{id: bad, list: deny, networks: [{BAD}]}}]\n"


@pytest.mark.parametrize("proxy", ["traefik", "caddy", "haproxy", "apache"])
def test_the_one_address_that_a_proxy_writes_is_its_peer_whoever_else_is_trusted(tmp_path: Path, proxy: str) -> None:
    """A balancer passes on an X-Real-IP that a client wrote, and Traefik kept it where it trusted the balancer."""
    publisher = Publisher(tmp_path)
    publisher.publish(DENIES_ONE)
    text = REAL_IP.format(free_port())
    (tmp_path / "authz.yaml").write_text(text)
    config, applications = load_config(tmp_path / "authz.yaml", {}), read_applications(tmp_path / "policy.yaml")
    printed = {part: render(proxy, config, applications, part) for part in parts_of(proxy)}
    with Upstream() as upstream, Sidecar(tmp_path, text), start_proxy(tmp_path, proxy, printed, upstream) as ports:
        wait_for(lambda: ask(ports.proxied, "/", peer=OFFICE).status == 200, "the first answer")
        for peer in (OFFICE, BALANCER):
            assert ask(ports.proxied, "/", [("X-Real-IP", UNKNOWN)], peer=peer).status == 200
            assert upstream.last().headers["x-authz-client-address"] == peer
        assert ask(ports.proxied, "/", [("X-Real-IP", OFFICE)], peer=BAD).status == 403
