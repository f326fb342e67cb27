"""grpc.health.v1.Health, from bytes to bytes: Check, List and Watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.errors import CallFailed
from authz.serve.admin.health import SERVICES
from authz.serve.http2.grpc_failures import RESOURCE_EXHAUSTED
from authz.serve.http2.grpc_methods import Method

if TYPE_CHECKING:
    from authz.serve.admin.health import Health
    from authz.serve.http2.grpc_methods import Watcher

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
_MAX_WATCHERS: Final = 1024
_UNKNOWN: Final = "unknown"  # whatever service is asked about that there is not; its name may be as long as a message
_INVALID_ARGUMENT, _NOT_FOUND = 3, 5  # gRPC status codes


class HealthMethods:
    """The methods of the service, over the state that all fronts share. `start` begins to tell watchers of changes."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._watchers: dict[Watcher, str] = {}  # and the service that they watch
        self._loop: asyncio.AbstractEventLoop

    def methods(self) -> dict[bytes, Method]:
        """Return the methods by their paths."""
        methods = {
            "Check": Method(answer=self.check),
            "List": Method(answer=self.list),
            "Watch": Method(watch=self.watch),
        }
        return {f"/{HEALTH_SERVICE}/{name}".encode(): method for name, method in methods.items()}

    def start(self) -> None:
        """Tell watchers of changes from now on, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._health.listeners.append(self._changed)

    def check(self, message: bytes) -> bytes:
        """Answer Check. Raises CallFailed."""
        status = self._health.status(_service(message))
        if status is None:
            raise CallFailed(_NOT_FOUND, "unknown service")
        return _answer(status)

    def list(self, _: bytes) -> bytes:
        """Answer List: the status of every service."""
        return list_services(self._health)

    def watch(self, watcher: Watcher, message: bytes) -> bytes:
        """Answer Watch: the status now; the watcher is told of changes. Raises CallFailed."""
        service = _service(message)
        if len(self._watchers) >= _MAX_WATCHERS:
            raise CallFailed(RESOURCE_EXHAUSTED, "too many watchers")
        self._watchers[watcher] = service if service in SERVICES else _UNKNOWN
        watcher.on_end = self._forget
        return self._status(service)

    def _forget(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)

    def _changed(self) -> None:
        self._loop.call_soon_threadsafe(self._tell_watchers)

    def _tell_watchers(self) -> None:
        for watcher, service in list(self._watchers.items()):
            watcher.send(self._status(service))

    def _status(self, service: str) -> bytes:
        status = self._health.status(service)
        return _answer(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN if status is None else status)


def list_services(health: Health) -> bytes:
    """Return the answer to List."""
    response = health_pb2.HealthListResponse()
    for service in SERVICES:
        status = health.status(service)
        if status is not None:
            response.statuses[service].status = status
    return bytes(response.SerializeToString())


def _answer(status: health_pb2.HealthCheckResponse.ServingStatus) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())


def _service(message: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError as error:
        raise CallFailed(_INVALID_ARGUMENT, "found no HealthCheckRequest, expected one") from error
