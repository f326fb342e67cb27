"""Whether we are alive and ready: one state for gRPC health checks, /livez, /readyz and `authz_ready`.

Ready means that a request would be decided now: the fronts listen, a snapshot is there and not too old (or the
configuration says what to answer without), and the end has not been announced.
"""

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
    """The state.

    Args:
        decides: Whether a request that comes now would be decided.

    Attributes:
        listening: Whether the fronts accept connections.
        draining: Whether the end was announced.
        listeners: Called after each change of `ready`.
    """

    def __init__(self, decides: Callable[[], bool] = lambda: True) -> None:
        self._decides = decides
        self.listening = False
        self.draining = False
        self.listeners: list[Callable[[], None]] = []
        self._told = False  # what the listeners know

    @property
    def ready(self) -> bool:
        """Whether a request that comes now is decided."""
        return self.listening and not self.draining and self._decides()

    def set_listening(self) -> None:
        """Say that the fronts accept connections."""
        self.listening = True
        self.look()

    def set_draining(self) -> None:
        """Say that the end has begun: NOT_SERVING, while we serve on."""
        self.draining = True
        self.look()

    def look(self) -> None:
        """Tell the listeners where `ready` has changed. Called after each load and every second."""
        if self.ready != self._told:
            self._told = not self._told
            for listener in self.listeners:
                listener()

    def serving(self, service: str) -> bool | None:
        """Return whether a service is serving; None: there is no such service."""
        if service not in SERVICES:
            return None
        return service == LIVENESS or self.ready

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus | None:
        """Return the same as a status of grpc.health.v1."""
        serving = self.serving(service)
        return None if serving is None else SERVING if serving else NOT_SERVING
