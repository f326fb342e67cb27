"""All HTTP/1.1 connections of a listener: makes them, and ends those that took too long."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.serve.http1.connection import OF_THE_BODY, HttpConnection
from authz.serve.http1.spellings import Spellings
from authz.serve.listeners.budget import HeldBytes, Turns
from authz.serve.listeners.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from authz.serve.http1.messages import Answer, HeadParts
    from authz.serve.observe.metrics import Metrics

SWEEP: Final = 0.5  # seconds between two looks at all connections
SWEPT_AT_ONCE: Final = 32  # connections that are looked at in one turn of the event loop: to end one takes up to 0.1 ms
_LOG = logging.getLogger("authz.http")


class HttpLimits(NamedTuple):
    """What one peer may cost.

    Attributes:
        max_header: Bytes.
        idle_timeout: Seconds.
        header_timeout: Seconds.
        max_connections: See `places`.
        max_connections_per_peer: The same; 0: as many as there are.
    """

    max_header: int = 65536
    idle_timeout: float = 75.0
    header_timeout: float = 10.0
    max_connections: int = 4096
    max_connections_per_peer: int = 0


class HttpConnections:
    """All connections of a listener; it is the protocol factory of its server.

    Args:
        handler: Answers a request.
        wanted: Lower-case names of the headers that the handler reads.
        limits: Sizes, times and numbers.
        metrics: Counts connections and faults; None for a listener that is not counted.
        refuse: The answer, by the peer and the target, to a request whose headers cannot be read or are too long.
            None: 400 or 431.
        held: Counts what peers make us hold; shared by the listeners of a process.
        turns: Lets connections take turns; shared in the same way.
        connection: What is made of a new connection: `PageConnection` where a request may take milliseconds.
    """

    def __init__(
        self,
        handler: Callable[[HeadParts], Answer],
        wanted: Collection[bytes],
        limits: HttpLimits,
        metrics: Metrics | None = None,
        *,
        refuse: Callable[[str | None, bytes], Answer] | None = None,
        held: HeldBytes | None = None,
        turns: Turns | None = None,
        connection: type[HttpConnection] = HttpConnection,
    ) -> None:
        self.handler = handler
        self._connection = connection
        self.wanted = frozenset(wanted)
        self.spellings = Spellings(self.wanted | OF_THE_BODY)
        self.limits = limits
        self.metrics = metrics
        self.refuse = refuse
        self.held = held or HeldBytes()
        self.turns = turns or Turns()
        self.places: Places[HttpConnection] = Places()
        self.open = self.places.open
        self.later: float = (
            0.0  # of the loop's clock, and never before now: what a request is stamped with costs nothing
        )
        self._draining = False
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> HttpConnection:
        """Make the protocol of a new connection."""
        connection = self._connection(self)
        if self._draining:
            connection.drain()
        return connection

    def admit(self, connection: HttpConnection) -> bool:
        """Return whether a new connection has a place."""
        return self.places.admit(connection, self.limits.max_connections, self.limits.max_connections_per_peer)

    def start(self) -> None:
        """Begin to look for connections that took too long."""
        loop = asyncio.get_running_loop()
        self.later = loop.time() + SWEEP
        self._sweeper = loop.create_task(self._sweep())

    def drain(self) -> None:
        """Say `Connection: close` with each answer from now on. A second call is harmless."""
        if not self._draining:
            self._draining = True
            for connection in self.open:
                connection.drain()

    def retire(self, connection: HttpConnection) -> None:
        """Have one connection end after the answer to its next request, or at once if it is idle."""
        if not (connection.idle and connection.give_way()):
            connection.drain()

    def end(self, connection: HttpConnection) -> None:
        """Close one connection once its answers are sent."""
        connection.close()

    def stop(self) -> None:
        """Close all connections once their answers are sent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.open):
            connection.close()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            now = loop.time()
            self.later = now + SWEEP
            for number, connection in enumerate(list(self.open), 1):
                if number % SWEPT_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others have their turn
                try:
                    connection.check_time(now)
                except Exception:  # noqa: BLE001  # a bug in authz: the other connections are still looked at
                    _LOG.exception("a connection could not be looked at")
            self.later = loop.time() + SWEEP
