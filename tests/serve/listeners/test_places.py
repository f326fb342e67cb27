"""Places for connections: which one gives way to a new one, and what it costs to find it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from support.sidecar.running import config, run, running, until

from authz.serve.http1 import connection as http1_connection
from authz.serve.listeners.places import STUCK, Places, end_unless_busy, network_of

if TYPE_CHECKING:
    import pytest
    from support.publishing.publisher import Publisher

    from authz.serve.observe.metrics import GrpcState

FEW: Final = "{listen: '127.0.0.1:0', max_connections: 8, max_connections_per_peer: 3}"


class Guest:
    looks = 0  # at all of them

    def __init__(self, since: float = 0.0, peer: str = "", latest: object = None, *, busy: bool = False) -> None:
        self.since, self.peer, self.latest, self.busy = since, peer, latest, busy
        self.ended = False
        self.reluctant = False
        self.waits = False
        self.hashed = 0

    @property
    def idle(self) -> bool:
        Guest.looks += 1
        return not self.busy

    def __hash__(self) -> int:
        self.hashed += 1
        return id(self)

    def stuck(self, now: float) -> bool:
        return self.waits and now - self.since > STUCK

    def give_way(self) -> bool:
        self.ended = not self.reluctant
        return self.ended

    def abort(self) -> None:
        self.ended = True


def filled(*guests: Guest, most_of_peer: int = 0) -> Places[Guest]:
    places = Places[Guest](clock=lambda: 7.0)
    assert all(places.admit(guest, len(guests), most_of_peer) for guest in guests)
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


def test_who_lets_us_wait_for_long_leaves_before_an_idle_proxy() -> None:
    """Requests that never end, of the proxy's own address, took the places of its kept connections one by one."""
    guests = [
        Guest(1, "a", "x"),
        Guest(2, "a", "x", busy=True),
        Guest(6, "a", "x", busy=True),
        Guest(3, "a", busy=True),
    ]
    places = filled(*guests)
    for guest in guests[1:3]:
        guest.waits = True
    assert places.admit(Guest(7, "a", "y", busy=True), 100, 4)
    assert ended(guests) == [1]
    assert places.admit(Guest(7, "a", "y", busy=True), 100, 4)
    assert ended(guests) == [0, 1]
    assert not places.admit(Guest(7, "a", "y"), 100, 4)


def test_a_look_for_one_address_is_at_its_own_connections() -> None:
    others, guests = [Guest() for _ in range(500)], [Guest(peer="a", busy=True) for _ in range(2)]
    places = filled(*others, *guests)
    before = sum(other.hashed for other in others)
    for second in range(100):
        places.clock = lambda: 100.0 + second  # noqa: B023  # each turn asks it
        assert not places.admit(Guest(peer="a"), 1000, 2)
    assert sum(other.hashed for other in others) == before


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


def test_an_address_has_no_more_places_than_it_may_and_others_keep_theirs() -> None:
    guests = [Guest(0, "one", "a"), Guest(3, "many", "b"), Guest(2, "many", "c")]
    places = filled(*guests)
    assert places.admit(Guest(7, "many", "d", busy=True), 100, 2)
    assert ended(guests) == [2]
    assert places.admit(Guest(7, "many", "e", busy=True), 100, 2)
    assert ended(guests) == [1, 2]
    assert not places.admit(Guest(7, "many", "f"), 100, 2)
    assert places.admit(Guest(7, "other"), 100, 2)
    assert (ended(guests), places.gave_way, places.refused, len(places.open)) == ([1, 2], 2, 1, 4)


def test_an_address_of_ipv6_counts_with_its_64_and_a_unix_socket_with_nothing() -> None:
    guests = [Guest(peer="2001:db8:0:1::1", busy=True), Guest(peer="2001:db8:0:1:ffff::2", busy=True)]
    places = filled(*guests, most_of_peer=2)
    assert not places.admit(Guest(peer="2001:db8::1:0:0:0:3"), 100, 2)
    assert places.admit(Guest(peer="2001:db8:0:2::1"), 100, 2)
    assert all(places.admit(Guest(peer=""), 100, 2) for _ in range(5))
    assert [network_of(peer) for peer in (None, "192.0.2.1", "fe80::1%eth0", "::")] == [
        "", "192.0.2.1", "fe80000000000000", "0" * 16
    ]  # fmt: skip


def test_addresses_of_ipv4_at_a_socket_for_both_versions_are_not_one_peer() -> None:
    """They were one /64: `ListenStream=9191` of systemd is such a socket, and one peer took the places of all."""
    guests = [Guest(peer="::ffff:192.0.2.1", busy=True), Guest(peer="192.0.2.1", busy=True)]
    places = filled(*guests, most_of_peer=2)
    assert not places.admit(Guest(peer="::ffff:192.0.2.1"), 100, 2)
    assert places.admit(Guest(peer="::ffff:192.0.2.2"), 100, 2)


def test_whoever_leaves_makes_room_for_others_of_the_address() -> None:
    guests = [Guest(peer="a", busy=True) for _ in range(2)]
    places = filled(*guests, most_of_peer=2)
    assert not places.admit(Guest(peer="a"), 100, 2)
    for _ in range(2):
        places.leave(guests[0])
    assert places.admit(Guest(peer="a", busy=True), 100, 2)
    assert not places.admit(Guest(peer="a"), 100, 2)


def test_beyond_the_places_of_an_address_not_every_connection_costs_a_look() -> None:
    guests = [Guest(peer="a", busy=True) for _ in range(1000)]
    places = filled(*guests)
    Guest.looks = 0
    assert not any(places.admit(Guest(peer="a"), 2000, 1000) for _ in range(1000))
    assert Guest.looks == 1000


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


def test_one_address_cannot_take_all_places_of_a_sidecar(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_connection, "STUCK", 60.0)  # nobody gives way because the machine is slow
    publisher.publish()
    text = config().replace('{listen: "off"}', FEW, 1).replace('http: {listen: "127.0.0.1:0"}', f"http: {FEW}")

    async def connect(port: int, address: str) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writer.write(b"GET /v1/auth HTTP/1.1\r\n")  # to the HTTP front a request that is under way
        return writer

    async def live() -> None:
        async with running(publisher.folder, text) as started:
            metrics, writers = started.sidecar.metrics, []
            for port, refused in ((started.sidecar.ports["http"], 3), (started.sidecar.ports["grpc"], 0)):
                writers += [await connect(port, "127.0.0.2") for _ in range(6)]
                if refused:
                    await until(lambda: metrics.http_without_place() == 3)
                writers += [await connect(port, "127.0.0.3") for _ in range(2)]
            await until(lambda: metrics.http_connections == 5)
            assert metrics.http_without_place() == 3
            for writer in writers:
                writer.close()

    run(live())


def test_metrics_count_the_connections_that_gave_way(publisher: Publisher) -> None:
    """Of 900 peers that had to go for new ones, no metric said anything."""
    publisher.publish()
    text = config().replace('{listen: "off"}', FEW, 1).replace('http: {listen: "127.0.0.1:0"}', f"http: {FEW}")

    async def live() -> None:
        async with running(publisher.folder, text) as started:
            writers = []
            for front, count in (("http", 4), ("grpc", 5)):
                for _ in range(count):
                    _, writer = await asyncio.open_connection("127.0.0.1", started.sidecar.ports[front])
                    writers.append(writer)
            metrics = started.sidecar.metrics
            await until(lambda: (metrics.http_gave_way(), cast("GrpcState", metrics.grpc_state()).gave_way) == (1, 2))
            page = (await started.page("/metrics")).body.decode()
            assert "authz_http_connections_gave_way_total 1.0\n" in page
            assert "authz_grpc_connections_gave_way_total 2.0\n" in page
            assert "authz_http_connections_refused_total 0.0\n" in page
            assert "authz_grpc_connections_refused_total 0.0\n" in page
            for writer in writers:
                writer.close()

    run(live())
