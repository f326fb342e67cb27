"""Small reads of many connections: those that come when others have had the time of a turn wait for the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.sidecar.http2 import DATA, END, HEADERS, PING, WHOLE, ManualTurns, Peer, frame, message
from support.sidecar.http2_methods import BLOCK, NOTHING, held

from authz.serve.listeners import budget
from authz.serve.listeners.budget import Turns

if TYPE_CHECKING:
    from support.sidecar.http2_methods import Methods


class LateTurns(ManualTurns):
    """Turns in which the reads of others have taken all the time."""

    def begin_reads(self) -> bool:
        return False


@pytest.fixture
def late(methods: Methods) -> Peer:
    """A connection that is never read at once."""
    methods.connections.turns = LateTurns()
    return Peer(methods.connections)


def call(stream: int) -> bytes:
    return frame(HEADERS, WHOLE, stream, BLOCK) + frame(DATA, END, stream, message(b"x"))


def test_a_small_read_waits_for_its_turn_and_is_counted_and_not_idle_meanwhile(methods: Methods, late: Peer) -> None:
    before, counted = methods.calls, methods.connections.held
    late.connection.data_received(call(1))
    assert (methods.calls, late.connection.idle, late.wire.is_reading()) == (before, False, True)
    late.connection.data_received(frame(PING, 0, 0, bytes(8)) * 600)
    assert (methods.calls, late.wire.is_reading()) == (before, False)
    assert counted.total >= 600 * 17
    late.run_turns()
    assert (methods.calls, late.connection.idle, late.wire.is_reading()) == (before + 1, True, True)
    assert (counted.total, held(late.connection)) == (0, NOTHING)


def test_a_call_that_waits_for_its_turn_is_answered_though_its_peer_sends_no_more(methods: Methods, late: Peer) -> None:
    before = methods.calls
    late.connection.data_received(call(1))
    assert late.connection.eof_received() is True
    assert not late.wire.closing
    late.run_turns()
    assert (methods.calls, late.wire.closing) == (before + 1, True)
    assert late.connection.eof_received() is False


@pytest.mark.parametrize(("seconds", "taken"), [(0.0, 1), (60.0, 20)])
def test_small_reads_are_taken_at_once_for_the_time_of_a_turn(
    methods: Methods, seconds: float, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [Peer(methods.connections) for _ in range(20)]
    monkeypatch.setattr(budget, "SECONDS_AT_ONCE", seconds)
    methods.connections.turns = Turns()
    before = methods.calls

    async def run() -> None:
        for peer in peers:
            peer.connection.data_received(call(1))
        assert methods.calls - before == taken
        for _ in range(10):
            await asyncio.sleep(0)
        assert methods.calls - before == len(peers)

    asyncio.run(run())
