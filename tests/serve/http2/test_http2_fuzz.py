"""Anything at all: frames in any order, good calls with bytes changed, bytes."""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.sidecar.http2 import (
    DATA,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST,
    PREFACE,
    WHOLE,
    Peer,
    frame,
    message,
    padded,
    plain_block,
    window,
)
from support.sidecar.http2_methods import BLOCK, NOTHING, SIZED, TALK, WATCH, WAYS, Methods, held, ways, works
from support.suite.effort import tries

from authz.serve.http2.fields import MAX_HEADER_LIST
from authz.serve.http2.streams import Call

if TYPE_CHECKING:
    from authz.serve.http2.connection import Http2Connection

# Anything at all.

STREAMS = st.sampled_from([0, 1, 3, 5, 7, 2, 1 << 31 | 3, (1 << 31) - 1])
PAYLOADS = st.one_of(
    st.sampled_from([
        b"", BLOCK, b"\x20" + BLOCK, plain_block(WATCH), plain_block(SIZED), plain_block(TALK), message(b"300"),
        message(b"x"), bytes(4),
        bytes(5), bytes(6), bytes(8), b"\0\0\0\1", b"\0\4\0\0\0\0", b"\0\4\0\0\0\x09", b"\0\4\x7f\xff\xff\xff",
        padded(BLOCK, 3), padded(message(b"x"), 3), message(gzip.compress(b"300"), 1),
    ]),
    st.binary(max_size=40),
    st.integers(0, 9).map(lambda n: bytes(n * 2000)),
)  # fmt: skip
FRAMES = st.one_of(
    st.builds(frame, st.integers(0, 11), st.sampled_from([0, 1, 4, 5, 8, 12, 0x20, 0x24, 0xFF]), STREAMS, PAYLOADS),
    st.builds(lambda stream: frame(HEADERS, WHOLE, stream, BLOCK), st.integers(0, 9).map(lambda n: 2 * n + 1)),
    st.builds(
        lambda stream, end: frame(DATA, end, stream, message(b"300")),
        st.integers(0, 9).map(lambda n: 2 * n + 1),
        st.integers(0, 1),
    ),
    st.builds(window, STREAMS, st.sampled_from([0, 1, 10, 70000, (1 << 31) - 1])),
    st.builds(lambda kind, n: ways(message(b"9"), 2 * n + 1)[kind], st.sampled_from(WAYS), st.integers(0, 9)),
)


def check_bounds(connection: Http2Connection) -> None:
    now, streams, sender = held(connection), connection._streams, connection._sender
    assert now["streams"] + now["blocked"] <= 2048
    assert connection._ending or now["windows"] <= now["streams"] + now["blocked"] + now["watchers"]
    assert now["unread"] < LARGEST + 9 + len(PREFACE)
    assert now["block"] <= 2 * MAX_HEADER_LIST
    calls = [call for call in streams.open.values() if isinstance(call, Call)]
    assert now["unfinished"] == sum(len(call.body) for call in calls)
    assert now["waiting"] == sum(len(blocked.data) for blocked in sender.blocked.values())
    assert sender._starved.keys() <= sender.blocked.keys()
    assert streams._wanting.keys() | streams._extended <= streams.open.keys()
    assert len(streams._reset) <= 64
    assert sender.out == []


class Loose(Peer):
    """A peer that does not mind what comes back."""

    def _take(self, item: Any) -> None:
        assert len(item.payload) <= LARGEST


def harmless(methods: Methods, other: Peer, data: bytes, cuts: list[int], values: list[tuple[int, int]]) -> None:
    """Send it; sweep; end: nothing is raised, nothing is left, and another connection goes on."""
    peer = Loose(methods.connections, *values)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for begin, end in itertools.pairwise(bounds):
        peer.connection.data_received(data[begin:end])
        check_bounds(peer.connection)
    assert works(other)
    for watcher in methods.watchers[:]:
        watcher.send(b"one more")
    for _ in range(3):
        if not peer.wire.closing:
            peer.connection.sweep(0.0)
            check_bounds(peer.connection)
    peer.read()
    rest = held(peer.connection)
    if not peer.wire.closing:
        assert rest | dict.fromkeys(("watchers", "windows", "blocked", "starved", "waiting"), 0) == NOTHING
    peer.lost()
    assert (methods.watchers, methods.connections.held.total) == ([], 0)


@given(
    frames=st.lists(FRAMES, max_size=25),
    cuts=st.lists(st.integers(0, 2000), max_size=5),
    values=st.lists(st.tuples(st.just(INITIAL_WINDOW), st.sampled_from([0, 5, 70000])), max_size=1),
)
@settings(max_examples=tries(500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_frames_in_any_order_harm_nobody(frames: list[bytes], cuts: list[int], values: list[tuple[int, int]]) -> None:
    methods = Methods()
    harmless(methods, Peer(methods.connections), b"".join(frames), cuts, values)


@given(
    calls=st.lists(st.sampled_from(WAYS), min_size=1, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255), st.integers(0, 3)), min_size=1, max_size=6),
)
@settings(max_examples=tries(500), deadline=None)
def test_good_calls_with_bytes_changed_harm_nobody(calls: list[str], changes: list[tuple[int, int, int]]) -> None:
    data = bytearray().join(ways(message(b"x" * 20), 2 * n + 1)[way] for n, way in enumerate(calls))
    for place, value, kind in changes:
        at = place % len(data)
        match kind:
            case 0:
                data[at] = value
            case 1:
                data[at] ^= 1 << value % 8
            case 2 if len(data) > 1:
                del data[at]
            case _:
                data.insert(at, value)
    methods = Methods()
    harmless(methods, Peer(methods.connections), bytes(data), [], [])


@given(data=st.binary(max_size=200), begun=st.booleans())
@settings(max_examples=tries(200), deadline=None)
def test_bytes_of_any_kind_harm_nobody(data: bytes, begun: bool) -> None:
    methods = Methods()
    peer = Peer(methods.connections, begin=begun)
    peer.connection.data_received(data)
    peer.connection.data_received(data)
    check_bounds(peer.connection)
    assert works(Peer(methods.connections))
