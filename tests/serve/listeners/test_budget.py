"""The budget of held bytes, and turns: what peers can make listeners keep, and how long they can keep the loop."""

from __future__ import annotations

import asyncio

from authz.serve.listeners.budget import HeldBytes, Turns


class Peer:
    def __init__(self, pieces: int = 0, peer: str = "") -> None:
        self.peer = peer
        self.aborted = False
        self.left = pieces
        self.done: list[int] = []

    def abort(self) -> None:
        self.aborted = True

    def work(self) -> bool:
        self.left -= 1
        self.done.append(self.left)
        return self.left > 0


def test_under_the_limit_nobody_is_ended() -> None:
    held, peers = HeldBytes(100), [Peer() for _ in range(4)]
    for peer in peers:
        held.hold(peer, 25)
        held.hold(peer, 25)  # instead of what was counted before
    assert (held.total, [peer.aborted for peer in peers]) == (100, [False] * 4)


def test_over_the_limit_who_holds_most_is_ended_and_nobody_else() -> None:
    held, small, large, new = HeldBytes(100), Peer(), Peer(), Peer()
    held.hold(small, 10)
    held.hold(large, 80)
    held.hold(new, 20)
    assert (small.aborted, large.aborted, new.aborted) == (False, True, False)
    assert (held.total, held.aborted) == (30, 1)


def test_a_connection_that_alone_is_over_the_limit_is_ended() -> None:
    held, peer = HeldBytes(100), Peer()
    held.hold(peer, 101)
    assert (peer.aborted, held.total) == (True, 0)


def test_what_is_released_is_not_counted_and_a_second_release_is_harmless() -> None:
    held, peer = HeldBytes(100), Peer()
    held.hold(peer, 60)
    held.release(peer)
    held.release(peer)
    assert held.total == 0


def test_connections_take_turns_and_a_turn_ends_after_a_few_pieces() -> None:
    async def run() -> list[list[int]]:
        turns, peers = Turns(pieces=4), [Peer(5), Peer(5)]
        for peer in peers:
            turns.add(peer)
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append([len(peer.done) for peer in peers])
        return seen

    assert asyncio.run(run()) == [[2, 2], [4, 4], [5, 5]]


def test_a_peer_alone_gets_all_pieces_of_a_turn() -> None:
    async def run() -> list[int]:
        turns, peer = Turns(pieces=4), Peer(6)
        turns.add(peer)
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(len(peer.done))
        return seen

    assert asyncio.run(run()) == [4, 6, 6]


def test_the_wait_of_a_peer_does_not_grow_with_the_connections_of_another() -> None:
    """It did: a hundred connections of one peer had a hundred turns before the one of another."""

    async def run() -> list[int]:
        turns, hostile, polite = Turns(pieces=4), [Peer(9, "192.0.2.1") for _ in range(100)], Peer(3, "192.0.2.2")
        for peer in (*hostile, polite):
            turns.add(peer)
        seen = []
        for _ in range(2):
            await asyncio.sleep(0)
            seen.append(len(polite.done))
        assert sum(len(peer.done) for peer in hostile) == 5
        return seen

    assert asyncio.run(run()) == [2, 3]


def test_the_wait_of_a_peer_does_not_grow_with_the_addresses_of_another_in_its_64() -> None:
    """Who has a /64 had a turn for each of its addresses."""

    async def run() -> int:
        hostile = [Peer(9, f"2001:db8::{number:x}") for number in range(1, 101)]
        turns, polite = Turns(pieces=4), Peer(3, "2001:db8:0:1::1")
        for peer in (*hostile, polite):
            turns.add(peer)
        await asyncio.sleep(0)
        return len(polite.done)

    assert asyncio.run(run()) == 2


def test_a_fault_in_the_turn_of_one_connection_keeps_no_other_waiting() -> None:
    """Whoever waited behind it had no turn before somebody else asked for one."""

    class Faulty(Peer):
        def work(self) -> bool:
            raise ArithmeticError

    async def run() -> int:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
        turns, polite = Turns(), Peer(3)
        for peer in (Faulty(), polite):
            turns.add(peer)
        for _ in range(2):
            await asyncio.sleep(0)
        assert [type(fault) for fault in faults] == [ArithmeticError]
        return len(polite.done)

    assert asyncio.run(run()) == 3


def test_many_single_requests_are_done_in_a_turn_and_few_large_reads() -> None:
    async def run(last: float, pieces: int) -> int:
        turns, peers = Turns(pieces=4, last=last), [Peer(pieces) for _ in range(100)]
        for peer in peers:
            turns.add(peer)
        await asyncio.sleep(0)
        return sum(len(peer.done) for peer in peers)

    assert [asyncio.run(run(*case)) for case in ((1, 1), (1 / 16, 1), (1 / 16, 2))] == [4, 64, 4]
