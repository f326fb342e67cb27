"""Whether we are alive and ready: one state for gRPC health checks, /livez and /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
AUTHORIZATION: Final = "envoy.service.auth.v3.Authorization"
SERVICES: Final = ("", LIVENESS, READINESS, AUTHORIZATION)

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Ready from the first good snapshot until the end is announced. `listeners` are called after each change."""

    def __init__(self) -> None:
        self.ready = False
        self.draining = False
        self.listeners: list[Callable[[], None]] = []

    def set_ready(self) -> None:
        """Say that requests can be decided."""
        self._change(ready=True, draining=self.draining)

    def set_draining(self) -> None:
        """Say that the end has begun: NOT_SERVING, while we serve on."""
        self._change(ready=self.ready, draining=True)

    def _change(self, *, ready: bool, draining: bool) -> None:
        if (ready, draining) != (self.ready, self.draining):
            self.ready, self.draining = ready, draining
            for listener in self.listeners:
                listener()

    def serving(self, service: str) -> bool | None:
        """Return whether a service is serving; None: there is no such service."""
        if service not in SERVICES:
            return None
        return service == LIVENESS or (self.ready and not self.draining)

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus | None:
        """Return the same as a status of grpc.health.v1."""
        serving = self.serving(service)
        return None if serving is None else SERVING if serving else NOT_SERVING
