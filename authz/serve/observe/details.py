"""What of a request stands in its log line beside the decision, so that the line can be joined with an access log.

A front gives it only for a request that is logged. All of it is what the proxy or a client wrote: it is cut here, and
escaped where the line is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.http1.messages import RequestHead
    from authz.wire.envoy.v3.check_pb2 import AttributeContext

MAX_SHORT: Final = 128  # bytes of a request id, a method or an application
MAX_HOST: Final = 255  # bytes; the longest name of the DNS
MAX_PATH: Final = 512  # bytes

_REQUEST_ID, _HOST = b"x-request-id", b"host"
_HOSTS: Final = (b"x-forwarded-host", b"x-original-host", _HOST)
_METHODS: Final = (b"x-original-method", b"x-forwarded-method")
_PATHS: Final = (b"x-original-uri", b"x-forwarded-uri")
HTTP_HEADERS: Final = frozenset({_REQUEST_ID, *_HOSTS, *_METHODS, *_PATHS})
_CLIENT_TARGETS: Final = b"/envoy/"  # where the target's rest is the client's own


class Details(NamedTuple):
    """Bytes as they came, cut; b"" where there is none. application: as the proxy named it."""

    request_id: bytes = b""
    host: bytes = b""
    method: bytes = b""
    path: bytes = b""
    application: bytes = b""


class TracedDetails(Details):
    """The same with the `traceparent`, which is read only where traces are sent."""

    traceparent: bytes = b""


NO_DETAILS: Final = Details()
TRACEPARENT: Final = "traceparent"
_TRACEPARENT_SIZE: Final = 55  # bytes of its only version; a longer one is cut to something that is none


def check_details(attributes: AttributeContext, context_key: str) -> Details:
    """Return the details of a CheckRequest. context_key: of the extension that names the application."""
    http = attributes.request.http
    headers, name = http.headers, "x-request-id"
    request_id = headers.get(name, b"")
    if not headers:
        named = (header for header in http.header_map.headers if header.key.lower() == name)
        request_id = next((header.raw_value or header.value for header in named), b"")
    extensions = attributes.context_extensions
    application = extensions.get(context_key, b"")
    return Details(request_id[:MAX_SHORT], http.host[:MAX_HOST], http.method[:MAX_SHORT], http.path[:MAX_PATH],
                   application[:MAX_SHORT])  # fmt: skip


def head_details(head: RequestHead, application_header: bytes) -> Details:
    """Return the details of an HTTP caller's request. application_header: names the application; b"": the path does.

    What the client asked for stands in headers of the proxy: `X-Original-URI` and its like (nginx), `X-Forwarded-Uri`
    and its like (Traefik, Caddy); or in the request itself (Envoy's http_service).
    """
    headers = head.headers

    def first(names: tuple[bytes, ...]) -> bytes:
        return next((headers[name][0] for name in names if headers.get(name)), b"")

    own = head.target.startswith(_CLIENT_TARGETS)
    parts = head.target.split(b"/", 3)  # "", envoy, application, the client's; or "", v1, auth, application
    method = head.method if own else first(_METHODS)
    path = first(_PATHS)
    if own:
        path = b"/" + b"".join(parts[3:])
    named = b"".join(parts[2:3] if own else parts[3:]).partition(b"?")[0]
    application = first((application_header,)) if application_header else named
    return Details(first((_REQUEST_ID,))[:MAX_SHORT], first(_HOSTS)[:MAX_HOST], method[:MAX_SHORT], path[:MAX_PATH],
                   application[:MAX_SHORT])  # fmt: skip


def with_traceparent(details: Callable[[Any], Details], front: str) -> Callable[[Any], Details]:
    """Return a reader of details that reads `traceparent`, too."""
    read = _of_check if front == "grpc" else _of_head

    def traced(source: Any) -> Details:
        found = TracedDetails(*details(source))
        found.traceparent = read(source)[: _TRACEPARENT_SIZE + 1]
        return found

    return traced


def _of_check(attributes: AttributeContext) -> bytes:
    http = attributes.request.http
    if http.headers:
        return http.headers.get(TRACEPARENT, b"")
    named = (header for header in http.header_map.headers if header.key.lower() == TRACEPARENT)
    return next((header.raw_value or header.value for header in named), b"")


def _of_head(head: RequestHead) -> bytes:
    lines = head.headers.get(TRACEPARENT.encode(), ())
    return lines[0] if len(lines) == 1 else b""  # two are none (W3C Trace Context, 3.2)
