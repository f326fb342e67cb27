"""What leaves an HTTP/2 connection: answers, the windows of the peer, and what waits for them (RFC 9113, 5.2 and 6.9).

An answer that the windows have room for goes straight into `out`, in pieces. Any other is *blocked*: it waits, and
is sent as the windows open. What the peer's connection window allows is handed out in shares (`room`), one a turn
of the event loop, so that one read cannot make us write a hundred times as much.

Where many bytes are blocked (`full`), calls are not answered until some have left: a call is smaller than its answer.
"""

from __future__ import annotations

import struct
from typing import Final

from authz.errors import ConnectionFault, StreamFault
from authz.serve.http2 import frames as h2
from authz.serve.http2.grpc_failures import HEAD_BLOCK, TAIL_BLOCK
from authz.serve.http2.grpc_messages import PREFIX

MAX_BLOCKED: Final = 1 << 19  # bytes of answers that wait for a window, before calls wait for their answers
ROOM: Final = 1 << 18  # bytes of DATA that leave in a turn of the event loop
LOW: Final = ROOM >> 1  # with less left, a turn begins with a new share
_MAX_WATCHED: Final = 4096  # bytes of messages of a watcher that wait; later ones are dropped
_MAX_SHAPES: Final = 1024  # lengths of answers for which `_shapes` is remembered
# The heads of the two frames of HEADERS around an answer, up to the number of the stream.
_BEGIN: Final = h2.frame(h2.HEADERS, h2.END_HEADERS, 0, HEAD_BLOCK)[:5]
_END: Final = h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 0, TAIL_BLOCK)[:5]
_PREFIX_SIZE: Final = PREFIX.size
_number = struct.Struct(">I").pack  # of a stream


class Blocked:
    """What waits for the peer to open a window.

    Attributes:
        data: Of DATA frames.
        sent: Bytes of it.
        ends: Whether trailers are next.
    """

    __slots__ = ("data", "ends", "sent")

    def __init__(self, data: bytes, *, ends: bool) -> None:
        self.data = data
        self.sent = 0
        self.ends = ends


class Sender:
    """The answers of one connection.

    Attributes:
        out: Pieces to be written; shared by all who write.
        room: Bytes of DATA that may still leave in this turn.
        blocked: What waits, by stream.
        waiting: Bytes that are blocked.
        full: Whether so many are that no call should be answered.
    """

    def __init__(self, out: list[bytes]) -> None:
        self.out = out
        self.room = h2.DEFAULT_WINDOW
        self.blocked: dict[int, Blocked] = {}
        self.waiting = 0
        self.full = False
        self._beyond = 0  # what the window of the connection has besides `room`
        self._initial_window = h2.DEFAULT_WINDOW  # of a stream of which the peer has said nothing
        self._limit = h2.MAX_FRAME_SIZE  # bytes of an answer that may take the short way
        self._windows: dict[int, int] = {}  # how much more a stream has that is open
        self._widest = 0  # no entry of `_windows` is larger
        self._starved: dict[int, None] = {}  # the blocked streams that wait for `room` alone, in their order
        self._lead = b""  # what the next header block begins with

    # Answers.

    def answer(self, stream: int, message: bytes) -> None:
        """Answer a call by one message."""
        length = len(message)
        size = length + _PREFIX_SIZE
        if size > self.room or size > self._limit or stream in self._windows:
            self.begin(stream)
            self._send(stream, message, ends=True)
            return
        self.room -= size
        try:
            between, prefix = _shapes[length]
        except KeyError:
            between, prefix = _shape(length)
        number = _number(stream)
        self.out += (_BEGIN, number, between, number, prefix, message, _END, number, TAIL_BLOCK)

    def begin(self, stream: int) -> None:
        """Begin an answer of several messages."""
        self.out.append(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, self._led(HEAD_BLOCK)))

    def send(self, stream: int, message: bytes) -> None:
        """Send one message of several."""
        blocked = self.blocked.get(stream)
        if blocked is None or len(blocked.data) <= _MAX_WATCHED:
            self._send(stream, message, ends=False)

    def finish(self, stream: int) -> None:
        """End an answer of several messages, once they have left."""
        blocked = self.blocked.get(stream)
        if blocked is not None:
            blocked.ends = True
        else:
            self._end(stream)

    def fail(self, stream: int, block: bytes) -> None:
        """End a call by a header block alone."""
        self.out.append(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, self._led(block)))
        self._windows.pop(stream, None)

    def reset(self, stream: int, error_code: int) -> None:
        """End a stream at once."""
        self.forget(stream)
        self.out.append(h2.rst_stream(stream, error_code))

    def forget(self, stream: int) -> None:
        """Drop all that there is of a stream."""
        blocked = self.blocked.pop(stream, None)
        if blocked is not None:
            self._starved.pop(stream, None)
            self._wait(-len(blocked.data))
        self._windows.pop(stream, None)

    def clear(self) -> None:
        """Drop all that is blocked."""
        self.blocked.clear()
        self._starved.clear()
        self._windows.clear()
        self.waiting = 0

    def use_no_table(self) -> None:
        """Begin the next header block by saying that we use no dynamic table (RFC 7541, 4.2). We never did."""
        self._lead = b"\x20"
        self._limit = 0

    def _led(self, block: bytes) -> bytes:
        if not self._lead:
            return block
        lead, self._lead = self._lead, b""
        self._limit = min(self._initial_window, h2.MAX_FRAME_SIZE)
        return lead + block

    def _end(self, stream: int) -> None:
        self._windows.pop(stream, None)
        flags = h2.END_HEADERS | h2.END_STREAM
        self.out.append(h2.frame(h2.HEADERS, flags, stream, self._led(TAIL_BLOCK)))

    # Windows.

    def share(self) -> None:
        """Hand out the next share of the connection's window."""
        window = self.room + self._beyond
        self.room = min(window, ROOM)
        self._beyond = window - self.room

    @property
    def starved(self) -> bool:
        """Whether something waits for nothing but its share."""
        return bool(self._starved) and self.room + self._beyond > 0

    def widen(self, increment: int) -> None:
        """Take a WINDOW_UPDATE of the connection. Raises ConnectionFault."""
        self._beyond += increment
        if self.room + self._beyond > h2.MAX_WINDOW:
            raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "a window that is too large")

    def widen_stream(self, stream: int, increment: int) -> None:
        """Take a WINDOW_UPDATE of a stream that is open. Raises StreamFault."""
        window = self._windows[stream] = self._windows.get(stream, 0) + increment
        self._widest = max(self._widest, window)
        if self._initial_window + window > h2.MAX_WINDOW:
            raise StreamFault(h2.FLOW_CONTROL_ERROR, "a window that is too large")
        if stream in self.blocked:
            self._send_waiting(stream)

    def resize_streams(self, window: int) -> None:
        """Take another initial window of streams. Raises ConnectionFault."""
        if window + self._widest > h2.MAX_WINDOW:
            self._widest = max(0, *self._windows.values()) if self._windows else 0
            if window + self._widest > h2.MAX_WINDOW:
                raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "a window that is too large")
        self._initial_window = window
        self._limit = 0 if self._lead else min(window, h2.MAX_FRAME_SIZE)
        self._starved = dict.fromkeys(self.blocked)  # each may have room now

    def send_blocked(self) -> None:
        """Send of what is blocked as much as there is room for."""
        if self.room <= 0:
            return
        for stream in list(self._starved):
            if self.room <= 0:
                break
            self._send_waiting(stream)

    def _send(self, stream: int, message: bytes, *, ends: bool) -> None:
        data = PREFIX.pack(0, len(message)) + message
        blocked = self.blocked.get(stream)
        if blocked is None:
            self.blocked[stream] = Blocked(data, ends=ends)
            self._wait(len(data))
        else:
            self._wait(len(data) - blocked.sent)
            blocked.data, blocked.sent = blocked.data[blocked.sent :] + data, 0
        self._send_waiting(stream)

    def _send_waiting(self, stream: int) -> None:
        """Send of one stream what the windows of the peer have room for."""
        waiting = self.blocked[stream]
        window = self._initial_window + self._windows.get(stream, 0)
        while waiting.sent < len(waiting.data):
            room = min(self.room, window, h2.MAX_FRAME_SIZE)
            if room <= 0:
                break
            piece = waiting.data[waiting.sent : waiting.sent + room]
            waiting.sent += len(piece)
            self.room -= len(piece)
            window -= len(piece)
            self.out.append(h2.frame(h2.DATA, 0, stream, piece))
        self._windows[stream] = window - self._initial_window
        if waiting.sent < len(waiting.data):
            if window > 0:
                self._starved[stream] = None
            else:
                self._starved.pop(stream, None)
            return
        del self.blocked[stream]
        self._starved.pop(stream, None)
        self._wait(-len(waiting.data))
        if waiting.ends:
            self._end(stream)

    def _wait(self, size: int) -> None:
        """Count bytes that are blocked."""
        self.waiting += size
        self.full = self.waiting > MAX_BLOCKED


# By the length of a message: what stands between the numbers of the stream in HEADERS and in DATA, and its prefix.
_shapes: dict[int, tuple[bytes, bytes]] = {}


def _shape(length: int) -> tuple[bytes, bytes]:
    """Return the parts of an answer that depend on nothing but its length, and remember them."""
    if len(_shapes) >= _MAX_SHAPES:
        _shapes.clear()
    size = length + _PREFIX_SIZE
    head = h2.HEAD.pack(size >> 8, size & 0xFF, h2.DATA, 0, 0)
    shape = _shapes[length] = HEAD_BLOCK + head[:5], PREFIX.pack(0, length)
    return shape
