"""Reload, failure and restart of the sidecar, behind a real Envoy and a real nginx as they are printed."""

from __future__ import annotations

import functools
import os
import signal
from typing import TYPE_CHECKING

from support.processes import wait_for
from support.proxies.client import Traffic, ask
from support.proxies.stack import BAD, BANNED, OFFICE, POLICY

if TYPE_CHECKING:
    from support.proxies.stack import Stack


def answered(stack: Stack, status: int, **more: str) -> bool:
    return stack.ask("/shop/", **more).status == status


def test_no_request_fails_while_snapshots_are_replaced_and_each_takes_effect(stack: Stack) -> None:
    with Traffic(stack.client, "/shop/") as traffic:
        for banned in (True, False) * 3:
            stack.publisher.publish(POLICY + BANNED if banned else POLICY)
            wait_for(functools.partial(answered, stack, 403 if banned else 200), "the new decision")
            traffic.wait_for_more(200)
    assert traffic.failures == []
    answers = {(reply.status, reply.headers.get("x-authz-reason")) for reply in traffic.replies}
    assert answers == {(200, None), (403, "denylisted")}


def test_without_a_sidecar_nobody_is_let_in_and_it_is_no_denial(alone: Stack) -> None:
    assert alone.ask("/shop/", OFFICE).status == 503
    assert alone.ask("/healthz", OFFICE).status == 200
    alone.publisher.publish(POLICY)
    with alone.start_sidecar() as sidecar:
        wait_for(functools.partial(answered, alone, 200, peer=OFFICE), "a sidecar that came")
        assert alone.ask("/shop/", BAD).status == 403
        os.kill(sidecar.pid, signal.SIGKILL)
        sidecar.wait()
        assert alone.ask("/shop/", OFFICE).status == 503
        assert alone.ask("/shop/", BAD).status == 503
    with alone.start_sidecar():
        wait_for(functools.partial(answered, alone, 200, peer=OFFICE), "a sidecar that came back")
        assert alone.ask("/shop/", BAD).status == 403
    assert alone.upstream.seen != []
    assert {seen.headers["x-authz-client-address"] for seen in alone.upstream.seen} == {OFFICE}


def test_without_a_snapshot_it_cannot_decide_until_one_comes(alone: Stack) -> None:
    with alone.start_sidecar() as sidecar:
        assert alone.ask("/shop/", OFFICE).status == 503
        assert ask(sidecar.ports["admin"], "/readyz").status == 503
        alone.publisher.publish(POLICY)
        wait_for(functools.partial(answered, alone, 200, peer=OFFICE), "an answer by the first snapshot")
        assert alone.ask("/shop/", BAD).status == 403
        assert ask(sidecar.ports["admin"], "/readyz").status == 200
