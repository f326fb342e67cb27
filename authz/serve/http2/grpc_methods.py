"""The methods of a gRPC service, and which of them a call is for; an unknown one is UNIMPLEMENTED. No I/O, no state.

A unary call is HEADERS, DATA with one message, and END_STREAM; its answer is HEADERS, DATA, and trailers with the
status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.serve.http2 import frames as h2
from authz.serve.http2.grpc_failures import RESOURCE_EXHAUSTED, UNIMPLEMENTED, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from authz.serve.http2.headers import CallHead


class Method(NamedTuple):
    """A method of a service: one of `answer`, `converse` and `watch`. All of them may raise CallFailed.

    Attributes:
        answer: Makes the answer to the one message of a call.
        converse: Makes the answer to each of many messages of a call.
        watch: Makes the first of several answers to one message.
        headers_too_large: Makes the answer to a call whose headers are too large; None: RESOURCE_EXHAUSTED.
        message_too_large: The same for its message.
        refusable: Whether a call that waited for its turn for too long is refused; health checks are answered.
    """

    answer: Callable[[bytes], bytes] | None = None
    converse: Callable[[bytes], bytes] | None = None
    watch: Callable[[Watcher, bytes], bytes] | None = None
    headers_too_large: Callable[[], bytes] | None = None
    message_too_large: Callable[[], bytes] | None = None
    refusable: bool = False


class Service(NamedTuple):
    """The methods by their paths.

    Attributes:
        max_message: Bytes of a message, as it came and unpacked.
    """

    methods: Mapping[bytes, Method]
    max_message: int


class Watcher:
    """A call that is answered more than once, for as long as its peer wants. on_end: called when it is over."""

    def __init__(self, deliver: Callable[[int, bytes], None], stream: int) -> None:
        self._deliver = deliver
        self._stream = stream
        self.on_end: Callable[[Watcher], None] = lambda _: None

    def send(self, message: bytes) -> None:
        """Send one more message."""
        self._deliver(self._stream, message)


class Start(NamedTuple):
    """What the headers of a call say.

    Attributes:
        answer: Of a unary call.
        method: For calls of another kind, and for those that are too large.
        refusal: Headers that answer all there is to say.
        length: Of the body, as announced.
        timeout: Seconds.
    """

    answer: Callable[[bytes], bytes] | None
    method: Method
    refusal: bytes
    length: int | None
    timeout: float | None


def start_of(service: Service, head: CallHead) -> Start:
    """Return what the headers of a call mean."""
    method = service.methods.get(head.path)
    refusal = b""
    if not head.grpc:
        refusal = h2.literal(b":status", b"415") + h2.literal(b"content-length", b"0")
    elif method is None:
        refusal = failure(UNIMPLEMENTED, "unknown method")
    if method is None or refusal:
        return Start(None, Method(), refusal, head.length, head.timeout)
    if head.too_large:
        return _too_large(method, head)
    return Start(method.answer, method, b"", head.length, head.timeout)


def _too_large(method: Method, head: CallHead) -> Start:
    """Return the start of a call that is answered without its message."""
    make = method.headers_too_large
    if make is None:
        refusal = failure(RESOURCE_EXHAUSTED, "headers that are too large")
        return Start(None, method, refusal, head.length, head.timeout)

    def answer(_: bytes) -> bytes:
        return make()

    return Start(answer, Method(answer, message_too_large=make), b"", head.length, head.timeout)
