"""Answers, and the windows of the peer."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sidecar.http2 import (
    DATA,
    END,
    HEADERS,
    INITIAL_WINDOW,
    RESET,
    Peer,
    frame,
    message,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import ECHO, FLOW, NOTHING, SIZED, Methods, held, lost, works
from support.suite.effort import tries

from authz.serve.http2.sending import Sender

# Answers, and the windows of the peer.

ANSWER_SIZES: Final = [0, 1, 5, *range(245, 262), 16373, 16374, 16379, 16380, 16384, 16390, 65525, 65530, 65531, 70000]


@pytest.mark.parametrize("size", ANSWER_SIZES)
def test_an_answer_of_any_size_comes_whole(peer: Peer, size: int) -> None:
    for _ in range(2):
        stream = peer.call(SIZED, message(b"%d" % size))
        while not peer.answers[stream].ended:
            before = len(peer.answers[stream].data)
            peer.send(window(0, 30000) + window(stream, 30000))
            assert len(peer.answers[stream].data) > before
        answer = peer.answers[stream]
        assert (answer.messages, answer.status, answer.headers[":status"]) == ([bytes(size)], 0, "200")
        assert answer.headers["content-type"] == "application/grpc"
        peer.send(window(0, max(size, 1)))
    assert held(peer.connection) == NOTHING


@pytest.mark.parametrize("step", [1, 7, 255])
def test_windows_that_open_bit_by_bit_let_an_answer_out_bit_by_bit(methods: Methods, step: int) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    streams = [peer.call(SIZED, message(b"300")) for _ in range(3)]
    assert [peer.answers[stream].frames for stream in streams] == [[HEADERS]] * 3
    for stream in streams:
        for had in range(0, 305, step):
            assert len(peer.answers[stream].data) == had
            peer.send(window(stream, step))
        assert peer.answers[stream].messages == [bytes(300)]
        assert peer.answers[stream].status == 0
    assert held(peer.connection) == NOTHING
    peer.send(settings_frame((INITIAL_WINDOW, 65535)))
    assert works(peer)


def test_a_window_opened_before_the_answer_counts(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    stream = peer.begin(SIZED)
    peer.send(window(stream, 100) + frame(DATA, END, stream, message(b"300")))
    assert len(peer.answers[stream].data) == 100
    peer.send(window(stream, 205))
    assert peer.answers[stream].messages == [bytes(300)]


def test_settings_change_the_windows_of_answers_that_wait(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 10))
    streams = [peer.call(SIZED, message(b"95")) for _ in range(4)]
    assert {len(peer.answers[stream].data) for stream in streams} == {10}
    peer.send(settings_frame((INITIAL_WINDOW, 50)))
    assert {len(peer.answers[stream].data) for stream in streams} == {50}
    peer.send(settings_frame((INITIAL_WINDOW, 0)))  # less than was used: the windows are negative
    peer.send(window(streams[0], 49))
    assert len(peer.answers[streams[0]].data) == 50
    peer.send(window(streams[0], 2))
    assert len(peer.answers[streams[0]].data) == 51
    peer.send(settings_frame((INITIAL_WINDOW, 99), (INITIAL_WINDOW, 100)))
    assert [peer.answers[stream].messages for stream in streams] == [[bytes(95)]] * 4
    assert held(peer.connection) == NOTHING


def test_a_negative_window_does_not_make_room_for_an_initial_one_that_is_too_large(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 200))
    peer.call(SIZED, message(b"300"))
    peer.send(settings_frame((INITIAL_WINDOW, (1 << 31) + 100)))
    assert lost(peer) == FLOW


def test_an_initial_window_that_makes_another_too_large_ends_the_connection(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    stream = peer.call(SIZED, message(b"300"), end=False)
    peer.send(window(stream, (1 << 31) - 1))
    assert lost(peer) is None
    peer.send(settings_frame((INITIAL_WINDOW, 1)))
    assert lost(peer) == FLOW


def test_the_window_of_the_connection_is_shared_and_nothing_passes_it(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 1 << 30))
    streams = [peer.call(SIZED, message(b"30000")) for _ in range(5)]
    assert sum(len(peer.answers[stream].data) for stream in streams) == 65535
    blocked = peer.call(ECHO, message(b"small"))  # waits behind the others
    assert peer.answers[blocked].frames == [HEADERS]
    for _ in range(20):
        peer.send(window(0, 9000))
    assert [peer.answers[stream].messages for stream in streams] == [[bytes(30000)]] * 5
    assert peer.answers[blocked].messages == [b"5:small"]
    assert held(peer.connection) == NOTHING
    assert works(peer)


def test_a_blocked_stream_that_is_reset_is_forgotten_and_the_short_way_opens_again(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    for _ in range(3000):  # more than may be open at once
        stream = peer.call(SIZED, message(b"300"))
        peer.send(frame(RESET, 0, stream, bytes(4)))
    assert held(peer.connection) == NOTHING
    peer.send(settings_frame((INITIAL_WINDOW, 1000)))
    assert works(peer)


def test_blocked_answers_do_not_make_other_calls_dear(methods: Methods, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call looks at its own window, not at those of all that wait."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    for _ in range(1000):
        peer.call(SIZED, message(b"300"))
    looks: list[int] = []
    usual = Sender._send_waiting

    def counted(self: Sender, stream: int) -> None:
        looks.append(stream)
        usual(self, stream)

    monkeypatch.setattr(Sender, "_send_waiting", counted)
    streams = [peer.call(SIZED, message(b"300")) for _ in range(5)]
    peer.send(window(streams[0], 400) + window(streams[1], 1))
    assert looks == [*streams, streams[0], streams[1]]
    assert peer.answers[streams[0]].messages == [bytes(300)]


@given(data=st.data())
@settings(max_examples=tries(60), deadline=None)
def test_whatever_the_windows_do_they_are_kept_and_answers_come_whole(data: st.DataObject) -> None:
    """Peer itself checks that no window is exceeded."""
    peer = Peer(Methods().connections, (INITIAL_WINDOW, data.draw(st.sampled_from([0, 1, 100, 65535]))))
    sizes: dict[int, int] = {}
    for _ in range(data.draw(st.integers(5, 25))):
        streams = list(sizes)
        match data.draw(st.integers(0, 4)):
            case 0 | 1:
                size = data.draw(st.sampled_from([0, 10, 250, 16379, 16380, 40000]))
                sizes[peer.call(SIZED, message(b"%d" % size))] = size
            case 2 if streams:
                peer.send(window(data.draw(st.sampled_from(streams)), data.draw(st.sampled_from([1, 50, 20000]))))
            case 3:
                peer.send(settings_frame((INITIAL_WINDOW, data.draw(st.sampled_from([0, 1, 99, 20000])))))
            case _:
                peer.send(window(0, data.draw(st.sampled_from([1, 1000, 50000]))))
    peer.send(settings_frame((INITIAL_WINDOW, 1 << 20)) + window(0, 1 << 24))

    assert {stream: peer.answers[stream].messages for stream in sizes} == {s: [bytes(n)] for s, n in sizes.items()}
    assert all(peer.answers[stream].status == 0 for stream in sizes)
    assert held(peer.connection) == NOTHING
    assert lost(peer) is None
