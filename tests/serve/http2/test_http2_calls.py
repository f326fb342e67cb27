"""A call in every form that HTTP/2 has for it, and what gRPC asks of a server."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING, Final

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sidecar.http2 import (
    DATA,
    END,
    HEADERS,
    LARGEST,
    RESET,
    WHOLE,
    Peer,
    fields,
    frame,
    message,
    plain_block,
    raw_block,
    window,
)
from support.sidecar.http2_methods import (
    BLOCK,
    ECHO,
    GRPC_INTERNAL,
    MAX_MESSAGE,
    NO_ERROR,
    NOT_FOUND,
    NOTHING,
    SIZED,
    TALK,
    UNIMPLEMENTED,
    WAYS,
    Methods,
    held,
    lost,
    ways,
    works,
)
from support.suite.effort import tries

if TYPE_CHECKING:
    import logging

# The short way and the long way.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 300])
def test_a_call_is_answered_the_same_in_whatever_form_it_comes(methods: Methods, way: str, size: int) -> None:
    """First by the long way alone, then where the headers are known, then cut at every byte."""
    data = random.Random(size).randbytes(size)
    peer = Peer(methods.connections)
    expected = peer.answers[peer.call(ECHO, message(data))]
    assert (expected.messages, expected.status) == ([b"%d:" % size + data], 0)

    for start in (1, 3, 5):
        peer.send(ways(message(data), start + 2)[way])
        assert peer.answers[start + 2] == expected
    for cut in range(1, len(ways(message(data), 1)[way])):
        other = Peer(methods.connections)
        other.send(ways(message(data), 1)["whole"])
        other.send(ways(message(data), 3)[way], [cut])
        assert other.answers[3] == expected, cut
        assert lost(other) is None
        other.lost()
    byte_by_byte = ways(message(data), 9)[way]
    peer.send(byte_by_byte, range(len(byte_by_byte)))
    assert peer.answers[9] == expected
    assert held(peer.connection) == NOTHING
    assert lost(peer) is None


def test_many_calls_in_one_read_are_answered_in_one_write(peer: Peer) -> None:
    peer.call(ECHO, message(b""))
    block, writes = plain_block(ECHO), peer.wire.writes
    peer.send(
        b"".join(frame(HEADERS, WHOLE, stream, block) for stream in range(3, 103, 2))
        + b"".join(frame(DATA, END, stream, message(b"%d" % stream)) for stream in range(101, 1, -2))
    )

    assert peer.wire.writes == writes + 1
    assert all(peer.answers[stream].messages == [b"%d:%d" % (len(str(stream)), stream)] for stream in range(3, 103, 2))


CALLS = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 40)), min_size=1, max_size=8)


@given(calls=CALLS, cuts=st.lists(st.integers(0, 3000), max_size=8), table=st.sampled_from([0, 60, 4096]))
@settings(max_examples=tries(120), deadline=None)
def test_forms_may_be_mixed_and_cut_anywhere(calls: list[tuple[str, int]], cuts: list[int], table: int) -> None:
    """Calls whose headers change the table of the connection come between."""
    peer, encoder = Peer(Methods().connections), Encoder()
    encoder.header_table_size = table
    data, bodies = bytearray(), []
    for number, (way, size) in enumerate(calls):
        bodies.append(bytes([65 + number]) * size)
        data += ways(message(bodies[-1]), 4 * number + 1)[way]
        block = encoder.encode(fields(ECHO, ("x-trace", f"{number // 2}")))
        data += frame(HEADERS, WHOLE, 4 * number + 3, block) + frame(DATA, END, 4 * number + 3, message(b"between"))

    peer.send(bytes(data), cuts)

    for number, body in enumerate(bodies):
        assert peer.answers[4 * number + 1].messages == [b"%d:" % len(body) + body]
        assert peer.answers[4 * number + 3].messages == [b"7:between"]
    assert held(peer.connection) == NOTHING
    assert lost(peer) is None


# gRPC.


def test_a_path_that_is_no_method_is_unimplemented(peer: Peer) -> None:
    for path in ("/test.Test/Nothing", "/", "*", "/test.Test/Echo/", "/test.test/Echo", "/test.Test/Echo?x=1"):
        answer = peer.answers[peer.call(path, message(b"x"))]
        assert (answer.status, answer.headers[":status"], answer.frames[0]) == (UNIMPLEMENTED, "200", HEADERS), path
    assert works(peer)


@pytest.mark.parametrize(
    ("method", "kind", "status"),
    [
        ("GET", "application/grpc", "415"),
        ("PUT", "application/grpc", "415"),
        ("POST", "application/json", "415"),
        ("POST", "", "415"),
        ("POST", "application/grpc-web", "415"),
        ("POST", "application/grpcx", "415"),
        ("POST", "application/grpc+proto", "200"),
        ("POST", "application/grpc;x=1", "200"),
    ],
)
def test_what_is_no_grpc_is_refused(peer: Peer, method: str, kind: str, status: str) -> None:
    block = raw_block([(":method", method), *fields(ECHO)[1:4], ("content-type", kind)])
    for stream in (1, 3):  # the second time the block is known
        peer.send(frame(HEADERS, WHOLE, stream, block) + frame(DATA, END, stream, message(b"x")))
        assert (peer.answers[stream].headers[":status"], peer.answers[stream].ended) == (status, True)
    peer.send(frame(HEADERS, WHOLE | END, 5, block))
    assert peer.answers[5].headers[":status"] == status
    peer.next = 7
    assert works(peer)


BODIES: Final = {
    "nothing": b"",
    "less than a prefix": b"\0\0\0",
    "a length that is too small": message(b"abc") + b"x",
    "a length that is too large": message(b"abc")[:-1],
    "two messages": message(b"abc") + message(b"abc"),
    "an unknown flag": message(gzip.compress(b"abc"), 2),
    "compressed by nobody": message(b"abc", 1),
    "a gzip that is cut": message(gzip.compress(b"abc" * 50)[:-1], 1),
    "a gzip that is cut long before": message(gzip.compress(random.Random(1).randbytes(5000))[:900], 1),
    "a gzip that goes on": message(gzip.compress(b"abc") + b"x", 1),
    "two gzips": message(gzip.compress(b"abc") * 2, 1),
    "a gzip of a wrong sum": message(gzip.compress(b"abc")[:-8] + bytes(8), 1),
    "nothing compressed": message(b"", 1),
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_one_message_fails_and_is_no_call(
    methods: Methods, peer: Peer, name: str, known: bool, parts: bool
) -> None:
    if known:
        works(peer)
    calls, body = methods.calls, BODIES[name]
    stream = peer.call(ECHO, body[:7], end=not parts and len(body) <= 7)
    if parts or len(body) > 7:
        peer.send(frame(DATA, END, stream, body[7:]))

    answer = peer.answers[stream]
    assert (answer.status, answer.frames, answer.ended) == (GRPC_INTERNAL, [HEADERS], True)
    assert methods.calls == calls
    assert works(peer)


def test_headers_without_a_body_are_no_call(peer: Peer) -> None:
    for stream in (1, 3):
        peer.send(frame(HEADERS, WHOLE | END, stream, BLOCK))
        assert peer.answers[stream].status == GRPC_INTERNAL


def test_what_a_compressed_message_unpacks_to_is_bounded(peer: Peer) -> None:
    """16 kB, and 32 times what came: a kilobyte must not cost as much as a megabyte."""
    noise = random.Random(3).randbytes(1000)
    for data, answer in (
        (bytes(16384), b"16384:"),
        (bytes(16385), b"message"),
        (bytes(1 << 26), b"message"),
        (noise * 60, b"60000:" if len(gzip.compress(noise * 60)) * 32 >= 60000 else b"message"),
        (noise + bytes(MAX_MESSAGE - 1000), b"message"),
    ):
        body = message(gzip.compress(data), 1)
        stream = peer.begin(ECHO)
        for at in range(0, len(body), LARGEST):
            peer.send(frame(DATA, END if at + LARGEST >= len(body) else 0, stream, body[at : at + LARGEST]))
        assert peer.answers[stream].messages[0].startswith(answer)


def test_a_method_without_an_answer_to_large_messages_fails(peer: Peer) -> None:
    stream = peer.call(SIZED, b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big"), end=False)
    answer = peer.answers[stream]
    assert (answer.status, answer.frames, answer.reset) == (8, [HEADERS, RESET], NO_ERROR)
    assert works(peer)


def test_an_unknown_method_is_unimplemented_at_once(peer: Peer) -> None:
    """Not after the peer has ended its call: `grpcurl list` never does."""
    for _ in range(2):
        answer = peer.answers[peer.begin("/grpc.reflection.v1.Nothing/Nothing")]
        assert (answer.status, answer.frames, answer.reset) == (UNIMPLEMENTED, [HEADERS, RESET], NO_ERROR)
    assert works(peer)


def test_each_message_of_a_conversation_is_answered_when_it_comes(peer: Peer) -> None:
    stream = peer.begin(TALK)
    for number in range(3):
        peer.send(frame(DATA, 0, stream, message(b"a" * number) + message(b"b")[:3]))
        peer.send(frame(DATA, 0, stream, message(b"b")[3:]))
    assert peer.answers[stream].messages == [b"0:", b"1:b", b"1:a", b"1:b", b"2:aa", b"1:b"]
    peer.send(frame(DATA, END, stream))
    assert (peer.answers[stream].status, peer.answers[stream].ended) == (0, True)
    assert held(peer.connection) == NOTHING
    assert works(peer)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("body", [b"\0\xff\xff\xff\xff", b"\2\0\0\0\0", b"\1\0\0\0\1x"])
def test_a_conversation_with_a_broken_message_fails(peer: Peer, body: bytes, end: bool) -> None:
    stream = peer.begin(TALK)
    peer.send(frame(DATA, END if end else 0, stream, body))
    answer = peer.answers[stream]
    assert (answer.status in {8, GRPC_INTERNAL}, answer.ended, answer.reset) == (True, True, None if end else NO_ERROR)
    assert held(peer.connection) == NOTHING
    assert works(peer)


@pytest.mark.parametrize("end", [True, False])
def test_a_method_that_fails_or_breaks_ends_its_call_alone(
    peer: Peer, end: bool, faults: list[logging.LogRecord]
) -> None:
    for path, status, words in (
        ("/test.Test/Fail", NOT_FOUND, "not here"),
        ("/test.Test/Break", GRPC_INTERNAL, "internal error"),
        ("/test.Test/BreakWatch", GRPC_INTERNAL, "internal error"),
    ):
        for _ in range(2):
            stream = peer.call(path, message(b"x"), end=end)
            if not end:
                peer.send(window(stream, 5) + frame(DATA, END, stream))
            answer = peer.answers[stream]
            assert (answer.status, answer.frames, answer.ended) == (status, [HEADERS], True)
            assert answer.headers["grpc-message"] == words
    assert works(peer)
    assert held(peer.connection) == NOTHING
    assert len(faults) == 4
    faults.clear()
