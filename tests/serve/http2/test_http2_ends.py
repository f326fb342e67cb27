"""What is left unfinished, watches, and the end of connections."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from support.sidecar.http2 import (
    CONTINUATION,
    DATA,
    END,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    RESET,
    WHOLE,
    Peer,
    frame,
    message,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import (
    BLOCK,
    CANCEL,
    CLOSED,
    ECHO,
    MAX_MESSAGE,
    NO_ERROR,
    NOTHING,
    REFUSED,
    SIZED,
    WATCH,
    Methods,
    held,
    sweep,
    ways,
    works,
)

from authz.serve.http2 import listener as http2_listener
from authz.serve.http2.connection import Http2Connection

if TYPE_CHECKING:
    import logging

# What is left unfinished.


@pytest.mark.parametrize(
    "data", [b"", PREFACE[:5], PREFACE, PREFACE + settings_frame()[:5]], ids=["nothing", "cut", "preface", "settings"]
)
def test_a_connection_that_is_not_begun_is_closed(methods: Methods, data: bytes) -> None:
    peer = Peer(methods.connections, begin=False)
    peer.send(data)
    sweep(peer, 1)
    assert not peer.wire.closing
    sweep(peer, 1)
    assert peer.wire.aborted


@pytest.mark.parametrize(
    "data",
    [frame(PING, 0, 0, bytes(8))[:12], frame(PING, 0, 0)[:3], frame(HEADERS, 0, 1, BLOCK)],
    ids=["payload", "head", "header block"],
)
def test_what_is_cut_and_does_not_go_on_ends_the_connection(peer: Peer, data: bytes) -> None:
    peer.send(data)
    sweep(peer)
    assert peer.wire.aborted


@pytest.mark.parametrize("trickle", ["a byte", "empty continuations"])
def test_a_frame_or_header_block_that_trickles_ends_the_connection(peer: Peer, trickle: str) -> None:
    """Each byte, and each CONTINUATION, renewed its lease."""
    block = frame(HEADERS, 0, 1, BLOCK)
    if trickle == "a byte":
        sent = iter([block[:5], *[block[number : number + 1] for number in range(5, 12)]])
    else:
        sent = iter([block, *[frame(CONTINUATION, 0, 1, b"")] * 7])
    peer.send(next(sent))
    sweep(peer, 1)
    assert not peer.wire.closing
    peer.send(next(sent))
    sweep(peer, 1)
    assert peer.wire.aborted


def test_frames_that_come_in_parts_all_the_time_end_nothing(peer: Peer) -> None:
    ping = frame(PING, 0, 0, bytes(8))
    peer.send(ping[:3])
    for _ in range(4):
        sweep(peer, 1)
        peer.send(ping[3:] + ping[:3])
    peer.send(ping[3:])
    assert works(peer)


def test_a_call_that_does_not_go_on_is_cancelled_and_the_others_go_on(peer: Peer) -> None:
    headers = peer.begin(ECHO)
    body = peer.call(ECHO, message(b"xx")[:6], end=False)
    sweep(peer, 1)
    late = peer.begin(ECHO)
    sweep(peer, 1)

    assert (peer.answers[headers].reset, peer.answers[body].reset) == (CANCEL, CANCEL)
    peer.send(frame(DATA, END, late, message(b"late")) + frame(DATA, END, body, b"x"))
    assert peer.answers[late].messages == [b"4:late"]
    assert works(peer)
    assert held(peer.connection) == NOTHING


def test_an_answer_that_nobody_takes_is_cancelled_a_watch_is_not(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    answer, watch = peer.call(SIZED, message(b"300")), peer.call(WATCH, message(b""))
    sweep(peer, 5)

    assert (peer.answers[answer].reset, peer.answers[watch].reset) == (CANCEL, None)
    assert len(methods.watchers) == 1


def test_a_peer_that_does_not_read_for_long_is_cut_off_one_that_is_slow_is_not(methods: Methods) -> None:
    slow, deaf = Peer(methods.connections), Peer(methods.connections)
    for _ in range(4):
        for peer in (slow, deaf):
            peer.wire.stuck = True
            while peer.wire.is_reading():
                stream, peer.next = peer.next, peer.next + 2
                call = frame(HEADERS, WHOLE, stream, BLOCK) + frame(DATA, END, stream, message(bytes(4000)))
                peer.send(window(0, 5000) + call)
        slow.connection.sweep(0.0)
        if not deaf.wire.closing:
            deaf.connection.sweep(0.0)
        slow.wire.unstick()
    assert deaf.wire.aborted
    assert not slow.wire.closing
    assert works(slow)


def test_a_connection_that_closes_and_does_not_come_to_its_end_is_cut_off(peer: Peer) -> None:
    peer.send(frame(PING, 0, 3, bytes(8)))
    peer.connection.sweep(0.0)
    peer.connection.sweep(0.0)
    assert peer.wire.aborted


def test_an_idle_connection_stays(peer: Peer) -> None:
    for _ in range(5):
        peer.connection.sweep(0.0)
        assert works(peer)
    sweep(peer, 5)
    assert not peer.wire.closing


def test_a_sweep_that_fails_for_one_is_done_for_the_others(
    methods: Methods, monkeypatch: pytest.MonkeyPatch, faults: list[logging.LogRecord]
) -> None:
    monkeypatch.setattr(http2_listener, "SWEEP", 0)
    broken, idle = Peer(methods.connections), Peer(methods.connections, begin=False)
    monkeypatch.setattr(broken.connection, "_swept", object())

    async def run() -> None:
        methods.connections.start()
        while not idle.wire.aborted:
            await asyncio.sleep(0)
            broken.connection._swept = object()  # type: ignore[assignment]
        methods.connections.stop()

    asyncio.run(run())
    assert broken.wire.closing
    assert faults
    faults.clear()


def test_a_connection_that_is_lost_leaves_nothing_behind(methods: Methods) -> None:
    """Not even a cycle: what gc.freeze() finds stays for ever."""
    gc.collect()
    gc.disable()
    try:
        peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
        peer.call(WATCH, message(b""))
        peer.call(SIZED, message(b"10"))
        peer.call(ECHO, message(b"x"), end=False)
        peer.send(frame(PING, 0, 3, bytes(8)))
        peer.lost()
        known = weakref.ref(peer.connection)
        del peer.wire.connection, peer
        assert known() is None
    finally:
        gc.enable()
    assert (methods.watchers, methods.connections.open, methods.connections.held.total) == ([], set(), 0)


# Watch.


def test_a_watch_is_answered_more_than_once_until_it_is_reset(methods: Methods, peer: Peer) -> None:
    stream = peer.call(WATCH, message(b"x"))
    assert works(peer)
    for number in range(3):
        methods.watchers[0].send(b"%d" % number)
    peer.read()
    assert peer.answers[stream].messages == [b"first:x", b"0", b"1", b"2"]
    watcher = methods.watchers[0]
    peer.send(frame(RESET, 0, stream, bytes(4)))
    assert methods.watchers == []
    watcher.send(b"after its end")
    assert peer.read() == []
    assert held(peer.connection) == NOTHING
    assert works(peer)


def test_a_watch_ends_with_its_connection(methods: Methods) -> None:
    peers = [Peer(methods.connections) for _ in range(2)]
    for peer in peers:
        peer.call(WATCH, message(b""))
        peer.call(WATCH, message(b""))
    kept = methods.watchers[:]
    peers[0].lost()
    assert methods.watchers == kept[2:]
    peers[1].send(frame(PING, 0, 3, bytes(8)))
    for watcher in kept:
        watcher.send(b"after the end")
    peers[1].lost()
    assert methods.watchers == []


def test_messages_of_a_watch_wait_for_its_window_and_keep_their_order(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 3))
    stream = peer.call(WATCH, message(b"x"))
    for number in range(5):
        methods.watchers[0].send(b"%d" % number)
        peer.read()
        peer.send(window(stream, 4))
    peer.send(window(stream, 1000))
    assert peer.answers[stream].messages == [b"first:x", *(b"%d" % number for number in range(5))]
    assert not peer.answers[stream].ended
    assert held(peer.connection) == NOTHING | {"watchers": 1, "windows": 1}


def test_messages_of_a_watch_that_nobody_reads_are_bounded(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    peer.call(WATCH, message(b"x"))
    for _ in range(40):
        methods.watchers[0].send(bytes(10000))
    [waiting] = peer.connection._sender.blocked.values()
    assert len(waiting.data) < MAX_MESSAGE + 20000


def test_a_watch_that_sends_more_is_reset(methods: Methods, peer: Peer) -> None:
    stream = peer.call(WATCH, message(b"x"))
    peer.send(frame(DATA, END, stream, message(b"more")))
    assert peer.answers[stream].reset == CLOSED
    assert methods.watchers == []
    assert works(peer)


# The end.


def test_at_the_end_peers_are_told_and_what_has_begun_is_answered(methods: Methods) -> None:
    peers = [Peer(methods.connections), Peer(methods.connections, (INITIAL_WINDOW, 0)), Peer(methods.connections)]
    streams = [peer.call(SIZED, message(b"300"), end=False) for peer in peers]
    peers[2].send(frame(PING, 0, 3, bytes(8)))  # this one has ended by itself
    methods.connections.announce_end()
    for peer in peers[:2]:
        (told,) = (item for item in peer.read() if item.kind == GOAWAY)
        assert told.payload[:8] == b"\x7f\xff\xff\xff\0\0\0\0"
    for peer, stream in zip(peers[:2], streams[:2], strict=True):
        peer.send(frame(DATA, END, stream))
    peers[1].send(window(streams[1], 305))
    unfinished = peers[0].begin(ECHO)
    methods.connections.stop()
    peers[0].read()
    assert peers[0].answers[unfinished].reset == REFUSED
    for peer, stream in zip(peers[:2], streams[:2], strict=True):
        assert peer.answers[stream].messages == [bytes(300)]
        peer.read()
        assert int.from_bytes(peer.frames[-1].payload[:4], "big") == max(peer.answers)
        assert (peer.frames[-1].kind, peer.goaway, peer.wire.closing) == (GOAWAY, NO_ERROR, True)
        peer.connection.data_received(ways(message(b"too late"), 99)["whole"])
        assert peer.read() == []


# Idle connections, and the sweep.


def test_an_idle_connection_ends_and_is_told_before(methods: Methods) -> None:
    """1,024 of them locked a new proxy out for ever, and a byte now and then kept them."""
    methods.connections.idle_timeout = 60.0
    peer, busy = Peer(methods.connections), Peer(methods.connections)
    assert works(peer)
    for now in (10.0, 20.0, 60.0, 69.0):
        assert works(busy)
        peer.send(frame(PING, 0, 0, bytes(8)))
        for connection in (peer.connection, busy.connection):
            connection.sweep(now)
    peer.read()
    assert (peer.goaway, peer.wire.closing) == (None, False)
    peer.connection.sweep(80.0)
    peer.read()
    assert (peer.goaway, peer.wire.closing) == (NO_ERROR, False)
    assert works(peer)  # a call that was under way
    peer.connection.sweep(81.0)
    peer.connection.sweep(150.0)
    peer.connection.sweep(160.0)
    peer.read()
    assert peer.wire.closing
    assert not busy.wire.closing


def test_the_sweep_lets_others_have_their_turn(methods: Methods, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took a second for a thousand connections with a thousand calls each."""
    monkeypatch.setattr(http2_listener, "SWEEP", 0)
    swept: list[str] = []
    monkeypatch.setattr(Http2Connection, "sweep", lambda *_: swept.append("swept"))
    peers = [Peer(methods.connections) for _ in range(100)]

    async def run() -> None:
        methods.connections.start()
        while swept.count("swept") < len(peers):
            await asyncio.sleep(0)
            swept.append("other")
        methods.connections.stop()

    asyncio.run(run())
    runs = "".join("s" if what == "swept" else " " for what in swept).split()
    assert max(map(len, runs)) <= 16


def test_an_old_connection_is_told_to_leave_and_its_calls_are_answered(methods: Methods) -> None:
    """So that clients behind a balancer spread again."""
    methods.connections.max_age = 100.0
    peer = Peer(methods.connections)
    for now in (10.0, 50.0, 99.0):
        assert works(peer)
        peer.connection.sweep(now)
    peer.read()
    assert (peer.goaway, peer.wire.closing) == (None, False)
    peer.connection.sweep(10.0 + 110.0)
    peer.read()
    assert (peer.goaway, peer.wire.closing) == (NO_ERROR, False)
    assert works(peer)  # a call that was under way
    peer.connection.sweep(10.0 + 120.0)
    assert not peer.wire.closing
    peer.connection.sweep(10.0 + 150.0)
    assert peer.wire.closing


def test_old_connections_do_not_all_leave_at_once(methods: Methods) -> None:
    methods.connections.max_age = 100.0
    ages = {methods.connections.age() for _ in range(50)}
    assert len(ages) > 10
    assert 90.0 <= min(ages) < 97.0
    assert 103.0 < max(ages) <= 110.0
