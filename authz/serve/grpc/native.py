"""The gRPC front on our own HTTP/2: one thread, one event loop, no hop between reading a call and answering it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.errors import CallFailed
from authz.serve.grpc.check import CHECK_METHOD, MAX_REQUEST
from authz.serve.http2.connection import Connections, Method, Service
from authz.serve.listeners import Listener, listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.admin.health import Health
    from authz.serve.config import GrpcConfig
    from authz.serve.http2.connection import Watcher

_MAX_WATCHERS: Final = 1024
_INVALID_ARGUMENT, _NOT_FOUND, _RESOURCE_EXHAUSTED = 3, 5, 8  # gRPC status codes


class NativeGrpc:
    """The engine `native`. `start` binds its socket and serves."""

    def __init__(self, config: GrpcConfig, check: Callable[[bytes], bytes], health: Health) -> None:
        self._config = config
        self._health = health
        self._watchers: dict[Watcher, str] = {}  # and the service that they watch
        methods = {
            CHECK_METHOD.encode(): Method(answer=check),
            b"/grpc.health.v1.Health/Check": Method(answer=self._check_health),
            b"/grpc.health.v1.Health/Watch": Method(watch=self._watch_health),
        }
        self._connections = Connections(Service(methods, MAX_REQUEST))
        self._listener: Listener
        self._loop: asyncio.AbstractEventLoop
        self.port = 0

    async def start(self) -> None:
        """Bind the socket, and begin to serve. Raises StartError."""
        config = self._config
        self._listener = await listen(
            "grpc", config.listen, self._connections, mode=config.unix_mode, reuse_port=config.reuse_port
        )
        self.port = self._listener.port
        self._loop = asyncio.get_running_loop()
        self._health.listeners.append(self._changed)
        self._connections.start()

    async def stop(self) -> None:
        """Take no more connections, tell the peers, answer what is under way, and end."""
        await self._listener.end(self._connections.stop, self._connections.announce_end)

    def _check_health(self, message: bytes) -> bytes:
        status = self._health.status(_service(message))
        if status is None:
            raise CallFailed(_NOT_FOUND, "unknown service")
        return _message(status)

    def _watch_health(self, watcher: Watcher, message: bytes) -> bytes:
        service = _service(message)
        if len(self._watchers) >= _MAX_WATCHERS:
            raise CallFailed(_RESOURCE_EXHAUSTED, "too many watchers")
        self._watchers[watcher] = service
        watcher.on_end = self._forget
        return self._watched(service)

    def _forget(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)

    def _changed(self) -> None:
        self._loop.call_soon_threadsafe(self._tell_watchers)

    def _tell_watchers(self) -> None:
        for watcher, service in list(self._watchers.items()):
            watcher.send(self._watched(service))

    def _watched(self, service: str) -> bytes:
        status = self._health.status(service)
        return _message(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN if status is None else status)


def _message(status: health_pb2.HealthCheckResponse.ServingStatus) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())


def _service(message: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError as error:
        raise CallFailed(_INVALID_ARGUMENT, "no HealthCheckRequest") from error
