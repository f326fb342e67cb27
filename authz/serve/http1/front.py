"""The HTTP front: auth_request-style callers (nginx, HAProxy, Apache), forward-auth (Traefik, Caddy), Envoy by HTTP.

Translates a request, asks the decider, and translates its answer: see `routes` for what may be asked, `answers` for
what is said. 503 is "cannot decide"; to no caller it means allow. A request whose headers cannot be read is denied, not
a fault: a client may have made it so (docs/decisions/0004).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from authz.engine.request.request import RequestReader
from authz.errors import shorten
from authz.serve.http1.answers import AUTH, answer
from authz.serve.http1.messages import Answer, RequestHead, plain_answer
from authz.serve.http1.routes import FORWARDED_HOST, HOST, Routes
from authz.serve.observe.details import HTTP_HEADERS, TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.engine.decision.decider import Decider
    from authz.serve.config.config import Config
    from authz.serve.http1.messages import HeadParts
    from authz.serve.observe.metrics import Metrics
    from authz.serve.observe.recorder import Recorder

_LOG = logging.getLogger("authz.http")
_NO_HOST: Final = (b"",)
_PAGES: Final = frozenset({b"/livez", b"/readyz"})
_EXPECTED: Final = (
    "expected /v1/auth/APPLICATION, /v1/nginx/APPLICATION, /v1/forward/APPLICATION or /envoy/APPLICATION/..."
)


class HttpFront:
    """Answers HTTP callers. Its `handle` is the handler of `HttpConnections`.

    Args:
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        decider: Decider,
        recorder: Recorder,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decider = decider
        self._recorder: Recorder | Any = recorder
        self._metrics = metrics
        self._clock = clock
        routes = Routes(by_header=config.application.http == "header")
        self._known, self._find = routes.known, routes.find
        self._told = False  # that somebody asks for what is not there
        self.pages: Callable[[RequestHead], Answer] | None = None  # answers /livez and /readyz
        self._by_header = config.application.http == "header"
        self._application_header = config.application.header.encode()
        reader = RequestReader(decider.settings, _lines, header_name=str.encode)
        self._read = reader.read
        names = {HOST, FORWARDED_HOST, *reader.headers}
        if self._by_header:
            names.add(self._application_header)
        if recorder.details_wanted:
            names |= HTTP_HEADERS
        if config.traces.url is not None:
            names.add(TRACEPARENT.encode())
        self.wanted = frozenset(names)

    def handle(self, head: HeadParts) -> Answer:
        """Return the answer to one request."""
        _, target, headers, peer, _ = head
        route = self._known.get(target)
        if route is None:
            route = self._find(target)
            if route is None:
                return self._other(RequestHead._make(head))
        now = self._clock()
        form, application, host_header = route
        host = ""
        try:
            if not application:
                application, host = self._named(headers, host_header)
            decided = self._decider.decide(self._read(headers, peer, application, host), now)
            answered = answer(decided, form)
        except Exception:  # noqa: BLE001  # whatever it is, the proxy waits for an answer
            _LOG.exception("a check failed")
            decided = self._decider.failed(), None, None
            answered = answer(decided, form)
        self._recorder.record(decided, peer, now, head)
        return answered

    def _other(self, head: RequestHead) -> Answer:
        """Answer a target that asks for no decision: a health check, or a mistake in the proxy's configuration."""
        if head.target in _PAGES and self.pages is not None:
            return self.pages(head)
        self._metrics.count_http_fault(404)
        if not self._told:
            self._told = True
            target = shorten(head.target.decode("latin-1"))
            _LOG.warning("404 for '%s': %s; for Envoy's http_service, set path_prefix", target, _EXPECTED)
        return plain_answer(404)

    def refuse(self, peer: str | None, target: bytes) -> Answer:
        """Return the answer to a request whose header block cannot be read: a denial, in the form of its target."""
        route = self._find(target)
        decided = self._decider.malformed(), None, None
        self._recorder.record(decided, peer, self._clock())
        return answer(decided, AUTH if route is None else route.form)

    def _named(self, headers: dict[bytes, list[bytes]], host_header: bytes) -> tuple[str, str]:
        """Return the application and the host of a request whose path names no application."""
        if self._by_header:
            names = headers.get(self._application_header, ())
            application = ",".join(name.decode("latin-1") for name in names)  # twice: no name that anybody has
            if application:
                return application, ""
        hosts = headers.get(host_header) or headers.get(HOST) or _NO_HOST
        return "", (hosts[0] if len(hosts) == 1 else b",".join(hosts)).decode("latin-1")  # two are no host


def _lines(headers: dict[bytes, list[bytes]], name: bytes) -> list[str]:
    """Return the values of a header."""
    lines = headers.get(name, ())
    return [lines[0].decode("latin-1")] if len(lines) == 1 else [line.decode("latin-1") for line in lines]
