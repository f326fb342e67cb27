"""Header blocks: what is remembered of them, broken ones, and headers that are no request."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sidecar.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END,
    HEADERS,
    LARGEST,
    RESET,
    SETTINGS,
    TABLE_SIZE,
    WHOLE,
    Peer,
    fields,
    frame,
    integer,
    message,
    plain_block,
    raw_block,
    read_frames,
    text,
)
from support.suite.effort import tries

from authz.errors import ConnectionFault, StreamFault
from authz.serve.http2 import headers as http2_headers
from authz.serve.http2.fields import MAX_HEADER_LIST
from authz.serve.http2.headers import CallHead, HeaderBlocks, head_of

if TYPE_CHECKING:
    from collections.abc import Callable

from support.sidecar.http2_methods import (
    BLOCK,
    CALM,
    COMPRESSION,
    ECHO,
    NOTHING,
    PROTOCOL,
    SIZED,
    START,
    Methods,
    held,
    lost,
    works,
)

# Header blocks.


def reader() -> HeaderBlocks[CallHead]:
    return HeaderBlocks(lambda head: head)


def outcome(read: Callable[[], CallHead]) -> CallHead | str:
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
@settings(max_examples=tries(300), deadline=None)
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


@given(
    pool=st.lists(st.tuples(SIZES, ENTRIES), min_size=1, max_size=6),
    order=st.lists(st.integers(0, 5), min_size=1, max_size=25),
)
@settings(max_examples=tries(400), deadline=None)
def test_blocks_made_by_hand_mean_the_same_remembered_or_not(pool: list[Any], order: list[int]) -> None:
    """Entries that find no room, tables that grow and shrink, and indices into them."""
    blocks, anew = reader(), Decoder(MAX_HEADER_LIST)
    made = [size + START + b"".join(entries) for size, entries in pool]
    for number in order:
        block = made[number % len(made)]
        remembered = blocks.known.get(block)
        result = outcome(lambda: blocks.read(block)) if remembered is None else remembered  # noqa: B023
        try:
            items = [(bytes(name), bytes(value)) for name, value in anew.decode(block, raw=True)]
        except HPACKError:
            assert result == f"ConnectionFault {COMPRESSION}"
            return
        assert result == outcome(lambda: head_of(items))  # noqa: B023


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
@settings(max_examples=tries(600), deadline=None)
def test_whatever_a_block_holds_it_is_read_or_refused(blocks: list[bytes], acknowledged: bool, none: bool) -> None:
    """With or without a table; where the library reads it as well, both find the same."""
    ours, theirs = reader(), Decoder(MAX_HEADER_LIST)
    if none:
        ours.read(b"\x20" + START)
        theirs.header_table_size = 0
    if acknowledged:
        ours.offer_taken()
    for block in blocks:
        result = outcome(lambda: ours.read(block))  # noqa: B023
        if isinstance(result, str) and result.startswith("Connection"):
            return
        try:
            items = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
        except HPACKError:
            assert none  # Huffman codes that nobody reads are not looked at
            return
        assert result == outcome(lambda: head_of(items))  # noqa: B023


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
        assert len(blocks._reader._texts) <= 256
    assert max(map(len, blocks.known)) <= 1024
    assert max(map(len, blocks._reader._texts)) <= 64


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
@pytest.mark.parametrize("field", [b"\0\x01x\0", b"\x90", b"\0\x01x" + integer(9000, 7, 0) + bytes(9000)])
def test_a_header_list_that_is_too_large_is_answered_and_others_go_on(peer: Peer, field: bytes, none: bool) -> None:
    block = (b"\x20" if none else b"") + BLOCK + field * (10 if len(field) > 9000 else 600)
    parts = [block[at : at + LARGEST] for at in range(0, len(block), LARGEST)]
    peer.send(frame(HEADERS, WHOLE if len(parts) == 1 else 0, 1, parts[0]))
    for part in parts[1:]:
        peer.send(frame(CONTINUATION, WHOLE if part is parts[-1] else 0, 1, part))
    peer.send(frame(DATA, END, 1, message(b"x")))
    peer.next = 3

    assert peer.answers[1].messages == [b"headers"]
    assert works(peer)


def test_headers_of_a_megabyte_are_answered_where_the_peer_has_no_table(peer: Peer) -> None:
    peer.send(frame(HEADERS, 0, 1, b"\x20" + BLOCK + b"\0\x01x" + integer(1 << 20, 7, 0)))
    for number in range(64):
        peer.send(frame(CONTINUATION, WHOLE if number == 63 else 0, 1, bytes(LARGEST)))
    assert held(peer.connection)["block"] <= 2 * MAX_HEADER_LIST
    peer.send(frame(DATA, END, 1, message(b"x")))
    peer.next = 3

    assert peer.answers[1].messages == [b"headers"]
    assert works(peer)


def test_a_header_block_of_thousands_of_fields_ends_the_connection(peer: Peer) -> None:
    peer.send(frame(HEADERS, WHOLE | END, 1, BLOCK + b"\x90" * 5000))
    assert lost(peer) == CALM


def test_a_flood_of_continuation_ends_the_connection(methods: Methods) -> None:
    small, large = Peer(methods.connections), Peer(methods.connections)
    small.send(frame(HEADERS, 0, 1, START) + frame(CONTINUATION, 0, 1) * 25)
    large.send(frame(HEADERS, 0, 1, START) + frame(CONTINUATION, 0, 1, bytes(LARGEST)) * 9)

    assert (lost(small), lost(large)) == (CALM, CALM)
