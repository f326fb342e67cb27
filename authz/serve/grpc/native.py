"""The gRPC front on our own HTTP/2: one thread, one event loop, no hop between reading a call and answering it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.grpc.health import HealthMethods
from authz.serve.grpc.reflection import REFLECTION_METHOD, REFLECTION_SERVICES, reflect
from authz.serve.http2.grpc_methods import Method, Service
from authz.serve.http2.listener import Http2Listener
from authz.serve.observe.metrics import GrpcState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from authz.serve.admin.health import Health
    from authz.serve.config.config import GrpcConfig
    from authz.serve.grpc.check import GrpcCheck
    from authz.serve.listeners.accept import Listener
    from authz.serve.listeners.budget import HeldBytes, Turns

    Listening = Callable[[Http2Listener], Awaitable[Listener]]


class NativeGrpc:
    """The engine `native`. `start` binds its socket and serves.

    Args:
        config: The limits.
        listening: Opens the listener, given what makes the protocol of a connection.
        check: Answers CheckRequests.
        health: What health checks are told.
        held: The budget of bytes for all peers; None: one of its own.
        turns: Where connections with much to do wait; None: a queue of its own.
    """

    def __init__(
        self,
        config: GrpcConfig,
        listening: Listening,
        check: GrpcCheck,
        health: Health,
        held: HeldBytes | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._listening = listening
        self._health = HealthMethods(health)
        methods = {
            CHECK_METHOD.encode(): Method(
                answer=check,
                headers_too_large=check.headers_too_large,
                message_too_large=check.message_too_large,
                refusable=True,
            ),
            **self._health.methods(),
            **{f"/{service}/{REFLECTION_METHOD}".encode(): Method(converse=reflect) for service in REFLECTION_SERVICES},
        }
        service = Service(methods, config.max_message)
        self._connections = Http2Listener(
            service,
            held,
            turns,
            config.max_connections,
            config.idle_timeout,
            config.max_connection_age,
            config.of_a_peer,
        )
        self._listener: Listener
        self.port = 0

    def state(self) -> GrpcState:
        """Return how many connections are open, and what was closed or refused."""
        connections, places, undecided = self._connections, self._connections.places, self._connections.undecided
        return GrpcState(
            len(connections.open), places.idle(), places.refused, places.gave_way, undecided.refused, undecided.late
        )

    async def start(self) -> None:
        """Bind the socket, and begin to serve. Raises StartError."""
        self._listener = await self._listening(self._connections)
        self.port = self._listener.port
        self._health.start()
        self._connections.start()

    def drain(self) -> None:
        """Tell the peers to begin their next calls on other connections, and leave those to a successor."""
        self._listener.drain()
        self._connections.announce_end()

    async def stop(self) -> None:
        """Take no more connections, tell the peers, answer what is under way, and end."""
        await self._listener.end(self._connections.stop, self._connections.announce_end)
