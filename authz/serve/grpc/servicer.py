"""Envoy's ext_authz as a servicer for a grpcio server of your own, blocking or asyncio.

    decider = Decider(Settings())
    decider.load(ruleset)
    server = grpc.server(ThreadPoolExecutor())
    add_AuthorizationServicer_to_server(AuthorizationServicer(decider), server)

It answers exactly as the sidecar does: both call the same function from bytes to bytes. Give the server a
`grpc.max_receive_message_length` and a `grpc.max_metadata_size` larger than Envoy's requests: a call over its limits
fails, and a failed call is let through where the proxy says `failure_mode_allow`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import grpc

from authz.serve.admin.health import AUTHORIZATION
from authz.serve.config.config import ApplicationConfig, GrpcConfig
from authz.serve.grpc.check import CHECK_METHOD, GrpcCheck
from authz.wire.envoy.v3.check_pb2 import CheckResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Address
    from authz.engine.decision.decider import Decider
    from authz.engine.decision.outcome import Decided, Outcome


class _Server(Protocol):
    """A server of grpc or grpc.aio."""

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler[Any, Any], ...], /) -> None:
        """Take handlers."""


class _Message(Protocol):
    """A CheckRequest of any library: what is read is its bytes."""

    def SerializeToString(self) -> bytes:  # noqa: N802  # as in protobuf
        """Return the bytes."""


class _Settings(NamedTuple):
    application: ApplicationConfig
    grpc: GrpcConfig


class _Told:
    """Tells of decisions; in the place of a recorder."""

    def __init__(self, on_decision: Callable[[Outcome, Address | None], object] | None) -> None:
        self._on_decision = on_decision

    def record(self, decided: Decided, peer: str | None, now: float, source: object = None) -> None:
        if self._on_decision is not None:
            outcome, client, _ = decided
            self._on_decision(outcome, client)


class AuthorizationServicer:
    """`envoy.service.auth.v3.Authorization`. May be called by many threads.

    Args:
        decider: Decides; a ruleset may be loaded into it at any time.
        context_key: The key of Envoy's `context_extensions` that names the application.
        max_message: Bytes of a request; a larger one is denied as `request_too_large`.
        on_decision: Called after each decision, with the outcome and the client (None: unknown); must not block.
    """

    def __init__(
        self,
        decider: Decider,
        *,
        context_key: str = ApplicationConfig().context_key,
        max_message: int = GrpcConfig().max_message,
        on_decision: Callable[[Outcome, Address | None], object] | None = None,
    ) -> None:
        settings = _Settings(ApplicationConfig(context_key=context_key), GrpcConfig(max_message=max_message))
        self._check = GrpcCheck(settings, decider, _Told(on_decision))
        self._lock = threading.Lock()  # what a decider remembers is not for two threads at once

    def check(self, payload: bytes) -> bytes:
        """Answer a check. It never raises: a message that cannot be read is denied.

        Args:
            payload: The bytes of a CheckRequest.

        Returns:
            The bytes of the CheckResponse.
        """
        with self._lock:
            return self._check(payload)

    def Check(self, request: _Message, _: object) -> CheckResponse:  # noqa: N802  # as in the proto
        """Answer a CheckRequest, as the generated code of grpcio calls it. It never raises, as `check`.

        Args:
            request: A CheckRequest; only its bytes are read.

        Returns:
            The CheckResponse.
        """
        return CheckResponse.FromString(self.check(request.SerializeToString()))


def add_AuthorizationServicer_to_server(servicer: AuthorizationServicer, server: _Server) -> None:  # noqa: N802  # so grpcio calls them
    """Add the servicer to a server.

    Args:
        servicer: Answers the checks.
        server: A server of grpc or grpc.aio that was not started yet.
    """

    def answer(payload: bytes, _: object) -> bytes:
        return servicer.check(payload)

    handler = grpc.unary_unary_rpc_method_handler(answer)
    name = CHECK_METHOD.rpartition("/")[2]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(AUTHORIZATION, {name: handler}),))
