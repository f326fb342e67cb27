"""Envoy's gRPC access log service, `envoy.service.accesslog.v3.AccessLogService`.

The client and the application are those that the sidecar decided by: Envoy keeps its dynamic metadata
(`envoy.filters.http.ext_authz`) with the log entry. Without it the client is Envoy's own idea of who that is. What a
WAF's filter found may stand in metadata of its own: `attacks` and `payload`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import grpc
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from authz.addresses import try_parse_address
from authz.control.detect.event import MAX_ATTACKS, MAX_PATH, MAX_TOKEN, SIGNALLED, WAF_SIGNAL, Event
from authz.serve.observe.details import printable
from authz.wire.envoy.v3.access_log_pb2 import HTTPAccessLogEntry, StreamAccessLogsMessage, StreamAccessLogsResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from threading import Event as Ending

    from google.protobuf.struct_pb2 import Struct

    from authz.control.detect.sources.config import EnvoySource
    from authz.control.detect.sources.feeder import Feeder

METADATA: Final = "envoy.filters.http.ext_authz"
MAX_MESSAGE: Final = 4 << 20  # bytes
MAX_READ: Final = 4  # messages that are read, or wait for room, at once: other requests need threads, too
_SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
# envoy.config.core.v3.RequestMethod
_METHODS: Final = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


class EnvoyLogs:
    """Serves the access log service in the event loop."""

    def __init__(self, config: EnvoySource, feeder: Feeder, ending: Ending) -> None:
        self._listen = config.listen
        self._waf = config.waf or ""
        self._feeder = feeder
        self._ending = ending
        self._threads = anyio.CapacityLimiter(MAX_READ)
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE)])
        self.port = 0

    async def start(self) -> None:
        """Bind the port, and begin to take logs. Raises RuntimeError if the port is taken."""
        method = grpc.stream_unary_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {
            "StreamAccessLogs": method,
        }),))  # fmt: skip
        self.port = self._server.add_insecure_port(str(self._listen))
        await self._server.start()

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop(0.5)

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        """Take the messages of one stream; where the intake is full, read no more until there is room."""
        async for content in messages:
            try:
                await anyio.to_thread.run_sync(self._take, content, limiter=self._threads)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is not a StreamAccessLogsMessage")
        return StreamAccessLogsResponse().SerializeToString()

    def _take(self, content: bytes) -> None:
        """Read a message, and wait until the intake has its events. One of many small entries takes seconds."""
        entries = StreamAccessLogsMessage.FromString(content).http_logs.log_entry
        events = [event for entry in entries if (event := event_of(entry, self._waf)) is not None]
        self._feeder.insist(events, self._ending)


def event_of(entry: HTTPAccessLogEntry, waf: str = "") -> Event | None:
    """Return the event of a log entry; None if it names no client. waf: the namespace of a WAF's metadata."""
    common, request = entry.common_properties, entry.request
    said = common.metadata.filter_metadata.get(METADATA)
    decided = {name: value.string_value for name, value in said.fields.items()} if said else {}
    peer = common.downstream_remote_address.socket_address.address
    client = try_parse_address(decided.get("client") or printable(peer, MAX_TOKEN) or "")
    if client is None:
        return None
    written = common.metadata.filter_metadata.get(waf) if waf else None
    attacks, payload = _attacks(written) if written is not None else ((), "")
    method = request.request_method
    return Event(
        time=common.start_time.seconds + common.start_time.nanos / 1e9,
        client=client,
        application=decided.get("application", "")[:MAX_TOKEN],
        method=_METHODS[method] if 0 <= method < len(_METHODS) else "",
        host=(printable(request.authority, MAX_TOKEN) or "")[:MAX_TOKEN],
        path=(printable(request.original_path or request.path, MAX_PATH) or "")[:MAX_PATH],
        status=entry.response.response_code.value % 1000,
        decision=decided.get("decision", "")[:MAX_TOKEN],
        attacks=attacks or ((WAF_SIGNAL,) if decided.get("reason") in SIGNALLED else ()),
        payload=payload,
        reason=decided.get("reason", "")[:MAX_TOKEN],
        entry=decided.get("entry", "")[:MAX_TOKEN],
        request_id=(printable(request.request_id, MAX_TOKEN) or "")[:MAX_TOKEN],
    )


def _attacks(written: Struct) -> tuple[tuple[str, ...], str]:
    """Return the types of attacks that a WAF's metadata names, one or a list, and the payload."""
    attacks, payload = (written.fields.get(name) or Value() for name in ("attacks", "payload"))
    texts = [item.string_value for item in attacks.list_value.values] or [attacks.string_value]
    return tuple(text[:MAX_TOKEN] for text in texts if text)[:MAX_ATTACKS], payload.string_value[:MAX_TOKEN]
