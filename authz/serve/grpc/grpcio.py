"""The gRPC front on grpc.aio: the second opinion."""

from __future__ import annotations

import logging
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.errors import CallFailed, StartError
from authz.serve.admin.health import SERVICES
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.grpc.health import list_services
from authz.serve.grpc.reflection import REFLECTION_METHOD, REFLECTION_SERVICES, reflect
from authz.serve.http2.connection import AGE_GRACE
from authz.serve.http2.fields import MAX_HEADER_LIST
from authz.serve.http2.streams import MAX_STREAMS
from authz.serve.listeners.bind import IN_USE, beside_of, clear_unix_path, inode
from authz.serve.listeners.tls.context import make_context

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Collection

    from authz.serve.admin.health import Health
    from authz.serve.config.config import GrpcConfig
    from authz.serve.grpc.check import GrpcCheck
    from authz.serve.listeners.tls.config import Tls

_DENIED_BEYOND: Final = 1 << 20  # bytes over our limit that the C core takes, so that we can deny the call
_LOG = logging.getLogger("authz.tls")


class AioGrpc:
    """The engine `grpcio`: the constructor binds its socket, `start` serves.

    Args:
        config: Where to listen, and the limits.
        check: Answers CheckRequests.
        health: What health checks are told.
        loop: The event loop that serves.
        overlap: Whether another process of ours may listen there, too.

    Raises:
        StartError: A file of `tls` cannot be used, or the socket cannot be bound.
    """

    def __init__(
        self,
        config: GrpcConfig,
        check: GrpcCheck,
        health: Health,
        loop: asyncio.AbstractEventLoop,
        *,
        overlap: bool = False,
    ) -> None:
        self._health = health
        self._loop = loop
        self._service = _HealthService(health)
        self._updates: set[asyncio.Task[None]] = set()
        self._server = grpc.aio.server(options=_options(config, overlap=overlap))
        self._server.add_generic_rpc_handlers(_handlers(check))
        health_pb2_grpc.add_HealthServicer_to_server(self._service, self._server)
        self._path: Path | None = None  # of a unix socket
        self._inode: int | None = None
        self.port = self._bind(config, overlap=overlap)

    def _bind(self, config: GrpcConfig, *, overlap: bool) -> int:
        where = config.listen
        if where.path is not None and not overlap:
            clear_unix_path(where.path)
        beside = None if where.path is None else beside_of(where.path)
        target = f"unix:{beside}" if beside is not None else str(where)
        try:
            if config.tls is None:
                port = self._server.add_insecure_port(target)
            else:
                port = self._server.add_secure_port(target, _credentials(config.tls))
        except RuntimeError as error:
            raise StartError(f"grpc.listen: {where}: {error}", hint=IN_USE[overlap]) from error
        if where.path is not None and beside is not None:
            beside.chmod(config.unix_mode)
            beside.rename(where.path)
            self._path, self._inode = where.path, inode(where.path)
        return port

    def state(self) -> None:
        """Return None: the C core does not say how many connections there are."""

    async def start(self) -> None:
        """Begin to serve."""
        self._health.listeners.append(self._changed)
        await self._tell()
        await self._server.start()

    def drain(self) -> None:
        """Do nothing: grpc.aio says GOAWAY only when it stops."""

    async def stop(self) -> None:
        """Close all connections and end; calls under way are finished."""
        await self._server.stop(1.0)
        if self._path is not None and inode(self._path) == self._inode:  # else it is a successor's by now
            self._path.unlink()

    def _changed(self) -> None:
        self._loop.call_soon_threadsafe(self._update)

    def _update(self) -> None:
        task = self._loop.create_task(self._tell())
        self._updates.add(task)
        task.add_done_callback(self._updates.discard)

    async def _tell(self) -> None:
        for service in SERVICES:
            status = self._health.status(service)
            if status is not None:
                await self._service.set(service, status)


def _options(config: GrpcConfig, *, overlap: bool) -> list[tuple[str, int]]:
    """Return what the C core is told.

    A message over its limit fails without our having a say, and a failed call is let through by some proxies
    (`failure_mode_allow`). So the core takes more than we do, and what is over our limit is denied.
    """
    return [
        ("grpc.so_reuseport", int(overlap)),
        ("grpc.max_receive_message_length", config.max_message + _DENIED_BEYOND),
        ("grpc.max_metadata_size", MAX_HEADER_LIST + _DENIED_BEYOND),
        ("grpc.absolute_max_metadata_size", MAX_HEADER_LIST + _DENIED_BEYOND),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: the core unpacks without a limit
        ("grpc.max_connection_idle_ms", int(config.idle_timeout * 1000)),
        *_age(config.max_connection_age),
    ]


def _age(seconds: float) -> list[tuple[str, int]]:
    """Return the options that end connections of an age; the core spreads it by a tenth by itself."""
    if not seconds:
        return []
    grace = int(AGE_GRACE * 1000)
    return [("grpc.max_connection_age_ms", int(seconds * 1000)), ("grpc.max_connection_age_grace_ms", grace)]


def _handlers(check: GrpcCheck) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
    """Return the handlers of the check and of reflection, from bytes to bytes."""

    async def converse(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            try:
                yield reflect(message)
            except CallFailed as failed:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, failed.message)

    reflection = {REFLECTION_METHOD: grpc.stream_stream_rpc_method_handler(converse)}
    return (
        _CheckHandlers(check),
        *(grpc.method_handlers_generic_handler(service, reflection) for service in REFLECTION_SERVICES),
    )


class _CheckHandlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Chooses the handler of a check by its metadata: they are at hand here, and a handler has to make them anew."""

    def __init__(self, check: GrpcCheck) -> None:
        async def answer(payload: bytes, _: object) -> bytes:
            return check(payload)

        async def deny(_: bytes, __: object) -> bytes:
            return check.headers_too_large()

        self._answer = grpc.unary_unary_rpc_method_handler(answer)
        self._deny = grpc.unary_unary_rpc_method_handler(deny)

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers a call; None for a method that is another's."""
        if handler_call_details.method != CHECK_METHOD:
            return None
        return self._deny if _size(handler_call_details.invocation_metadata) > MAX_HEADER_LIST else self._answer


class _HealthService(health_aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The library's service, with the method that it lacks."""

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health

    async def List(self, _: object, __: object) -> health_pb2.HealthListResponse:  # noqa: N802  # as in the proto
        """Answer List: the status of every service."""
        return health_pb2.HealthListResponse.FromString(list_services(self._health))


def _size(metadata: Collection[tuple[str, str | bytes]]) -> int:
    """Return how many bytes metadata is, as HPACK counts them."""
    return sum(map(len, chain.from_iterable(metadata))) + 32 * len(metadata)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    try:
        pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
        client_ca = Path(tls.client_ca).read_bytes() if tls.client_ca else None
    except OSError as error:
        raise StartError(f"grpc.tls: {error.filename}: {error.strerror}") from error
    make_context(tls, ("h2",), "grpc.tls")  # grpcio says of a wrong file only that it could not bind
    from authz.serve.listeners.tls.pairs import concerns  # noqa: PLC0415  # 7 MB, which nobody without TLS is to pay

    for where, problem in concerns(((f"grpc.tls.{key}", path) for key, path in tls.files().items()), time.time()):
        _LOG.warning("%s: %s", where, problem)
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
