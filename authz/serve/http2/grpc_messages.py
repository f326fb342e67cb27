"""The messages in the body of a call. No I/O, no state.

A message has five bytes before it: whether it is compressed, and its length.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from authz.errors import CallFailed, MessageTooLarge
from authz.serve.http2.grpc_failures import INTERNAL, RESOURCE_EXHAUSTED

PREFIX: Final = struct.Struct(">BI")  # before a message: compressed, length
_ANY_ZLIB: Final = 47  # window bits: gzip or zlib, whichever it is
_MAX_RATIO: Final = 32  # bytes that a compressed byte may unpack to; text that people write has less than 20
_ALWAYS_UNPACKED: Final = 16384  # bytes that a message may unpack to, however small it is


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
    """Take the first message out of what has come of a body; None if it is not complete. Raises CallFailed."""
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
        raise CallFailed(INTERNAL, "a compressed message that is incomplete or has more bytes behind it")
    return whole
