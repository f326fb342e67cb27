"""The gRPC front on our own HTTP/2: one thread, one event loop, no hop between reading a call and answering it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.errors import CallFailed, StartError
from authz.serve.grpc.check import CHECK_METHOD, MAX_REQUEST
from authz.serve.http2.connection import Connections, Method, Service
from authz.serve.sockets import clear_unix_path, set_unix_mode, socket_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.admin.health import Health
    from authz.serve.config import GrpcConfig
    from authz.serve.http2.connection import Watcher

_MAX_WATCHERS: Final = 1024
_GOODBYE: Final = 0.2  # seconds in which peers learn that this is the end, and the last answers leave
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
        self._server: asyncio.Server
        self._loop: asyncio.AbstractEventLoop
        self._number: int | None = None
        self.port = 0

    async def start(self) -> None:
        """Bind the socket, and begin to serve. Raises StartError."""
        loop = asyncio.get_running_loop()
        listen = self._config.listen
        if listen.path is not None:
            clear_unix_path(listen.path)
        try:
            if listen.path is not None:
                self._server = await loop.create_unix_server(self._connections, str(listen.path))
                set_unix_mode(listen.path, self._config.unix_mode)
                self._number = socket_number(listen.path)
            else:
                reuse_port = self._config.reuse_port or None
                self._server = await loop.create_server(
                    self._connections, listen.host, listen.port, reuse_port=reuse_port, backlog=1024
                )
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            message = f"grpc.listen: {listen}: {error.strerror or error}"
            raise StartError(message, hint="is another authz running?") from error
        self._loop = loop
        self._health.listeners.append(self._changed)
        self._connections.start()

    async def stop(self) -> None:
        """Take no more connections, tell the peers, answer what is under way, and end."""
        self._server.close()
        self._connections.announce_end()
        await asyncio.sleep(_GOODBYE)
        self._connections.stop()
        path = self._config.listen.path
        if path is not None and socket_number(path) == self._number:  # else it is a successor's by now
            path.unlink()

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
