"""Spreading connections over workers by how many each has.

The kernel spreads by a hash, and Envoy opens one HTTP/2 connection for each of its threads: of two connections both go
to the same worker every second time. So a worker that accepts a connection while another has fewer hands it
over, by its descriptor, before a byte is read from it. Numbers of connections stand in memory that all workers share;
each cell has one writer:

    open[front][worker]             connections that a worker has
    given[front][from][to]          that it has handed to another
    taken[front][to][from]          that it has received
    load of a worker                open + given to it - taken by it
"""

from __future__ import annotations

import array
import asyncio
import logging
import mmap
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from authz.serve.listeners.descriptors import Descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

FRONTS: Final = ("grpc", "http")
_AWAY: Final = 1 << 30  # connections that a worker seems to have which has ended, so that it gets none
_REFRESH: Final = 0.02  # seconds between two looks at what has ended
_LOG = logging.getLogger("authz")


class Table:
    """The numbers, in memory that is shared with processes that are forked later. Workers count from 0."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        row = 1 + 2 * workers
        self._cells = memoryview(mmap.mmap(-1, 4 * len(FRONTS) * workers * row)).cast("I")
        self._row = row

    def _at(self, front: int, worker: int) -> int:
        return (front * self.workers + worker) * self._row

    def set_open(self, front: int, worker: int, count: int) -> None:
        """Note how many connections a worker has."""
        self._cells[self._at(front, worker)] = count

    def count_given(self, front: int, worker: int, to: int, by: int = 1) -> None:
        """Note that a worker hands one to another."""
        cell = self._at(front, worker) + 1 + to
        self._cells[cell] = (self._cells[cell] + by) & 0xFFFFFFFF

    def count_taken(self, front: int, worker: int, giver: int) -> None:
        """Note that a worker has received one from another."""
        cell = self._at(front, worker) + 1 + self.workers + giver
        self._cells[cell] = (self._cells[cell] + 1) & 0xFFFFFFFF

    def load(self, front: int, worker: int) -> int:
        """Return how many connections a worker has, or will have soon."""
        load = self._cells[self._at(front, worker)]
        for other in range(self.workers):
            given = self._cells[self._at(front, other) + 1 + worker]
            load += (given - self._cells[self._at(front, worker) + 1 + self.workers + other]) & 0xFFFFFFFF
        return load

    def forget(self, worker: int) -> None:
        """Have nobody hand anything to a worker that has died, before its successor has begun."""
        for front in range(len(FRONTS)):
            self.set_open(front, worker, _AWAY)


class Spread:
    """The spreading of one worker. `start` it in the event loop.

    Args:
        table: The numbers.
        worker: Our own number.
        doors: By worker, what to send a connection to; and what ours receives from.
    """

    def __init__(self, table: Table, worker: int, doors: list[socket.socket], own: socket.socket) -> None:
        self._table = table
        self._worker = worker
        self._doors = doors
        self._own = own
        self._fronts: dict[int, tuple[Callable[[], asyncio.BaseProtocol], Callable[[], int]]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._descriptors = Descriptors()
        self.draining = False

    def start(self) -> None:
        """Begin to receive connections."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._own.fileno(), self._receive)
        self._refresh()

    def _refresh(self) -> None:
        for front in self._fronts:
            self._note(front)
        asyncio.get_running_loop().call_later(_REFRESH, self._refresh)

    def _note(self, front: int) -> None:
        self._table.set_open(front, self._worker, self._fronts[front][1]())

    def wrap(
        self, name: str, factory: Callable[[], asyncio.BaseProtocol], count: Callable[[], int]
    ) -> Callable[[], asyncio.BaseProtocol]:
        """Return a factory whose connections may go to another worker. count: how many connections there are."""
        front = FRONTS.index(name)
        self._fronts[front] = factory, count
        return lambda: _Arrived(self, front, factory)

    def hand_over(self, front: int, transport: asyncio.Transport) -> bool:
        """Hand a connection to a worker that has fewer. Returns whether that was done."""
        if self.draining:
            return False
        self._note(front)
        loads = [self._table.load(front, worker) for worker in range(self._table.workers)]
        least = min(range(len(loads)), key=loads.__getitem__)
        if loads[least] >= loads[self._worker]:
            return False
        descriptor = transport.get_extra_info("socket").fileno()
        self._table.count_given(front, self._worker, least)
        try:
            data = bytes([front, self._worker])
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            self._doors[least].sendmsg([data], passed)
        except OSError:  # it has enough to do, or there is no descriptor left
            self._table.count_given(front, self._worker, least, -1)
            return False
        return True

    def note(self, front: int) -> None:
        """Note how many connections there are now."""
        self._note(front)

    def _receive(self) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._own, 2, 1)
            except OSError:
                return
            front, giver = data
            if front in self._fronts and descriptors and not self._descriptors.scarce():
                task = asyncio.get_running_loop().create_task(self._connect(front, giver, descriptors[0]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._table.count_taken(front, self._worker, giver)
                for descriptor in descriptors:
                    os.close(descriptor)

    async def _connect(self, front: int, giver: int, descriptor: int) -> None:
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._fronts[front][0], connection)
        self._note(front)  # before it counts as taken, or we would seem to have one less for a while
        self._table.count_taken(front, self._worker, giver)


class _Arrived(asyncio.Protocol):
    """A connection that was accepted, and is given to its protocol or to another worker."""

    def __init__(self, spread: Spread, front: int, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._spread = spread
        self._front = front
        self._factory = factory

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it, or hand it over."""
        arrived = cast("asyncio.Transport", transport)
        if self._spread.hand_over(self._front, arrived):
            arrived.abort()  # our descriptor of it; the other worker has its own
            return
        protocol = self._factory()
        arrived.set_protocol(protocol)
        protocol.connection_made(arrived)
        self._spread.note(self._front)
