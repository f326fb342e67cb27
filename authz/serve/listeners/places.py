"""The places for connections of a listener: where all are taken, the connection that is missed least gives way.

Else as many idle connections as may be open would lock a new proxy out. Who never called goes first, and who has let us
wait for the rest of a request, or with answers that it does not read; then whose peer has most connections, then who
was idle for longest; never one that has something under way. Where there is none the new connection gets no place. So
it is, too, with the places that one address may have, an IPv6 address with all of its /64: there it is a connection of
its own that has to go, and others keep theirs.

A request that meets the end of its connection on the way is sent again by its proxy where the connection is a kept one;
so one that has just come and may be about to call does not count as one that never called.

A look at 4,096 connections takes some four milliseconds. So one look notes many that may have to go, and after a look
that found none there is no other for a while: what comes beyond the most costs little, however much of it comes.
"""

from __future__ import annotations

import fcntl
import operator
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

_NOTED: Final = 64  # connections that are noted in one look
STUCK: Final = 2.0  # seconds that a peer may let us wait before its connection is missed least: proxies wait for less
_NEW: Final = 0.05  # seconds in which nobody counts as one that never called: the request may be on its way
_IN_VAIN: Final = 0.05 / 4096  # seconds without a look after one that made no room, for each connection that is open
_MAPPED: Final = bytes(10) + b"\xff\xff"  # before an IPv4 address at a socket for both (RFC 4291, section 2.5.5.2)


class Guest(Protocol):
    """A connection that may have to give way."""

    @property
    def peer(self) -> str | None:
        """The address of who connected; None or "" for a unix socket."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, as far as it knows without asking its sockets."""

    def stuck(self, now: float) -> bool:
        """Return whether something is under way, and has waited for the peer for longer than STUCK."""

    @property
    def latest(self) -> object:
        """What stands for the latest call: another object after each one; falsy: there was none."""

    @property
    def since(self) -> float:
        """When it was last seen to begin something, of a clock that all share."""

    def give_way(self) -> bool:
        """End, unless something is under way in the sockets after all. Returns whether it ends."""

    def abort(self) -> None:
        """End at once."""


G = TypeVar("G", bound=Guest)


class _Queue(Generic[G]):
    """Who may have to go."""

    def __init__(self) -> None:
        self.noted: list[tuple[G, object]] = []  # the first last; with their latest calls then
        self.no_look_before = 0.0


class Places(Generic[G]):
    """Which connections are open. Not thread-safe: for one event loop.

    Args:
        clock: Seconds.

    Attributes:
        open: The connections.
        refused: How many found no place.
        gave_way: How many were ended for a new one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.open: set[G] = set()
        self.refused = 0
        self.gave_way = 0
        self.clock = clock
        self._networks: dict[G, str] = {}
        self._of: dict[str, set[G]] = {}  # by network; none is empty
        self._queue = _Queue[G]()  # of all
        self._queues: dict[str, _Queue[G]] = {}  # by network, of those that have as many as they may

    def idle(self) -> int:
        """Return how many connections are idle. Looks at all: call it seldom."""
        return sum(connection.idle for connection in self.open)

    def admit(self, connection: G, most: int, most_of_peer: int = 0) -> bool:
        """Return whether a new connection may stay; one that is idle or stuck may have to go for it.

        Args:
            connection: The new one.
            most: How many may be open.
            most_of_peer: How many of its address; 0: as many as there are places. A unix socket has no address.
        """
        network = network_of(connection.peer)
        own = self._of.get(network, ())
        if network and 0 < most_of_peer <= len(own):
            room = self._make_room(self._queues.setdefault(network, _Queue()), own)
        else:
            room = len(self.open) < most or self._make_room(self._queue, self.open)
        if not room:
            self.refused += 1
            return False
        self.open.add(connection)
        self._networks[connection] = network
        self._of.setdefault(network, set()).add(connection)
        return True

    def leave(self, connection: G) -> None:
        """Forget a connection. Harmless for one that has no place."""
        if connection in self.open:
            self.open.discard(connection)
            network = self._networks.pop(connection)
            own = self._of[network]
            own.discard(connection)
            if not own:
                del self._of[network]
                self._queues.pop(network, None)

    def _make_room(self, queue: _Queue[G], candidates: Collection[G]) -> bool:
        """End one of these connections that is idle or stuck. Returns whether there was one."""
        now = self.clock()
        if self._end_noted(queue, now):
            return True
        if now < queue.no_look_before:
            return False
        self._look(queue, now, candidates)
        if self._end_noted(queue, now):
            return True
        queue.no_look_before = now + _IN_VAIN * len(candidates)
        return False

    def _end_noted(self, queue: _Queue[G], now: float) -> bool:
        """End the first one that was noted and did nothing since then. Returns whether there was one."""
        while queue.noted:
            connection, latest = queue.noted.pop()
            if connection not in self.open or connection.latest is not latest:
                continue
            if connection.stuck(now):
                connection.abort()
            elif not (connection.idle and connection.give_way()):
                continue
            self.leave(connection)
            self.gave_way += 1
            return True
        return False

    def _look(self, queue: _Queue[G], now: float, candidates: Collection[G]) -> None:
        """Note those that are missed least, of one kind."""
        networks, of, old = self._networks, self._of, now - _NEW
        kinds: list[tuple[G, tuple[bool, int]]] = []
        for candidate in candidates:
            stuck = candidate.stuck(now)
            if not (stuck or candidate.idle):
                continue
            useless = stuck or (not candidate.latest and candidate.since < old)
            kinds.append((candidate, (useless, len(of[networks[candidate]]))))
        if not kinds:
            return
        least = max(kind for _, kind in kinds)
        alike = [candidate for candidate, kind in kinds if kind == least]
        alike.sort(key=operator.attrgetter("since"))
        queue.noted = [(candidate, candidate.latest) for candidate in reversed(alike[:_NOTED])]


def network_of(peer: str | None) -> str:
    """Return what stands for a peer where connections are counted: its address, of IPv6 the /64; "": a unix socket."""
    if not peer or ":" not in peer:
        return peer or ""
    try:
        address = socket.inet_pton(socket.AF_INET6, peer.partition("%")[0])
    except OSError:  # no address that we know
        return peer
    return socket.inet_ntop(socket.AF_INET, address[12:]) if address.startswith(_MAPPED) else address[:8].hex()


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
