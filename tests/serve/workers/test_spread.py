"""Connections handed from worker to worker: nobody loses one, and each is counted."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

from authz.serve.listeners.descriptors import Descriptors
from authz.serve.workers.spread import FRONTS, Spread, Table

if TYPE_CHECKING:
    import pytest


def test_nobody_hands_connections_to_a_worker_that_has_died() -> None:
    """It seemed to have none, so that it got all: they waited for its successor, or for ever where that fails, too."""
    table = Table(2)
    doors = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    spread = Spread(table, 0, [door for door, _ in doors], doors[0][1])
    spread.wrap("http", asyncio.Protocol, lambda: 5)
    with socket.socket() as connection:
        transport = SimpleNamespace(get_extra_info=lambda _name: connection)
        assert spread.hand_over(FRONTS.index("http"), transport)  # type: ignore[arg-type]
        table.forget(1)
        assert not spread.hand_over(FRONTS.index("http"), transport)  # type: ignore[arg-type]
        table.set_open(FRONTS.index("http"), 1, 0)  # its successor has begun
        assert spread.hand_over(FRONTS.index("http"), transport)  # type: ignore[arg-type]
    for door in doors:
        for end in door:
            end.close()


def test_a_connection_handed_over_counts_without_a_gap() -> None:
    """For 20 ms after it was taken nobody counted it, so three of four connections went to one of two workers."""
    front, table, made = FRONTS.index("http"), Table(2), list[asyncio.BaseProtocol]()
    doors = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for door in doors:
        door[1].setblocking(False)

    def factory() -> asyncio.BaseProtocol:
        made.append(asyncio.Protocol())
        return made[-1]

    async def live() -> None:
        taker = Spread(table, 1, [door for door, _ in doors], doors[1][1])
        taker.wrap("http", factory, lambda: len(made))
        giver = Spread(table, 0, [door for door, _ in doors], doors[0][1])
        giver.wrap("http", asyncio.Protocol, lambda: 5)
        one, other = socket.socketpair()
        with one, other:
            assert giver.hand_over(front, SimpleNamespace(get_extra_info=lambda _name: one))  # type: ignore[arg-type]
            taker._receive()
            assert table.load(front, 1) == 1
            while taker._tasks:
                await asyncio.sleep(0)
                assert table.load(front, 1) == 1

    asyncio.run(live())
    for end in (end for door in doors for end in door):
        end.close()


def test_a_connection_handed_over_takes_no_descriptor_of_the_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those that a worker accepted itself were refused: a new list needs twenty descriptors."""
    monkeypatch.setattr(Descriptors, "scarce", lambda _: True)
    front, table = FRONTS.index("http"), Table(2)
    door, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    own.setblocking(False)
    spread = Spread(table, 1, [], own)
    spread.wrap("http", asyncio.Protocol, lambda: 0)
    one, other = socket.socketpair()
    socket.send_fds(door, [bytes([front, 0])], [one.fileno()])
    one.close()
    spread._receive()
    assert other.recv(1) == b""
    assert not spread._tasks
    for end in (door, own, other):
        end.close()
