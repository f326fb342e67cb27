"""Which engine serves gRPC. Only the one that is asked for is imported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.serve.admin.health import Health
    from authz.serve.budget import HeldBytes, Turns
    from authz.serve.config import GrpcConfig
    from authz.serve.grpc.check import GrpcCheck


class GrpcEngine(Protocol):
    """An engine of the gRPC front. port: once it has started; 0 or 1 for a unix socket."""

    port: int

    async def start(self) -> None:
        """Bind the socket, and begin to serve. Raises StartError."""

    async def stop(self) -> None:
        """End all connections."""


def make_engine(config: GrpcConfig, check: GrpcCheck, health: Health, held: HeldBytes, turns: Turns) -> GrpcEngine:
    """Return the engine that the configuration asks for.

    Args:
        config: `grpc` of authz.yaml.
        check: Answers CheckRequests.
        health: What health checks are told.
        held: The budget of bytes for all peers.
        turns: Where connections with much to do wait.

    Raises:
        StartError: A file of `tls` cannot be used, or the socket cannot be bound.
    """
    if config.engine != "grpcio" and config.tls is None:
        from authz.serve.grpc.native import NativeGrpc  # noqa: PLC0415  # only one engine is loaded

        return NativeGrpc(config, check, health, held, turns)
    from authz.serve.grpc.grpcio import AioGrpc  # noqa: PLC0415  # the same

    return AioGrpc(config, check, health, asyncio.get_running_loop())
