"""HTTP/2 on the wire (RFC 9113): the frames that we write, the numbers in them.

Names are those of the RFC. What a peer sends is read in receiving, its header blocks in fields and headers.
"""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = struct.Struct(">HBBBI")  # of a frame: length (16 and 8 bits), type, flags, stream
HEAD_SIZE: Final = HEAD.size
MAX_FRAME_SIZE: Final = 16384  # bytes of a frame that we take and send: the least that everybody must take
MAX_WINDOW: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65535  # bytes of DATA before a peer has said how much it takes
DEFAULT_HEADER_TABLE_SIZE: Final = 4096  # bytes of a dynamic table before SETTINGS say otherwise
STREAM_BITS: Final = (1 << 31) - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1  # of DATA and HEADERS
ACK: Final = 0x1  # of SETTINGS and PING
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

SETTINGS_HEADER_TABLE_SIZE: Final = 1
SETTINGS_ENABLE_PUSH: Final = 2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
SETTINGS_MAX_FRAME_SIZE: Final = 5
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 6

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *item) for item in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0: of the connection."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: int) -> bytes:
    """Return an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: int, text: str = "") -> bytes:
    """Return a GOAWAY frame. text: for a person who debugs the peer; ours, nothing that was received."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + text.encode("ascii"))


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header field as a literal that no table remembers (RFC 7541, 6.2.2); both shorter than 127 bytes."""
    if len(name) > _SHORT or len(value) > _SHORT:
        raise ValueError(f"found a header field of {len(name)} and {len(value)} bytes, expected at most {_SHORT}")
    return b"\0%c%b%c%b" % (len(name), name, len(value), value)


_SHORT: Final = 126  # the longest string whose length is one byte
STATUS_200: Final = b"\x88"  # indexed, RFC 7541, appendix A
