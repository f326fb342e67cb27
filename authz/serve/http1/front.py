"""The HTTP front: auth_request-style callers (nginx), forward-auth callers (Traefik, Caddy) and Envoy's http_service.

    /v1/auth, /v1/auth/<application>   200 or 403, never a body: nginx closes the connection on one
    /v1/forward/<application>          200, or the status and body that a denied client is shown
    /envoy/<application>/...           the same; the rest of the path is the client's, and not read

Roots are apart so that a client's path can never be read as an application: Envoy puts its `path_prefix` before the
client's path, and `/v1/auth` + `/shop` would be `/v1/auth/shop`. 503 is "cannot decide"; to no caller it means allow.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.engine.attack_signal import header_signals
from authz.engine.decider import Request
from authz.serve.http1.connection import Answer, plain_answer, status_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Address
    from authz.engine.decider import Decider, Outcome
    from authz.serve.config import Config
    from authz.serve.http1.connection import Head
    from authz.serve.observe.metrics import Metrics
    from authz.serve.observe.recorder import Recorder

_LOG = logging.getLogger("authz.http")
_AUTH: Final = b"/v1/auth"
_FORWARD: Final = b"/v1/forward"
_CLIENT_PATHS: Final = b"/envoy/"  # what follows the application is the client's, and never the same
_HOST: Final = b"host"
_FORWARDED_HOST: Final = b"x-forwarded-host"


class _Route(NamedTuple):
    """shown: whether the answer has the status and body for the client. application: as in the path; "" for none."""

    shown: bool
    application: str
    host_header: bytes = _HOST


_MAX_ROUTES: Final = 1024  # targets that are remembered, and their most bytes
_MAX_TARGET: Final = 256
_NO_HOST: Final = (b"",)


class HttpFront:
    """Answers HTTP callers. Its `handle` is the handler of `Connections`. clock: seconds since 1970."""

    def __init__(
        self,
        config: Config,
        decider: Decider,
        recorder: Recorder,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decider = decider
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._routes: dict[bytes, _Route] = {}
        self._header = config.client_address.header.encode()
        self._by_header = config.application.http == "header"
        self._application_header = config.application.header.encode()
        self._signal_header = (config.attack_signal.header or "").encode()
        names = {self._header, self._signal_header, _HOST, _FORWARDED_HOST}
        if self._by_header:
            names.add(self._application_header)
        self.wanted = frozenset(names - {b""})

    def handle(self, head: Head) -> Answer:
        """Return the answer to one request."""
        route = self._routes.get(head[1])
        if route is None:
            route = self._route(head.target)
            if route is None:
                self._metrics.count_http_fault(404)
                return plain_answer(404)
            if len(head.target) <= _MAX_TARGET and not head.target.startswith(_CLIENT_PATHS):
                self._remember(head.target, route)
        now = self._clock()
        client = None
        try:
            outcome, client = self._decider.check(self._request(head, route), now)
            answered = answer(outcome, client, shown=route.shown)
        except Exception:  # noqa: BLE001  # whatever it is, the proxy waits for an answer
            _LOG.exception("a check failed")
            outcome, client = self._decider.failed(), None
            answered = answer(outcome, None, shown=route.shown)
        self._recorder.record(outcome, client, head.peer, now)
        return answered

    def _remember(self, target: bytes, route: _Route) -> None:
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        self._routes[target] = route

    def _route(self, target: bytes) -> _Route | None:
        path = target.partition(b"?")[0]
        root, slash, rest = path[1:].partition(b"/")
        if root == b"envoy" and slash:
            name, slash, _ = rest.partition(b"/")
            if self._by_header:
                name = b""
            elif not name:
                return None
            return _Route(shown=True, application=name.decode("latin-1")) if slash else None
        for base, shown, host in ((_AUTH, False, _HOST), (_FORWARD, True, _FORWARDED_HOST)):
            if path == base:
                return _Route(shown, "", host)
            if path.startswith(base + b"/"):
                name = path[len(base) + 1 :]
                # Where the application comes from a header, a path that names one too is a conflict.
                bad = self._by_header or not name or b"/" in name
                return None if bad else _Route(shown, name.decode("latin-1"), host)
        return None

    def _request(self, head: Head, route: _Route) -> Request:
        _, _, headers, peer = head
        application = route.application
        if self._by_header:
            names = headers.get(self._application_header, ())
            application = ",".join(name.decode("latin-1") for name in names)  # twice: no name that anybody has
        host = ""
        if not application:
            host = (headers.get(route.host_header) or headers.get(_HOST) or _NO_HOST)[-1].decode("latin-1")
        lines = headers.get(self._header, ())
        forwarded = [lines[0].decode("latin-1")] if len(lines) == 1 else [line.decode("latin-1") for line in lines]
        attack = False
        if self._signal_header:
            attack = any(header_signals(line.decode("latin-1")) for line in headers.get(self._signal_header, ()))
        return tuple.__new__(Request, (peer, forwarded, application, host, attack))


def answer(outcome: Outcome, client: Address | None, *, shown: bool) -> Answer:
    """Return the answer to a caller. shown: with the status and body that the client is to see."""
    known = client is not None
    templates = outcome.answers.http
    built = templates.get((shown, known))
    if built is None:
        built = templates[shown, known] = _build(outcome, known=known, shown=shown)
    if client is None:
        return built
    head, body = built
    return tuple.__new__(Answer, (head + client.text.encode("ascii") + b"\r\n", body))


def _build(outcome: Outcome, *, known: bool, shown: bool) -> Answer:
    """Return the answer up to the client's address, which comes last."""
    deny = outcome.status != 200
    status = outcome.status if shown or outcome.cannot_decide or not deny else 403
    body = outcome.deny.body.encode() if deny and shown else b""
    lines = {
        "Content-Length": len(body),
        "X-Authz-Decision": outcome.decision,
        "X-Authz-Reason": outcome.reason,
        "X-Authz-List": outcome.list,
        "X-Authz-Status": outcome.status,
    }
    if body:
        lines["Content-Type"] = outcome.deny.content_type
    head = status_line(status) + "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("ascii")
    return Answer(head + b"X-Authz-Client-Address: " if known else head, body)
