"""What of a request stands in its log line beside the decision, so that the line can be joined with an access log.

A front gives it only for a request that is logged: request id, host, method and path, b"" where there is none. All of
it is what the proxy or a client wrote. Of a long request it is cut here, for it may wait in a queue; what is shown of
any request is cut and escaped where it is written (`printable`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from authz.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from authz.serve.http1.messages import HeadParts
    from authz.wire.envoy.v3.check_as_read_pb2 import AttributesAsRead
    from authz.wire.envoy.v3.check_pb2 import AttributeContext

    # Of a CheckRequest: the whole, its request, and the headers of that as a map, for each costs to be asked for again;
    # and its bytes.
    CheckSource: TypeAlias = tuple[AttributesAsRead, AttributeContext.HttpRequest, Mapping[str, bytes], int]
    Details: TypeAlias = tuple[bytes, bytes, bytes, bytes]

MAX_SHORT: Final = 128  # bytes of a request id, a method or an application
MAX_HOST: Final = 255  # bytes; the longest name of the DNS
MAX_PATH: Final = 512  # bytes
MAX_WHOLE: Final = 2048  # bytes of a request of which these are kept as they came
MAX_RAW_HEADERS: Final = 1000  # headers of a CheckRequest in the raw form; Envoy takes 100 by default
UNKNOWN_PEER: Final = ""  # where a request could not be read; None is a unix socket

_REQUEST_ID, _HOST = b"x-request-id", b"host"
_FORWARDED_HOST, _ORIGINAL_HOST = b"x-forwarded-host", b"x-original-host"
_ORIGINAL_METHOD, _FORWARDED_METHOD = b"x-original-method", b"x-forwarded-method"
_ORIGINAL_PATH, _FORWARDED_PATH = b"x-original-uri", b"x-forwarded-uri"
HTTP_HEADERS: Final = frozenset({
    _REQUEST_ID, _HOST, _FORWARDED_HOST, _ORIGINAL_HOST, _ORIGINAL_METHOD, _FORWARDED_METHOD, _ORIGINAL_PATH,
    _FORWARDED_PATH,
})  # fmt: skip
_CLIENT_TARGETS: Final = b"/envoy/"  # where the target's rest is the client's own
_NONE: Final = (b"",)


class ReadsDetails(Protocol):
    """Reads what a front passes to its recorder as `source`."""

    def details(self, source: Any) -> Details:
        """Return request id, host, method and path of a request."""

    def named(self, source: Any) -> bytes:
        """Return the application as the proxy named it, cut."""

    def traceparent(self, source: Any) -> bytes:
        """Return the `traceparent` of a request; b"" for none. One that is too long is cut, which makes it invalid."""


NO_DETAILS: Final = (b"", b"", b"", b"")
TRACEPARENT: Final = "traceparent"
_TOO_LONG: Final = 56  # bytes of a `traceparent`: one more than its only version has


class CheckDetails:
    """Gives the details of CheckRequests.

    Args:
        context_key: Of the extension that names the application.
    """

    def __init__(self, context_key: str) -> None:
        self._context_key = context_key

    def details(self, source: CheckSource) -> Details:
        """Return request id, host, method and path of a request."""
        _, http, headers, size = source
        request_id = headers.get("x-request-id")
        if request_id is None:
            request_id = b"" if headers else _raw(http, "x-request-id")
        if size <= MAX_WHOLE:
            return request_id, http.host, http.method, http.path
        return _cut(request_id, http.host, http.method, http.path)

    def named(self, source: CheckSource) -> bytes:
        """Return the application as the proxy named it, cut."""
        return source[0].context_extensions.get(self._context_key, b"")[:MAX_SHORT]

    def traceparent(self, source: CheckSource) -> bytes:
        """Return the `traceparent` of a request; b"" for none."""
        _, http, headers, _ = source
        return (headers.get(TRACEPARENT, b"") if headers else _raw(http, TRACEPARENT))[:_TOO_LONG]


def _raw(http: AttributeContext.HttpRequest, name: str) -> bytes:
    headers = islice(http.header_map.headers, MAX_RAW_HEADERS)  # of a request that is denied there may be more
    named = (header for header in headers if header.key.lower() == name)
    return next((header.raw_value or header.value for header in named), b"")


class HeadDetails:
    """Gives the details of HTTP callers' requests.

    The client's request is described by headers of the proxy, such as `X-Original-URI` (nginx) and `X-Forwarded-Uri`
    (Traefik, Caddy), or by the request itself (Envoy's http_service).

    Args:
        application_header: Names the application; b"": the path does.
    """

    def __init__(self, application_header: bytes) -> None:
        self._application_header = application_header

    def details(self, source: HeadParts) -> Details:
        """Return request id, host, method and path of a request."""
        method, target, headers, _, size = source
        get = headers.get
        if target.startswith(_CLIENT_TARGETS):
            path = b"/" + b"".join(target.split(b"/", 3)[3:])
        else:
            method = (get(_ORIGINAL_METHOD) or get(_FORWARDED_METHOD) or _NONE)[0]
            path = (get(_ORIGINAL_PATH) or get(_FORWARDED_PATH) or _NONE)[0]
        host = (get(_FORWARDED_HOST) or get(_ORIGINAL_HOST) or get(_HOST) or _NONE)[0]
        request_id = get(_REQUEST_ID, _NONE)[0]
        if size <= MAX_WHOLE:
            return request_id, host, method, path
        return _cut(request_id, host, method, path)

    def named(self, source: HeadParts) -> bytes:
        """Return the application as the proxy named it, cut."""
        if self._application_header:
            return source[2].get(self._application_header, _NONE)[0][:MAX_SHORT]
        target = source[1]
        parts = target.split(b"/", 3)  # "", envoy, application, the client's; or "", v1, auth, application
        own = target.startswith(_CLIENT_TARGETS)
        return b"".join(parts[2:3] if own else parts[3:]).partition(b"?")[0][:MAX_SHORT]

    def traceparent(self, source: HeadParts) -> bytes:
        """Return the `traceparent` of a request; b"" for none, or two (W3C Trace Context, 3.2)."""
        lines = source[2].get(TRACEPARENT.encode(), ())
        return lines[0][:_TOO_LONG] if len(lines) == 1 else b""


def _cut(request_id: bytes, host: bytes, method: bytes, path: bytes) -> Details:
    return request_id[:MAX_SHORT], host[:MAX_HOST], method[:MAX_SHORT], path[:MAX_PATH]


def peer_text(peer: str | None) -> str | None:
    """Return a peer as it is shown: `unix:` for a unix socket; None where it could not be read."""
    if peer is None:
        return "unix:"
    return shorten(peer) or None


def printable(data: bytes, most: int) -> str | None:
    """Return bytes of a client as printable ASCII, or None if there are none.

    What is not printable is escaped as in Python.

    Args:
        data: As they came.
        most: Bytes; what is behind them is left out.
    """
    if not data:
        return None
    text = data[:most].decode("ascii", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
