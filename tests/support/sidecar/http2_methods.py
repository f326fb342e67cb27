"""A service for the tests of our HTTP/2: methods, the forms of a call, and what is looked at from inside."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Final

from hpack import Encoder
from support.sidecar.http2 import (
    CONTINUATION,
    DATA,
    END,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    WHOLE,
    Answer,
    ManualTurns,
    Peer,
    fields,
    frame,
    message,
    padded,
    plain_block,
    raw_block,
    window,
)
from support.sidecar.http2 import settings as settings_frame

from authz.errors import CallFailed
from authz.serve.http2.grpc_methods import Method, Service, Watcher
from authz.serve.http2.listener import Http2Listener

if TYPE_CHECKING:
    from authz.serve.http2.connection import Http2Connection

MAX_MESSAGE: Final = 1 << 17  # bytes of a message
NO_ERROR, PROTOCOL, INTERNAL, FLOW, _, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM: Final = 11
ECHO: Final = "/test.Test/Echo"
SIZED: Final = "/test.Test/Sized"
CHECKED: Final = "/test.Test/Checked"
WATCH: Final = "/test.Test/Watch"
TALK: Final = "/test.Test/Talk"
GRPC_INTERNAL, UNIMPLEMENTED, NOT_FOUND = 13, 12, 5


class Methods:
    """The methods that are called. watchers: those that have not ended."""

    def __init__(self) -> None:
        self.calls = 0
        self.watchers: list[Watcher] = []
        methods = {
            ECHO.encode(): Method(
                answer=self.echo,
                headers_too_large=lambda: b"headers",
                message_too_large=lambda: b"message",
            ),
            CHECKED.encode(): Method(answer=self.echo, refusable=True),
            TALK.encode(): Method(converse=self.echo),
            SIZED.encode(): Method(answer=self.sized),
            WATCH.encode(): Method(watch=self.watch),
            b"/test.Test/Fail": Method(answer=self.fail),
            b"/test.Test/Break": Method(answer=self.broken),
            b"/test.Test/BreakWatch": Method(watch=self.broken_watch),
        }
        self.turns = ManualTurns()
        self.connections = Http2Listener(Service(methods, MAX_MESSAGE), turns=self.turns)

    def echo(self, data: bytes) -> bytes:
        self.calls += 1
        return b"%d:" % len(data) + bytes(data[:4000])

    def sized(self, data: bytes) -> bytes:
        return bytes(int(data))

    def fail(self, data: bytes) -> bytes:
        raise CallFailed(NOT_FOUND, "not here")

    def broken(self, data: bytes) -> bytes:
        raise ZeroDivisionError

    def broken_watch(self, watcher: Watcher, data: bytes) -> bytes:
        raise ZeroDivisionError

    def watch(self, watcher: Watcher, data: bytes) -> bytes:
        self.watchers.append(watcher)
        watcher.on_end = self.watchers.remove
        return b"first:" + data


def lost(peer: Peer) -> int | None:
    """Return the code of GOAWAY with which the connection ended; None: it goes on."""
    if not peer.wire.closing:
        assert peer.goaway is None
        assert peer.answers.setdefault(0, Answer()).frames == []
        return None
    assert peer.goaway is not None
    return peer.goaway


def works(peer: Peer) -> bool:
    """Say whether a call is answered, both by the short way and the long."""
    for end in (True, False):
        stream = peer.call(ECHO, message(b"works"), end=end)
        if not end:
            peer.send(frame(DATA, END, stream))
        answer = peer.answers[stream]
        if (answer.messages, answer.status, answer.ended) != ([b"5:works"], 0, True):
            return False
    return True


def held(connection: Http2Connection) -> dict[str, int]:
    """Return how much a connection keeps, by what it is."""
    streams, sender, parts = connection._streams, connection._sender, connection._receiver.header_parts
    return {
        "streams": len(streams.open),
        "parked": len(streams.parked),
        "wanting": len(streams._wanting) + len(streams._extended),
        "watchers": len(streams.watchers),
        "blocked": len(sender.blocked),
        "starved": len(sender._starved),
        "waiting": sender.waiting,
        "windows": len(sender._windows),
        "unread": len(connection._unread),
        "later": len(connection._later),
        "block": sum(map(len, parts.parts)) if parts else 0,
        "unfinished": streams.unfinished,
    }


NOTHING: Final = dict.fromkeys(
    ("streams", "parked", "wanting", "watchers", "blocked", "starved", "waiting", "windows", "unread", "later", "block",
     "unfinished"), 0
)  # fmt: skip


def sweep(peer: Peer, times: int = 2) -> None:
    """Have the connection swept."""
    for _ in range(times):
        if not peer.wire.closing:
            peer.connection.sweep(0.0)
    peer.read()


START: Final = raw_block(fields(ECHO)[:3])
BLOCK: Final = plain_block(ECHO)


def ways(body: bytes, stream: int) -> dict[str, bytes]:
    """Return the same call in many forms."""
    block = plain_block(ECHO)
    head = frame(HEADERS, WHOLE, stream, block)
    huffman = Encoder().encode([(*field, True) for field in fields(ECHO)], huffman=True)  # nothing for a table
    weight = b"\0\0\0\0\x10"
    parts = [block[at : at + 20] for at in range(0, len(block), 20)]
    bits = [frame(DATA, 0, stream, body[at : at + 7]) for at in range(0, len(body), 7)]
    sized = plain_block(ECHO, ("content-length", str(len(body))))
    return {
        "whole": head + frame(DATA, END, stream, body),
        "huffman": frame(HEADERS, WHOLE, stream, huffman) + frame(DATA, END, stream, body),
        "padded": frame(HEADERS, WHOLE | PADDED, stream, padded(block, 9))
        + frame(DATA, END | PADDED, stream, padded(body, 255)),
        "no padding in a padded frame": head + frame(DATA, END | PADDED, stream, padded(body, 0)),
        "priority": frame(HEADERS, WHOLE | PRIORITIZED, stream, weight + block) + frame(DATA, END, stream, body),
        "padded and priority": frame(HEADERS, WHOLE | PRIORITIZED | PADDED, stream, padded(weight + block, 3))
        + frame(DATA, END, stream, body),
        "continued": frame(HEADERS, 0, stream, parts[0])
        + b"".join(frame(CONTINUATION, 0, stream, part) for part in parts[1:-1])
        + frame(CONTINUATION, WHOLE, stream, parts[-1])
        + frame(DATA, END, stream, body),
        "continued by nothing": frame(HEADERS, 0, stream, block)
        + frame(CONTINUATION, WHOLE, stream)
        + frame(DATA, END, stream, body),
        "in bits": head + b"".join(bits) + frame(DATA, END, stream),
        "padded bits": head
        + b"".join(frame(DATA, PADDED, stream, padded(body[at : at + 7], 20)) for at in range(0, len(body), 7))
        + frame(DATA, END, stream),
        "with trailers": head
        + frame(DATA, 0, stream, body)
        + frame(HEADERS, WHOLE | END, stream, raw_block([("x", "y")])),
        "with a length": frame(HEADERS, WHOLE, stream, sized) + frame(DATA, END, stream, body),
        "with reserved bits": frame(HEADERS, WHOLE, stream | 1 << 31, block) + frame(DATA, END, stream | 1 << 31, body),
        "with flags that mean nothing": frame(HEADERS, WHOLE | 0x50, stream, block)
        + frame(DATA, END | 0x56, stream, body),
        "among other frames": head
        + frame(PING, 0, 0, bytes(8))
        + frame(0x42, 0xFF, stream, b"unknown")
        + frame(PRIORITY, 0, stream, weight)
        + window(stream, 5)
        + settings_frame((INITIAL_WINDOW, 70000))
        + frame(DATA, END, stream, body),
        "compressed": head + frame(DATA, END, stream, message(gzip.compress(body[5:]), 1)),
        "deflated": head + frame(DATA, END, stream, message(zlib.compress(body[5:]), 1)),
    }  # fmt: skip


WAYS: Final = list(ways(b"", 1))
