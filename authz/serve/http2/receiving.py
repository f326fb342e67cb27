"""What comes in on an HTTP/2 connection: frames, and the rules for them (RFC 9113, 5 and 6).

Written for what a proxy does: many small unary calls at once on a few connections, the same headers with each. Such a
call is two frames and takes the short way through `take`: two look-ups in dictionaries. Everything else (padding,
trailers, parts, faults, headers that are new) takes the long way, `_frame`.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from authz.errors import ConnectionFault, StreamFault
from authz.serve.http2 import frames as h2
from authz.serve.http2.fields import MAX_HEADER_LIST
from authz.serve.http2.grpc_messages import PREFIX
from authz.serve.http2.grpc_methods import Service, Start, start_of
from authz.serve.http2.headers import HeaderBlocks
from authz.serve.http2.streams import MAX_STREAMS, STREAM_WINDOW, Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.http2.rate import FrameRate
    from authz.serve.http2.sending import Sender
    from authz.serve.http2.streams import Streams

CONNECTION_WINDOW: Final = 1 << 24  # bytes of DATA on a connection; it is the windows of the streams that limit
_SMALL: Final = 256  # bytes of a frame that costs more than it carries
_SMALL_PART: Final = 100  # frames that a small CONTINUATION counts for: nobody sends any
_MAX_BLOCK: Final = 2 * MAX_HEADER_LIST  # bytes of a header block that is read
_MAX_SKIPPED: Final = 1 << 24  # bytes of a header block whose call is refused; more end the connection
_BLOCKED_A_FRAME: Final = 8  # answers or settings that cost as much to look at as a frame
_PRIORITY_SIZE: Final = 5
_NUMBER_SIZE: Final = 4
_PING_SIZE: Final = 8
_SETTING: Final = struct.Struct(">HI")
_OF_THE_CONNECTION: Final = frozenset({h2.SETTINGS, h2.PING, h2.GOAWAY})
# The two frames of a usual call, each by its type and flags.
_CALL_BEGINS: Final = h2.HEADERS << 8 | h2.END_HEADERS
_CALL_ENDS: Final = h2.DATA << 8 | h2.END_STREAM
# By names of this module, for the hot path: half the cost of attributes of another.
_HEAD_SIZE, _PREFIX_SIZE, _STREAM_BITS = h2.HEAD_SIZE, PREFIX.size, h2.STREAM_BITS
_head_at = struct.Struct(">HBHI").unpack_from  # type and flags are one number
_prefix_at = PREFIX.unpack_from

OPENING: Final = h2.settings({
    h2.SETTINGS_HEADER_TABLE_SIZE: 0,
    h2.SETTINGS_MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    h2.SETTINGS_INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    h2.SETTINGS_MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
}) + h2.window_update(0, CONNECTION_WINDOW - h2.DEFAULT_WINDOW)  # fmt: skip


class HeaderParts(NamedTuple):
    """A header block that goes on in CONTINUATION frames.

    Attributes:
        size: Bytes of all parts, kept or not.
    """

    stream: int
    flags: int
    parts: list[bytes]
    size: int


class Receiver:
    """The frames of one connection. What they ask for is done by `streams` and `sender`.

    Attributes:
        header_parts: A header block that is not complete.
        arrived: When the bytes that `take` is given had come, by `time.monotonic`; None: just now.
        last: The highest stream that the peer began.
    """

    def __init__(self, service: Service, streams: Streams, sender: Sender, rate: FrameRate) -> None:
        self.header_parts: HeaderParts | None = None
        self.arrived: float | None = None
        self.last = 0
        self._streams = streams
        self._open = streams.open
        self._sender = sender
        self._rate = rate
        self._charge = rate.charge
        self._blocks = HeaderBlocks(partial(start_of, service))
        self._max_whole = min(service.max_message + PREFIX.size, h2.MAX_FRAME_SIZE)
        self._received = 0  # bytes of DATA since we last gave the peer more

    # The short way.

    def take(self, data: bytes, position: int, stop: int) -> int:  # noqa: C901  # the hot path: a call costs as much as a branch
        """Take the frames that begin before `stop` and are complete; return where the next one begins.

        stop: at most so far that a frame's head is there. Raises ConnectionFault.
        """
        total, streams, known, sender = len(data), self._open, self._blocks.known, self._sender
        blocked, max_whole = sender.blocked, self._max_whole
        timely = self.arrived is None  # else deadlines are looked at
        short = timely and self.header_parts is None
        answered = 0  # calls that the rate does not know of yet
        while position < stop:
            high, low, kind, stream = _head_at(data, position)
            begin = position + _HEAD_SIZE
            size = high << 8 | low
            end = begin + size
            if end > total:
                _check_size(size)
                break
            position = end
            if short:
                if kind == _CALL_BEGINS:
                    start = known.get(data[begin:end])
                    if (
                        start is not None
                        and self.last < stream <= _STREAM_BITS
                        and stream & 1
                        and len(streams) < MAX_STREAMS
                        and not blocked
                    ):
                        self.last = stream
                        streams[stream] = start
                        continue
                elif kind == _CALL_ENDS and not sender.full and type(call := streams.get(stream)) is Start:
                    make, _, _, announced, _ = call
                    if make and _PREFIX_SIZE <= size <= max_whole and (announced is None or announced == size):
                        compressed, length = _prefix_at(data, begin)
                        if not compressed and length == size - _PREFIX_SIZE:
                            del streams[stream]
                            self._received += size
                            answered += 1
                            try:
                                sender.answer(stream, make(data[begin + _PREFIX_SIZE : end]))
                            except Exception as failed:  # noqa: BLE001  # whatever it is, the peer waits for an answer
                                self._streams.fail_answer(stream, failed)
                            continue
            if answered:
                self._rate.answered += answered
                answered = 0
            _check_size(size)
            self._frame(kind >> 8, kind & 0xFF, stream & _STREAM_BITS, data[begin:end])
            short = timely and self.header_parts is None
        self._rate.answered += answered
        if self._received > CONNECTION_WINDOW >> 1:
            self._sender.out.append(h2.window_update(0, self._received))
            self._received = 0
        return position

    # The long way.

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Take one frame, whatever it is. stream: without the reserved bit."""
        if self.header_parts is not None and kind != h2.CONTINUATION:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "expected CONTINUATION")
        take = self._take_by_kind.get(kind)
        if take is None:
            self._charge(1)
            return  # a frame that we do not know means nothing to us
        if (stream == 0) != (kind in _OF_THE_CONNECTION) and kind != h2.WINDOW_UPDATE:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a frame on the wrong stream")
        try:
            take(self, flags, stream, payload)
        except StreamFault as fault:
            self._charge(1)
            self._streams.fail(stream, fault.error_code)

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > CONNECTION_WINDOW:
            raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "more data than the window of the connection")
        body, ends = _unpadded(flags, payload), bool(flags & h2.END_STREAM)
        if len(body) < _SMALL and not ends:
            self._charge(1)
        if stream not in self._open:
            self._check_begun(stream)
        self._streams.add(stream, body, len(payload) - len(body), self.arrived, ends=ends)

    # Header blocks.

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        fragment = _unpadded(flags, payload)
        if flags & h2.PRIORITIZED:
            if len(fragment) < _PRIORITY_SIZE:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, "HEADERS without their priority")
            if int.from_bytes(fragment[:4], "big") & h2.STREAM_BITS == stream:
                raise ConnectionFault(h2.PROTOCOL_ERROR, "a stream that depends on itself")
            fragment = fragment[_PRIORITY_SIZE:]
        if flags & h2.END_HEADERS:
            self._take_block(flags, stream, fragment)
        else:
            self.header_parts = HeaderParts(stream, flags, [fragment], len(fragment))

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        block = self.header_parts
        if block is None or block.stream != stream:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._charge(1 if len(payload) >= _SMALL else _SMALL_PART)
        size = block.size + len(payload)
        if size <= _MAX_BLOCK:
            block.parts.append(payload)
        elif size > _MAX_SKIPPED or not self._blocks.may_be_cut(block.parts[0]):
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, f"headers of more than {_MAX_BLOCK} bytes")
        self.header_parts = block._replace(size=size)
        if flags & h2.END_HEADERS:
            self.header_parts = None
            self._take_block(block.flags, stream, b"".join(block.parts), cut=size > _MAX_BLOCK)

    def _take_block(self, flags: int, stream: int, block: bytes, *, cut: bool = False) -> None:
        """Take the headers of a new call, or the trailers of one that is open. cut: whether there was more of them."""
        ends = bool(flags & h2.END_STREAM)
        call = self._open.get(stream)
        if call is not None:
            self._take_trailers(stream, call, block, ends=ends)
        elif stream <= self.last and stream & 1:
            if not self._streams.was_reset(stream):
                raise ConnectionFault(h2.STREAM_CLOSED, "HEADERS on a stream that is closed")
            self._blocks.skip(block)
            self._charge(1 + self._blocks.cost)
        elif not stream & 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a client's stream has an odd number")
        else:
            self._begin(stream, block, ends=ends, cut=cut)

    def _begin(self, stream: int, block: bytes, *, ends: bool, cut: bool) -> None:
        self.last = stream
        start = self._blocks.read(block, cut=cut)
        self._charge(1 + self._blocks.cost)
        if start.refusal:
            self._blocks.known.pop(block, None)  # the short way would wait for its body
        if self._streams.many:
            raise StreamFault(h2.REFUSED_STREAM, "too many calls at once")
        self._streams.begin(stream, start, self.arrived, ends=ends)

    def _take_trailers(self, stream: int, call: Start | Call, block: bytes, *, ends: bool) -> None:
        self._blocks.read_trailers(block)
        self._charge(1 + self._blocks.cost)
        if not ends or (isinstance(call, Call) and call.complete):
            raise StreamFault(h2.PROTOCOL_ERROR, "HEADERS twice on one stream")
        self._streams.finish(stream, self._open.pop(stream))

    # Frames about the connection and its streams.

    def _take_priority(self, _: int, stream: int, payload: bytes) -> None:
        self._charge(1)
        if len(payload) != _PRIORITY_SIZE:
            raise StreamFault(h2.FRAME_SIZE_ERROR, "a PRIORITY frame of the wrong size")
        if int.from_bytes(payload[:4], "big") & h2.STREAM_BITS == stream:
            raise StreamFault(h2.PROTOCOL_ERROR, "a stream that depends on itself")

    def _take_reset(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != _NUMBER_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "an RST_STREAM frame of the wrong size")
        self._check_begun(stream)
        self._charge(1)
        self._streams.forget(stream)

    def _check_begun(self, stream: int) -> None:
        """Raise ConnectionFault where a stream is idle: nobody began it, or we should have."""
        if stream > self.last or not stream & 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a frame on a stream that is idle")

    def _take_settings(self, flags: int, _: int, payload: bytes) -> None:
        if len(payload) % _SETTING.size or (flags & h2.ACK and payload):
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a SETTINGS frame of the wrong size")
        if flags & h2.ACK:
            self._charge(1)
            self._blocks.offer_taken()
            return
        self._charge(1 + len(payload) // _SETTING.size // _BLOCKED_A_FRAME)
        window = None
        for number, value in _SETTING.iter_unpack(payload):
            if number == h2.SETTINGS_INITIAL_WINDOW_SIZE:
                if value > h2.MAX_WINDOW:
                    raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "a window that is too large")
                window = value
            elif number == h2.SETTINGS_HEADER_TABLE_SIZE:
                if value < h2.DEFAULT_HEADER_TABLE_SIZE:
                    self._sender.use_no_table()
            elif (number == h2.SETTINGS_ENABLE_PUSH and value > 1) or (
                number == h2.SETTINGS_MAX_FRAME_SIZE and not h2.MAX_FRAME_SIZE <= value < 1 << 24
            ):
                raise ConnectionFault(h2.PROTOCOL_ERROR, "an invalid value of a setting")
        if window is not None:
            self._charge(len(self._sender.blocked) // _BLOCKED_A_FRAME)
            self._sender.resize_streams(window)
        self._sender.out.append(h2.frame(h2.SETTINGS, h2.ACK, 0))

    def _take_ping(self, flags: int, _: int, payload: bytes) -> None:
        if len(payload) != _PING_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a PING frame of the wrong size")
        self._charge(1)
        if not flags & h2.ACK:
            self._sender.out.append(h2.frame(h2.PING, h2.ACK, 0, payload))

    def _take_goaway(self, _: int, __: int, payload: bytes) -> None:
        """Go on: the peer begins no more calls, and closes when it has its answers."""
        if len(payload) < 2 * _NUMBER_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a GOAWAY frame of the wrong size")
        self._charge(1)

    def _take_push_promise(self, *_: object) -> None:
        raise ConnectionFault(h2.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _take_window_update(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != _NUMBER_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a WINDOW_UPDATE frame of the wrong size")
        self._charge(1)
        increment = int.from_bytes(payload, "big") & h2.STREAM_BITS
        if stream:
            self._check_begun(stream)
        if not increment:
            raise (StreamFault if stream else ConnectionFault)(h2.PROTOCOL_ERROR, "a WINDOW_UPDATE of 0")
        if not stream:
            self._sender.widen(increment)
        elif self._streams.knows(stream):
            self._sender.widen_stream(stream, increment)  # else it was under way when the stream ended

    _take_by_kind: ClassVar[dict[int, Callable[[Receiver, int, int, bytes], None]]] = {
        h2.DATA: _take_data,
        h2.HEADERS: _take_headers,
        h2.PRIORITY: _take_priority,
        h2.RST_STREAM: _take_reset,
        h2.SETTINGS: _take_settings,
        h2.PUSH_PROMISE: _take_push_promise,
        h2.PING: _take_ping,
        h2.GOAWAY: _take_goaway,
        h2.WINDOW_UPDATE: _take_window_update,
        h2.CONTINUATION: _take_continuation,
    }


def _check_size(size: int) -> None:
    if size > h2.MAX_FRAME_SIZE:
        raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a frame of more than {h2.MAX_FRAME_SIZE} bytes")


def _unpadded(flags: int, payload: bytes) -> bytes:
    """Return what a DATA or HEADERS frame carries, without its padding."""
    if not flags & h2.PADDED:
        return payload
    if not payload:
        raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a padded frame without a length")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(h2.PROTOCOL_ERROR, "more padding than the frame has bytes")
    return payload[1 : len(payload) - padding]
