"""All HTTP/2 connections of a listener: which may be open, and the sweep that ends those that are stuck."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import TYPE_CHECKING, Final

from authz.serve.http2.connection import Http2Connection
from authz.serve.http2.streams import Undecided
from authz.serve.listeners.budget import HeldBytes, Turns
from authz.serve.listeners.places import Places

if TYPE_CHECKING:
    from authz.serve.http2.grpc_methods import Service

SWEEP: Final = 10.0  # seconds between two looks at all connections
MAX_CONNECTIONS: Final = 1024
IDLE_TIMEOUT: Final = 300.0  # seconds without a new call after which a connection is ended
_SPREAD: Final = 0.1  # share by which the greatest age of a connection differs: they must not all leave together
_AT_ONCE: Final = 16  # connections that are looked at in one turn of the event loop
_LOG = logging.getLogger("authz.grpc")


class Http2Listener:
    """Makes the connections of a listener (it is the protocol factory), and ends what takes too long.

    Args:
        service: The methods that are answered.
        held: The budget of bytes for all peers of all listeners.
        turns: Where connections with much to do wait; shared by all listeners of an event loop.
        max_connections: Where so many are open, a new one takes the place of an idle one, or is closed.
        idle_timeout: Seconds.
        max_age: Seconds after which a connection is told to leave; 0: never.
        max_connections_per_peer: The same as max_connections, of one address; 0: as many as there are.
    """

    def __init__(
        self,
        service: Service,
        held: HeldBytes | None = None,
        turns: Turns | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_timeout: float = IDLE_TIMEOUT,
        max_age: float = 0.0,
        max_connections_per_peer: int = 0,
    ) -> None:
        self.service = service
        self.held = held or HeldBytes()
        self.turns = turns or Turns()
        self.max_connections = max_connections
        self.max_connections_per_peer = max_connections_per_peer
        self.idle_timeout = idle_timeout
        self.max_age = max_age
        self.places: Places[Http2Connection] = Places()
        self.open = self.places.open
        self.undecided = Undecided()
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> Http2Connection:
        """Make the protocol of a new connection."""
        return Http2Connection(self)

    def admit(self, connection: Http2Connection) -> bool:
        """Return whether a new connection has a place."""
        return self.places.admit(connection, self.max_connections, self.max_connections_per_peer)

    def age(self) -> float:
        """Return the seconds that a new connection may last."""
        return self.max_age * random.uniform(1 - _SPREAD, 1 + _SPREAD) if self.max_age else math.inf  # noqa: S311  # no secret

    def start(self) -> None:
        """Begin to look for what takes too long."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def announce_end(self) -> None:
        """Tell the peers to begin no more calls here."""
        for connection in list(self.open):
            connection.announce_end()

    def retire(self, connection: Http2Connection) -> None:
        """Tell one peer to begin no more calls here."""
        connection.announce_end()

    def end(self, connection: Http2Connection) -> None:
        """Close one connection once its answers are sent."""
        connection.leave()

    def stop(self) -> None:
        """Close all connections once their answers are sent."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.open):
            connection.leave()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            for number, connection in enumerate(list(self.open)):
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)  # others have their turn
                try:
                    connection.sweep(asyncio.get_running_loop().time())
                except Exception:  # noqa: BLE001  # a bug in authz: the other connections are still swept
                    _LOG.exception("a connection could not be swept")
