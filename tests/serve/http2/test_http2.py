"""Our HTTP/2: what RFC 9113 and gRPC ask of a server, both ways through a connection, and peers that mean harm."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import logging
import random
import socket
import struct
import weakref
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvloop
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROMISE,
    RESET,
    SETTINGS,
    TABLE_SIZE,
    WHOLE,
    WINDOW,
    Answer,
    Peer,
    fields,
    frame,
    integer,
    message,
    padded,
    plain_block,
    raw_block,
    read_frames,
    text,
    window,
)
from support.http2 import settings as settings_frame

from authz.errors import CallFailed, ConnectionFault, StreamFault
from authz.serve.http2 import connection as http2_connection
from authz.serve.http2 import headers as http2_headers
from authz.serve.http2.connection import Connection, Connections, Method, Service, Watcher
from authz.serve.http2.headers import MAX_HEADER_LIST, Head, HeaderBlocks, head_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST: Final = 1 << 17  # bytes of a message
NO_ERROR, PROTOCOL, INTERNAL, FLOW, _, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM: Final = 11
ECHO: Final = "/test.Test/Echo"
SIZED: Final = "/test.Test/Sized"
WATCH: Final = "/test.Test/Watch"
GRPC_INTERNAL, UNIMPLEMENTED, NOT_FOUND = 13, 12, 5


class Methods:
    """The methods that are called. watchers: those that have not ended."""

    def __init__(self) -> None:
        self.calls = 0
        self.watchers: list[Watcher] = []
        methods = {
            ECHO.encode(): Method(answer=self.echo),
            SIZED.encode(): Method(answer=self.sized),
            WATCH.encode(): Method(watch=self.watch),
            b"/test.Test/Fail": Method(answer=self.fail),
            b"/test.Test/Break": Method(answer=self.broken),
            b"/test.Test/BreakWatch": Method(watch=self.broken_watch),
        }
        self.connections = Connections(Service(methods, MOST))

    def echo(self, data: bytes) -> bytes:
        self.calls += 1
        return b"%d:" % len(data) + bytes(data[:4000])

    def sized(self, data: bytes) -> bytes:
        return bytes(int(data))

    def fail(self, data: bytes) -> bytes:
        raise CallFailed(NOT_FOUND, "not here")

    def broken(self, data: bytes) -> bytes:
        raise ZeroDivisionError

    def broken_watch(self, watcher: Watcher, data: bytes) -> bytes:
        raise ZeroDivisionError

    def watch(self, watcher: Watcher, data: bytes) -> bytes:
        self.watchers.append(watcher)
        watcher.on_end = self.watchers.remove
        return b"first:" + data


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
def peer(methods: Methods) -> Peer:
    return Peer(methods.connections)


@pytest.fixture(autouse=True)
def faults() -> Iterator[list[logging.LogRecord]]:
    """Whatever a peer sends, no exception of ours may end a connection or a call; a test that makes one takes it."""
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Handler()
    logger = logging.getLogger("authz.grpc")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    assert [record.exc_info for record in records] == []


def lost(peer: Peer) -> int | None:
    """Return the code of GOAWAY with which the connection ended; None: it goes on."""
    if not peer.wire.closing:
        assert peer.goaway is None
        assert peer.answers.setdefault(0, Answer()).frames == []
        return None
    assert peer.goaway is not None
    return peer.goaway


def works(peer: Peer) -> bool:
    """Say whether a call is answered, both by the short way and the long."""
    for end in (True, False):
        stream = peer.call(ECHO, message(b"works"), end=end)
        if not end:
            peer.send(frame(DATA, END, stream))
        answer = peer.answers[stream]
        if (answer.messages, answer.status, answer.ended) != ([b"5:works"], 0, True):
            return False
    return True


def held(connection: Connection) -> dict[str, int]:
    """Return how much a connection keeps, by what it is."""
    return {
        "streams": len(connection._streams),
        "watchers": len(connection._watchers),
        "blocked": len(connection._blocked),
        "windows": len(connection._windows),
        "unread": len(connection._unread),
        "later": len(connection._later),
        "block": sum(map(len, connection._block.parts)) if connection._block else 0,
        "unfinished": connection.unfinished,
    }


NOTHING: Final = dict.fromkeys(
    ("streams", "watchers", "blocked", "windows", "unread", "later", "block", "unfinished"), 0
)


# The short way and the long way.


def ways(body: bytes, stream: int) -> dict[str, bytes]:
    """Return the same call in many forms."""
    block = plain_block(ECHO)
    head = frame(HEADERS, WHOLE, stream, block)
    huffman = Encoder().encode([(*field, True) for field in fields(ECHO)], huffman=True)  # nothing for a table
    weight = b"\0\0\0\0\x10"
    parts = [block[at : at + 20] for at in range(0, len(block), 20)]
    bits = [frame(DATA, 0, stream, body[at : at + 7]) for at in range(0, len(body), 7)]
    sized = plain_block(ECHO, ("content-length", str(len(body))))
    return {
        "whole": head + frame(DATA, END, stream, body),
        "huffman": frame(HEADERS, WHOLE, stream, huffman) + frame(DATA, END, stream, body),
        "padded": frame(HEADERS, WHOLE | PADDED, stream, padded(block, 9))
        + frame(DATA, END | PADDED, stream, padded(body, 255)),
        "no padding in a padded frame": head + frame(DATA, END | PADDED, stream, padded(body, 0)),
        "priority": frame(HEADERS, WHOLE | PRIORITIZED, stream, weight + block) + frame(DATA, END, stream, body),
        "padded and priority": frame(HEADERS, WHOLE | PRIORITIZED | PADDED, stream, padded(weight + block, 3))
        + frame(DATA, END, stream, body),
        "continued": frame(HEADERS, 0, stream, parts[0])
        + b"".join(frame(CONTINUATION, 0, stream, part) for part in parts[1:-1])
        + frame(CONTINUATION, WHOLE, stream, parts[-1])
        + frame(DATA, END, stream, body),
        "continued by nothing": frame(HEADERS, 0, stream, block)
        + frame(CONTINUATION, WHOLE, stream)
        + frame(DATA, END, stream, body),
        "in bits": head + b"".join(bits) + frame(DATA, END, stream),
        "padded bits": head
        + b"".join(frame(DATA, PADDED, stream, padded(body[at : at + 7], 20)) for at in range(0, len(body), 7))
        + frame(DATA, END, stream),
        "with trailers": head
        + frame(DATA, 0, stream, body)
        + frame(HEADERS, WHOLE | END, stream, raw_block([("x", "y")])),
        "with a length": frame(HEADERS, WHOLE, stream, sized) + frame(DATA, END, stream, body),
        "with reserved bits": frame(HEADERS, WHOLE, stream | 1 << 31, block) + frame(DATA, END, stream | 1 << 31, body),
        "with flags that mean nothing": frame(HEADERS, WHOLE | 0x50, stream, block)
        + frame(DATA, END | 0x56, stream, body),
        "among other frames": head
        + frame(PING, 0, 0, bytes(8))
        + frame(0x42, 0xFF, stream, b"unknown")
        + frame(PRIORITY, 0, stream, weight)
        + window(stream, 5)
        + settings_frame((INITIAL_WINDOW, 70000))
        + frame(DATA, END, stream, body),
        "compressed": head + frame(DATA, END, stream, message(gzip.compress(body[5:]), 1)),
        "deflated": head + frame(DATA, END, stream, message(zlib.compress(body[5:]), 1)),
    }  # fmt: skip


WAYS: Final = list(ways(b"", 1))


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
@settings(max_examples=120, deadline=None)
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


# Header blocks.


def reader() -> HeaderBlocks[Head]:
    return HeaderBlocks(lambda head: head)


def outcome(read: Callable[[], Head]) -> Head | str:
    try:
        return read()
    except (ConnectionFault, StreamFault) as fault:
        return f"{type(fault).__name__} {fault.error_code}"


LISTS = st.lists(
    st.tuples(
        st.sampled_from([ECHO, SIZED, "/" + "p" * 50]),
        st.lists(
            st.tuples(st.sampled_from(["x-a", "x-b", "grpc-timeout"]), st.sampled_from(["", "1", "v" * 40])),
            max_size=4,
        ),
        st.booleans(),
        st.sampled_from([None, None, None, 0, 40, 100, 200, 4096]),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


@given(lists=LISTS)
@settings(max_examples=300, deadline=None)
def test_what_a_block_meant_is_never_remembered_for_longer_than_it_holds(lists: list[Any]) -> None:
    """The same blocks, remembered or read anew: the meaning is the same, whatever became of the table."""
    blocks, anew, encoder = reader(), Decoder(), Encoder()
    for path, more, huffman, size, twice in lists:
        if size is not None:
            encoder.header_table_size = size
        items = fields(path, *more)
        for _ in range(1 + twice):
            block = encoder.encode(items, huffman=huffman)
            remembered = blocks.known.get(block)
            expected = head_of([(bytes(name), bytes(value)) for name, value in anew.decode(block, raw=True)])
            assert (blocks.read(block) if remembered is None else remembered) == expected
            assert expected.path == path.encode()
        assert len(blocks.known) <= http2_headers._MAX_KNOWN


SIZES = st.sampled_from([b"", b"", b"\x20", b"\x20\x2a", b"\x3f\xe1\x1f", b"\x3f\x21", b"\x20\x3f\xe1\x1f", b"\x3e"])
ENTRIES = st.lists(
    st.one_of(
        st.sampled_from([b"\xbe", b"\xbf", b"\xc0", b"\x90"]),  # indexed: the three newest entries, and one of all
        st.builds(
            lambda first, name, value: first + text(name) + text(value),
            st.sampled_from([b"\x40", b"\0", b"\x10"]),
            st.sampled_from([b"a", b"b", b"content-type"]),
            st.sampled_from([b"", b"v", b"v" * 30, b"application/grpc"]),
        ),
    ),
    max_size=4,
)
START: Final = raw_block(fields(ECHO)[:3])


@given(
    pool=st.lists(st.tuples(SIZES, ENTRIES), min_size=1, max_size=6),
    order=st.lists(st.integers(0, 5), min_size=1, max_size=25),
)
@settings(max_examples=400, deadline=None)
def test_blocks_made_by_hand_mean_the_same_remembered_or_not(pool: list[Any], order: list[int]) -> None:
    """Entries that find no room, tables that grow and shrink, and indices into them."""
    blocks, anew = reader(), Decoder(MAX_HEADER_LIST)
    made = [size + START + b"".join(entries) for size, entries in pool]
    for number in order:
        block = made[number % len(made)]
        remembered = blocks.known.get(block)
        found = outcome(lambda: blocks.read(block)) if remembered is None else remembered  # noqa: B023
        try:
            items = [(bytes(name), bytes(value)) for name, value in anew.decode(block, raw=True)]
        except HPACKError:
            assert found == f"ConnectionFault {COMPRESSION}"
            return
        assert found == outcome(lambda: head_of(items))  # noqa: B023


def test_an_entry_that_takes_the_place_of_another_changes_what_its_index_means() -> None:
    """The table has as many entries as before."""
    blocks = reader()
    one, other = (START + b"\x40" + text(b"content-type") + text(kind) for kind in (b"application/grpc", b"text/plain"))
    referring = START + b"\xbe"
    blocks.read(b"\x3f\x45" + one)  # a table of 100 bytes: room for one
    assert blocks.read(referring).grpc
    assert referring in blocks.known
    blocks.read(other)

    assert referring not in blocks.known
    assert blocks.read(referring).content_type == b"text/plain"


def test_an_entry_that_found_no_room_is_kept_once_there_is_some() -> None:
    """The block leaves an empty table as it was, and must not be remembered as one that changes nothing."""
    blocks = reader()
    blocks.read(b"\x3f\x01" + START)  # a table of 32 bytes: no entry fits
    adding = START + b"\x40" + text(b"content-type") + text(b"application/grpc")
    blocks.read(adding)
    blocks.read(b"\x3f\xe1\x1f" + START)

    assert adding not in blocks.known
    assert blocks.read(adding).grpc
    assert blocks.read(START + b"\xbe").grpc


@given(blocks=st.lists(st.one_of(st.binary(max_size=60), st.builds(lambda end: START + end, st.binary(max_size=40))),
                       min_size=1, max_size=6), acknowledged=st.booleans(), none=st.booleans())  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_whatever_a_block_holds_it_is_read_or_refused(blocks: list[bytes], acknowledged: bool, none: bool) -> None:
    """With or without a table; where the library reads it as well, both find the same."""
    ours, theirs = reader(), Decoder(MAX_HEADER_LIST)
    if none:
        ours.read(b"\x20" + START)
        theirs.header_table_size = 0
    if acknowledged:
        ours.offer_taken()
    for block in blocks:
        found = outcome(lambda: ours.read(block))  # noqa: B023
        if isinstance(found, str) and found.startswith("Connection"):
            return
        try:
            items = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
        except HPACKError:
            assert none  # Huffman codes that nobody reads are not looked at
            return
        assert found == outcome(lambda: head_of(items))  # noqa: B023


def test_what_is_remembered_of_headers_is_bounded() -> None:
    blocks, generator = reader(), random.Random(5)
    blocks.read(b"\x20" + START)
    coder = Encoder().huffman_coder
    for number in range(600):
        path = coder.encode(generator.randbytes(number % 90).hex().encode() + b"/")
        block = START[: START.index(b":path") - 2] + b"\x04" + integer(len(path), 7, 0x80) + path
        blocks.read(block)
        blocks.read(START + b"\0" + text(b"x") + text(b"%d" % number * 1000))
        assert len(blocks.known) <= 32
        assert len(blocks._texts) <= 256
    assert max(map(len, blocks.known)) <= 1024
    assert max(map(len, blocks._texts)) <= 64


BROKEN_BLOCKS: Final = {
    "an index of nothing": b"\x80",
    "an index behind the table": b"\xff\x40",
    "a string that is cut": START + b"\0\x05abc",
    "a value that is cut": START + b"\0\x01a\x7f\x10",
    "an integer that never ends": b"\xff" * 5000,
    "an integer that is huge": b"\x7f" + b"\xff" * 9 + b"\0",
    "broken Huffman code": b"\x04\x84\xff\xff\xff\xff" + START,
    "a size update behind a field": START + b"\x20",
    "many size updates": b"\x20" * 3 + START,
    "a table that is too large": b"\x3f\xe2\x1f" + START,
    "three sizes": b"\x3f\xe1\x1f" * 3 + START,
}


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("none", [False, True])
@pytest.mark.parametrize("name", BROKEN_BLOCKS)
def test_a_broken_header_block_ends_the_connection(methods: Methods, name: str, none: bool, acknowledged: bool) -> None:
    for trailing in (False, True):
        peer = Peer(methods.connections)
        if none:
            peer.send(frame(HEADERS, WHOLE, 1, b"\x20" + plain_block(ECHO)) + frame(DATA, END, 1, message(b"")))
        if acknowledged:
            peer.send(frame(SETTINGS, ACK, 0))
        if trailing:
            peer.send(frame(HEADERS, WHOLE, 3, plain_block(ECHO)) + frame(DATA, 0, 3, message(b"")))
        peer.send(frame(HEADERS, WHOLE | (END if trailing else 0), 3, BROKEN_BLOCKS[name]))

        assert lost(peer) == COMPRESSION


def test_once_the_peer_has_taken_our_offer_it_may_have_no_table(methods: Methods) -> None:
    offered = dict(struct.iter_unpack(">HI", read_frames(bytes(Peer(methods.connections).wire.written))[0][0].payload))
    assert offered[TABLE_SIZE] == 0
    peer = Peer(methods.connections)
    peer.send(frame(SETTINGS, ACK, 0) + frame(HEADERS, WHOLE, 1, b"\x3f\xe1\x1f" + plain_block(ECHO)))
    assert lost(peer) == COMPRESSION


MALFORMED: Final = {
    "no method": fields(ECHO)[1:],
    "no scheme": [item for item in fields(ECHO) if item[0] != ":scheme"],
    "no path": [item for item in fields(ECHO) if item[0] != ":path"],
    "an empty path": fields(""),
    "nothing": [],
    "a path twice": [fields(ECHO)[2], *fields(ECHO)],
    "a pseudo-header behind others": [*fields(ECHO), (":authority", "x")],
    "an unknown pseudo-header": [(":protocol", "x"), *fields(ECHO)],
    "one of answers": [(":status", "200"), *fields(ECHO)],
    "upper case": fields(ECHO, ("X-Upper", "1")),
    "a blank in a name": fields(ECHO, ("x y", "1")),
    "a colon in a name": fields(ECHO, ("x:y", "1")),
    "a name of nothing": fields(ECHO, ("", "1")),
    "a name that is no ASCII": fields(ECHO, ("x\xff", "1")),
    "connection": fields(ECHO, ("connection", "close")),
    "transfer-encoding": fields(ECHO, ("transfer-encoding", "chunked")),
    "keep-alive": fields(ECHO, ("keep-alive", "5")),
    "upgrade": fields(ECHO, ("upgrade", "h2c")),
    "te": fields(ECHO, ("te", "gzip")),
    "a length that is none": fields(ECHO, ("content-length", "-5")),
    "a length of many digits": fields(ECHO, ("content-length", "5" * 40)),
    "a length that is no ASCII": fields(ECHO, ("content-length", "\xb2")),
    "two lengths": fields(ECHO, ("content-length", "5"), ("content-length", "6")),
}


@pytest.mark.parametrize("none", [False, True])
@pytest.mark.parametrize("name", MALFORMED)
def test_headers_that_are_none_end_the_stream_alone(peer: Peer, name: str, none: bool) -> None:
    block = (b"\x20" if none else b"") + raw_block(MALFORMED[name])
    peer.send(frame(HEADERS, WHOLE, 1, block) + frame(DATA, END, 1, message(b"")))
    peer.next = 3

    assert (peer.answers[1].frames, peer.answers[1].reset) == ([RESET], PROTOCOL)
    assert works(peer)
    assert held(peer.connection) == NOTHING


@pytest.mark.parametrize("name", [":path", "X", "connection", ""])
def test_trailers_that_are_none_end_the_stream(peer: Peer, name: str) -> None:
    stream = peer.call(ECHO, message(b"x"), end=False)
    peer.send(frame(HEADERS, WHOLE | END, stream, raw_block([(name, "x")])))

    assert (peer.answers[stream].frames, peer.answers[stream].reset) == ([RESET], PROTOCOL)
    assert works(peer)


def test_headers_twice_end_the_stream(peer: Peer) -> None:
    stream = peer.call(ECHO, message(b"x"), end=False)
    peer.send(frame(HEADERS, WHOLE, stream, raw_block([("x", "y")])))

    assert (peer.answers[stream].frames, peer.answers[stream].reset) == ([RESET], PROTOCOL)
    assert works(peer)


@pytest.mark.parametrize("none", [False, True])
@pytest.mark.parametrize("field", [b"\0\x01x\0", b"\x90"])
def test_a_header_list_that_is_too_long_ends_the_connection(peer: Peer, field: bytes, none: bool) -> None:
    block = (b"\x20" if none else b"") + START + field * 600
    peer.send(frame(HEADERS, WHOLE | END, 1, block))

    assert lost(peer) == CALM


def test_a_flood_of_continuation_ends_the_connection(methods: Methods) -> None:
    small, large = Peer(methods.connections), Peer(methods.connections)
    small.send(frame(HEADERS, 0, 1, START) + frame(CONTINUATION, 0, 1) * 20)
    large.send(frame(HEADERS, 0, 1, START) + frame(CONTINUATION, 0, 1, bytes(LARGEST)))

    assert (lost(small), lost(large)) == (CALM, CALM)


# Frames that break a rule.

BLOCK: Final = plain_block(ECHO)
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
    "CONTINUATION of nothing": (frame(CONTINUATION, WHOLE, 3, BLOCK), PROTOCOL),
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
    found, rest = read_frames(data)
    moved = (item._replace(stream=item.stream + 8 * (item.stream >= 5)) for item in found)
    return b"".join(map(lambda item: frame(*item), moved)) + rest if found else data  # noqa: C417


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
    assert peer.connection._plain
    peer.send(settings_frame((INITIAL_WINDOW, 1000)))
    assert works(peer)


def test_blocked_answers_do_not_make_other_calls_dear(methods: Methods, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call looks at its own window, not at those of all that wait."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    for _ in range(1000):
        peer.call(SIZED, message(b"300"))
    looks: list[int] = []
    usual = Connection._send_waiting

    def counted(self: Connection, stream: int) -> None:
        looks.append(stream)
        usual(self, stream)

    monkeypatch.setattr(Connection, "_send_waiting", counted)
    streams = [peer.call(SIZED, message(b"300")) for _ in range(5)]
    peer.send(window(streams[0], 400) + window(streams[1], 1))
    assert looks == [*streams, streams[0], streams[1]]
    assert peer.answers[streams[0]].messages == [bytes(300)]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
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


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("over", [-1, 0, 1, 50, 200_000])
def test_of_a_message_that_is_too_long_a_method_gets_one_byte_more(peer: Peer, over: int, parts: int) -> None:
    """So that it can answer; the rest is not read, and the connection goes on."""
    body = message(bytes(MOST + over))
    stream = peer.begin(ECHO)
    for at in range(0, len(body), LARGEST // parts):
        piece = body[at : at + LARGEST // parts]
        peer.send(frame(DATA, END if at + len(piece) == len(body) else 0, stream, piece))

    answer = peer.answers[stream]
    assert answer.messages[0].startswith(b"%d:" % min(MOST + over, MOST + 1))
    assert (answer.status, answer.ended, answer.reset) in {(0, True, None), (0, True, NO_ERROR)}
    assert works(peer)
    assert held(peer.connection) == NOTHING


def test_a_message_that_is_too_long_is_answered_even_where_the_answer_waits(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    stream = peer.begin(ECHO)
    body = message(bytes(MOST + 40000))
    peer.send(b"".join(frame(DATA, 0, stream, body[at : at + LARGEST]) for at in range(0, len(body), LARGEST)))
    peer.send(window(stream, 10000))

    assert peer.answers[stream].messages[0].startswith(b"%d:" % (MOST + 1))
    assert held(peer.connection) == NOTHING


def test_a_watch_that_is_too_long_to_begin_is_none(methods: Methods, peer: Peer) -> None:
    stream = peer.begin(WATCH)
    body = message(bytes(MOST + 40000))
    peer.send(b"".join(frame(DATA, 0, stream, body[at : at + LARGEST]) for at in range(0, len(body), LARGEST)))

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


def test_bodies_that_are_not_complete_are_bounded_for_a_connection(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_connection, "_MAX_UNFINISHED", 1 << 20)
    for _ in range(63):
        peer.call(ECHO, bytes(LARGEST), end=False)
    assert held(peer.connection)["unfinished"] == 63 * LARGEST
    assert lost(peer) is None
    peer.call(ECHO, bytes(LARGEST), end=False)
    peer.call(ECHO, bytes(LARGEST), end=False)
    assert lost(peer) == CALM
    assert held(peer.connection) == NOTHING


def test_bodies_that_are_not_complete_are_bounded_for_all_and_the_greedy_go_first(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_connection, "_MAX_ALL_UNFINISHED", 1 << 20)
    modest, *greedy = (Peer(methods.connections) for _ in range(20))
    stream = modest.call(ECHO, message(b"x" * 100)[:50], end=False)
    for _ in range(10):
        for peer in greedy:
            if not peer.wire.closing:
                peer.call(ECHO, bytes(LARGEST), end=False)
                peer.read()
            assert methods.connections.unfinished <= 1 << 20
    for peer in greedy:
        peer.read()

    assert sum(lost(peer) == CALM for peer in greedy) >= 8
    modest.send(frame(DATA, END, stream, message(b"x" * 100)[50:]))
    assert modest.answers[stream].messages == [b"100:" + b"x" * 100]
    for peer in greedy:
        peer.lost()
    assert methods.connections.unfinished == 0


def test_a_connection_too_many_is_closed_and_a_place_is_free_again(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_connection, "MAX_CONNECTIONS", 3)
    peers = [Peer(methods.connections) for _ in range(3)]
    extra = Peer(methods.connections, begin=False)
    assert extra.wire.aborted
    extra.lost()
    assert all(works(peer) for peer in peers)
    peers[0].lost()
    assert works(Peer(methods.connections))
    assert len(methods.connections.open) == 3


# Floods.


def test_calls_that_are_begun_and_reset_leave_nothing(methods: Methods, peer: Peer) -> None:
    block, calls = plain_block(ECHO), methods.calls
    streams = range(1, 20001, 2)
    peer.send(b"".join(frame(HEADERS, WHOLE, stream, block) + frame(RESET, 0, stream, bytes(4)) for stream in streams))
    peer.next = streams[-1] + 2

    assert methods.calls == calls  # nothing was done for them
    assert held(peer.connection) == NOTHING
    assert works(peer)


@pytest.mark.parametrize(
    "flood", [frame(PING, 0, 0, bytes(8)), settings_frame(), b""], ids=["PING", "SETTINGS", "calls"]
)
def test_a_peer_that_does_not_read_is_not_read(methods: Methods, flood: bytes) -> None:
    peer = Peer(methods.connections)
    calls = methods.calls
    peer.wire.stuck = True
    sent = 0
    while peer.wire.is_reading():
        piece = flood * 100
        if not flood:
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


def test_of_a_large_read_no_more_is_answered_than_the_peer_takes(methods: Methods) -> None:
    """A read may have many times as many calls as the peer wants to have answered; the rest waits, and in order."""
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


def test_a_connection_that_ends_while_its_peer_does_not_read_takes_no_more(methods: Methods) -> None:
    peer = Peer(methods.connections)
    peer.wire.stuck = True
    peer.send(b"".join(ways(message(b"x"), stream)["whole"] for stream in range(1, 8001, 2)))
    calls = methods.calls
    peer.connection.close()
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

    monkeypatch.setattr(peer.connection, "_windows", Counted(peer.connection._windows))
    peer.send(settings_frame(*[(INITIAL_WINDOW, n) for n in range(2700)]))
    assert Counted.looks == 1
    assert lost(peer) is None


# What is left unfinished.


def sweep(peer: Peer, times: int = 2) -> None:
    for _ in range(times):
        if not peer.wire.closing:
            peer.connection.sweep()
    peer.read()


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
                peer.send(frame(PING, 0, 0, bytes(8)) * 500)
        slow.connection.sweep()
        if not deaf.wire.closing:
            deaf.connection.sweep()
        slow.wire.unstick()
    assert deaf.wire.aborted
    assert not slow.wire.closing
    assert works(slow)


def test_a_connection_that_closes_and_does_not_come_to_its_end_is_cut_off(peer: Peer) -> None:
    peer.send(frame(PING, 0, 3, bytes(8)))
    peer.connection.sweep()
    peer.connection.sweep()
    assert peer.wire.aborted


def test_an_idle_connection_stays(peer: Peer) -> None:
    for _ in range(5):
        peer.connection.sweep()
        assert works(peer)
    sweep(peer, 5)
    assert not peer.wire.closing


def test_a_sweep_that_fails_for_one_is_done_for_the_others(
    methods: Methods, monkeypatch: pytest.MonkeyPatch, faults: list[logging.LogRecord]
) -> None:
    monkeypatch.setattr(http2_connection, "SWEEP", 0)
    broken, idle = Peer(methods.connections), Peer(methods.connections, begin=False)
    monkeypatch.setattr(broken.connection, "_seen", object())

    async def run() -> None:
        methods.connections.start()
        while not idle.wire.aborted:
            await asyncio.sleep(0)
            broken.connection._seen = object()  # type: ignore[assignment]
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
    assert (methods.watchers, methods.connections.open, methods.connections.unfinished) == ([], set(), 0)


# gRPC.


def test_a_path_that_is_no_method_is_unimplemented(peer: Peer) -> None:
    for path in ("/test.Test/Nothing", "/", "*", "/test.Test/Echo/", "/test.test/Echo", "/test.Test/Echo?x=1"):
        answer = peer.answers[peer.call(path, message(b"x"))]
        assert (answer.status, answer.headers[":status"], answer.frames) == (UNIMPLEMENTED, "200", [HEADERS]), path
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
    "a huge length": b"\0\xff\xff\xff\xff",
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
    for size, most in ((MOST, MOST), (MOST + 1, MOST + 1), (1 << 26, MOST + 1)):
        body = message(gzip.compress(bytes(size)), 1)
        stream = peer.begin(ECHO)
        for at in range(0, len(body), LARGEST):
            peer.send(frame(DATA, END if at + LARGEST >= len(body) else 0, stream, body[at : at + LARGEST]))
        assert peer.answers[stream].messages[0].startswith(b"%d:" % most)


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
    [waiting] = peer.connection._blocked.values()
    assert len(waiting.data) < MOST + 20000


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


# Anything at all.

STREAMS = st.sampled_from([0, 1, 3, 5, 7, 2, 1 << 31 | 3, (1 << 31) - 1])
PAYLOADS = st.one_of(
    st.sampled_from([
        b"", BLOCK, b"\x20" + BLOCK, plain_block(WATCH), plain_block(SIZED), message(b"300"), message(b"x"), bytes(4),
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


def check_bounds(connection: Connection) -> None:
    now = held(connection)
    assert now["streams"] + now["blocked"] <= 2048
    assert connection._ending or now["windows"] <= now["streams"] + now["blocked"] + now["watchers"]
    assert now["unread"] < LARGEST + 9 + len(PREFACE)
    assert now["block"] <= 2 * LARGEST
    calls = [call for call in connection._streams.values() if isinstance(call, http2_connection._Call)]
    assert now["unfinished"] == sum(len(call.kept) for call in calls)
    assert connection._plain == (not connection._blocked and connection._block is None)
    assert len(connection._reset) <= 64
    assert connection._out == []


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
            peer.connection.sweep()
            check_bounds(peer.connection)
    peer.read()
    rest = held(peer.connection)
    if not peer.wire.closing:
        assert rest | {"watchers": 0, "windows": 0, "blocked": 0} == NOTHING
    peer.lost()
    assert (methods.watchers, methods.connections.unfinished) == ([], 0)


@given(
    frames=st.lists(FRAMES, max_size=25),
    cuts=st.lists(st.integers(0, 2000), max_size=5),
    values=st.lists(st.tuples(st.just(INITIAL_WINDOW), st.sampled_from([0, 5, 70000])), max_size=1),
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_frames_in_any_order_harm_nobody(frames: list[bytes], cuts: list[int], values: list[tuple[int, int]]) -> None:
    methods = Methods()
    harmless(methods, Peer(methods.connections), b"".join(frames), cuts, values)


@given(
    calls=st.lists(st.sampled_from(WAYS), min_size=1, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255), st.integers(0, 3)), min_size=1, max_size=6),
)
@settings(max_examples=500, deadline=None)
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
@settings(max_examples=200, deadline=None)
def test_bytes_of_any_kind_harm_nobody(data: bytes, begun: bool) -> None:
    methods = Methods()
    peer = Peer(methods.connections, begin=begun)
    peer.connection.data_received(data)
    peer.connection.data_received(data)
    check_bounds(peer.connection)
    assert works(Peer(methods.connections))


# Over real sockets.


async def _listening(methods: Methods) -> tuple[asyncio.Server, int]:
    server = await asyncio.get_running_loop().create_server(methods.connections, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def _exchange(methods: Methods, data: bytes) -> bytes:
    """Send data, say that this is all, and return what comes until the other side ends."""
    server, port = await _listening(methods)
    try:
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        writing.write(data)
        writing.write_eof()
        got = await reading.read()
        writing.close()
        return got
    finally:
        server.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_peer_that_has_sent_all_gets_all_its_answers(methods: Methods, loop: str) -> None:
    streams = range(1, 4001, 2)
    calls = b"".join(ways(message(b"%d" % stream), stream)["whole"] for stream in streams)
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        got = runner.run(_exchange(methods, PREFACE + settings_frame() + window(0, 1 << 20) + calls))

    answered = [item.stream for item in read_frames(got)[0] if item.kind == DATA]
    assert answered == list(streams)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_over_a_socket_a_peer_that_does_not_read_is_not_read(
    methods: Methods, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not read until it reads, a fault behind it is seen then, and all before the fault is answered."""
    ping, paused, usual = frame(PING, 0, 0, bytes(8)), asyncio.Event(), Connection.pause_writing

    def noted(connection: Connection) -> None:
        usual(connection)
        paused.set()

    monkeypatch.setattr(Connection, "pause_writing", noted)

    async def run() -> bytes:
        server, port = await _listening(methods)
        running = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await running.sock_connect(client, ("127.0.0.1", port))
            await running.sock_sendall(client, PREFACE + settings_frame())
            flood = asyncio.ensure_future(running.sock_sendall(client, ping * 1_000_000 + frame(PING, 0, 3, bytes(8))))
            await paused.wait()
            [connection] = methods.connections.open
            assert not connection._transport.is_reading()
            assert not flood.done()
            got = bytearray()
            while data := await running.sock_recv(client, 1 << 20):
                got += data
            await flood
        server.close()
        return bytes(got)

    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        frames, rest = read_frames(runner.run(run()))
    assert rest == b""
    assert frames[-1].kind == GOAWAY
    assert sum(item.kind == PING for item in frames) == 1_000_000
