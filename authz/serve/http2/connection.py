"""One HTTP/2 connection as the event loop sees it: bytes in, bytes out, back pressure, turns, the end.

What the bytes mean is told by `receiving` (frames), `streams` (calls) and `sending` (answers). This module sees to it
that nobody waits for one peer:

    turns           what came is taken for TURN seconds; the rest waits until others had theirs
    back pressure   a peer that stops reading is not read from
    held bytes      what all connections hold for their peers has one limit; those that hold most are ended
    sweep           what was unfinished at two looks, some seconds apart, is ended
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final, Protocol, cast

from authz.errors import ConnectionFault
from authz.serve.http2 import frames as h2
from authz.serve.http2.rate import MAX_AT_ONCE, FrameRate
from authz.serve.http2.receiving import OPENING, Receiver
from authz.serve.http2.sending import LOW, Sender
from authz.serve.http2.streams import Streams
from authz.serve.http2.unfinished import Unfinished
from authz.serve.listeners.budget import MAX_WAIT
from authz.serve.listeners.places import STUCK, end_unless_busy

if TYPE_CHECKING:
    from authz.serve.http2.grpc_methods import Service
    from authz.serve.http2.streams import Undecided
    from authz.serve.listeners.budget import HeldBytes, Turns
    from authz.serve.listeners.places import Places

TURN: Final = 0.0025  # seconds of CPU time of a connection in one turn of the event loop; waiting for a core is no work
_PIECE: Final = 8192  # bytes between two looks at the clock
_SMALL: Final = 4096  # bytes of a read that is taken at once, even where connections wait for their turns
_STREAM_OVERHEAD: Final = 512  # bytes that an open call holds besides its body
_UNCOUNTED: Final = 8192  # bytes that each connection may hold besides the budget: some calls whose rest is under way
AGE_GRACE: Final = 30.0  # seconds in which a peer that was told to leave for its age may do so
_LATE: Final = 0.01  # seconds that bytes may have waited before deadlines are looked at
_now = time.monotonic
_LOG = logging.getLogger("authz.grpc")


class Owner(Protocol):
    """What a connection needs of its listener; see `authz.serve.http2.listener`."""

    service: Service
    held: HeldBytes
    turns: Turns
    places: Places[Http2Connection]
    idle_timeout: float
    undecided: Undecided

    def admit(self, connection: Http2Connection) -> bool:
        """Return whether a new connection has a place."""

    def age(self) -> float:
        """Return the seconds that a new connection may last."""


class Http2Connection(asyncio.Protocol):
    """One connection.

    Attributes:
        peer: The address of the peer; "" for a unix socket.
        since: When the connection came or was last seen to have begun a call, by the clock of the loop.
    """

    def __init__(self, listener: Owner) -> None:
        self.peer = ""
        self.since = time.monotonic()
        self._listener = listener
        self._transport: asyncio.Transport
        self._rate = FrameRate()
        self._sender = Sender([])
        self._streams = Streams(listener.service.max_message, self._sender, self._rate, listener.undecided)
        self._receiver = Receiver(listener.service, self._streams, self._sender, self._rate)
        self._unread = b""  # a frame that is not complete
        self._cuts = 0  # how many frames came in parts
        self._later = b""  # what has come and waits for its turn
        self._arrived = 0.0  # when it had come
        self._resumed = 0.0  # when the peer last went on reading: until then it was the peer who let us wait
        self._queued = False  # whether we wait for our turn
        self._pauses = 0  # how often the peer did not take its answers
        self._paused = False
        self._begun = False  # whether preface and SETTINGS have come
        self._ending = False  # nothing that still comes counts
        self._last = False  # the peer sends nothing more
        self._leaving = False  # the peer was told to go, for it was idle
        self._leaves_at = math.inf  # of the clock of the loop: when it is told to go for its age, and then when it must
        self._aged = False  # it was told so
        self._held = 0  # bytes that we hold for the peer, as the listener knows
        self._swept: tuple[int, Unfinished] | None = None  # highest stream and state at the last sweep
        self._left = -1, 0.0  # highest stream, and when something was first left of it or of one before

    @property
    def latest(self) -> int:
        """The highest stream that the peer began; 0: it never called."""
        return self._receiver.last

    @property
    def idle(self) -> bool:
        """Whether no call is under way but those that only watch."""
        return not (self._streams.open or self._sender.blocked or self._later)

    def stuck(self, now: float) -> bool:
        """Return whether what is under way waits for the peer, which has begun no call meanwhile."""
        waits = (self._paused or not self.idle) and (self._paused or not self._later)
        return waits and self._left[0] == self._receiver.last and now - self._left[1] > STUCK

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take, or close if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        if not self._listener.admit(self):
            self._transport.abort()
            return
        self._streams.deliver = self._deliver
        self._transport.write(OPENING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and all that waits for it."""
        self._ending = True
        self._unread = self._later = b""
        self._listener.places.leave(self)
        self._listener.held.release(self)
        self._streams.close()
        self._sender.clear()

    def pause_writing(self) -> None:
        """Read no more from a peer that stopped reading its answers."""
        self._pauses += 1
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on, when it is our turn."""
        self._paused = False
        self._resumed = time.monotonic()
        self._wait_for_turn()

    def eof_received(self) -> bool:
        """Close, once what waits for its turn is answered: a peer that has stopped sending is sent nothing more."""
        self._last = True
        return bool(self._later)

    def data_received(self, data: bytes) -> None:
        """Take what came, and send the answers."""
        if self._ending:
            return
        rate = self._rate
        waits = rate.idle > MAX_AT_ONCE + rate.answered  # many such connections would add up, whatever each costs
        turns = self._listener.turns
        if (
            waits
            or self._later
            or (len(data) > _SMALL and turns.busy)
            or not (_now() < turns.reads_end or turns.begin_reads())
        ):
            self._arrived = self._arrived if self._later else time.monotonic()
            self._later += data
            if len(self._later) > _SMALL:  # else it most likely sends no more
                self._transport.pause_reading()
                self._hold()
            self._wait_for_turn()
            return
        self._take(data)

    # Turns.

    def _wait_for_turn(self) -> None:
        if not self._queued:
            self._queued = True
            self._listener.turns.add(self)

    def work(self) -> bool:
        """Do what waited for our turn, and say whether there is more."""
        if self._paused or self._ending:
            self._queued = False
            return False
        self._sender.share()
        later, self._later = self._later, b""
        now = time.monotonic()
        waited = now - self._arrived
        self._receiver.arrived = self._arrived if waited > _LATE else None
        # Without new bytes it is the windows of the peer that parked calls have waited for.
        self._streams.refusing = bool(later) and now - max(self._arrived, self._resumed) > MAX_WAIT
        self._take(later)
        self._receiver.arrived, self._streams.refusing = None, False
        self._queued = self._may_go_on() and (bool(self._later) or self._sender.starved)
        if self._may_go_on() and not self._later:
            self._transport.close() if self._last else self._transport.resume_reading()
        return self._queued

    def _may_go_on(self) -> bool:
        return not (self._paused or self._ending or self._transport.is_closing())

    def _take(self, data: bytes) -> None:
        """Take bytes for one turn; what is left waits for the next."""
        if self._unread:
            data = self._unread + data
        try:
            begin = 0 if self._begun else self._preface(data)
            last = len(data) - h2.HEAD_SIZE + 1  # where a frame can begin whose head is there
            if not self._begun:
                self._unread = data
            elif last <= _PIECE:
                self._keep_rest(data, self._receiver.take(data, begin, last))
            else:
                self._take_pieces(data, begin, last)
        except ConnectionFault as fault:
            self._end(fault.error_code, fault.message)
        except Exception:  # noqa: BLE001  # a bug in authz: this connection ends, the others do not
            _LOG.exception("a connection failed")
            self._end(h2.INTERNAL_ERROR, "internal error")
        self._flush()

    def _take_pieces(self, data: bytes, position: int, last: int) -> None:
        """Take frames piece by piece, for a turn. last: as far as one can begin."""
        take, look = self._receiver.take, time.monotonic
        # The clock of the CPU is a system call. No more CPU time has passed than time, so that one is asked first.
        soonest, end = look() + TURN, time.thread_time() + TURN
        while position < last:
            stop = min(position + _PIECE, last)
            position = take(data, position, stop)
            if position < stop:
                break
            if position < last and (self._sender.room <= 0 or (look() > soonest and time.thread_time() > end)):
                self._unread, self._later = b"", data[position:]
                self._arrived = self._receiver.arrived or time.monotonic()
                self._transport.pause_reading()
                return
        self._keep_rest(data, position)

    def _keep_rest(self, data: bytes, position: int) -> None:
        """Keep the part of a frame that begins here, if any does. It may be more of the one that we kept."""
        rest = data[position:]
        if rest and (position or not self._unread):
            self._cuts += 1
        self._unread = rest

    def _preface(self, data: bytes) -> int:
        """Return where the first frame begins, once it has begun."""
        size = len(h2.PREFACE)
        if data[:size] != h2.PREFACE[: len(data)]:
            raise ConnectionFault(h2.PROTOCOL_ERROR, "this is gRPC over HTTP/2")
        if len(data) >= size + h2.HEAD_SIZE:
            _, _, kind, flags, _ = h2.HEAD.unpack_from(data, size)
            if kind != h2.SETTINGS or flags & h2.ACK:
                raise ConnectionFault(h2.PROTOCOL_ERROR, "expected SETTINGS first")
            self._begun = True
        return size

    # What leaves.

    def _flush(self) -> None:
        """Write all that there is to be written, and see what is left."""
        sender, streams, out = self._sender, self._streams, self._sender.out
        if sender.blocked or streams.parked:
            sender.share()
            sender.send_blocked()
            streams.answer_parked()
        if out:
            data = b"".join(out)
            out.clear()
            if not self._transport.is_closing():
                self._transport.write(data)
        if self._ending:
            self._transport.close()
            return
        if sender.room < LOW:
            sender.share()
        # Mostly nothing is left; and what follows takes as long as half a call.
        if streams.open or sender.blocked or self._later or self._held or self._paused or self._receiver.header_parts:
            self._note_what_is_left()

    def _note_what_is_left(self) -> None:
        sender, streams, last = self._sender, self._streams, self._receiver.last
        now = time.monotonic()
        if self._left[0] != last:
            self._left = last, now
        if streams.open:
            streams.end_turn(last, now)
        if (self._later or sender.starved) and not self._paused:
            self._wait_for_turn()
        self._hold()

    def _hold(self) -> None:
        """Tell the listener how many bytes we hold for the peer. It may end connections, and this one."""
        streams, parts = self._streams, self._receiver.header_parts
        held = streams.unfinished + _STREAM_OVERHEAD * len(streams.open) + self._sender.waiting + len(self._later)
        if self._paused:
            held += self._transport.get_write_buffer_size()
        if parts is not None:
            held += parts.size
        if held != self._held and (held > _UNCOUNTED or self._held):
            self._held = held
            self._listener.held.hold(self, held)

    def _deliver(self, stream: int, message: bytes) -> None:
        """Send one more message to a watcher, if it still is one."""
        if stream in self._streams.watchers and not self._ending:
            self._sender.send(stream, message)
            self._flush()

    # The end.

    def abort(self) -> None:
        """End at once, without a word: for a peer that does not listen."""
        self._ending = True
        self._streams.clear()
        self._transport.abort()

    def leave(self) -> None:
        """Tell the peer that this is the end, and close once it has been told."""
        if not self._ending:
            for stream in list(self._streams.open):
                self._streams.fail(stream, h2.REFUSED_STREAM)  # nothing was done for it: the peer may ask another
            self._end(h2.NO_ERROR, "")
            self._flush()

    def give_way(self) -> bool:
        """Leave for a new connection, unless something is under way in the sockets. Returns whether it leaves."""
        return end_unless_busy(self._transport, self.leave)

    def announce_end(self) -> None:
        """Tell the peer to begin no more calls here; those that it has begun are answered."""
        if not self._ending and not self._transport.is_closing():
            self._transport.write(h2.goaway(h2.STREAM_BITS, h2.NO_ERROR))

    def _end(self, error_code: int, text: str) -> None:
        self._ending = True
        self._unread = self._later = b""
        self._sender.out.append(h2.goaway(self._receiver.last, error_code, text))
        self._streams.clear()

    def sweep(self, now: float) -> None:
        """End what was unfinished at the last sweep as well, and a connection that was idle for long."""
        before, under_way = self._swept, self._under_way()
        self._swept = self._receiver.last, under_way
        self._rate.begin_period()
        if before is None:
            self._leaves_at = now + self._listener.age()
        if before is None or before[0] != self._receiver.last:
            self.since = now
            self._leaving = False
        if before is not None and (under_way.stuck_since(before[1]) or self._transport.is_closing()):
            self._transport.abort()
            return
        if before is not None:
            for stream in before[1].streams & under_way.streams:
                self._streams.fail(stream, h2.CANCEL)
        self._flush()
        if now >= self._leaves_at:
            self._leave_for_age(now)
        elif self.idle and not self._streams.watchers and now - self.since >= self._listener.idle_timeout:
            self._leave_idle()

    def _leave_for_age(self, now: float) -> None:
        """Announce the end of an old connection; it has AGE_GRACE to end its calls and to begin on another one."""
        if self._aged:
            self.leave()
        else:
            self._aged = True
            self._leaves_at = now + AGE_GRACE
            self.announce_end()

    def _leave_idle(self) -> None:
        """Announce the end of an idle connection first: a call may be under way."""
        if self._leaving:
            self.leave()
        else:
            self._leaving = True
            self.announce_end()

    def _under_way(self) -> Unfinished:
        parts = self._receiver.header_parts
        return Unfinished(
            self._begun,
            self._cuts if self._unread else 0,
            parts.stream if parts else 0,
            self._pauses if self._paused else 0,
            self._streams.unfinished_streams(),
        )
