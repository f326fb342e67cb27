"""The listeners of a sidecar as the configuration has them: socket, TLS, port; drained and ended together."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from authz.serve.background import in_thread
from authz.serve.listeners.accept import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Sequence

    from authz.serve.config.config import Config
    from authz.serve.config.values import Listen
    from authz.serve.listeners.accept import Listener
    from authz.serve.listeners.budget import HeldBytes
    from authz.serve.listeners.tls.certificates import Certificates
    from authz.serve.observe.metrics import Metrics

    Spread = Callable[[str, Callable[[], asyncio.BaseProtocol], Callable[[], int]], Callable[[], asyncio.BaseProtocol]]
    Give = Callable[[str, Listen], socket.socket | None]

_LOG = logging.getLogger("authz")


class Connections(Protocol):
    """All connections of a listener, which makes their protocols."""

    @property
    def open(self) -> Collection[object]:
        """Those that are open."""

    def __call__(self) -> asyncio.BaseProtocol:
        """Make the protocol of a new connection."""

    def retire(self, connection: Any) -> None:
        """Tell the peer of one of them that this is the end."""

    def end(self, connection: Any) -> None:
        """Close one of them."""


class Endpoints:
    """Opens the listeners `grpc`, `http` and `admin`.

    Args:
        config: Where they listen.
        metrics: Counts handshakes.
        held: The budget of bytes for all peers.
        give: Returns a socket that listens there already, by the name of a listener; None if one is to be bound.
        own: How many sockets of ours share a port.

    Attributes:
        held, give, own: As above.
        spread: Returns a factory whose connections may go to another process, given a name, a factory, and what counts
            the connections there are.
        ports: By listener; 0 for a unix socket.
        certificates: Of those with TLS.
    """

    def __init__(
        self, config: Config, metrics: Metrics, held: HeldBytes, give: Give = lambda _name, _where: None, own: int = 1
    ) -> None:
        self.ports: dict[str, int] = {}
        self.certificates: list[Certificates] = []
        self._config = config
        self._metrics = metrics
        self.held = held
        self.give = give
        self.own = own
        self.spread: Spread = lambda _name, factory, _count: factory
        self._watches: list[asyncio.Task[None]] = []

    def wanted(self, name: str) -> bool:
        """Return whether the configuration has this listener."""
        where = getattr(self._config, name).listen
        return where.host is not None or where.path is not None

    async def listen(self, name: str, connections: Connections, protocols: Sequence[str] = ("http/1.1",)) -> Listener:
        """Accept connections. Raises StartError.

        Args:
            name: Of the listener.
            connections: Makes the protocol of each connection.
            protocols: What is offered by ALPN, if there is TLS.
        """
        settings = getattr(self._config, name)
        factory: Callable[[], asyncio.BaseProtocol] = connections
        handshakes: Collection[object] = ()
        tls = getattr(settings, "tls", None)  # the admin listener has none
        if tls is not None:
            from authz.serve.listeners.tls.certificates import Certificates  # noqa: PLC0415  # only where it is wanted
            from authz.serve.listeners.tls.connection import TlsConnection  # noqa: PLC0415  # the same

            certificates = Certificates(name, tls, protocols, self._metrics, self.held, connections)
            await in_thread(certificates.load)
            factory, handshakes = partial(TlsConnection, certificates, factory), certificates.handshakes
            self.certificates.append(certificates)
            self._watches.append(asyncio.get_running_loop().create_task(certificates.watch()))
        if name != "admin":
            factory = self.spread(name, factory, lambda: len(connections.open) + len(handshakes))
        where, given = settings.listen, self.give(name, settings.listen)
        listener = listen(
            name, where, factory, mode=settings.unix_mode, overlap=self._config.overlap, given=given, own=self.own
        )
        self.announce(name, where, listener.port)
        return listener

    def announce(self, name: str, where: Listen, port: int) -> None:
        """Log where a listener is."""
        self.ports[name] = port if where.path is None else 0
        _LOG.info("%s: listening on %s", name, where if where.path else str(where).rpartition(":")[0] + f":{port}")

    async def reload(self, config: Config) -> None:
        """Read all certificates again. config: which files, and which clients may connect."""
        for certificates in self.certificates:
            await certificates.reload(getattr(config, certificates.name).tls)

    def close(self) -> None:
        """End watching files. A second call is harmless."""
        for task in self._watches:
            task.cancel()
