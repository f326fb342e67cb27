"""One HTTP/2 connection that carries gRPC calls (RFC 9113; gRPC over HTTP/2): frames in, calls out, answers in.

Written for what a proxy does: many small unary calls at once on a few connections, the same headers with each. Such a
call is two frames in and three out, and takes the short way through `_frames`: two dictionaries, and one `join` for all
answers to what came in one read. Everything else (padding, trailers, parts, faults, flow control that is out) takes the
long way, `_frame`.

Nothing that a peer sends makes us wait or grow: messages, header blocks, streams, bytes that wait for their rest or for
a window have limits; who does not read his answers is not read; what is begun and not finished ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import zlib
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, cast

from authz.errors import CallFailed, ConnectionFault, StreamFault
from authz.serve.http2 import frames as h2
from authz.serve.http2.headers import MAX_HEADER_LIST, Head, HeaderBlocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SWEEP: Final = 10.0  # seconds between two looks at all connections: what was unfinished at both ends
MAX_STREAMS: Final = 1024  # calls of a connection that have begun and not ended
MAX_CONNECTIONS: Final = 1024
_STREAM_WINDOW: Final = 1 << 21  # bytes of DATA that a call may send before we ask for more: more than a message
_CONNECTION_WINDOW: Final = 1 << 24
_MAX_UNFINISHED: Final = 1 << 24  # bytes of the bodies of a connection that wait for their rest
_MAX_ALL_UNFINISHED: Final = 1 << 26  # and of all connections
_AT_ONCE: Final = 1 << 16  # bytes that are read before we look whether the peer takes its answers
_MAX_PARTS: Final = 16  # frames of a header block
_MAX_RESET: Final = 64  # streams that we ended, of which more may still come
_PREFIX: Final = struct.Struct(">BI")  # before a message: compressed, length
_ANY_ZLIB: Final = 47  # window bits: gzip or zlib, whichever it is
_LOG = logging.getLogger("authz.grpc")

UNIMPLEMENTED: Final = 12  # gRPC status codes
INTERNAL: Final = 13

_HEAD_BLOCK: Final = h2.STATUS_200 + h2.literal(b"content-type", b"application/grpc")
_TAIL_BLOCK: Final = h2.literal(b"grpc-status", b"0")
# HEADERS and the head of DATA with its prefix; then the message; then the trailers.
_BEGIN: Final = struct.Struct(f">5sI{len(_HEAD_BLOCK)}sHBBBIBI")
_BEGIN_HEAD: Final = h2.frame(h2.HEADERS, h2.END_HEADERS, 0, _HEAD_BLOCK)[:5]
_END: Final = struct.Struct(f">5sI{len(_TAIL_BLOCK)}s")
_END_HEAD: Final = h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 0, _TAIL_BLOCK)[:5]


class Method(NamedTuple):
    """A method of a service. answer: makes the answer to a message; or `watch`: makes the first of several answers.

    Both may raise CallFailed.
    """

    answer: Callable[[bytes], bytes] | None = None
    watch: Callable[[Watcher, bytes], bytes] | None = None


class Service(NamedTuple):
    """The methods by their paths. max_message: bytes of a message; of a longer one a method gets one byte more."""

    methods: Mapping[bytes, Method]
    max_message: int


class Connections:
    """All connections of a listener; makes them (it is the protocol factory), and ends what takes too long."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.open: set[Connection] = set()
        self.unfinished = 0  # bytes of bodies that are not complete
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def start(self) -> None:
        """Begin to look for what takes too long."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def announce_end(self) -> None:
        """Tell the peers to begin no more calls here."""
        for connection in list(self.open):
            connection.announce_end()

    def stop(self) -> None:
        """Close all connections once their answers are sent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.open):
            connection.close()

    def start_of(self, head: Head) -> _Start:
        """Return what the headers of a call mean."""
        method = self.service.methods.get(head.path)
        refusal = b""
        if not head.grpc:
            refusal = h2.literal(b":status", b"415") + h2.literal(b"content-length", b"0")
        elif method is None:
            refusal = _failure(UNIMPLEMENTED, "unknown method")
        if method is None or refusal:
            return _Start(None, None, refusal, head.length)
        return _Start(method.answer, method.watch, b"", head.length)

    def relieve(self) -> None:
        """End the connection with the most unfinished bodies, where there are too many of them."""
        if self.unfinished > _MAX_ALL_UNFINISHED:
            max(self.open, key=lambda connection: connection.unfinished).end_greedy()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            for connection in list(self.open):
                try:
                    connection.sweep()
                except Exception:  # noqa: BLE001  # a fault of ours: the other connections are swept all the same
                    _LOG.exception("a connection could not be looked at")


class Watcher:
    """A call that is answered more than once, for as long as its peer wants. on_end: called when it is over."""

    def __init__(self, connection: Connection, stream: int) -> None:
        self._connection = connection
        self._stream = stream
        self.on_end: Callable[[Watcher], None] = lambda _: None

    def send(self, message: bytes) -> None:
        """Send one more message."""
        self._connection.send_message(self._stream, message)


class _Start(NamedTuple):
    """What the headers of a call say. answer: of a unary method. refusal: headers that answer all there is to say."""

    answer: Callable[[bytes], bytes] | None
    watch: Callable[[Watcher, bytes], bytes] | None
    refusal: bytes
    length: int | None


class _Call:
    """A call whose body comes in parts. kept: what came, but no more than a message may have; size: all that came."""

    __slots__ = ("kept", "size", "start")

    def __init__(self, start: _Start) -> None:
        self.start = start
        self.kept = bytearray()
        self.size = 0


class _Blocked:
    """What waits for the peer to open a window. data: of DATA frames; sent: bytes of it; ends: are trailers next."""

    __slots__ = ("data", "ends", "sent")

    def __init__(self, data: bytes, *, ends: bool) -> None:
        self.data = data
        self.sent = 0
        self.ends = ends


class _Unfinished(NamedTuple):
    """What of a connection is under way. unread: the frame that is not complete; pause: which one it is, 0: none."""

    unread: bytes
    begun: bool
    pause: int
    block: _Block | None
    streams: frozenset[int]


class _Block(NamedTuple):
    """A header block that goes on in CONTINUATION frames."""

    stream: int
    flags: int
    parts: list[bytes]


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._most = connections.service.max_message
        self._transport: asyncio.Transport
        self._unread = b""  # a frame that is not complete
        self._later = b""  # what has come and waits until the peer has taken more of its answers
        self._pauses = 0  # how often the peer did not take them
        self._paused = False
        self._begun = False  # whether preface and SETTINGS have come
        self._ending = False  # nothing that still comes counts
        self._plain = True  # no header block goes on, nothing is blocked: the short way is open
        self._blocks = HeaderBlocks(connections.start_of)
        self._block: _Block | None = None
        self._last = 0  # the highest stream that the peer began
        self._streams: dict[int, _Start | _Call] = {}  # calls whose body is not complete
        self._watchers: dict[int, Watcher] = {}
        self._blocked: dict[int, _Blocked] = {}
        self._reset: deque[int] = deque(maxlen=_MAX_RESET)
        self._window = h2.DEFAULT_WINDOW  # what we may send on the connection
        self._initial_window = h2.DEFAULT_WINDOW  # and on a stream of which the peer has said nothing
        self._windows: dict[int, int] = {}  # how much more that is for a stream that is open
        self._opened = False  # whether a window has opened since we last tried to send what is blocked
        self._received = 0  # bytes of DATA since we last gave the peer more
        self.unfinished = 0  # bytes of bodies that are not complete
        self._out: list[bytes] = []
        self._seen: _Unfinished | None = None  # at the last sweep

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take, or close where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._all.open) >= MAX_CONNECTIONS:
            self._transport.abort()
            return
        self._all.open.add(self)
        values = {
            h2.SETTINGS_HEADER_TABLE_SIZE: 0,
            h2.SETTINGS_MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            h2.SETTINGS_INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
            h2.SETTINGS_MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        }
        self._transport.write(h2.settings(values) + h2.window_update(0, _CONNECTION_WINDOW - h2.DEFAULT_WINDOW))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and all that waits for it."""
        self._ending = True
        self._all.open.discard(self)
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers.values():
            watcher.on_end(watcher)
        self._drop()
        self._blocked.clear()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read its answers."""
        self._pauses += 1
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        later, self._later = self._later, b""
        if later:
            self.data_received(later)
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """Close: who sends no more gets no more."""
        return False

    def data_received(self, data: bytes) -> None:
        """Take what came, and send the answers."""
        if len(data) <= _AT_ONCE:
            self._take(data)
            return
        for begin in range(0, len(data), _AT_ONCE):
            if self._paused:
                self._later = data[begin:]
                return
            self._take(data[begin : begin + _AT_ONCE])

    def _take(self, data: bytes) -> None:
        if self._ending:
            return
        if self._unread:
            data = self._unread + data
        try:
            begin = 0 if self._begun else self._preface(data)
            self._unread = data[self._frames(data, begin) :] if self._begun else data
        except ConnectionFault as fault:
            self._end(fault.error_code, str(fault))
        except Exception:  # noqa: BLE001  # a fault of ours: this connection ends, the others do not
            _LOG.exception("a connection failed")
            self._end(h2.INTERNAL_ERROR, "internal error")
        self._flush()

    def _flush(self) -> None:
        if self._opened:
            self._send_blocked()
        if self._out:
            out, self._out = self._out, []
            if not self._transport.is_closing():
                self._transport.write(b"".join(out))
        if self._ending:
            self._transport.close()

    def _end(self, code: int, text: str) -> None:
        self._ending = True
        self._unread = self._later = b""
        self._out.append(h2.goaway(self._last, code, text))
        self._drop()

    def _drop(self) -> None:
        """Forget the calls that are not complete."""
        self._streams.clear()
        self._keep(-self.unfinished)

    def _keep(self, size: int) -> None:
        """Count bytes of bodies that are not complete."""
        self.unfinished += size
        self._all.unfinished += size

    def end_greedy(self) -> None:
        """End a connection that makes us keep too much."""
        self._end(h2.ENHANCE_YOUR_CALM, "too many calls that are not complete")
        self._flush()

    def announce_end(self) -> None:
        """Tell the peer to begin no more calls here; those that it has begun are answered."""
        if not self._ending and not self._transport.is_closing():
            self._transport.write(h2.goaway(h2.STREAM_BITS, h2.NO_ERROR))

    def close(self) -> None:
        """Say what was answered, and close once that is sent."""
        if not self._ending:
            for stream in list(self._streams):
                self._fail_stream(stream, h2.REFUSED_STREAM)  # nothing was done for it: the peer may ask another
            self._end(h2.NO_ERROR, "")
            self._flush()

    def sweep(self) -> None:
        """End what was unfinished the last time as well: SWEEP seconds or more ago."""
        before, now = self._seen, self._under_way()
        self._seen = now
        if before is None:
            return
        unbegun = not before.begun and not now.begun
        deaf = now.pause and now.pause == before.pause
        cut = now.unread and now.unread is before.unread
        headless = now.block and now.block is before.block
        if unbegun or deaf or cut or headless or self._transport.is_closing():
            self._transport.abort()
            return
        for stream in before.streams & now.streams:
            self._fail_stream(stream, h2.CANCEL)
        self._flush()

    def _under_way(self) -> _Unfinished:
        streams = frozenset({*self._streams, *self._blocked} - self._watchers.keys())
        pause = self._pauses if self._paused else 0
        return _Unfinished(self._unread, self._begun, pause, self._block, streams)

    # Frames.

    def _preface(self, data: bytes) -> int:
        """Return where the first frame begins, once it has begun."""
        size = len(h2.PREFACE)
        if data[:size] != h2.PREFACE[: len(data)]:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "this is gRPC over HTTP/2")
        if len(data) >= size + h2.HEAD_SIZE:
            _, _, kind, flags, _ = h2.HEAD.unpack_from(data, size)
            if kind != h2.SETTINGS or flags & h2.ACK:
                raise ConnectionFault(h2.PROTOCOL_ERROR, "expected SETTINGS first")
            self._begun = True
        return size

    def _frames(self, data: bytes, position: int) -> int:  # noqa: C901  # the hot path: a call costs as much as a branch
        """Take all frames that are complete, and return where the rest begins."""
        total, streams, known = len(data), self._streams, self._blocks.known
        while total - position >= h2.HEAD_SIZE:
            high, low, kind, flags, stream = h2.HEAD.unpack_from(data, position)
            begin = position + h2.HEAD_SIZE
            end = begin + (high << 8 | low)
            if end - begin > h2.MAX_FRAME_SIZE:
                raise ConnectionFault(h2.FRAME_SIZE_ERROR, f"a frame of more than {h2.MAX_FRAME_SIZE} bytes")
            if end > total:
                break
            position = end
            if self._plain:
                # The short way: the headers of a call that we know, and a body that is all there.
                if kind == h2.HEADERS and flags == h2.END_HEADERS:
                    start = known.get(data[begin:end])
                    if start is not None and self._may_begin(stream):
                        self._last = stream
                        streams[stream] = start
                        continue
                elif kind == h2.DATA and flags == h2.END_STREAM:
                    call = streams.get(stream)
                    if type(call) is _Start and call.answer and self._take_whole(call, stream, data, begin, end):
                        continue
            self._frame(kind, flags, stream & h2.STREAM_BITS, data[begin:end])
            if self._ending:
                return total
        if self._received > _CONNECTION_WINDOW >> 1:
            self._out.append(h2.window_update(0, self._received))
            self._received = 0
        return position

    def _may_begin(self, stream: int) -> bool:
        return self._last < stream <= h2.STREAM_BITS and stream & 1 == 1 and len(self._streams) < MAX_STREAMS

    def _take_whole(self, start: _Start, stream: int, data: bytes, begin: int, end: int) -> bool:
        """Answer a call whose body is data[begin:end]; return whether it is one message that is not compressed."""
        size = end - begin
        announced = start.length is None or start.length == size
        if size < _PREFIX.size or size > self._most or not announced:
            return False
        compressed, length = _PREFIX.unpack_from(data, begin)
        if compressed or length != size - _PREFIX.size:
            return False
        del self._streams[stream]
        self._received += size
        self._answer(stream, start, data[begin + _PREFIX.size : end])
        return True

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Take one frame, whatever it is. stream: without the reserved bit."""
        if self._block is not None and kind != h2.CONTINUATION:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "expected CONTINUATION")
        take = self._take_by_kind.get(kind)
        if take is None:
            return  # a frame that we do not know means nothing to us
        if (stream == 0) != (kind in _OF_THE_CONNECTION) and kind != h2.WINDOW_UPDATE:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a frame on the wrong stream")
        try:
            take(self, flags, stream, payload)
        except StreamFault as fault:
            self._fail_stream(stream, fault.error_code)

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > _CONNECTION_WINDOW:
            raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "more than the window of the connection")
        body = _unpadded(flags, payload)
        call = self._streams.get(stream)
        if call is None:
            self._check_begun(stream)
            if stream in self._reset:
                return  # it was under way when we ended the stream
            raise StreamFault(h2.STREAM_CLOSED, "DATA on a stream that is closed")
        if isinstance(call, _Start):
            call = self._streams[stream] = _Call(call)
        most = self._most + _PREFIX.size + 1
        kept = body[: max(most - len(call.kept), 0)]
        call.kept += kept
        call.size += len(body)
        self._keep(len(kept))
        if flags & h2.END_STREAM:
            self._finish(stream, complete=True)
        elif call.size >= most:
            self._finish(stream, complete=False)
        elif self.unfinished > _MAX_UNFINISHED:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, "too many calls that are not complete")
        else:
            if len(body) < len(payload):  # padding fills the window of a stream, and no message comes of it
                self._out.append(h2.window_update(stream, len(payload) - len(body)))
            self._all.relieve()

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
            self._block = _Block(stream, flags, [fragment])
            self._plain = False

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        block = self._block
        if block is None or block.stream != stream:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.parts.append(payload)
        if len(block.parts) > _MAX_PARTS or sum(map(len, block.parts)) > MAX_HEADER_LIST:
            raise ConnectionFault(h2.ENHANCE_YOUR_CALM, f"headers of more than {MAX_HEADER_LIST} bytes")
        if flags & h2.END_HEADERS:
            self._block = None
            self._plain = not self._blocked
            self._take_block(block.flags, stream, b"".join(block.parts))

    def _take_block(self, flags: int, stream: int, block: bytes) -> None:
        """Take the headers of a new call, or the trailers of one that is open."""
        ends = bool(flags & h2.END_STREAM)
        if stream in self._streams:
            self._blocks.read_trailers(block)
            if not ends:
                raise StreamFault(h2.PROTOCOL_ERROR, "headers twice")
            self._finish(stream, complete=True)
        elif stream <= self._last and stream & 1:
            if stream not in self._reset:
                raise ConnectionFault(h2.STREAM_CLOSED, "HEADERS on a stream that is closed")
            self._blocks.skip(block)
        elif not stream & 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a client's stream has an odd number")
        else:
            self._last = stream
            start = self._blocks.read(block)
            if len(self._streams) + len(self._blocked) + len(self._watchers) >= MAX_STREAMS:
                raise StreamFault(h2.REFUSED_STREAM, "too many calls at once")
            self._streams[stream] = start
            if ends:
                self._finish(stream, complete=True)

    def _take_priority(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != _PRIORITY_SIZE:
            raise StreamFault(h2.FRAME_SIZE_ERROR, "a PRIORITY of another size")
        if int.from_bytes(payload[:4], "big") & h2.STREAM_BITS == stream:
            raise StreamFault(h2.PROTOCOL_ERROR, "a stream that depends on itself")

    def _take_reset(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != _NUMBER_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "an RST_STREAM of another size")
        self._check_begun(stream)
        self._forget(stream)

    def _check_begun(self, stream: int) -> None:
        """Raise ConnectionFault where a stream is idle: nobody began it, or we should have."""
        if stream > self._last or not stream & 1:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "a frame on a stream that is idle")

    def _take_settings(self, flags: int, _: int, payload: bytes) -> None:
        if len(payload) % _SETTING.size or (flags & h2.ACK and payload):
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "SETTINGS of another size")
        largest = max(0, *self._windows.values()) if self._windows else 0
        for number, value in _SETTING.iter_unpack(payload):
            if number == h2.SETTINGS_INITIAL_WINDOW_SIZE:
                if value + largest > h2.MAX_WINDOW:
                    raise ConnectionFault(h2.FLOW_CONTROL_ERROR, "a window that is too large")
                self._initial_window = value
                self._opened = True
            elif (number == h2.SETTINGS_ENABLE_PUSH and value > 1) or (
                number == h2.SETTINGS_MAX_FRAME_SIZE and not h2.MAX_FRAME_SIZE <= value < 1 << 24
            ):
                raise ConnectionFault(h2.PROTOCOL_ERROR, "a setting that cannot be")
        if flags & h2.ACK:
            self._blocks.offer_taken()
        else:
            self._out.append(h2.frame(h2.SETTINGS, h2.ACK, 0))

    def _take_ping(self, flags: int, _: int, payload: bytes) -> None:
        if len(payload) != _PING_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a PING of another size")
        if not flags & h2.ACK:
            self._out.append(h2.frame(h2.PING, h2.ACK, 0, payload))

    def _take_goaway(self, _: int, __: int, payload: bytes) -> None:
        """Go on: the peer begins no more calls, and closes when it has its answers."""
        if len(payload) < 2 * _NUMBER_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a GOAWAY of another size")

    def _take_push_promise(self, *_: object) -> None:
        raise ConnectionFault(h2.PROTOCOL_ERROR, "a client that promises")

    def _take_window_update(self, _: int, stream: int, payload: bytes) -> None:
        if len(payload) != _NUMBER_SIZE:
            raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of another size")
        increment = int.from_bytes(payload, "big") & h2.STREAM_BITS
        if stream:
            self._check_begun(stream)
        fault = StreamFault if stream else ConnectionFault
        if not increment:
            raise fault(h2.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        if not stream:
            self._window += increment
            window = self._window
            self._opened = True
        elif stream in self._streams or stream in self._blocked or stream in self._watchers:
            self._windows[stream] = self._windows.get(stream, 0) + increment
            window = self._initial_window + self._windows[stream]
        else:
            return  # it was under way when the stream ended
        if window > h2.MAX_WINDOW:
            raise fault(h2.FLOW_CONTROL_ERROR, "a window that is too large")
        if stream in self._blocked:
            self._send_waiting(stream)

    # Calls.

    def _finish(self, stream: int, *, complete: bool) -> None:
        """Answer a call whose body is complete, or longer than it may be."""
        call = self._streams.pop(stream)
        start, body, size = (call.start, bytes(call.kept), call.size) if isinstance(call, _Call) else (call, b"", 0)
        self._keep(-len(body))
        if complete and start.length is not None and start.length != size:
            raise StreamFault(h2.PROTOCOL_ERROR, "a body of another length than was announced")
        if not complete and start.watch is not None:
            raise StreamFault(h2.ENHANCE_YOUR_CALM, "a message that is too long")
        if start.refusal:
            self._out.append(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, start.refusal))
            self._windows.pop(stream, None)
        else:
            try:
                message = self._message(body, size)
            except CallFailed as failed:
                self._fail_call(stream, failed)
            else:
                self._answer(stream, start, message)
        if not complete:
            self._reset.append(stream)
            if stream not in self._blocked:
                self._out.append(h2.rst_stream(stream, h2.NO_ERROR))  # RFC 9113, 8.1: the rest is not needed

    def _message(self, body: bytes, size: int) -> bytes:
        """Return the one message of a body. size: of the whole body, which may be longer. Raises CallFailed."""
        if size > self._most + _PREFIX.size:
            return bytes(self._most + 1)
        if size < _PREFIX.size:
            raise CallFailed(INTERNAL, "a call without a message")
        compressed, length = _PREFIX.unpack_from(body)
        if compressed > 1 or length != size - _PREFIX.size:
            raise CallFailed(INTERNAL, "expected one message")
        message = body[_PREFIX.size :]
        return self._decompressed(message) if compressed else message

    def _decompressed(self, message: bytes) -> bytes:
        reader = zlib.decompressobj(_ANY_ZLIB)
        try:
            whole = reader.decompress(message, self._most + 1)
        except zlib.error as error:
            raise CallFailed(INTERNAL, "expected a message compressed by gzip or deflate") from error
        if len(whole) <= self._most and (not reader.eof or reader.unused_data):
            raise CallFailed(INTERNAL, "a compressed message that is cut or goes on")
        return whole

    def _answer(self, stream: int, start: _Start, message: bytes) -> None:
        try:
            if start.answer is not None:
                self._send_answer(stream, start.answer(message))
            elif start.watch is not None:
                watcher = Watcher(self, stream)
                first = start.watch(watcher, message)
                self._watchers[stream] = watcher
                self._out.append(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, _HEAD_BLOCK))
                self._send_data(stream, first, ends=False)
        except CallFailed as failed:
            self._fail_call(stream, failed)
        except Exception:  # noqa: BLE001  # whatever it is, the peer waits for an answer
            _LOG.exception("a call failed")
            self._fail_call(stream, CallFailed(INTERNAL, "internal error"))

    def _send_answer(self, stream: int, message: bytes) -> None:
        size = len(message) + _PREFIX.size
        room = size <= self._window and size <= self._initial_window and size <= h2.MAX_FRAME_SIZE
        if not room or not self._plain or stream in self._windows:
            self._out.append(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, _HEAD_BLOCK))
            self._send_data(stream, message, ends=True)
            return
        self._window -= size
        begin = _BEGIN.pack(
            _BEGIN_HEAD, stream, _HEAD_BLOCK, size >> 8, size & 0xFF, h2.DATA, 0, stream, 0, len(message)
        )
        self._out += (begin, message, _END.pack(_END_HEAD, stream, _TAIL_BLOCK))

    def _fail_call(self, stream: int, failed: CallFailed) -> None:
        block = _failure(failed.status, str(failed))
        self._out.append(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block))
        self._windows.pop(stream, None)

    def send_message(self, stream: int, message: bytes) -> None:
        """Send one more message on a stream that is watched, if it still is."""
        if stream in self._watchers and not self._ending:
            self._send_data(stream, message, ends=False)
            self._flush()

    def _send_data(self, stream: int, message: bytes, *, ends: bool) -> None:
        data = _PREFIX.pack(0, len(message)) + message
        blocked = self._blocked.get(stream)
        if blocked is None:
            self._blocked[stream] = _Blocked(data, ends=ends)
        elif len(blocked.data) <= self._most:
            blocked.data, blocked.sent = blocked.data[blocked.sent :] + data, 0
        self._send_waiting(stream)

    def _send_blocked(self) -> None:
        """Send of all streams what the windows of the peer have room for."""
        self._opened = False
        for stream in list(self._blocked):
            if self._window <= 0:
                break
            self._send_waiting(stream)

    def _send_waiting(self, stream: int) -> None:
        """Send of one stream what the windows of the peer have room for."""
        waiting = self._blocked[stream]
        window = self._initial_window + self._windows.get(stream, 0)
        while waiting.sent < len(waiting.data):
            room = min(self._window, window, h2.MAX_FRAME_SIZE)
            if room <= 0:
                break
            piece = waiting.data[waiting.sent : waiting.sent + room]
            waiting.sent += len(piece)
            self._window -= len(piece)
            window -= len(piece)
            self._out.append(h2.frame(h2.DATA, 0, stream, piece))
        self._windows[stream] = window - self._initial_window
        if waiting.sent == len(waiting.data):
            del self._blocked[stream]
            if waiting.ends:
                del self._windows[stream]
                self._out.append(_END.pack(_END_HEAD, stream, _TAIL_BLOCK))
        self._plain = not self._blocked and self._block is None

    def _fail_stream(self, stream: int, code: int) -> None:
        self._forget(stream)
        self._reset.append(stream)
        self._out.append(h2.rst_stream(stream, code))

    def _forget(self, stream: int) -> None:
        """Drop all that there is of a stream."""
        call = self._streams.pop(stream, None)
        if isinstance(call, _Call):
            self._keep(-len(call.kept))
        watcher = self._watchers.pop(stream, None)
        if watcher is not None:
            watcher.on_end(watcher)
        if self._blocked.pop(stream, None) is not None:
            self._plain = not self._blocked and self._block is None
        self._windows.pop(stream, None)

    _take_by_kind: ClassVar[dict[int, Callable[[Connection, int, int, bytes], None]]] = {
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


_PRIORITY_SIZE: Final = 5
_NUMBER_SIZE: Final = 4
_PING_SIZE: Final = 8
_SETTING: Final = struct.Struct(">HI")
_OF_THE_CONNECTION: Final = frozenset({h2.SETTINGS, h2.PING, h2.GOAWAY})


def _unpadded(flags: int, payload: bytes) -> bytes:
    """Return what a DATA or HEADERS frame carries, without its padding."""
    if not flags & h2.PADDED:
        return payload
    if not payload:
        raise ConnectionFault(h2.FRAME_SIZE_ERROR, "a padded frame without a length")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFault(h2.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - padding]


def _failure(code: int, text: str) -> bytes:
    """Return the headers that end a call with a gRPC status."""
    status = h2.literal(b"grpc-status", b"%d" % code) + h2.literal(b"grpc-message", text.encode("ascii"))
    return _HEAD_BLOCK + status
