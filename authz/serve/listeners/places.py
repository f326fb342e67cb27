"""The places for connections of a listener: where all are taken, the connection that is missed least gives way.

Else as many idle connections as may be open would lock a new proxy out. Who never called goes first, then whose peer
has most connections, then who was idle for longest; never one that has something under way. Where none is idle the new
connection gets no place. A request that meets the end of its connection on the way is sent again by its proxy where the
connection is a kept one; so one that has just come and may be about to call does not count as one that never called.

A look at 4,096 connections takes some four milliseconds. So one look notes many that may have to go, and after a look
that found none there is no other for a while: what comes beyond the most costs little, however much of it comes.
"""

from __future__ import annotations

import fcntl
import operator
import struct
import termios
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_NOTED: Final = 64  # connections that are noted in one look
_NEW: Final = 0.05  # seconds in which nobody counts as one that never called: the request may be on its way
_IN_VAIN: Final = 0.05  # seconds without a look after one that made no room


class Guest(Protocol):
    """A connection that may have to give way."""

    @property
    def peer(self) -> str | None:
        """The address of who connected; None or "" for a unix socket."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, as far as it knows without asking its sockets."""

    @property
    def latest(self) -> object:
        """What stands for the latest call: another object after each one; falsy: there was none."""

    @property
    def since(self) -> float:
        """When it was last seen to begin something, of a clock that all share."""

    def give_way(self) -> bool:
        """End, unless something is under way in the sockets after all. Returns whether it ends."""


G = TypeVar("G", bound=Guest)


class Places(Generic[G]):
    """Which connections are open. Not thread-safe: for one event loop.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.open: set[G] = set()
        self.clock = clock
        self._noted: list[tuple[G, object]] = []  # who may have to go, the first last; their latest calls then
        self._no_look_before = 0.0

    def idle(self) -> int:
        """Return how many connections are idle. Looks at all: call it seldom."""
        return sum(connection.idle for connection in self.open)

    def admit(self, connection: G, most: int) -> bool:
        """Return whether a new connection may stay where `most` may be open; an idle one may have to go for it."""
        if len(self.open) >= most and not self._make_room():
            return False
        self.open.add(connection)
        return True

    def _make_room(self) -> bool:
        if self._end_noted():
            return True
        now = self.clock()
        if now < self._no_look_before:
            return False
        self._look(now)
        if self._end_noted():
            return True
        self._no_look_before = now + _IN_VAIN
        return False

    def _end_noted(self) -> bool:
        """End the first one that was noted and did nothing since then. Returns whether there was one."""
        while self._noted:
            connection, latest = self._noted.pop()
            if connection not in self.open or not connection.idle or connection.latest is not latest:
                continue
            if connection.give_way():
                self.open.discard(connection)
                return True
        return False

    def _look(self, now: float) -> None:
        """Note those that are missed least, of one kind."""
        idle = [connection for connection in self.open if connection.idle]
        if not idle:
            return
        peers = Counter(map(operator.attrgetter("peer"), self.open))
        old = now - _NEW
        kinds = [(not candidate.latest and candidate.since < old, peers[candidate.peer]) for candidate in idle]
        least = max(kinds)
        alike = [candidate for candidate, kind in zip(idle, kinds, strict=True) if kind == least]
        alike.sort(key=operator.attrgetter("since"))
        self._noted = [(candidate, candidate.latest) for candidate in reversed(alike[:_NOTED])]


def end_unless_busy(transport: asyncio.Transport, leave: Callable[[], None]) -> bool:
    """End a connection by `leave`, unless bytes wait in its transport or, unread, in the system. Returns whether.

    Nobody sweeps it any more: what it says last and the peer does not take is dropped.
    """
    if transport.get_write_buffer_size() or _unread(transport):
        return False
    leave()
    if transport.get_write_buffer_size():
        transport.abort()
    return True


def _unread(transport: asyncio.Transport) -> bool:
    """Return whether the system has bytes of the peer. Costs one system call."""
    socket = transport.get_extra_info("socket")
    if socket is None:
        return False
    try:
        unread = fcntl.ioctl(socket.fileno(), termios.FIONREAD, bytes(4))
    except OSError:  # it has ended already
        return False
    return bool(struct.unpack("i", unread)[0])
