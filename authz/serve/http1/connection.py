"""One HTTP/1.1 connection: parsing (httptools), keep-alive, pipelining, limits. The handler says what is answered.

A request is answered as soon as its header block is complete; a body is never waited for. Where one was announced the
connection is closed after the answer: nginx can announce a body that it does not send, and the next request's bytes
must not be taken for it.

Nothing that a peer sends makes us wait or grow: headers have a size and a time, idle connections end, and a peer that
stops reading is not read from. What came beyond a piece is parsed in later turns of the event loop, so that pipelining
keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from authz.serve.http1.messages import Answer, plain_answer, status_line
from authz.serve.listeners.budget import MAX_WAIT
from authz.serve.listeners.places import STUCK, end_unless_busy

if TYPE_CHECKING:
    from authz.serve.http1.owner import Owner

LINGER: Final = 2.0  # seconds that we read and drop after our last answer, so that a reset does not destroy it
OF_THE_BODY: Final = frozenset({b"transfer-encoding", b"content-length"})
PIECE: Final = 4096  # bytes that are parsed before we look whether the peer reads its answers, and who else waits
_PIPELINED: Final = 8  # parts of answers in a piece, after which the connection waits for its turn with all it sends
_LINE: Final = 48  # bytes that the value of a header takes, beside its text
_MAX_UNSENT: Final = 16 << 10  # bytes of answers in the transport; with more, the peer is not read from
_MAX_PAGES: Final = 256 << 10  # bytes of pages that one piece of requests can bring about; then the connection ends
_END: Final = b"\r\n"  # of the header block of an answer
_CLOSE: Final = b"Connection: close\r\n\r\n"
_now = time.monotonic
_LOG = logging.getLogger("authz.http")


class HttpConnection(asyncio.Protocol):
    """One connection. peer: the address of who connected; None: a unix socket."""

    def __init__(self, connections: Owner) -> None:
        self._all = connections
        self._turns = connections.turns
        self._spellings = connections.spellings
        self._most = connections.limits.max_header
        self._parser: httptools.HttpRequestParser | _LastRequest = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self.peer: str | None = None
        self._answers: list[bytes] = []
        self._unparsed = b""  # what came beyond a piece
        self._at = 0  # how much of it is parsed
        self._waits_since = 0.0  # when it had come, or the peer had taken its answers
        self._queued = False  # it is our turn later
        self._unread = False  # the peer does not read its answers
        # Each read waits for its turn: the peer sends many requests at once, as no proxy does, or each takes long.
        self._pipelines = False
        self._stopped = False  # nothing is read from the peer
        self._requests = 0
        self._last = False  # the peer sends nothing more
        self._target = b""
        self._headers: dict[bytes, list[bytes]] = {}
        self._received = 0  # bytes of the header block being read, in the pieces before
        self._size = 0  # the same, with the piece that is parsed: a block that ends in it has no more
        self._in_head = False
        self._head_held = False  # it counts as held until the next sweep: looking at each request would cost all
        self._ending = False  # the last answer is given; what still comes is dropped
        # When the present state (idle, in a header block, ending) began, or up to SWEEP later.
        self.since = connections.later

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it if there are too many and none is idle."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_MAX_UNSENT)
        self.since = _now()  # the clock of the loop; who came first must be known exactly
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else None
        if self._all.admit(self):
            self._count_connections()
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._ending = True
        self._unparsed = b""
        del self._parser  # it refers to us; so that nobody has to look for the pair
        self._all.held.release(self)
        self._all.places.leave(self)
        self._count_connections()

    def _count_connections(self) -> None:
        if self._all.metrics is not None:
            self._all.metrics.http_connections = len(self._all.open)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and write the answers: a piece now, the rest in later turns."""
        if self._ending:
            return
        turns = self._turns
        if (
            not self._pipelines
            and not self._unparsed
            and len(data) <= PIECE
            and (_now() < turns.reads_end or turns.begin_reads())
        ):
            self._feed(data)
            self._write()
        else:
            self._take_in_turns(data)

    def _take_in_turns(self, data: bytes) -> None:
        turns = self._turns
        waits = self._pipelines and not self._goes_first(data)
        at_once = not waits and (_now() < turns.reads_end or turns.begin_reads())
        if not self._unparsed:
            self._waits_since = _now()
        self._unparsed = self._unparsed[self._at :] + data
        self._at = 0
        if not self._queued and not self._unread and (not at_once or self.work()):
            self._queued = True
            turns.add(self)
        if self._queued and (self._pipelines or len(self._unparsed) > PIECE):  # else it most likely sends no more
            self._stop_reading()

    def work(self) -> bool:
        """Parse one piece. Returns whether there is more to parse now.

        A piece can hold a hundred requests, and the answer to each can be a page: they must not be made all at once.
        """
        if not self._ending and not self._unread and self._is_late():
            self._refuse()
        if not self._ending and not self._unread:
            begin, self._at = self._at, self._end_of_piece()
            self._feed(self._unparsed[begin : self._at])
            self._write()
        return self._go_on()

    def _go_on(self) -> bool:
        """Read on where all is parsed. Returns whether there is more to parse now."""
        if self._ending or self._at >= len(self._unparsed):
            self._unparsed, self._at = b"", 0
        self._queued = bool(self._unparsed) and not self._unread
        if not self._unparsed and not self._unread:
            self._go_on_reading()
            if self._last:
                self._transport.close()
        return self._queued

    def _goes_first(self, data: bytes) -> bool:
        """Return whether what came need not wait for its turn, though all else that the peer sends does."""
        return False

    def _is_late(self) -> bool:
        """Return whether what waits for its turn has done so for too long."""
        return _now() - self._waits_since > MAX_WAIT

    def _end_of_piece(self) -> int:
        """Return where the next piece ends, in what is not parsed."""
        return self._at + PIECE

    def _stop_reading(self) -> None:
        """Take no more bytes of the peer, and count what it makes us hold."""
        if not self._stopped:
            self._stopped = True
            self._transport.pause_reading()
        self._all.held.hold(self, self._transport.get_write_buffer_size() + len(self._unparsed))

    def _go_on_reading(self) -> None:
        if self._stopped and not self._transport.is_closing():
            self._stopped = False
            self._transport.resume_reading()
            if self._head_held and self._in_head:
                self._count_head()
            else:
                self._all.held.release(self)

    def _feed(self, piece: bytes) -> None:
        self._size = size = self._received + len(piece)
        if size > self._most:
            self._feed_by_lines(piece)
            return
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._ending = True  # it is answered, like any other request; we speak nothing but HTTP after it
        except httptools.HttpParserInvalidURLError:
            self._target = b""  # what there is of it depends on how it was cut
            self._fault(400)
        except httptools.HttpParserError:
            self._fault(400)  # unless it was us who stopped the parser, having given another answer
        if self._in_head:
            self._hold_head(piece)

    def _feed_by_lines(self, piece: bytes) -> None:
        """Parse a piece of several header blocks, by lines, up to where one is too long: that one is refused."""
        begin = 0
        while begin < len(piece) and not self._ending:
            end = piece.find(b"\n", begin) + 1 or len(piece)
            end = min(end, begin + self._most - self._received)
            if begin == end:
                self._fault(431)
            else:
                self._feed(piece[begin:end])
            begin = end

    def _hold_head(self, piece: bytes) -> None:
        """Count what there is of a header block, and let a long one count as held until it is complete."""
        if self._received:
            self._received = self._size
        else:  # it began in this piece, behind the end of another, if there is one: that may have begun before
            end = piece.rfind(b"\r\n\r\n")
            self._received = len(piece[max(end, 0) :].lstrip(b"\r\n"))
        if self._received > PIECE:
            self._head_held = True
            self._count_head()

    def _count_head(self) -> None:
        lines = sum(map(len, self._headers.values()))
        self._all.held.hold(self, self._received + lines * _LINE)

    def _write(self) -> None:
        answers = self._answers
        if answers:
            if len(answers) > _PIPELINED:
                self._pipelines = True
            self._transport.write(b"".join(answers))
            answers.clear()
        if self._ending:
            self._end()

    def eof_received(self) -> bool:
        """Close, once what waits for its turn is answered: a peer that has stopped sending is sent nothing more."""
        self._last = True
        return self._queued

    def pause_writing(self) -> None:
        """Read no more requests from a peer that does not read its answers."""
        self._unread = True
        self.since = self._all.later
        self._stop_reading()

    def resume_writing(self) -> None:
        """Go on where we stopped."""
        self._unread = False
        self._waits_since = _now()  # until now it was the peer who let us wait
        if not self._unparsed:
            self._go_on_reading()
        elif not self._queued:
            self._queued = True
            self._turns.add(self)

    # What httptools calls while it parses.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head = True
        self.since = self._all.later

    def on_url(self, url: bytes) -> None:
        """Take the target, which may come in parts."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header that somebody wants. A trailer comes too late: the request is answered."""
        wanted = self._spellings[name]
        if wanted is None:
            return
        headers = self._headers
        if wanted in headers:
            headers[wanted].append(value.rstrip(b" \t"))
        else:
            headers[wanted] = [value.rstrip(b" \t")]

    def on_headers_complete(self) -> None:
        """Answer."""
        self._in_head = False
        self._received = 0
        if self._ending:
            return
        parser, target, headers = self._parser, self._target, self._headers
        self._target, self._headers = b"", {}  # an idle connection holds no request
        self._requests += 1
        method = parser.get_method()
        try:
            answer = self._all.handler((method, target, headers, self.peer, self._size))
        except Exception:  # noqa: BLE001  # whatever it is, the caller waits for an answer
            _LOG.exception("a request failed")
            self._fault(500)
            return
        body = b"transfer-encoding" in headers or (b"content-length" in headers and headers[b"content-length"] != _NONE)
        if body or not parser.should_keep_alive() or parser.should_upgrade():
            self._ending = True
        if answer[1] and method != b"HEAD":
            self._add(answer)
        else:
            self._answers.append(answer[0] + (_CLOSE if self._ending else _END))
        self.since = self._all.later

    def _add(self, answer: Answer) -> None:
        head, body = answer
        # Each of a hundred requests in a piece can bring about a page: with so many, the connection ends.
        if len(body) * len(self._answers) > 2 * _MAX_PAGES:  # an answer with a page has two parts
            self._ending = True
        self._answers += (head + (_CLOSE if self._ending else _END), body)

    def _refuse(self) -> None:
        """Answer what has waited for too long by one 503, and close: what else had come is not looked at."""
        self._ending = True
        self._add(_OVERLOADED)
        if self._all.metrics is not None:
            self._all.metrics.count_http_fault(503)
        self._write()

    def _fault(self, status: int) -> None:
        """Answer by an error, as the last thing said here.

        A header block that cannot be read is refused as the front wants it: a client may have made it so.
        """
        if not self._ending:
            self._ending = True
            refuse = self._all.refuse if status in {400, 431} else None
            self._add(plain_answer(status) if refuse is None else refuse(self.peer, self._target))
            if self._all.metrics is not None:
                self._all.metrics.count_http_fault(status)

    def _end(self) -> None:
        self.since = self._all.later
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()  # and wait for the peer to close, for LINGER at most

    def drain(self) -> None:
        """Close after the answer to the next request, and say so with it (RFC 9112, section 9.6)."""
        if not self._ending:
            self._parser = _LastRequest(self._parser)

    def give_way(self) -> bool:
        """Close for a new connection, unless something is under way in the sockets. Returns whether it closes."""
        return end_unless_busy(self._transport, self.close)

    def close(self) -> None:
        """Close once all answers are sent."""
        self._transport.close()

    @property
    def idle(self) -> bool:
        """Whether no request is under way, and no answer is waited for."""
        return not (self._in_head or self._ending or self._unread or self._unparsed)

    def stuck(self, now: float) -> bool:
        """Return whether the peer lets us wait for the rest of its request, or with answers that it does not read."""
        waits = self._unread or self._ending or (self._in_head and not self._unparsed)
        return waits and now - self.since > STUCK

    @property
    def latest(self) -> int:
        """The number of the latest request; 0: there was none."""
        return self._requests

    def abort(self) -> None:
        """End at once; what is not sent is dropped."""
        self._transport.abort()

    def check_time(self, now: float) -> None:
        """End the connection where it has been in its state for too long."""
        passed, limits = now - self.since, self._all.limits
        if self._head_held and not self._in_head:
            self._head_held = False
            if not self._stopped:
                self._all.held.release(self)
        if self._ending:
            if passed > LINGER:
                self._transport.abort()
        elif self._in_head and passed > limits.header_timeout:
            self._fault(408)
            self._write()
        elif passed > limits.idle_timeout and (self._unread or not self._unparsed):
            self._transport.abort() if self._transport.get_write_buffer_size() else self._transport.close()


_OVERLOADED: Final = Answer(status_line(503) + b"Content-Length: 0\r\nRetry-After: 1\r\n")
_NONE: Final = [b"0"]  # the content-length of a request without a body


class _LastRequest:
    """A parser that says of the next request that it is the last. Thus no request before the end pays for a look."""

    def __init__(self, parser: Any) -> None:
        self.feed_data, self.get_method = parser.feed_data, parser.get_method
        self.should_upgrade = parser.should_upgrade

    def should_keep_alive(self) -> bool:
        """Return False."""
        return False
