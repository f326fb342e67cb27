"""The gRPC front on grpc.aio: for TLS, and as the second opinion."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health_pb2_grpc

from authz.errors import StartError
from authz.serve.admin.health import AUTHORIZATION, SERVICES
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.listeners import clear_unix_path

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from authz.serve.admin.health import Health
    from authz.serve.config import GrpcConfig, Tls

_CHECK_NAME = CHECK_METHOD.rpartition("/")[2]


class AioGrpc:
    """The engine `grpcio`. Made, it has bound its socket; `start` serves. Raises StartError."""

    def __init__(
        self, config: GrpcConfig, check: Callable[[bytes], bytes], health: Health, loop: asyncio.AbstractEventLoop
    ) -> None:
        listen = config.listen
        self._health = health
        self._loop = loop
        self._service = health_aio.HealthServicer()
        self._updates: set[asyncio.Task[None]] = set()
        options = [("grpc.so_reuseport", int(config.reuse_port)), ("grpc.max_receive_message_length", -1)]
        self._server = grpc.aio.server(options=options)

        async def answer(payload: bytes, _: object) -> bytes:
            return check(payload)

        handler = grpc.unary_unary_rpc_method_handler(answer)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(AUTHORIZATION, {_CHECK_NAME: handler}),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._service, self._server)
        if listen.path is not None:
            clear_unix_path(listen.path)
        target = f"unix:{listen.path}" if listen.path is not None else str(listen)
        try:
            if config.tls is None:
                self.port = self._server.add_insecure_port(target)
            else:
                self.port = self._server.add_secure_port(target, _credentials(config.tls))
        except RuntimeError as error:
            raise StartError(f"grpc.listen: {listen}: {error}", hint="is another authz running?") from error
        if listen.path is not None:
            listen.path.chmod(config.unix_mode)

    async def start(self) -> None:
        """Begin to serve."""
        self._health.listeners.append(self._changed)
        await self._tell()
        await self._server.start()

    async def stop(self) -> None:
        """Close all connections and end; calls under way are finished."""
        await self._server.stop(1.0)

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


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    try:
        pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
        client_ca = Path(tls.client_ca).read_bytes() if tls.client_ca else None
    except OSError as error:
        raise StartError(f"grpc.tls: {error.filename}: {error.strerror}") from error
    _try(tls)
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def _try(tls: Tls) -> None:
    """Load the files as another library does: grpcio says of a wrong one only that it could not bind."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wrong = f"{tls.certificate} and {tls.key}: expected a certificate and its key, as PEM, the key without a password"
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")
        if tls.client_ca is not None:
            wrong = f"{tls.client_ca}: expected certificates, as PEM"
            context.load_verify_locations(tls.client_ca)
    except (OSError, ValueError) as error:
        raise StartError(f"grpc.tls: {wrong}") from error
