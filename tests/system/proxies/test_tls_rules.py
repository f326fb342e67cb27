"""Rules of who may connect over TLS, changed under a real Envoy and a real nginx that ask."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for
from support.proxies.certificates import make_certificate
from support.proxies.client import Traffic
from support.proxies.stack import OFFICE, POLICY, EnvoyStack, NginxStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.processes import Sidecar
    from support.proxies.stack import Stack


@pytest.fixture(params=[EnvoyStack, NginxStack])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A proxy that asks over mutual TLS, and no sidecar yet."""
    stack: Stack = request.param(tmp_path, "tls")
    stack.publisher.publish(POLICY)
    with stack:
        yield stack


def change(stack: Stack, sidecar: Sidecar, rule: str) -> None:
    """Give the sidecar another rule for its clients, and wait until it holds."""
    text = stack.sidecar_config
    client_ca = f"client_ca: {stack.proxy}.pem"
    assert client_ca in text
    (stack.folder / "authz.yaml").write_text(text.replace(client_ca, client_ca + rule))
    before = sidecar.output.count("the certificates were read again")
    os.kill(sidecar.pid, signal.SIGHUP)
    wait_for(lambda: sidecar.output.count("the certificates were read again") > before, "the new rule")


def test_no_request_fails_while_rules_change_that_the_proxy_meets(stack: Stack) -> None:
    own = stack.folder / f"{stack.proxy}.pem"
    make_certificate(stack.folder, "other")
    with stack.start_sidecar() as sidecar:
        wait_for(lambda: stack.ask("/shop/", OFFICE).status == 200, "the first answer")
        with Traffic(lambda: stack.client(OFFICE), "/shop/") as traffic:
            for name in (stack.proxy, "*", "other"):
                own.write_bytes(own.read_bytes() + (stack.folder / "other.pem").read_bytes())
                change(stack, sidecar, f', clients: ["{name}.example.com", {stack.proxy}.example.com]')
                traffic.wait_for_more(200)
                change(stack, sidecar, "")
                traffic.wait_for_more(200)
        assert traffic.failures == []
        assert {reply.status for reply in traffic.replies} == {200}
        assert "connections end" not in sidecar.output


def test_a_proxy_that_may_connect_no_more_lets_nobody_in_until_it_may_again(stack: Stack) -> None:
    with stack.start_sidecar() as sidecar:
        wait_for(lambda: stack.ask("/shop/", OFFICE).status == 200, "the first answer")
        with Traffic(lambda: stack.client(OFFICE), "/shop/") as traffic:
            traffic.wait_for_more(100)
            change(stack, sidecar, ", clients: [other.example.com]")
            sidecar.wait_for_line("their clients may connect no more")
            wait_for(lambda: traffic.replies[-1].status != 200, "the first refusal")
            traffic.wait_for_each(3)  # one was on its way, and nginx may ask once more on a connection that ends
            shut, seen = len(traffic.replies), len(stack.upstream.seen)
            traffic.wait_for_more(50)
            assert {reply.status for reply in traffic.replies[shut:]} == {503}
            assert len(stack.upstream.seen) == seen
            change(stack, sidecar, "")
            wait_for(lambda: traffic.replies[-1].status == 200, "an answer again")
            traffic.wait_for_each(3)
            begin = len(traffic.replies)
            traffic.wait_for_more(100)
            assert {reply.status for reply in traffic.replies[begin:]} == {200}
        assert traffic.failures == []
