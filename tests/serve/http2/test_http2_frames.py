"""Frames that break a rule of RFC 9113, and the code with which they end a stream or the connection."""

from __future__ import annotations

from typing import Final

import pytest
from support.sidecar.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROMISE,
    RESET,
    SETTINGS,
    WHOLE,
    WINDOW,
    Peer,
    frame,
    message,
    plain_block,
    raw_block,
    read_frames,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import (
    BLOCK,
    CLOSED,
    ECHO,
    FLOW,
    NOTHING,
    PROTOCOL,
    SIZE,
    Methods,
    held,
    lost,
    ways,
    works,
)

# Frames that break a rule.

FAULTS: Final = {
    # What comes after a call on stream 1 that was answered and one on stream 3 that is open, and the code of GOAWAY.
    "DATA on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL),
    "DATA on an idle stream": (frame(DATA, 0, 9, b"x"), PROTOCOL),
    "DATA on a stream of the server": (frame(DATA, 0, 2, b"x"), PROTOCOL),
    "more padding than DATA": (frame(DATA, PADDED, 3, b"\5xxx"), PROTOCOL),
    "DATA of nothing but padding that is too long": (frame(DATA, PADDED, 3, b"\1"), PROTOCOL),
    "padded DATA of no length": (frame(DATA, PADDED, 3), SIZE),
    "HEADERS on stream 0": (frame(HEADERS, WHOLE, 0, BLOCK), PROTOCOL),
    "HEADERS on a stream of the server": (frame(HEADERS, WHOLE, 4, BLOCK), PROTOCOL),
    "HEADERS on a closed stream": (frame(HEADERS, WHOLE, 1, BLOCK), CLOSED),
    "HEADERS on a stream passed over": (frame(HEADERS, WHOLE, 9, BLOCK) + frame(HEADERS, WHOLE, 7, BLOCK), CLOSED),
    "padded HEADERS of no length": (frame(HEADERS, WHOLE | PADDED, 5), SIZE),
    "more padding than HEADERS": (frame(HEADERS, WHOLE | PADDED, 5, b"\xff" + BLOCK), PROTOCOL),
    "HEADERS without their priority": (frame(HEADERS, WHOLE | PRIORITIZED, 5, b"\0\0\0\0"), SIZE),
    "HEADERS that depend on themselves": (frame(HEADERS, WHOLE | PRIORITIZED, 5, b"\0\0\0\x0d\0" + BLOCK), PROTOCOL),
    "PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "RST_STREAM on stream 0": (frame(RESET, 0, 0, bytes(4)), PROTOCOL),
    "RST_STREAM on an idle stream": (frame(RESET, 0, 9, bytes(4)), PROTOCOL),
    "RST_STREAM on a stream of the server": (frame(RESET, 0, 2, bytes(4)), PROTOCOL),
    "RST_STREAM of 3 bytes": (frame(RESET, 0, 3, bytes(3)), SIZE),
    "RST_STREAM of 5 bytes": (frame(RESET, 0, 3, bytes(5)), SIZE),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 3), PROTOCOL),
    "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    "an ACK that says something": (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    "ENABLE_PUSH of 2": (settings_frame((2, 2)), PROTOCOL),
    "INITIAL_WINDOW_SIZE of 2^31": (settings_frame((INITIAL_WINDOW, 1 << 31)), FLOW),
    "MAX_FRAME_SIZE of 16383": (settings_frame((5, 16383)), PROTOCOL),
    "MAX_FRAME_SIZE of 2^24": (settings_frame((5, 1 << 24)), PROTOCOL),
    "PUSH_PROMISE": (frame(PROMISE, WHOLE, 3, bytes(4)), PROTOCOL),
    "PING on a stream": (frame(PING, 0, 3, bytes(8)), PROTOCOL),
    "PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 3, bytes(8)), PROTOCOL),
    "GOAWAY of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "WINDOW_UPDATE of 3 bytes": (frame(WINDOW, 0, 0, bytes(3)), SIZE),
    "WINDOW_UPDATE of nothing": (window(0, 0), PROTOCOL),
    "WINDOW_UPDATE of too much": (window(0, (1 << 31) - 1), FLOW),
    "WINDOW_UPDATE on an idle stream": (window(9, 1), PROTOCOL),
    "WINDOW_UPDATE of nothing on an idle stream": (window(9, 0), PROTOCOL),
    "WINDOW_UPDATE on a stream of the server": (window(2, 1), PROTOCOL),
    "CONTINUATION without HEADERS": (frame(CONTINUATION, WHOLE, 3, BLOCK), PROTOCOL),
    "CONTINUATION on stream 0": (frame(CONTINUATION, WHOLE, 0, BLOCK), PROTOCOL),
    "CONTINUATION of another stream": (frame(HEADERS, 0, 5, BLOCK) + frame(CONTINUATION, WHOLE, 7, b""), PROTOCOL),
    "DATA between HEADERS and CONTINUATION": (frame(HEADERS, 0, 5, BLOCK) + frame(DATA, END, 3, b""), PROTOCOL),
    "HEADERS instead of CONTINUATION": (frame(HEADERS, 0, 5, BLOCK) + frame(HEADERS, WHOLE, 7, BLOCK), PROTOCOL),
    "an unknown frame between HEADERS and CONTINUATION": (frame(HEADERS, 0, 5, BLOCK) + frame(77, 0, 5), PROTOCOL),
    "a frame that is too large": (frame(DATA, 0, 3, bytes(16385)), SIZE),
    "an unknown frame that is too large": (frame(0x77, 0, 0, bytes(16385)), SIZE),
    "the beginning of a frame that is too large": (frame(DATA, 0, 3, bytes(1 << 20))[:9], SIZE),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_frame_that_breaks_a_rule_of_the_connection_ends_it(peer: Peer, name: str) -> None:
    data, code = FAULTS[name]
    peer.call(ECHO, message(b"before"))
    peer.call(ECHO, message(b"open"), end=False)
    calls = peer.call(ECHO, None), peer.call(ECHO, None)  # both are closed before
    peer.send(frame(RESET, 0, calls[0], bytes(4)) + frame(RESET, 0, calls[1], bytes(4)))
    data = _renumbered(data)
    assert peer.answers[1].messages == [b"6:before"]
    peer.send(data + ways(message(b"too late"), 101)["whole"])

    assert lost(peer) == code
    assert 101 not in peer.answers
    assert held(peer.connection) | {"blocked": 0, "windows": 0, "block": 0} == NOTHING


def _renumbered(data: bytes) -> bytes:
    """Return the frames of the table above with their streams from 5 on moved behind 8, which are taken."""
    complete, rest = read_frames(data)
    moved = (item._replace(stream=item.stream + 8 * (item.stream >= 5)) for item in complete)
    return b"".join(map(lambda item: frame(*item), moved)) + rest if complete else data  # noqa: C417


STREAM_FAULTS: Final = {
    # What comes on stream 3, which is open: with the code of RST_STREAM.
    "WINDOW_UPDATE of nothing": (window(3, 0), PROTOCOL),
    "WINDOW_UPDATE of too much": (window(3, (1 << 31) - 1), FLOW),
    "PRIORITY of 4 bytes": (frame(PRIORITY, 0, 3, bytes(4)), SIZE),
    "PRIORITY on itself": (frame(PRIORITY, 0, 3, b"\0\0\0\3\0"), PROTOCOL),
    "a body that is shorter than announced": (frame(DATA, END, 3, message(b"x" * 30)), PROTOCOL),
    "a body that is longer than announced": (frame(DATA, END, 3, message(b"x" * 50)), PROTOCOL),
    "a body in parts that is longer": (frame(DATA, 0, 3, message(b"x" * 40)) + frame(DATA, END, 3, b"x"), PROTOCOL),
    "no body": (frame(DATA, END, 3), PROTOCOL),
    "no body but trailers": (frame(HEADERS, END | WHOLE, 3, raw_block([("x", "y")])), PROTOCOL),
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_frame_that_breaks_a_rule_of_a_stream_ends_it_alone(peer: Peer, name: str, known: bool) -> None:
    data, code = STREAM_FAULTS[name]
    length = ("content-length", "45")
    first = peer.call(ECHO, message(b"x" * 40), length) if known else peer.call(ECHO, message(b""))
    stream = peer.begin(ECHO, length)
    peer.send(data)

    assert peer.answers[first].status == 0
    assert (peer.answers[stream].frames, peer.answers[stream].reset) == ([RESET], code)
    peer.send(frame(DATA, 0, stream, b"under way") + window(stream, 5) + frame(RESET, 0, stream, bytes(4)))
    assert works(peer)
    assert held(peer.connection) == NOTHING


def test_a_length_announced_with_headers_that_end_the_call_must_be_none(peer: Peer) -> None:
    peer.send(frame(HEADERS, WHOLE | END, 1, plain_block(ECHO, ("content-length", "5"))))
    assert (peer.answers[1].frames, peer.answers[1].reset) == ([RESET], PROTOCOL)


def test_data_on_a_stream_that_was_answered_resets_it_and_no_more(peer: Peer) -> None:
    stream = peer.call(ECHO, message(b"x"))
    del peer.answers[stream]
    peer.send(frame(DATA, 0, stream, b"more") * 5)

    assert (peer.answers[stream].frames, peer.answers[stream].reset) == ([RESET], CLOSED)
    assert works(peer)


def test_a_preface_that_is_none_ends_the_connection(methods: Methods) -> None:
    wrong = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n",
        PREFACE + frame(HEADERS, WHOLE, 1, BLOCK),
        PREFACE + frame(SETTINGS, ACK, 0),
        PREFACE + frame(PING, 0, 0, bytes(8)),
        b"\0",
    ]
    for data in wrong:
        for most in (0, 100):
            peer = Peer(methods.connections, begin=False)
            peer.send(data, range(most))
            assert lost(peer) == PROTOCOL
            peer.lost()
    assert not methods.connections.open


def test_frames_that_mean_nothing_harm_nobody(peer: Peer) -> None:
    stream = peer.begin(ECHO)
    peer.send(
        frame(0xB, 0xFF, 0, b"what")
        + frame(0x10, 0, 77, b"")
        + frame(GOAWAY, 0, 0, bytes(8))
        + settings_frame((77, 1), (6, 100), (3, 0), (2, 0), (2, 1))
        + frame(SETTINGS, ACK, 0)
        + frame(PING, ACK, 0, b"unasked!")
        + frame(PRIORITY, 0, 91, b"\0\0\0\1\0")
        + frame(DATA, 0, stream)
        + frame(DATA, END, stream, message(b"x"))
    )

    assert peer.answers[stream].messages == [b"1:x"]
    assert [item.payload for item in peer.frames if item.kind == PING] == []
    assert works(peer)


def test_settings_and_pings_are_acknowledged(peer: Peer) -> None:
    peer.frames.clear()
    peer.send(settings_frame() + frame(PING, 0, 0, b"12345678") + settings_frame((INITIAL_WINDOW, 5)))

    assert [item[:3] for item in peer.frames] == [(SETTINGS, ACK, 0), (PING, ACK, 0), (SETTINGS, ACK, 0)]
    assert peer.frames[1].payload == b"12345678"
