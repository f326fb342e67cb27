"""What is taken of a peer, and floods of every kind."""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from typing import Any

import pytest
from support.sidecar.http2 import (
    CONTINUATION,
    DATA,
    END,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST,
    PADDED,
    RESET,
    WHOLE,
    WINDOW,
    Answer,
    Peer,
    frame,
    message,
    padded,
    plain_block,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import (
    BLOCK,
    CALM,
    ECHO,
    FLOW,
    MAX_MESSAGE,
    NO_ERROR,
    NOTHING,
    REFUSED,
    SIZED,
    WATCH,
    Methods,
    held,
    lost,
    ways,
    works,
)

from authz.serve.http2 import connection as http2_connection
from authz.serve.http2.connection import Http2Connection
from authz.serve.listeners.budget import HeldBytes
from authz.serve.listeners.places import STUCK

# What we take.


def test_the_window_for_calls_is_refilled_whatever_becomes_of_them(peer: Peer) -> None:
    """Bodies that are answered, padded, of streams that were reset: all count, and all are given back."""
    sent = given_back = 0
    refused = peer.begin(ECHO, ("content-length", "3"))
    peer.send(frame(DATA, END, refused, message(b"")))
    sent += 5
    while sent < 40 << 20:
        data = b""
        for _ in range(4):
            stream, peer.next = peer.next, peer.next + 2
            body = message(bytes(16379))
            data += frame(HEADERS, WHOLE, stream, BLOCK) + frame(DATA, END, stream, body)
            data += frame(DATA, PADDED, refused, padded(bytes(16000), 200))
            sent += len(body) + 16201
        peer.send(data)
        peer.send(window(0, 70000))
        given_back = sum(int.from_bytes(f.payload, "big") for f in peer.frames if f.kind == WINDOW and not f.stream)
        assert 65535 + given_back - sent >= 1 << 22
    assert lost(peer) is None


def test_padding_of_a_body_is_given_back_to_its_stream(peer: Peer) -> None:
    stream = peer.begin(ECHO)
    peer.send(frame(DATA, PADDED, stream, padded(message(b"x" * 20)[:10], 99)))
    assert [(f.stream, f.payload) for f in peer.frames if f.kind == WINDOW and f.stream] == [
        (stream, (100).to_bytes(4, "big"))
    ]
    peer.send(frame(DATA, END | PADDED, stream, padded(message(b"x" * 20)[10:], 99)))
    assert peer.answers[stream].messages == [b"20:" + b"x" * 20]


@pytest.mark.parametrize("over", [1, 50, 1 << 31])
def test_a_message_that_is_too_large_is_answered_before_it_has_come(methods: Methods, over: int) -> None:
    """It is not read, and the connection goes on, even where the answer waits."""
    for initial in (65535, 0):
        peer = Peer(methods.connections, (INITIAL_WINDOW, initial))
        stream = peer.begin(ECHO)
        peer.send(frame(DATA, 0, stream, b"\0" + (MAX_MESSAGE + over).to_bytes(4, "big")))
        peer.send(frame(DATA, 0, stream, bytes(1000)) + window(stream, 100))

        answer = peer.answers[stream]
        assert (answer.messages, answer.status, answer.ended) == ([b"message"], 0, True)
        peer.send(settings_frame((INITIAL_WINDOW, 1000)))
        assert works(peer)
        assert held(peer.connection) == NOTHING
    assert methods.calls == 4


def test_a_message_of_the_largest_size_comes_whole(peer: Peer) -> None:
    stream = peer.begin(ECHO)
    peer.send_body(stream, message(bytes(MAX_MESSAGE)))
    assert peer.answers[stream].messages[0].startswith(b"%d:" % MAX_MESSAGE)
    assert held(peer.connection) == NOTHING


def test_a_body_over_the_window_of_its_stream_ends_it(peer: Peer) -> None:
    stream = peer.begin(ECHO)
    peer.send(b"".join(frame(DATA, 0, stream, bytes(LARGEST)) for _ in range(20)))
    assert peer.answers[stream].reset == FLOW
    assert held(peer.connection) == NOTHING
    assert works(peer)


def test_a_watch_that_is_too_long_to_begin_is_none(methods: Methods, peer: Peer) -> None:
    stream = peer.begin(WATCH)
    peer.send(frame(DATA, 0, stream, b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")))

    assert peer.answers[stream].reset == CALM
    assert methods.watchers == []
    assert held(peer.connection) == NOTHING
    assert works(peer)


def test_calls_without_end_are_refused_and_others_go_on(peer: Peer) -> None:
    peer.call(ECHO, message(b"known"))
    block = plain_block(ECHO)
    streams = range(peer.next, peer.next + 2 * 1500, 2)
    peer.next = streams[-1] + 2
    peer.send(b"".join(frame(HEADERS, WHOLE, stream, block) for stream in streams))

    assert [peer.answers.get(stream, Answer()).reset for stream in streams] == [None] * 1024 + [REFUSED] * 476
    peer.send(b"".join(frame(DATA, END, stream, message(b"x")) for stream in streams[:500]))
    assert all(peer.answers[stream].messages == [b"1:x"] for stream in streams[:500])
    assert works(peer)
    assert held(peer.connection)["streams"] == 524


def test_answers_and_watchers_that_wait_count_as_calls(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    streams = [peer.call(SIZED if n % 2 else WATCH, message(b"300")) for n in range(1100)]
    assert sum(peer.answers[stream].reset == REFUSED for stream in streams) >= 1100 - 1024
    assert held(peer.connection)["windows"] <= 1024


def test_bodies_that_are_not_complete_are_bounded_for_all_and_the_greedy_go_first(methods: Methods) -> None:
    methods.connections.held = HeldBytes(1 << 20)
    modest, *greedy = (Peer(methods.connections) for _ in range(20))
    stream = modest.call(ECHO, message(b"x" * 100)[:50], end=False)
    for _ in range(10):
        for peer in greedy:
            if not peer.wire.closing:
                peer.call(ECHO, bytes(LARGEST), end=False)
                peer.read()
            assert methods.connections.held.total <= 1 << 20

    assert sum(peer.wire.aborted for peer in greedy) >= 8
    modest.send(frame(DATA, END, stream, message(b"x" * 100)[50:]))
    assert modest.answers[stream].messages == [b"100:" + b"x" * 100]
    for peer in greedy:
        peer.lost()
    assert methods.connections.held.total == 0


def test_header_blocks_that_never_end_share_the_budget_of_bytes(methods: Methods) -> None:
    """A thousand connections with 128 kB each of a header block held 134 MB, which nobody counted."""
    methods.connections.held = HeldBytes(1 << 20)
    peers = [Peer(methods.connections) for _ in range(20)]
    for peer in peers:
        peer.send(frame(HEADERS, 0, 1, plain_block(ECHO)))
        for _ in range(6):
            peer.send(frame(CONTINUATION, 0, 1, bytes(16_000)))
        assert methods.connections.held.total <= 1 << 20
    assert 8 < sum(not peer.wire.aborted for peer in peers) < 12
    for peer in peers:
        peer.lost()
    assert methods.connections.held.total == 0


def test_a_connection_too_many_is_closed_and_a_place_is_free_again(methods: Methods) -> None:
    methods.connections.max_connections = 3
    peers = [Peer(methods.connections) for _ in range(3)]
    streams = [peer.begin(ECHO) for peer in peers]
    extra = Peer(methods.connections, begin=False)
    assert extra.wire.aborted
    extra.lost()
    for peer, stream in zip(peers, streams, strict=True):
        peer.send(frame(DATA, END, stream, message(b"")))
        assert works(peer)
    peers[0].lost()
    assert works(Peer(methods.connections))
    assert len(methods.connections.open) == 3


def test_an_idle_connection_leaves_for_a_new_one_those_that_never_called_first(methods: Methods) -> None:
    """Else as many idle connections as may be open would lock a new proxy out."""
    methods.connections.max_connections = 3
    called, silent = Peer(methods.connections), Peer(methods.connections)
    busy = Peer(methods.connections)
    stream = busy.begin(ECHO)
    assert works(called)
    methods.connections.places.clock = lambda: time.monotonic() + 1  # silent had the time to call
    assert works(Peer(methods.connections))
    silent.read()
    assert (lost(silent), lost(called), lost(busy)) == (NO_ERROR, None, None)
    busy.send(frame(DATA, END, stream, message(b"")))
    assert works(busy)


def test_bodies_that_never_end_and_answers_that_nobody_reads_keep_no_proxy_out(methods: Methods) -> None:
    """Until the next sweeps, for ten seconds and more, they took all places that their address may have."""
    methods.connections.max_connections = 3
    proxy, begun, deaf = (Peer(methods.connections) for _ in range(3))
    assert works(proxy)
    begun.begin(ECHO)
    deaf.wire.stuck = True
    while deaf.wire.is_reading():
        deaf.send(ways(message(b"x" * 1000), deaf.next)["whole"])
        deaf.next += 2
    assert len(methods.connections.open) == 3
    methods.connections.places.clock = lambda: time.monotonic() + STUCK + 1
    assert works(Peer(methods.connections))
    assert works(Peer(methods.connections))
    assert works(proxy)
    assert not {begun.connection, deaf.connection} & methods.connections.open


# Floods.


def test_calls_that_are_begun_and_reset_leave_nothing(methods: Methods, peer: Peer) -> None:
    block, calls = plain_block(ECHO), methods.calls
    streams = range(1, 1801, 2)
    peer.send(b"".join(frame(HEADERS, WHOLE, stream, block) + frame(RESET, 0, stream, bytes(4)) for stream in streams))
    peer.next = streams[-1] + 2

    assert methods.calls == calls  # nothing was done for them
    assert held(peer.connection) == NOTHING
    assert works(peer)


def test_a_peer_that_does_not_read_is_not_read(methods: Methods) -> None:
    peer = Peer(methods.connections)
    calls = methods.calls
    peer.wire.stuck = True
    sent = 0
    while peer.wire.is_reading():
        piece = b"".join(ways(message(b"x"), peer.next + 2 * n)["whole"] for n in range(8))
        peer.next += 16
        sent += len(piece)
        assert sent < 1 << 20
        peer.send(piece)
    assert peer.wire.waiting
    assert methods.calls - calls < 2000

    peer.wire.unstick()

    assert peer.wire.is_reading()
    assert works(peer)


def test_of_a_large_read_no_more_is_answered_than_the_peer_takes(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read may have many times as many calls as the peer wants to have answered; the rest waits, and in order."""
    monkeypatch.setattr(http2_connection, "TURN", 0.0)
    peer = Peer(methods.connections)
    peer.wire.stuck = True
    streams = range(1, 8001, 2)
    peer.send(b"".join(ways(message(b"%d" % stream), stream)["whole"] for stream in streams))
    assert methods.calls < 1500
    assert held(peer.connection)["later"]
    assert not peer.wire.is_reading()
    while methods.calls < len(streams):
        peer.wire.unstick()
        peer.wire.stuck = True
    peer.wire.unstick()
    peer.read()

    assert [peer.answers[s].messages for s in streams] == [[b"%d:%d" % (len(str(s)), s)] for s in streams]
    assert peer.wire.is_reading()
    assert held(peer.connection) == NOTHING


def test_a_connection_that_ends_while_its_peer_does_not_read_takes_no_more(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_connection, "TURN", 0.0)
    peer = Peer(methods.connections)
    peer.wire.stuck = True
    peer.send(b"".join(ways(message(b"x"), stream)["whole"] for stream in range(1, 8001, 2)))
    calls = methods.calls
    peer.connection.leave()
    peer.wire.unstick()

    assert methods.calls == calls
    assert held(peer.connection) == NOTHING
    peer.read()
    assert lost(peer) == NO_ERROR


def test_settings_by_the_thousand_cost_no_more_for_many_windows(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows are looked at once a frame, not once a setting."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    for _ in range(100):
        peer.send(window(peer.call(SIZED, message(b"300"), end=False), 5))

    class Counted(dict[int, int]):
        looks = 0

        def values(self) -> Any:
            type(self).looks += 1
            return super().values()

    monkeypatch.setattr(peer.connection._sender, "_windows", Counted(peer.connection._sender._windows))
    peer.send(settings_frame(*[(INITIAL_WINDOW, n) for n in range(2700)]))
    assert Counted.looks <= 1
    assert lost(peer) is None


def test_connections_that_come_beyond_the_most_do_not_each_cost_a_look_at_all(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods.connections.max_connections = 200
    looks, is_idle = 0, Http2Connection.idle.fget  # type: ignore[attr-defined]  # a property

    def idle(self: Http2Connection) -> bool:
        nonlocal looks
        looks += 1
        return bool(is_idle(self))

    monkeypatch.setattr(Http2Connection, "idle", property(idle))
    methods.connections.places.clock = partial(next, count(time.monotonic(), 1e-5))  # however busy the machine is
    peers = [Peer(methods.connections) for _ in range(500)]
    assert sum(not peer.wire.closing for peer in peers) == 200
    assert looks < 300 * 10


def test_where_two_never_called_who_came_first_leaves(methods: Methods) -> None:
    """A new proxy that has not called yet seemed to have been idle for longest."""
    methods.connections.max_connections = 2
    old = Peer(methods.connections)
    old.connection.sweep(time.monotonic())
    proxy = Peer(methods.connections)
    Peer(methods.connections)
    old.read()
    assert (lost(old), lost(proxy)) == (NO_ERROR, None)
    assert works(proxy)
