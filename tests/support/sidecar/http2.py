"""The other side of an HTTP/2 connection, written apart from ours: raw frames in, and what came back, checked.

`Peer` speaks to a `Connection` without sockets, over a `Wire` that can be stuck. It keeps the windows of RFC 9113, 6.9
itself, and fails where an answer breaks them, is in frames that are too large, or goes on after its end.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hpack import Decoder, Encoder

from authz.serve.listeners.budget import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.serve.http2.connection import Http2Connection
    from authz.serve.http2.listener import Http2Listener

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END, ACK, WHOLE, PADDED, PRIORITIZED = 1, 1, 4, 8, 0x20
TABLE_SIZE, INITIAL_WINDOW = 1, 4
LARGEST: Final = 16384  # bytes of a frame
HIGH_WATER: Final = 65536  # bytes that are written and not taken before the transport says pause

Fields = list[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame. stream: with the reserved bit, if any."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*values: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *value) for value in values))


def window(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW, 0, stream, increment.to_bytes(4, "big"))


def message(data: bytes, compressed: int = 0) -> bytes:
    """Return a message as gRPC frames it."""
    return struct.pack(">BI", compressed, len(data)) + data


def padded(data: bytes, padding: int) -> bytes:
    """Return what a padded frame carries; set the flag as well."""
    return bytes([padding]) + data + bytes(padding)


def fields(path: str, *more: tuple[str, str]) -> Fields:
    """Return the header fields of a call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "authz"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


def plain_block(path: str, *more: tuple[str, str]) -> bytes:
    """Return a header block that no table matters for."""
    return raw_block(fields(path, *more))


def raw_block(items: Iterable[tuple[str, str]]) -> bytes:
    """Return these fields as literals that nobody remembers, without Huffman codes, however long they are."""
    return b"".join(b"\0" + text(name.encode("latin-1")) + text(value.encode("latin-1")) for name, value in items)


def text(data: bytes) -> bytes:
    """Return a string of HPACK (RFC 7541, 5.2)."""
    return integer(len(data), 7, 0) + data


def integer(number: int, bits: int, first: int) -> bytes:
    """Return an integer of HPACK (RFC 7541, 5.1). first: the other bits of its first byte."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([first | number])
    parts = [first | most]
    number -= most
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


class Frame(NamedTuple):
    """A frame that came back."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def read_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Return the frames that are complete, and the rest."""
    complete, position = [], 0
    while len(data) - position >= 9:
        size = int.from_bytes(data[position : position + 3], "big")
        if len(data) < position + 9 + size:
            break
        kind, flags, stream = struct.unpack_from(">BBI", data, position + 3)
        complete.append(Frame(kind, flags, stream, data[position + 9 : position + 9 + size]))
        position += 9 + size
    return complete, data[position:]


@dataclass
class Answer:
    """What came back on one stream. ended: by END_STREAM; reset: by RST_STREAM with this code."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    frames: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        """The messages that are complete."""
        whole, rest = [], self.data
        while len(rest) >= 5 and len(rest) >= 5 + int.from_bytes(rest[1:5], "big"):
            size = 5 + int.from_bytes(rest[1:5], "big")
            assert rest[0] == 0
            whole.append(rest[5:size])
            rest = rest[size:]
        return whole

    @property
    def status(self) -> int | None:
        """The status of gRPC, once it has come."""
        status = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if status is None else int(status)


class ManualTurns(Turns):
    """Turns that are taken when the test says so, without an event loop."""

    def _schedule(self) -> None:
        """Wait for the test."""

    def begin_reads(self) -> bool:
        """Return True: nobody else waits."""
        return True

    def run(self) -> None:
        """Let all connections work until none has anything to do."""
        while self._waiting:
            self._run()


class Wire(asyncio.Transport):
    """A transport that keeps what is written. stuck: the peer does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Http2Connection
        self.written = bytearray()  # what the peer has
        self.waiting = bytearray()  # what it has not read
        self.stuck = False
        self.reading = True
        self.closing = False
        self.aborted = False
        self.writes = 0
        self._paused = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Keep it."""
        assert not self.closing, "written to a transport that is closing"
        self.writes += 1
        if not self.stuck:
            self.written += data
            return
        self.waiting += data
        if len(self.waiting) > HIGH_WATER and not self._paused:
            self._paused = True
            self.connection.pause_writing()

    def unstick(self) -> None:
        """Let the peer read all."""
        self.stuck = False
        self.written += self.waiting
        self.waiting.clear()
        if self._paused:
            self._paused = False
            self.connection.resume_writing()
            turns = self.connection._listener.turns
            if isinstance(turns, ManualTurns):
                turns.run()

    def pause_reading(self) -> None:
        """Deliver no more."""
        self.reading = False

    def resume_reading(self) -> None:
        """Deliver again."""
        self.reading = True

    def is_reading(self) -> bool:
        """Say whether more is delivered."""
        return self.reading

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the peer has not read."""
        return len(self.waiting)

    def is_closing(self) -> bool:
        """Say whether this is the end."""
        return self.closing

    def close(self) -> None:
        """End once all is sent."""
        self.closing = True

    def abort(self) -> None:
        """End."""
        self.closing = self.aborted = True


class Peer:
    """A client of one connection. begin: whether it says its preface and SETTINGS, with these values."""

    def __init__(self, connections: Http2Listener, *values: tuple[int, int], begin: bool = True) -> None:
        self.wire = Wire()
        self.turns = connections.turns
        self.connection = self.wire.connection = connections()
        self.connection.connection_made(self.wire)
        self.encoder = Encoder()
        self.answers: dict[int, Answer] = {}
        self.frames: list[Frame] = []
        self.goaway: int | None = None  # the code
        self.next = 1
        self.offered = 65535  # the window of streams that the other side said
        self.taken: dict[int, int] = {}  # and of those for which it said more
        self._decoder = Decoder()
        self._read = 0
        self._rest = b""
        self._window = self._initial = 65535
        self._lowered = 65535  # the initial window as of the last SETTINGS: smaller ones hold once we have read
        self._windows: dict[int, int] = {}
        if begin:
            self.send(PREFACE + settings(*values))

    # What is sent.

    def send(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Send bytes, in the parts that end at the cuts, and read what comes back."""
        bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
        self._note(data)
        for begin, end in itertools.pairwise(bounds):
            assert self.wire.reading, "sent to a server that does not read"
            self.connection.data_received(data[begin:end])
            self.run_turns()
        self.read()

    def run_turns(self) -> None:
        """Let the connections do what waits for their turns."""
        if isinstance(self.turns, ManualTurns):
            self.turns.run()

    def _note(self, data: bytes) -> None:
        """Keep the windows that these frames open. They count from now on: the other side takes them at once."""
        sent, _ = read_frames(data.removeprefix(PREFACE))
        for kind, flags, stream, payload in sent:
            if kind == SETTINGS and not flags & ACK:
                for number, value in struct.iter_unpack(">HI", payload[: len(payload) // 6 * 6]):
                    if number == INITIAL_WINDOW:
                        self._initial = max(self._initial, value)
                        self._lowered = value
            elif kind == WINDOW and len(payload) == 4:
                increment = int.from_bytes(payload, "big") & (1 << 31) - 1
                if stream:
                    self._windows[stream] = self._windows.get(stream, 0) + increment
                else:
                    self._window += increment

    def call(self, path: str, body: bytes | None, *more: tuple[str, str], end: bool = True) -> int:
        """Begin a call with a body in one frame, or none; return its stream."""
        stream = self.begin(path, *more)
        if body is not None:
            self.send(frame(DATA, END if end else 0, stream, body))
        return stream

    def begin(self, path: str, *more: tuple[str, str], flags: int = WHOLE) -> int:
        """Send the headers of a call; return its stream."""
        stream, self.next = self.next, self.next + 2
        self.send(frame(HEADERS, flags, stream, plain_block(path, *more)))
        return stream

    def send_body(self, stream: int, body: bytes) -> int:
        """Send a body as its windows open, and return how often they were waited for."""
        sent = waits = 0
        while sent < len(body):
            room = self.taken.get(stream, self.offered) - sent
            if room <= 0:
                before = self.taken.get(stream)
                self.read()
                assert self.taken.get(stream) != before, "the window does not open"
                waits += 1
                continue
            piece = body[sent : sent + min(room, LARGEST)]
            sent += len(piece)
            self.send(frame(DATA, END if sent == len(body) else 0, stream, piece))
        return waits

    # What comes back.

    def read(self) -> list[Frame]:
        """Take what has come; return its frames."""
        self.run_turns()
        data = self._rest + bytes(self.wire.written[self._read :])
        self._read = len(self.wire.written)
        new, self._rest = read_frames(data)
        for item in new:
            self._take(item)
        self.frames += new
        self._initial = self._lowered
        return new

    def _take(self, item: Frame) -> None:
        kind, flags, stream, payload = item
        assert len(payload) <= LARGEST
        if kind == SETTINGS and not flags & ACK:
            self.offered = dict(struct.iter_unpack(">HI", payload)).get(INITIAL_WINDOW, self.offered)
        if kind == WINDOW and stream:
            self.taken[stream] = self.taken.get(stream, self.offered) + int.from_bytes(payload, "big")
        if kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        if kind not in {DATA, HEADERS, RESET}:
            return
        answer = self.answers.setdefault(stream, Answer())
        assert answer.reset is None, "a frame on a stream that was reset"
        answer.frames.append(kind)
        if kind == RESET:
            answer.reset = int.from_bytes(payload, "big")
            return
        assert not answer.ended, "a frame on a stream that has ended"
        answer.ended = bool(flags & END)
        if kind == HEADERS:
            assert flags & WHOLE
            fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
            if not answer.headers:
                answer.headers = fields
            else:
                assert flags & END
                answer.trailers = fields
            return
        assert answer.headers
        assert not flags & PADDED
        answer.data += payload
        self._window -= len(payload)
        self._windows[stream] = self._windows.get(stream, 0) - len(payload)
        assert self._window >= 0, "more data than the window of the connection"
        assert self._initial + self._windows[stream] >= 0, "more data than the window of the stream"

    def lost(self) -> None:
        """Break the connection."""
        self.wire.abort()
        self.connection.connection_lost(None)
