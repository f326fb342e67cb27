"""The calls of one HTTP/2 connection that are open: their bodies, their answers, their end.

Each body may have STREAM_WINDOW bytes; more only a few calls at a time, in their order (`_extend`). So a peer that
keeps within its windows is slowed down, never cut off, and each body that has begun can end. While many answers are
blocked, complete calls wait for theirs (`parked`): a call is smaller than its answer. A call that was here for longer
than its grpc-timeout is not decided: nobody waits for the answer.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from authz.errors import CallFailed, MessageTooLarge, StreamFault
from authz.serve.http2 import frames as h2
from authz.serve.http2.grpc_failures import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    failure,
    failure_trailers,
)
from authz.serve.http2.grpc_messages import PREFIX, first_message, message_of, too_large
from authz.serve.http2.grpc_methods import Start, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.http2.rate import FrameRate
    from authz.serve.http2.sending import Sender

MAX_STREAMS: Final = 1024  # calls of a connection that have begun and not ended
STREAM_WINDOW: Final = 1 << 15  # bytes that each call may send at once
_EXTENSIONS: Final = 1 << 22  # bytes that all larger calls of a connection may send besides
_MAX_RESET: Final = 64  # streams that we ended, of which more may still come
_LOG = logging.getLogger("authz.grpc")


class Call:
    """A call whose body comes in parts, or that waits for its answer.

    Attributes:
        start: What its headers said.
        began: When they had come, by `time.monotonic`; None: in this turn of the event loop.
        body: What came.
        taken: Bytes of its window that were used.
        window: Bytes that it may use.
        complete: Nothing more comes.
    """

    __slots__ = ("began", "body", "complete", "start", "taken", "window")

    def __init__(self, start: Start, began: float | None = None) -> None:
        self.start = start
        self.began = began
        self.body = bytearray()
        self.taken = 0
        self.window = h2.DEFAULT_WINDOW  # what a peer may use that has not read our SETTINGS yet
        self.complete = False


class Undecided:
    """How many calls of all connections of a listener were answered without being decided.

    Attributes:
        late: Their grpc-timeout had passed.
        refused: They had waited for their turn for too long.
    """

    __slots__ = ("late", "refused")

    def __init__(self) -> None:
        self.late = 0
        self.refused = 0


def _deliver_to_nobody(_: int, __: bytes) -> None:
    """Drop a message of a connection that is gone."""


class Streams:
    """The open calls of one connection.

    Attributes:
        open: Calls whose answer is not made yet, by stream, in the order in which they began.
        watchers: Calls that are answered for as long as their peer wants.
        parked: Those of `open` that are complete, and wait until fewer answers wait.
        unfinished: Bytes of the bodies of `open`.
        deliver: What sends a message of a watcher.
        refusing: Whether what comes has waited for its turn for so long that it is refused.
    """

    def __init__(self, max_message: int, sender: Sender, rate: FrameRate, undecided: Undecided) -> None:
        self.open: dict[int, Start | Call] = {}
        self.watchers: dict[int, Watcher] = {}
        self.parked: dict[int, None] = {}
        self.unfinished = 0
        self.deliver: Callable[[int, bytes], None] = _deliver_to_nobody
        self.refusing = False
        self._undecided = undecided
        self._max_message = max_message
        self._max_body = max_message + PREFIX.size
        self._sender = sender
        self._rate = rate
        self._reset: deque[int] = deque(maxlen=_MAX_RESET)
        self._extended: set[int] = set()  # calls that may send a whole message
        self._wanting: dict[int, None] = {}  # and those that want to, in their order
        self._stamped = 0  # the highest stream whose call knows when it began

    @property
    def many(self) -> bool:
        """Whether no more calls may begin."""
        return len(self.open) + len(self._sender.blocked) + len(self.watchers) >= MAX_STREAMS

    def knows(self, stream: int) -> bool:
        """Return whether there is anything of this stream."""
        return stream in self.open or stream in self._sender.blocked or stream in self.watchers

    def was_reset(self, stream: int) -> bool:
        """Return whether we ended this stream lately: more of it may have been under way."""
        return stream in self._reset

    # Bodies.

    def begin(self, stream: int, start: Start, began: float | None, *, ends: bool) -> None:
        """Begin a call. began: when it had come; None: just now. ends: whether it has no body."""
        if start.refusal:
            if ends and start.length:
                raise StreamFault(h2.PROTOCOL_ERROR, "a body that is longer or shorter than its content-length")
            self._sender.fail(stream, start.refusal)
            self._end_early(stream, ends=ends)
            return
        call: Start | Call = start if began is None else Call(start, began)
        if start.method.converse is not None:
            call = Call(start, began)
            self._sender.begin(stream)
        self.open[stream] = call
        if ends:
            self.finish(stream, call)

    def add(self, stream: int, body: bytes, padding: int, began: float | None, *, ends: bool) -> None:
        """Take a part of a body. padding: bytes that came besides. Raises StreamFault."""
        call = self.open.get(stream)
        if call is None or (isinstance(call, Call) and call.complete):
            if self.was_reset(stream):
                return  # it was under way when we ended the stream
            raise StreamFault(h2.STREAM_CLOSED, "DATA on a stream that is closed")
        if isinstance(call, Start):
            call = self.open[stream] = Call(call, began)
        call.taken += len(body)
        if call.taken > call.window:
            raise StreamFault(h2.FLOW_CONTROL_ERROR, "more data than the window of the stream")
        call.body += body
        self.unfinished += len(body)
        if call.start.method.converse is not None:
            self._converse(stream, call, ends=ends)
        elif ends:
            self.finish(stream, call)
        elif len(call.body) >= PREFIX.size and PREFIX.unpack_from(call.body)[1] > self._max_message:
            self._refuse(stream, call)
        else:
            self._want(stream, call)
        if padding and not ends and stream in self.open:  # it fills the window of a stream, and no message comes of it
            self._sender.out.append(h2.window_update(stream, padding))

    def _want(self, stream: int, call: Call) -> None:
        """Let a call whose window is half used send a whole message, now or when its turn comes."""
        if call.taken < STREAM_WINDOW >> 1 or self._max_body <= STREAM_WINDOW:
            return
        if stream not in self._extended and stream not in self._wanting:
            self._wanting[stream] = None
            self._extend()

    def _extend(self) -> None:
        """Let the calls that have waited longest send whole messages, for as long as there is room for them."""
        while self._wanting and len(self._extended) < max(1, _EXTENSIONS // self._max_body):
            stream = next(iter(self._wanting))
            del self._wanting[stream]
            call = self.open[stream]
            if isinstance(call, Call):
                call.window += self._max_body
                self._extended.add(stream)
                self._sender.out.append(h2.window_update(stream, self._max_body))

    def _end_body(self, stream: int, call: Call) -> None:
        """Stop counting the body of a call."""
        self.unfinished -= len(call.body)
        self.parked.pop(stream, None)
        self._wanting.pop(stream, None)
        if stream in self._extended:
            self._extended.discard(stream)
            self._extend()

    # Answers.

    def finish(self, stream: int, call: Start | Call) -> None:
        """Answer a call whose body is complete, or let it wait where too many answers do. Raises StreamFault."""
        if isinstance(call, Start):
            call = Call(call)
        start = call.start
        if start.length is not None and start.length != len(call.body):
            raise StreamFault(h2.PROTOCOL_ERROR, "a body that is longer or shorter than its content-length")
        call.complete = True
        if start.method.converse is not None:
            self._converse(stream, call, ends=True)
        elif self._sender.full:
            self.open[stream] = call
            self.parked[stream] = None
        else:
            self._answer_body(stream, call)

    def answer_parked(self) -> None:
        """Answer calls that waited because too many answers did, for as long as there is room for theirs."""
        while self.parked and not self._sender.full and self._sender.room > 0:
            stream = next(iter(self.parked))
            del self.parked[stream]
            call = self.open[stream]
            if isinstance(call, Call):
                self._answer_body(stream, call)

    def _answer_body(self, stream: int, call: Call) -> None:
        self.open.pop(stream, None)
        self._end_body(stream, call)
        if _is_late(call):
            self._undecided.late += 1
            self._rate.answered += 1
            self._sender.fail(stream, failure(DEADLINE_EXCEEDED, "the deadline of the call has passed"))
            return
        if self.refusing and call.start.method.refusable:
            self._undecided.refused += 1
            self._rate.answered += 1
            self._sender.fail(stream, failure(UNAVAILABLE, "overloaded"))
            return
        try:
            message = message_of(bytes(call.body), self._max_message)
        except MessageTooLarge as failed:
            self._answer_too_large(stream, call.start, failed)
        except CallFailed as failed:
            self._sender.fail(stream, failure(failed.status, failed.message))
        else:
            self.answer(stream, call.start, message)
            self._rate.answered += call.start.answer is not None

    def answer(self, stream: int, start: Start, message: bytes) -> None:
        """Answer a call by what its method makes of its message. The caller counts it in the rate."""
        try:
            if start.answer is not None:
                self._sender.answer(stream, start.answer(message))
            elif start.method.watch is not None:
                self._watch(stream, start.method.watch, message)
        except Exception as failed:  # noqa: BLE001  # whatever it is, the peer waits for an answer
            self.fail_answer(stream, failed)

    def fail_answer(self, stream: int, failed: Exception) -> None:
        """End a call whose method raised this."""
        if isinstance(failed, CallFailed):
            self._sender.fail(stream, failure(failed.status, failed.message))
        else:
            _LOG.error("a call failed", exc_info=failed)
            self._sender.fail(stream, failure(INTERNAL, "internal error"))

    def _refuse(self, stream: int, call: Call) -> None:
        """Answer a call whose message will be too large, before it has come."""
        if call.start.method.watch is not None:
            raise StreamFault(h2.ENHANCE_YOUR_CALM, "a message that is too large")
        del self.open[stream]
        self._end_body(stream, call)
        self._answer_too_large(stream, call.start, too_large(PREFIX.unpack_from(call.body)[1], self._max_message))
        self._end_early(stream, ends=False)

    def _answer_too_large(self, stream: int, start: Start, failed: MessageTooLarge) -> None:
        make = start.method.message_too_large
        if make is None:
            self._sender.fail(stream, failure(failed.status, failed.message))
        else:
            self._sender.answer(stream, make())
            self._rate.answered += 1

    def _end_early(self, stream: int, *, ends: bool) -> None:
        """Tell the peer that the rest of a call is not needed (RFC 9113, 8.1)."""
        if not ends:
            self._reset.append(stream)
            if stream not in self._sender.blocked:
                self._sender.out.append(h2.rst_stream(stream, h2.NO_ERROR))

    def _watch(self, stream: int, watch: Callable[[Watcher, bytes], bytes], message: bytes) -> None:
        if len(self.watchers) >= MAX_STREAMS:
            raise CallFailed(RESOURCE_EXHAUSTED, "too many watchers")
        watcher = Watcher(self.deliver, stream)
        first = watch(watcher, message)
        self.watchers[stream] = watcher
        self._sender.begin(stream)
        self._sender.send(stream, first)

    def _converse(self, stream: int, call: Call, *, ends: bool) -> None:
        """Answer the messages of a call that have come, one by one."""
        size = len(call.body)
        try:
            while (message := first_message(call.body, self._max_message)) is not None:
                self._answer_one(stream, call, message)
            if ends and call.body:
                raise CallFailed(INTERNAL, "an incomplete message")
        except CallFailed as failed:
            self.unfinished -= size - len(call.body)
            self.forget(stream)
            self._sender.out.append(failure_trailers(stream, failed))
            self._end_early(stream, ends=ends)
            return
        self.unfinished -= size - len(call.body)
        if ends:
            self._end_body(stream, call)
            del self.open[stream]
            self._sender.finish(stream)
        elif size > len(call.body):
            call.taken -= size - len(call.body)
            self._sender.out.append(h2.window_update(stream, size - len(call.body)))

    def _answer_one(self, stream: int, call: Call, message: bytes) -> None:
        if stream in self._sender.blocked:
            raise CallFailed(RESOURCE_EXHAUSTED, "too many answers wait to be read")
        if call.start.method.converse is not None:
            self._rate.charge(1)
            self._sender.send(stream, call.start.method.converse(message))

    # The end.

    def fail(self, stream: int, error_code: int) -> None:
        """End a stream at once, whatever was under way on it."""
        self.forget(stream)
        self._reset.append(stream)
        self._sender.out.append(h2.rst_stream(stream, error_code))

    def forget(self, stream: int) -> None:
        """Drop all that there is of a stream."""
        call = self.open.pop(stream, None)
        if isinstance(call, Call):
            self._end_body(stream, call)
        watcher = self.watchers.pop(stream, None)
        if watcher is not None:
            watcher.on_end(watcher)
        self._sender.forget(stream)

    def end_turn(self, last: int, now: float) -> None:
        """Note of the calls that are left when they began. last: the highest stream. now: of `time.monotonic`."""
        for stream in reversed(self.open):
            if stream <= self._stamped:
                break
            call = self.open[stream]
            if isinstance(call, Call):
                call.began = call.began or now
            elif call.timeout is not None:
                self.open[stream] = Call(call, now)
        self._stamped = last

    def unfinished_streams(self) -> frozenset[int]:
        """Return the streams that wait for more of their calls, or for their answers to be taken."""
        return frozenset({*self.open, *self._sender.blocked} - self.watchers.keys())

    def clear(self) -> None:
        """Forget the calls that are not answered."""
        self.open.clear()
        self.parked.clear()
        self._wanting.clear()
        self._extended.clear()
        self.unfinished = 0

    def close(self) -> None:
        """Forget all calls; watchers end."""
        self.clear()
        self.deliver = _deliver_to_nobody
        watchers, self.watchers = self.watchers, {}
        for watcher in watchers.values():
            watcher.on_end(watcher)


def _is_late(call: Call) -> bool:
    """Return whether nobody waits for the answer to a call any more."""
    timeout, began = call.start.timeout, call.began
    return timeout is not None and began is not None and time.monotonic() - began > timeout
