"""One HTTP/1.1 connection: parsing (httptools), keep-alive, pipelining, limits. What is answered is the handler's.

A request is answered as soon as its header block is complete; a body is never waited for. Where one was announced the
connection is closed after the answer: nginx can announce a body that it does not send, and the next request's bytes
must not be taken for it.

Nothing that a peer sends makes us wait or grow: headers have a size and a time, idle connections end, a peer that does
not read its answers is not read either.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from authz.serve.observe.metrics import Metrics

LINGER: Final = 2.0  # seconds that we read and drop after our last answer, so that a reset does not destroy it
_SWEEP: Final = 0.5  # seconds between two looks at all connections
_PIECE: Final = 4096  # bytes that are parsed before we look whether the peer reads its answers
_LOG = logging.getLogger("authz.http")


class Head(NamedTuple):
    """A request's header block.

    headers: the values of the wanted headers, and of those that announce a body, by lower-case name, in order. peer:
    the address of who connected; None: a unix socket.
    """

    method: bytes
    target: bytes
    headers: dict[bytes, list[bytes]]
    peer: str | None


class Limits(NamedTuple):
    """max_header: bytes. idle_timeout, header_timeout: seconds."""

    max_header: int = 65536
    idle_timeout: float = 75.0
    header_timeout: float = 10.0
    max_connections: int = 4096


class Answer(NamedTuple):
    """An answer. head: status line and headers, each with its CR LF, without the empty line; body: as announced."""

    head: bytes
    body: bytes = b""


class Connections:
    """All connections of a listener; makes them (it is the protocol factory) and ends those that took too long."""

    def __init__(
        self,
        handler: Callable[[Head], Answer],
        wanted: Collection[bytes],
        limits: Limits,
        metrics: Metrics | None = None,
    ) -> None:
        self.handler = handler
        self.wanted = frozenset(wanted)
        kept = self.wanted | _OF_THE_BODY
        self.spellings = {name: name for name in kept} | {name.title(): name for name in kept}  # the usual ones
        self.lengths = frozenset(map(len, kept))
        self.limits = limits
        self.metrics = metrics
        self.open: set[Connection] = set()
        self.later = 0.0  # of the loop's clock, and never before now: what a request is stamped with costs nothing
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def start(self) -> None:
        """Begin to look for connections that took too long."""
        loop = asyncio.get_running_loop()
        self.later = loop.time() + _SWEEP
        self._sweeper = loop.create_task(self._sweep())

    def stop(self) -> None:
        """Close all connections once their answers are sent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.open):
            connection.close()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            now = loop.time()
            self.later = now + _SWEEP
            for connection in list(self.open):
                connection.check_time(now)


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._spellings, self._lengths = connections.spellings, connections.lengths
        self._most = connections.limits.max_header
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._peer: str | None = None
        self._answers: list[bytes] = []
        self._unparsed = b""  # what came before we learnt that the peer does not read
        self._unread = False  # the peer does not read its answers
        self._target = b""
        self._headers: dict[bytes, list[bytes]] = {}
        self._parsed = 0  # bytes of the header block being read, in the headers that are complete
        self._received = 0  # the same, in the pieces that are wholly of it
        self._in_head = False
        self._ending = False  # the last answer is given; what still comes is dropped
        # When the present state (idle, in a header block, ending) began, or up to _SWEEP later.
        self._since = connections.later

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self._peer = str(name[0]) if isinstance(name, tuple) else None
        self._all.open.add(self)
        self._count_connections()
        if len(self._all.open) > self._all.limits.max_connections:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del self._parser  # it refers to us; so that nobody has to look for the pair
        self._all.open.discard(self)
        self._count_connections()

    def _count_connections(self) -> None:
        if self._all.metrics is not None:
            self._all.metrics.http_connections = len(self._all.open)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and write the answers."""
        if self._unparsed or len(data) > _PIECE:
            self._unparsed += data
            self._parse()
        elif not self._ending:
            self._feed(data)

    def _parse(self) -> None:
        """Parse piece by piece, for as long as the peer reads its answers.

        A piece can hold a hundred requests, and the answer to each can be a page: we must not make them all at once.
        """
        while self._unparsed and not self._unread and not self._ending:
            piece, self._unparsed = self._unparsed[:_PIECE], self._unparsed[_PIECE:]
            self._feed(piece)
        if self._ending:
            self._unparsed = b""

    def _feed(self, piece: bytes) -> None:
        self._received += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._ending = True  # it is answered, like any other request; we speak nothing but HTTP after it
        except httptools.HttpParserError:
            self._fault(400)  # unless it was us who stopped the parser, having given another answer
        if self._in_head and self._received > self._most:
            self._fault(431)
        self._write()

    def _write(self) -> None:
        if self._answers:
            self._transport.write(b"".join(self._answers))
            self._answers.clear()
        if self._ending:
            self._end()

    def eof_received(self) -> bool:
        """Close: who sends no more gets no more."""
        return False

    def pause_writing(self) -> None:
        """Read no more requests from a peer that does not read its answers."""
        self._unread = True
        self._transport.pause_reading()
        self._since = self._all.later

    def resume_writing(self) -> None:
        """Go on where we stopped."""
        self._unread = False
        self._parse()
        if not self._unread and not self._ending:
            self._transport.resume_reading()

    # What httptools calls while it parses.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._target = b""
        self._headers = {}
        self._parsed = self._received = 0
        self._in_head = True
        self._since = self._all.later

    def on_url(self, url: bytes) -> None:
        """Take the target, which may come in parts."""
        self._target += url
        self._parsed += len(url)
        if self._parsed > self._most:
            self._fault(431)
            raise _TooLarge

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header that somebody wants."""
        if not self._in_head:
            return  # a trailer
        self._parsed = size = self._parsed + len(name) + len(value) + 4
        if size > self._most:
            self._fault(431)
            raise _TooLarge
        wanted = self._spellings.get(name)
        if wanted is None and len(name) in self._lengths:
            wanted = self._spellings.get(name.lower())
        if wanted is not None:
            lines = self._headers.get(wanted)
            if lines is None:
                self._headers[wanted] = [value.rstrip(b" \t")]
            else:
                lines.append(value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Answer."""
        self._in_head = False
        if self._ending:
            return
        parser, headers = self._parser, self._headers
        method = parser.get_method()
        try:
            answer = self._all.handler(tuple.__new__(Head, (method, self._target, headers, self._peer)))
        except Exception:  # noqa: BLE001  # whatever it is, the caller waits for an answer
            _LOG.exception("a request failed")
            self._fault(500)
            return
        body = b"transfer-encoding" in headers or (b"content-length" in headers and headers[b"content-length"] != _NONE)
        if body or not parser.should_keep_alive() or parser.should_upgrade():
            self._ending = True
        self._add(answer, with_body=method != b"HEAD")
        self._since = self._all.later

    def _add(self, answer: Answer, *, with_body: bool = True) -> None:
        self._answers += (answer.head, b"Connection: close\r\n\r\n" if self._ending else b"\r\n")
        if answer.body and with_body:
            self._answers.append(answer.body)

    def _fault(self, status: int) -> None:
        """Answer by an error, as the last thing said here."""
        if not self._ending:
            self._ending = True
            self._add(plain_answer(status))
            if self._all.metrics is not None:
                self._all.metrics.count_http_fault(status)

    def _end(self) -> None:
        self._since = self._all.later
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()  # and wait for the peer to close, for LINGER at most

    def close(self) -> None:
        """Close once all answers are sent."""
        self._transport.close()

    def check_time(self, now: float) -> None:
        """End the connection where it has been in its state for too long."""
        passed, limits = now - self._since, self._all.limits
        if self._ending:
            if passed > LINGER:
                self._transport.abort()
        elif self._in_head and passed > limits.header_timeout:
            self._fault(408)
            self._write()
        elif passed > limits.idle_timeout:
            self._transport.abort() if self._transport.get_write_buffer_size() else self._transport.close()


_OF_THE_BODY: Final = frozenset({b"transfer-encoding", b"content-length"})
_NONE: Final = [b"0"]  # the content-length of a request without a body


class _TooLarge(Exception):  # stops the parser, which makes an error of its own of it
    """The header block is too large."""


_PHRASES: Final = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
                   408: "Request Timeout", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
                   500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


def status_line(status: int) -> bytes:
    """Return the status line, with its CR LF."""
    return f"HTTP/1.1 {status} {_PHRASES.get(status, 'Denied')}\r\n".encode()


def plain_answer(status: int, body: bytes = b"", content_type: bytes = b"text/plain; charset=utf-8") -> Answer:
    """Return an answer with nothing special about it."""
    kind = b"Content-Type: " + content_type + b"\r\n" if body else b""
    return Answer(status_line(status) + kind + b"Content-Length: %d\r\n" % len(body), body)
