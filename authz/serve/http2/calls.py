"""gRPC over HTTP/2: methods, what the headers of a call mean, its message, its failure. No I/O, no state.

A unary call is HEADERS, DATA with one message, and END_STREAM; its answer is HEADERS, DATA, and trailers with the
status. A message has five bytes before it: whether it is compressed, and its length.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import CallFailed, MessageTooLarge
from authz.serve.http2 import frames as h2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from authz.serve.http2.headers import CallHead

DEADLINE_EXCEEDED: Final = 4  # gRPC status codes
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13

PREFIX: Final = struct.Struct(">BI")  # before a message: compressed, length
HEAD_BLOCK: Final = h2.STATUS_200 + h2.literal(b"content-type", b"application/grpc")
TAIL_BLOCK: Final = h2.literal(b"grpc-status", b"0")
_ANY_ZLIB: Final = 47  # window bits: gzip or zlib, whichever it is
_MAX_RATIO: Final = 32  # bytes that a compressed byte may unpack to; text that people write has less than 20
_ALWAYS_UNPACKED: Final = 16384  # bytes that a message may unpack to, however small it is


class Method(NamedTuple):
    """A method of a service: one of `answer`, `converse` and `watch`. All of them may raise CallFailed.

    Attributes:
        answer: Makes the answer to the one message of a call.
        converse: Makes the answer to each of many messages of a call.
        watch: Makes the first of several answers to one message.
        headers_too_large: Makes the answer to a call whose headers are too large; None: RESOURCE_EXHAUSTED.
        message_too_large: The same for its message.
    """

    answer: Callable[[bytes], bytes] | None = None
    converse: Callable[[bytes], bytes] | None = None
    watch: Callable[[Watcher, bytes], bytes] | None = None
    headers_too_large: Callable[[], bytes] | None = None
    message_too_large: Callable[[], bytes] | None = None


class Service(NamedTuple):
    """The methods by their paths. max_message: bytes of a message, as it came and unpacked."""

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

    answer: of a unary call. method: for calls of another kind, and for those that are too large. refusal: headers that
    answer all there is to say. length: of the body, as announced. timeout: seconds.
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


def message_of(body: bytes, max_message: int) -> bytes:
    """Return the one message of a body.

    Raises:
        MessageTooLarge: It has more than `max_message` bytes, or unpacks to more.
        CallFailed: The body is not one message.
    """
    if len(body) < PREFIX.size:
        raise CallFailed(INTERNAL, "a call without a message")
    compressed, length = PREFIX.unpack_from(body)
    if length > max_message:
        raise too_large(length, max_message)
    if compressed > 1 or length != len(body) - PREFIX.size:
        raise CallFailed(INTERNAL, "expected one message")
    message = body[PREFIX.size :]
    return _unpacked(message, max_message) if compressed else message


def first_message(body: bytearray, max_message: int) -> bytes | None:
    """Take the first message out of what has come of a body; None where it is not complete. Raises CallFailed."""
    if len(body) < PREFIX.size:
        return None
    compressed, length = PREFIX.unpack_from(body)
    if length > max_message:
        raise too_large(length, max_message)
    if compressed > 1:
        raise CallFailed(INTERNAL, "expected messages")
    end = PREFIX.size + length
    if len(body) < end:
        return None
    message = bytes(body[PREFIX.size : end])
    del body[:end]
    return _unpacked(message, max_message) if compressed else message


def too_large(length: int, max_message: int) -> MessageTooLarge:
    """Return the failure of a call whose message has so many bytes."""
    return MessageTooLarge(RESOURCE_EXHAUSTED, f"found a message of {length} bytes, expected at most {max_message}")


def _unpacked(message: bytes, max_message: int) -> bytes:
    """Return a message that was compressed. Raises CallFailed and MessageTooLarge.

    Without the ratio 1 kB would unpack to a megabyte, and cost as much as a thousand requests.
    """
    most = min(max_message, max(_ALWAYS_UNPACKED, _MAX_RATIO * len(message)))
    reader = zlib.decompressobj(_ANY_ZLIB)
    try:
        whole = reader.decompress(message, most + 1)
    except zlib.error as error:
        raise CallFailed(INTERNAL, "expected a message compressed by gzip or deflate") from error
    if len(whole) > most:
        raise too_large(len(whole), most)
    if not reader.eof or reader.unused_data:
        raise CallFailed(INTERNAL, "a compressed message that is cut or goes on")
    return whole


def failure(status: int, text: str) -> bytes:
    """Return the headers that end a call with a gRPC status. text: at most 126 ASCII characters."""
    return HEAD_BLOCK + h2.literal(b"grpc-status", b"%d" % status) + h2.literal(b"grpc-message", text.encode("ascii"))


def failure_trailers(stream: int, failed: CallFailed) -> bytes:
    """Return the frame that ends an answer that has begun, with a gRPC status."""
    block = h2.literal(b"grpc-status", b"%d" % failed.status) + h2.literal(b"grpc-message", failed.message.encode())
    return h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block)
