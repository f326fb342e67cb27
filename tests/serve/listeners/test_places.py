"""Places for connections: which one gives way to a new one, and what it costs to find it."""

from __future__ import annotations

import socket
from typing import Any

from authz.serve.listeners.places import Places, end_unless_busy


class Guest:
    looks = 0  # at all of them

    def __init__(self, since: float = 0.0, peer: str = "", latest: object = None, *, busy: bool = False) -> None:
        self.since, self.peer, self.latest, self.busy = since, peer, latest, busy
        self.ended = False
        self.reluctant = False

    @property
    def idle(self) -> bool:
        Guest.looks += 1
        return not self.busy

    def give_way(self) -> bool:
        self.ended = not self.reluctant
        return self.ended


def filled(*guests: Guest) -> Places[Guest]:
    places = Places[Guest](clock=lambda: 7.0)
    assert all(places.admit(guest, len(guests)) for guest in guests)
    return places


def ended(guests: list[Guest]) -> list[int]:
    return [number for number, guest in enumerate(guests) if guest.ended]


def test_who_never_called_leaves_first_then_who_has_many_then_who_is_idle_for_longest() -> None:
    guests = [Guest(1, "many", "a"), Guest(0, "one", "b"), Guest(5, "many"), Guest(2, "many", "c")]
    places = filled(*guests)
    for left in ([2], [0, 2], [0, 2, 3]):
        assert places.admit(Guest(7, "new", "d"), 4)
        assert ended(guests) == left
    assert len(places.open) == 4


def test_who_has_just_come_and_may_be_about_to_call_stays() -> None:
    guests = [Guest(3, latest="a"), Guest(6.99)]
    places = filled(*guests)
    assert places.admit(Guest(7, latest="b"), 2)
    assert ended(guests) == [0]


def test_who_is_busy_or_reluctant_stays_and_the_new_one_gets_no_place() -> None:
    guests = [Guest(busy=True), Guest()]
    guests[1].reluctant = True
    places, new = filled(*guests), Guest()
    assert not places.admit(new, 2)
    assert (ended(guests), places.open) == ([], set(guests))


def test_who_was_noted_and_called_since_then_stays() -> None:
    guests = [Guest(number, latest="a") for number in range(3)]
    places = filled(*guests)
    assert places.admit(Guest(5, latest="b"), 3)
    guests[1].latest = "another"
    assert places.admit(Guest(6, latest="b"), 3)
    assert ended(guests) == [0, 2]


def test_one_look_is_for_many_that_come() -> None:
    places = filled(*(Guest(number) for number in range(1000)))
    Guest.looks = 0
    for number in range(1000, 2000):
        assert places.admit(Guest(number), 1000)
    assert Guest.looks < 1000 * 1000 / 50


def test_where_none_is_idle_those_that_come_do_not_each_cost_a_look() -> None:
    guests = [Guest(busy=True) for _ in range(1000)]
    places = filled(*guests)
    Guest.looks = 0
    assert not any(places.admit(Guest(), 1000) for _ in range(1000))
    assert Guest.looks == 1000
    guests[5].busy = False
    places.clock = lambda: 7.1
    assert places.admit(Guest(busy=True), 1000)
    assert ended(guests) == [5]


class Transport:
    """Of a real socket. left: bytes that the peer does not take; said: bytes that are added at the end."""

    def __init__(self, own: socket.socket, left: int = 0, said: int = 0) -> None:
        self.own, self.left, self.said = own, left, said
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def get_extra_info(self, _: str) -> socket.socket:
        return self.own

    def leave(self) -> None:
        self.left += self.said

    def abort(self) -> None:
        self.aborted = True


def end(transport: Any) -> bool:
    return end_unless_busy(transport, transport.leave)


def test_a_connection_ends_unless_bytes_wait_in_either_direction() -> None:
    own, peer = socket.socketpair()
    with own, peer:
        assert not end(Transport(own, left=1))
        assert end(Transport(own))
        peer.send(b"G")
        assert not end(Transport(own))
        own.recv(1)
        peer.close()
        assert end(Transport(own))


def test_who_does_not_take_the_last_word_is_ended_without_it() -> None:
    own, peer = socket.socketpair()
    with own, peer:
        reads, deaf = Transport(own), Transport(own, said=17)
        assert end(reads)
        assert end(deaf)
        assert (reads.aborted, deaf.aborted) == (False, True)
