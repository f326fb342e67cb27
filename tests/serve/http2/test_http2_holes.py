"""Holes that were found and closed, each by its name. SECURITY.md says what could be done with them."""

from __future__ import annotations

import gzip

import pytest
from hpack import Decoder, Encoder
from support.sidecar.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST,
    PING,
    PRIORITY,
    RESET,
    SETTINGS,
    TABLE_SIZE,
    WHOLE,
    Peer,
    fields,
    frame,
    message,
    plain_block,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import (
    BLOCK,
    CALM,
    ECHO,
    MAX_MESSAGE,
    NOTHING,
    SIZED,
    Methods,
    held,
    lost,
    works,
)

from authz.serve.http2 import connection as http2_connection
from authz.serve.http2 import fields as http2_fields
from authz.serve.http2.listener import Http2Listener
from authz.serve.http2.sending import MAX_BLOCKED, ROOM
from authz.serve.listeners.budget import HeldBytes

# Answers have no byte limit.


def test_calls_that_are_reset_while_they_wait_behind_answers_leave_nothing(methods: Methods) -> None:
    """Each left its number for as long as the answers before it were not read: a peer could make that forever."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    first = [peer.call(SIZED, message(b"60000")) for _ in range(10)]
    for _ in range(8):
        streams = [peer.call(SIZED, message(b"60000")) for _ in range(60)]
        peer.send(b"".join(frame(RESET, 0, stream, bytes(4)) for stream in streams))
        assert len(peer.connection._streams.parked) <= 1
    peer.send(settings_frame((INITIAL_WINDOW, 1 << 20)) + window(0, 1 << 30))
    assert [peer.answers[stream].messages for stream in first] == [[bytes(60000)]] * 10
    assert held(peer.connection) == NOTHING


def test_answers_that_nobody_reads_have_a_limit(methods: Methods) -> None:
    """40 connections of calls that are answered by 60 kB took 2.6 GB: a read was answered whole, whatever it made."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 1 << 30))
    peer.send(window(0, 1 << 30))
    peer.wire.stuck = True
    head = plain_block(SIZED)
    peer.send(
        b"".join(
            frame(HEADERS, WHOLE, stream, head) + frame(DATA, END, stream, message(b"60000"))
            for stream in range(1, 2001, 2)
        )
    )
    assert len(peer.wire.waiting) < 3 * ROOM
    assert held(peer.connection)["waiting"] <= MAX_BLOCKED + 60005
    assert not peer.wire.is_reading()


def test_answers_behind_a_window_of_nothing_have_a_limit_and_all_come_when_it_opens(methods: Methods) -> None:
    """900 answers of 60 kB a connection were made and kept: now the calls are kept, which are smaller."""
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    streams = [peer.call(SIZED, message(b"60000")) for _ in range(900)]
    assert held(peer.connection)["waiting"] <= MAX_BLOCKED + 60005
    assert held(peer.connection)["parked"] > 850
    peer.send(settings_frame((INITIAL_WINDOW, 1 << 20)) + window(0, 1 << 30))
    assert [peer.answers[stream].messages for stream in streams] == [[bytes(60000)]] * 900
    assert held(peer.connection) == NOTHING


def test_what_all_connections_hold_has_one_limit_and_those_that_read_go_on(methods: Methods) -> None:
    methods.connections.held = HeldBytes(4 << 20)
    polite = Peer(methods.connections)
    for _ in range(40):
        peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
        for _ in range(20):
            if not peer.wire.closing:
                peer.call(SIZED, message(b"60000"))
        assert methods.connections.held.total <= 4 << 20
    assert methods.connections.held.aborted > 20
    assert works(polite)


# The slow header path; frames that carry no call.


def test_headers_that_change_the_table_are_read_at_the_cost_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that acknowledged our SETTINGS and kept its table had every block read by a library: 2 ms a kilobyte."""
    reader = http2_fields.FieldReader([b":path"])
    encoder = Encoder()
    looks: list[int] = []

    def noted(coded: bytes) -> bytes:
        looks.append(len(coded))
        return coded

    monkeypatch.setattr(reader, "_decoded", noted)
    for number in range(50):
        reader.read(encoder.encode([*fields(ECHO), *((f"x-{number}-{n}", "v" * 50) for n in range(20))], huffman=False))
    assert looks == []
    assert reader.changes > 900
    assert sum(entry.size for entry in reader._entries) <= 4096


def test_huffman_codes_that_change_with_each_call_are_decoded_up_to_a_limit_and_have_a_rate(methods: Methods) -> None:
    """A byte of them costs as much as eight others: 4 kB of a block are decoded, and each 64 B count as a frame."""
    reader = http2_fields.FieldReader([b":path", b"te"])
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([*fields(ECHO), *(("te", f"{number:05}" * 200) for number in range(20))], huffman=True)
    read = reader.read(block)
    assert reader._coded <= 4096 < len(block)
    assert read.too_large
    assert read.cost >= reader._coded // 64

    peer = Peer(methods.connections)
    for number in range(1000):
        headers = [*fields(ECHO), *((f"x-{number}-{n}-{'v' * 50}", "") for n in range(40))]
        stream = 2 * number + 1
        block = encoder.encode(headers, huffman=True)
        peer.send(frame(HEADERS, WHOLE, stream, block) + frame(DATA, END, stream, message(b"x")))
        if lost(peer) is not None:
            break
    assert lost(peer) == CALM
    assert 50 < number < 500


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, bytes(8)),
        settings_frame(),
        settings_frame((INITIAL_WINDOW, 0)),
        frame(PRIORITY, 0, 1, b"\0\0\0\3\0"),
        window(0, 1),
        window(1, 1),
        frame(SETTINGS, ACK, 0),
        frame(0x42, 0, 0),
        frame(DATA, 0, 3, b"x"),
        frame(RESET, 0, 1, bytes(4)),
    ],
    ids=["PING", "SETTINGS", "windows", "PRIORITY", "WINDOW_UPDATE", "of a stream", "ACK", "unknown", "DATA", "RESET"],
)
def test_frames_that_carry_no_call_have_a_rate(methods: Methods, flood: bytes) -> None:
    peer = Peer(methods.connections)
    peer.call(ECHO, message(b"x"))
    peer.begin(ECHO)
    peer.send(flood * 1000)
    assert lost(peer) is None
    peer.connection.sweep(0.0)
    peer.send(flood * 1500)
    assert lost(peer) is None
    peer.send(flood * 1500)
    assert lost(peer) == CALM


def test_answered_calls_let_a_peer_send_more_frames_without_a_call(peer: Peer) -> None:
    for _ in range(3000):
        peer.send(frame(PING, 0, 0, bytes(8)) + window(0, 100))
        assert peer.answers[peer.call(ECHO, message(b"x"))].status == 0
    assert lost(peer) is None


@pytest.mark.parametrize("reset", ["rapid reset", "MadeYouReset"])
def test_calls_that_are_begun_to_be_reset_have_a_rate(methods: Methods, peer: Peer, reset: str) -> None:
    end = frame(RESET, 0, 0, bytes(4)) if reset == "rapid reset" else window(0, 0)
    works(peer)
    streams = range(peer.next, peer.next + 8000, 2)
    calls = methods.calls
    peer.send(
        b"".join(
            frame(HEADERS, WHOLE, stream, BLOCK) + end[:5] + stream.to_bytes(4, "big") + end[9:] for stream in streams
        )
    )
    assert lost(peer) == CALM
    assert methods.calls == calls
    assert len(peer.answers) < 2100


def test_settings_beside_many_blocked_answers_cost_more(methods: Methods) -> None:
    peer = Peer(methods.connections, (INITIAL_WINDOW, 0))
    for _ in range(1000):
        peer.call(SIZED, message(b"30"))
    methods.connections.open.copy().pop()._rate.begin_period()
    peer.send(settings_frame((INITIAL_WINDOW, 0)) * 30)
    assert lost(peer) == CALM


# One busy connection owns the loop.


def test_a_large_read_is_taken_in_turns(methods: Methods, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a read of megabytes was taken before anybody else had a turn."""
    monkeypatch.setattr(http2_connection, "TURN", 0.0)
    busy, polite = Peer(methods.connections), Peer(methods.connections)
    calls = b"".join(
        frame(HEADERS, WHOLE, stream, BLOCK) + frame(DATA, END, stream, message(b"x")) for stream in range(1, 8001, 2)
    )
    busy.connection.data_received(window(0, 1 << 20) + calls)
    assert 0 < methods.calls < 200
    assert not busy.wire.is_reading()
    before = methods.calls
    polite.connection.data_received(frame(HEADERS, WHOLE, 1, BLOCK) + frame(DATA, END, 1, message(b"x")))
    assert methods.calls == before + 1  # a small read does not wait
    busy.run_turns()
    assert methods.calls == 4001
    assert busy.wire.is_reading()


def test_many_connections_of_frames_without_calls_do_not_add_up(methods: Methods) -> None:
    """Each small read was taken at once: a client beside two hundred such connections waited for 180 ms."""
    hostile, polite = Peer(methods.connections), Peer(methods.connections)
    works(polite)
    hostile.send(frame(PING, 0, 0, bytes(8)) * 200)
    before = methods.calls
    for peer in (hostile, polite):
        call = frame(HEADERS, WHOLE, peer.next, BLOCK) + frame(DATA, END, peer.next, message(b"x"))
        peer.connection.data_received(call)
    assert methods.calls == before + 1
    hostile.connection.data_received(frame(PING, 0, 0, bytes(8)) * 300)  # more before its turn
    assert not hostile.wire.is_reading()
    hostile.run_turns()
    assert methods.calls == before + 2
    assert hostile.wire.is_reading()


# One large `tracestate`.


def test_one_large_tracestate_does_not_end_the_connection_of_others(methods: Methods, peer: Peer) -> None:
    """A client chooses it, and a proxy copies it into the call: above 16 kB everybody's connection was ended."""
    for size, answer in ((60 << 10, b"1:x"), (80 << 10, b"headers"), (130 << 10, b"headers")):
        for encoder_table in (4096, 0):
            encoder = Encoder()
            encoder.header_table_size = encoder_table
            other = Peer(methods.connections)
            block = encoder.encode([*fields(ECHO), ("tracestate", "k=" + "v" * size)], huffman=False)
            parts = [block[at : at + LARGEST] for at in range(0, len(block), LARGEST)]
            if encoder_table and len(block) > 2 * http2_fields.MAX_HEADER_LIST:
                continue  # such a block cannot be skipped where it may change a table
            other.send(
                frame(HEADERS, 0, 1, parts[0])
                + b"".join(frame(CONTINUATION, WHOLE if p is parts[-1] else 0, 1, p) for p in parts[1:])
                + frame(DATA, END, 1, message(b"x"))
            )
            other.next = 3
            assert other.answers[1].messages == [answer]
            assert works(other)
    assert works(peer)


# Peers with a small header table.


@pytest.mark.parametrize("size", [0, 100, 4095])
@pytest.mark.parametrize("begin", [True, False])
def test_a_peer_with_a_small_header_table_is_told_first_that_none_is_used(
    methods: Methods, size: int, begin: bool
) -> None:
    """RFC 7541, 4.2: after a smaller SETTINGS_HEADER_TABLE_SIZE the next block begins with a size."""
    peer = Peer(methods.connections, *([(TABLE_SIZE, size)] if begin else []))
    if not begin:
        assert works(peer)
        peer.send(settings_frame((TABLE_SIZE, size)))
    peer.frames.clear()
    for _ in range(2):
        assert peer.answers[peer.call(ECHO, message(b"x"))].messages == [b"1:x"]
    blocks = [item.payload for item in peer.frames if item.kind == HEADERS]
    assert [block[:1] == b"\x20" for block in blocks] == [True, False, False, False]
    strict = Decoder()
    strict.max_allowed_table_size = size
    for block in blocks:
        strict.decode(block)
    assert works(peer)


def test_a_failed_call_can_be_what_tells_a_peer_with_a_small_header_table(methods: Methods) -> None:
    peer = Peer(methods.connections, (TABLE_SIZE, 0))
    stream = peer.call("/test.Test/Fail", message(b"x"))
    assert next(item for item in peer.frames if item.kind == HEADERS).payload[:1] == b"\x20"
    assert peer.answers[stream].status == 5
    assert works(peer)


# A peer that keeps within its windows is cut off.


def test_a_peer_that_keeps_within_its_windows_is_never_cut_off() -> None:
    """30 bodies of 990 kB at once ended the connection. Now each window says what we take, and each body ends."""
    methods = Methods()
    methods.connections = Http2Listener(methods.connections.service._replace(max_message=1 << 20), turns=methods.turns)
    peer = Peer(methods.connections)
    peer.send(window(0, 1 << 20))
    body = message(bytes(990_000))
    streams = [peer.begin(ECHO) for _ in range(30)]
    sent = dict.fromkeys(streams, 0)
    most = 0
    while sent:
        moved = False
        for stream in list(sent):
            room = peer.taken.get(stream, peer.offered) - sent[stream]
            piece = body[sent[stream] : sent[stream] + min(room, LARGEST)]
            if piece:
                moved = True
                sent[stream] += len(piece)
                done = sent[stream] == len(body)
                peer.send(frame(DATA, END if done else 0, stream, piece))
                most = max(most, held(peer.connection)["unfinished"])
                if done:
                    del sent[stream]
        assert moved, "nothing may be sent any more"
    assert all(peer.answers[stream].messages[0].startswith(b"990000:") for stream in streams)
    assert most < 8 << 20
    assert lost(peer) is None


def test_a_body_of_one_byte_counts_for_what_it_holds(methods: Methods) -> None:
    """0.9 MB of them took 240 MB: what a call holds besides its body was not counted."""
    for _ in range(3):
        peer = Peer(methods.connections)
        for _ in range(100):
            peer.call(ECHO, b"\0", end=False)
    assert methods.connections.held.total >= 300 * 512


# Compression.


def test_a_kilobyte_does_not_unpack_to_a_megabyte(methods: Methods, peer: Peer) -> None:
    calls = methods.calls
    stream = peer.call(ECHO, message(gzip.compress(b"\n\0" * (MAX_MESSAGE // 2 - 100)), 1))
    assert peer.answers[stream].messages == [b"message"]
    assert methods.calls == calls
