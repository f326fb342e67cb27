"""Which engine serves gRPC. Only the one that is asked for is imported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.serve.admin.health import Health
    from authz.serve.config.config import Config
    from authz.serve.grpc.check import GrpcCheck
    from authz.serve.grpc.native import Listening
    from authz.serve.listeners.budget import HeldBytes, Turns
    from authz.serve.observe.metrics import GrpcState


class GrpcEngine(Protocol):
    """An engine of the gRPC front.

    Attributes:
        port: Once it has started; 0 or 1 for a unix socket.
    """

    port: int

    def state(self) -> GrpcState | None:
        """Return how many connections are open, and what was closed or refused. None: the engine does not say so."""

    async def start(self) -> None:
        """Bind the socket, and begin to serve. Raises StartError."""

    def drain(self) -> None:
        """Tell the peers to go elsewhere; those that stay are answered."""

    async def stop(self) -> None:
        """End all connections."""


def make_engine(
    config: Config, listening: Listening, check: GrpcCheck, health: Health, held: HeldBytes, turns: Turns
) -> GrpcEngine:
    """Return the engine that the configuration asks for.

    Args:
        config: Its section `grpc`, and `overlap`.
        listening: Opens the listener for the engine native.
        check: Answers CheckRequests.
        health: What health checks are told.
        held: The budget of bytes for all peers.
        turns: Where connections with much to do wait.

    Raises:
        StartError: A file of `tls` cannot be used, or the socket cannot be bound.
    """
    if config.grpc.engine != "grpcio":
        from authz.serve.grpc.native import NativeGrpc  # noqa: PLC0415  # only one engine is loaded

        return NativeGrpc(config.grpc, listening, check, health, held, turns)
    from authz.serve.grpc.grpcio import AioGrpc  # noqa: PLC0415  # the same

    return AioGrpc(config.grpc, check, health, asyncio.get_running_loop(), overlap=config.overlap)
