"""What peers may make a listener hold and do: one budget of bytes for all of them, and a share of each loop turn.

A peer that sends and does not read makes us keep what it sent and what we answered. Each such connection reports its
bytes; where the sum is over the limit, the connections that hold most are ended, so a peer that reads is never among
them. A peer that sends more than a piece at once is read piece by piece, in turn with all others that do, so that it
cannot keep the event loop from them. Small reads are taken at once, until those of one turn of the event loop have
taken some milliseconds: a thousand connections may each have a small one that is dear.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from authz.serve.listeners.places import network_of

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_HELD: Final = 64 << 20  # bytes of all connections together
PIECES_A_TURN: Final = 4  # pieces that are done in one turn of the event loop
LAST: Final = 1 / 64  # of a piece, that a connection's last one counts: mostly it is a single request
MAX_WAIT: Final = 5.0  # seconds that a request may wait for its turn; then it is refused, for its proxy has given up
SECONDS_A_TURN: Final = 0.004  # of CPU time, after which no other piece is begun
SECONDS_AT_ONCE: Final = 0.003  # for small reads in a turn of the event loop; those after it wait for their turn


class Holder(Protocol):
    """A connection that can be ended."""

    def abort(self) -> None:
        """End the connection at once; what it holds is dropped."""


class Worker(Protocol):
    """A connection with received bytes that are not yet parsed."""

    @property
    def peer(self) -> str | None:
        """The address of who connected; None or "" for a unix socket."""

    def work(self) -> bool:
        """Parse one piece. Returns whether there is more to do now."""


class HeldBytes:
    """The bytes that connections hold for peers, over all listeners.

    Not thread-safe: for one event loop. `hold` and `release` are harmless when called again.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._limit = limit
        self._held: dict[Hashable, tuple[int, Holder]] = {}
        self.total = 0
        self.aborted = 0  # connections ended to keep to the limit

    def hold(self, holder: Holder, size: int) -> None:
        """Count `size` bytes for a connection, instead of what was counted before; end others, or it, where over."""
        key = id(holder)
        before, _ = self._held.get(key, (0, holder))
        self._held[key] = size, holder
        self.total += size - before
        while self.total > self._limit:
            _, largest = max(self._held.values(), key=lambda held: held[0])
            self.release(largest)
            self.aborted += 1
            largest.abort()

    def release(self, holder: Holder) -> None:
        """Count nothing for a connection any more."""
        size, _ = self._held.pop(id(holder), (0, holder))
        self.total -= size


class Turns:
    """Lets connections with much to do take turns, a few pieces in each turn of the event loop.

    The turns go round by the address of the peer (of IPv6: the /64), then by its connections: who opens more of them
    waits longer for each, and nobody else does.

    Args:
        pieces: How many are done in one turn of the event loop.
        last: How much a worker's last piece counts.

    Attributes:
        reads_end: By `time.monotonic`, until when small reads are taken in this turn of the event loop; 0: none was.
    """

    def __init__(self, pieces: int = PIECES_A_TURN, last: float = 1) -> None:
        self._pieces = pieces
        self._last = last
        self.reads_end = 0.0
        self._waiting: dict[str, deque[Worker]] = {}  # by network, in the order of their turns; none is empty
        self._scheduled = False

    @property
    def busy(self) -> bool:
        """Whether connections wait for their turn."""
        return bool(self._waiting)

    def begin_reads(self) -> bool:
        """Return whether a small read that comes when `reads_end` is over may be taken: it is the first of its turn."""
        if self.reads_end:
            return False
        self.reads_end = time.monotonic() + SECONDS_AT_ONCE
        asyncio.get_running_loop().call_soon(self._end_reads)  # behind all that is ready to be read now
        return True

    def _end_reads(self) -> None:
        self.reads_end = 0.0

    def add(self, worker: Worker) -> None:
        """Call `worker.work` in a later turn, and again for as long as it says that there is more."""
        self._waiting.setdefault(network_of(worker.peer), deque()).append(worker)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        try:
            self._take_turns()
        finally:  # a fault of one keeps nobody else waiting
            if self._waiting:
                self._schedule()

    def _take_turns(self) -> None:
        waiting = self._waiting
        soonest, end = time.monotonic() + SECONDS_A_TURN, time.thread_time() + SECONDS_A_TURN
        left: float = self._pieces
        while waiting and left > 0:
            network = next(iter(waiting))
            workers = waiting.pop(network)
            worker = workers.popleft()
            if workers:
                waiting[network] = workers  # behind all others
            if worker.work():
                waiting.setdefault(network, deque()).append(worker)
                left -= 1
            else:
                left -= self._last
            # The clock of the CPU is a system call. No more CPU time has passed than time, so that one is asked first.
            if time.monotonic() > soonest and time.thread_time() > end:
                return
