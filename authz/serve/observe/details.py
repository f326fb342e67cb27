"""What of a request stands in its log line beside the decision, so that the line can be joined with an access log.

A front gives it only for a request that is logged. All of it is what the proxy or a client wrote: it is cut here, and
escaped where the line is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from authz.serve.http1.messages import RequestHead
    from authz.wire.envoy.v3.check_pb2 import AttributeContext

    # Of a CheckRequest: the whole, its request, and the headers of that as a map. Each costs to be asked for again.
    CheckSource: TypeAlias = tuple[AttributeContext, AttributeContext.HttpRequest, Mapping[str, bytes]]

MAX_SHORT: Final = 128  # bytes of a request id, a method or an application
MAX_HOST: Final = 255  # bytes; the longest name of the DNS
MAX_PATH: Final = 512  # bytes

_REQUEST_ID, _HOST = b"x-request-id", b"host"
_HOSTS: Final = (b"x-forwarded-host", b"x-original-host", _HOST)
_METHODS: Final = (b"x-original-method", b"x-forwarded-method")
_PATHS: Final = (b"x-original-uri", b"x-forwarded-uri")
HTTP_HEADERS: Final = frozenset({_REQUEST_ID, *_HOSTS, *_METHODS, *_PATHS})
_CLIENT_TARGETS: Final = b"/envoy/"  # where the target's rest is the client's own
_NONE: Final = (b"",)
_make = tuple.__new__  # of a NamedTuple whose fields are at hand


class Details(NamedTuple):
    """Bytes as they came, cut; b"" if there is none."""

    request_id: bytes = b""
    host: bytes = b""
    method: bytes = b""
    path: bytes = b""


class TracedDetails(Details):
    """The same with the `traceparent`, which is read only where traces are sent."""

    traceparent: bytes = b""


class ReadsDetails(Protocol):
    """Reads what a front passes to its recorder as `source`."""

    def details(self, source: Any) -> Details:
        """Return the details of a request."""

    def named(self, source: Any) -> bytes:
        """Return the application as the proxy named it, cut."""

    def traceparent(self, source: Any) -> bytes:
        """Return the `traceparent` of a request; b"" for none."""


NO_DETAILS: Final = Details()
TRACEPARENT: Final = "traceparent"
_TRACEPARENT_SIZE: Final = 55  # bytes of its only version; a longer one is cut to something invalid


class CheckDetails:
    """Gives the details of CheckRequests.

    Args:
        context_key: Of the extension that names the application.
    """

    def __init__(self, context_key: str) -> None:
        self._context_key = context_key

    def details(self, source: CheckSource) -> Details:
        """Return the details of a request."""
        _, http, headers = source
        request_id = headers.get("x-request-id", b"") if headers else _raw(http, "x-request-id")
        return _make(
            Details, (request_id[:MAX_SHORT], http.host[:MAX_HOST], http.method[:MAX_SHORT], http.path[:MAX_PATH])
        )

    def named(self, source: CheckSource) -> bytes:
        """Return the application as the proxy named it, cut."""
        return source[0].context_extensions.get(self._context_key, b"")[:MAX_SHORT]

    def traceparent(self, source: CheckSource) -> bytes:
        """Return the `traceparent` of a request; b"" for none."""
        _, http, headers = source
        return headers.get(TRACEPARENT, b"") if headers else _raw(http, TRACEPARENT)


def _raw(http: AttributeContext.HttpRequest, name: str) -> bytes:
    named = (header for header in http.header_map.headers if header.key.lower() == name)
    return next((header.raw_value or header.value for header in named), b"")


class HeadDetails:
    """Gives the details of HTTP callers' requests.

    What the client asked for stands in headers of the proxy: `X-Original-URI` and its like (nginx), `X-Forwarded-Uri`
    and its like (Traefik, Caddy); or in the request itself (Envoy's http_service).

    Args:
        application_header: Names the application; b"": the path does.
    """

    def __init__(self, application_header: bytes) -> None:
        self._application_header = application_header

    def details(self, source: RequestHead) -> Details:
        """Return the details of a request."""
        method, target, headers, _ = source
        get = headers.get
        if target.startswith(_CLIENT_TARGETS):
            path = b"/" + b"".join(target.split(b"/", 3)[3:])
        else:
            method = (get(_METHODS[0]) or get(_METHODS[1]) or _NONE)[0]
            path = (get(_PATHS[0]) or get(_PATHS[1]) or _NONE)[0]
        host = (get(_HOSTS[0]) or get(_HOSTS[1]) or get(_HOST) or _NONE)[0]
        request_id = get(_REQUEST_ID, _NONE)[0]
        return _make(Details, (request_id[:MAX_SHORT], host[:MAX_HOST], method[:MAX_SHORT], path[:MAX_PATH]))

    def named(self, source: RequestHead) -> bytes:
        """Return the application as the proxy named it, cut."""
        if self._application_header:
            return source.headers.get(self._application_header, _NONE)[0][:MAX_SHORT]
        parts = source.target.split(b"/", 3)  # "", envoy, application, the client's; or "", v1, auth, application
        own = source.target.startswith(_CLIENT_TARGETS)
        return b"".join(parts[2:3] if own else parts[3:]).partition(b"?")[0][:MAX_SHORT]

    def traceparent(self, source: RequestHead) -> bytes:
        """Return the `traceparent` of a request; b"" for none, or two (W3C Trace Context, 3.2)."""
        lines = source.headers.get(TRACEPARENT.encode(), ())
        return lines[0] if len(lines) == 1 else b""


class Traced:
    """Reads the `traceparent`, too."""

    def __init__(self, reads: ReadsDetails) -> None:
        self._reads = reads
        self.named, self.traceparent = reads.named, reads.traceparent

    def details(self, source: Any) -> Details:
        """Return the details of a request."""
        details = TracedDetails(*self._reads.details(source))
        details.traceparent = self.traceparent(source)[: _TRACEPARENT_SIZE + 1]
        return details
