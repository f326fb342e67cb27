"""The gRPC front on pygrpc-native: HTTP/2 in Rust, outside the GIL; calls reach Python in batches.

One thread takes the batches and answers. Answers are a few microseconds of Python, so more threads would only fight for
the GIL.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from authz.errors import StartError
from authz.serve.grpc_check import CHECK_METHOD
from authz.serve.sockets import clear_unix_path, set_unix_mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.config import GrpcConfig
    from authz.serve.health import Health

_BATCH: Final = 64  # calls a trip across the GIL
_METHODS: Final = [
    (CHECK_METHOD, False),
    ("/grpc.health.v1.Health/Check", False),
    ("/grpc.health.v1.Health/Watch", True),
]
_CHECK, _HEALTH_CHECK = 0, 1  # places in _METHODS
_MOST_WATCHERS: Final = 1024
_NOT_FOUND, _INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _INTERNAL = 5, 3, 8, 13  # gRPC status codes
_LOG = logging.getLogger("authz.grpc")


class NativeGrpc:
    """The engine `native`. Made, it has bound its socket; `start` serves. Raises StartError."""

    def __init__(self, config: GrpcConfig, check: Callable[[bytes], bytes], health: Health) -> None:
        listen = config.listen
        self._check = check
        self._health = health
        self._watchers: dict[int, str] = {}  # call id -> service
        if listen.path is not None:
            clear_unix_path(listen.path)
        try:
            target = f"unix:{listen.path}" if listen.path is not None else str(listen)
            self._front = NativeGrpcFront(target, _METHODS, io_threads=1, reuse_port=config.reuse_port)
        except OSError as error:
            raise StartError(f"grpc.listen: {listen}: {error}", hint="is another authz running?") from error
        if listen.path is not None:
            set_unix_mode(listen.path, config.unix_mode)
        self.port = self._front.bound_port
        self._thread = threading.Thread(target=self._serve, name="grpc", daemon=True)

    async def start(self) -> None:
        """Begin to serve."""
        self._health.listeners.append(self._tell_watchers)
        self._front.start()
        self._thread.start()

    async def stop(self) -> None:
        """Close all connections and end."""
        self._front.close()
        self._thread.join(5.0)

    def _serve(self) -> None:
        front, check, respond = self._front, self._check, self._front.respond
        while (events := front.recv_batch(_BATCH)) is not None:
            for kind, call_id, method, payload, _ in events:
                if kind != EVENT_CALL:
                    self._watchers.pop(call_id, None)
                elif method == _CHECK:
                    respond(call_id, check(payload or b""))
                else:
                    self._answer_health_safely(call_id, method, payload or b"")

    def _answer_health_safely(self, call_id: int, method: int, payload: bytes) -> None:
        try:
            self._answer_health(call_id, method, payload)
        except Exception:  # noqa: BLE001  # this thread answers every check; no health check may end it
            _LOG.exception("a health check failed")
            self._front.fail(call_id, _INTERNAL, "internal error")

    def _answer_health(self, call_id: int, method: int, payload: bytes) -> None:
        try:
            service = health_pb2.HealthCheckRequest.FromString(payload).service
        except DecodeError:
            self._front.fail(call_id, _INVALID_ARGUMENT, "no HealthCheckRequest")
            return
        status = self._health.status(service)
        if method != _HEALTH_CHECK:
            self._watch(call_id, service)
        elif status is None:
            self._front.fail(call_id, _NOT_FOUND, "unknown service")
        else:
            self._front.respond(call_id, health_pb2.HealthCheckResponse(status=status).SerializeToString())

    def _watch(self, call_id: int, service: str) -> None:
        if len(self._watchers) >= _MOST_WATCHERS:
            self._front.fail(call_id, _RESOURCE_EXHAUSTED, "too many watchers")
            return
        self._watchers[call_id] = service
        self._tell(call_id, service)

    def _tell_watchers(self) -> None:
        for call_id, service in list(self._watchers.items()):
            self._tell(call_id, service)

    def _tell(self, call_id: int, service: str) -> None:
        status = self._health.status(service)
        response = health_pb2.HealthCheckResponse(
            status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN if status is None else status
        )
        self._front.stream_try_send(call_id, response.SerializeToString())
