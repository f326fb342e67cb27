"""A call that fails: gRPC status codes, and the headers or trailers that say one. No I/O, no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.serve.http2 import frames as h2

if TYPE_CHECKING:
    from authz.errors import CallFailed

DEADLINE_EXCEEDED: Final = 4  # gRPC status codes
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14

HEAD_BLOCK: Final = h2.STATUS_200 + h2.literal(b"content-type", b"application/grpc")
TAIL_BLOCK: Final = h2.literal(b"grpc-status", b"0")


def failure(status: int, text: str) -> bytes:
    """Return the headers that end a call with a gRPC status. text: at most 126 ASCII characters."""
    return HEAD_BLOCK + h2.literal(b"grpc-status", b"%d" % status) + h2.literal(b"grpc-message", text.encode("ascii"))


def failure_trailers(stream: int, failed: CallFailed) -> bytes:
    """Return the frame that ends an answer that has begun, with a gRPC status."""
    block = h2.literal(b"grpc-status", b"%d" % failed.status) + h2.literal(b"grpc-message", failed.message.encode())
    return h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block)
