"""The admin listener: /livez, /readyz, /metrics, /snapshot, /decisions, /explain. For the operator, never for clients.

A web page that an operator looks at can make the browser ask this listener under a name of the page's own (DNS
rebinding), and read the answer. So what is behind a name other than `localhost` and `admin.hosts` is not shown.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import orjson

from authz.addresses import parse_address, try_parse_address
from authz.engine.decision.explain import explain
from authz.engine.request.request import WrittenReader, parse_metadata
from authz.errors import AuthzError, InputError, shorten
from authz.serve.admin.token import AUTHORIZATION, refusal
from authz.serve.http1.messages import Answer, RequestHead, answer_in_steps, plain_answer
from authz.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.engine.decision.decider import Decider
    from authz.serve.admin.status import Status
    from authz.serve.config.config import Config
    from authz.serve.http1.messages import HeadParts
    from authz.serve.observe.metrics import Metrics
    from authz.serve.observe.watch import Watch

_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_HOST: Final = b"host"
_HOST_PARTS: Final = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]*)?")
_PROBES: Final = frozenset({b"/livez", b"/readyz"})  # asked under any name: load balancers choose their own
_MAX_ENTRIES: Final = 200  # entries in an answer of /explain: two milliseconds, in which nobody is decided for
_ASKED: Final = frozenset({"address", "peer", "application", "at", "header", "metadata"})


class Admin:
    """Answers the admin listener. Its `handle` is the handler of `HttpConnections`."""

    def __init__(
        self,
        config: Config,
        status: Status,
        decider: Decider,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        watch: Watch | None = None,
        token: str = "",
    ) -> None:
        self._config = config
        self._status = status
        self._decider = decider
        self._metrics = metrics
        self._clock = clock
        self._token = token
        self.wanted = frozenset({_HOST, AUTHORIZATION})
        self._hosts = frozenset({"localhost", *config.admin.hosts})
        self._pages: dict[bytes, Callable[[], Answer]] = {
            b"/livez": lambda: plain_answer(200, b"ok\n"),
            b"/readyz": self._readyz,
            b"/metrics": lambda: answer_in_steps(metrics.text_in_steps(), _METRICS_TYPE),
            b"/snapshot": lambda: _json(200, status.snapshot()),
        }
        if watch is not None:
            self._pages[b"/decisions"] = lambda: _json(200, {"decisions": watch.look()})

    def handle(self, parts: HeadParts) -> Answer:
        """Return the page that is asked for."""
        head = RequestHead._make(parts)
        path, _, query = head.target.partition(b"?")
        if path not in _PROBES and not self._is_for_us(head):
            message = "421: this listener has another name: ask by its address, or name the host in admin.hosts\n"
            return plain_answer(421, message.encode())
        refused = None if path in _PROBES else refusal(head, self._token)
        if refused is not None:
            return refused
        page = (lambda: self._explain(query)) if path == b"/explain" else self._pages.get(path)
        if page is None:
            pages = b"/livez, /readyz, /metrics, /snapshot, /decisions or /explain?address=ADDRESS"
            return plain_answer(404, b"try " + pages + b"\n")
        return page() if head.method in {b"GET", b"HEAD"} else plain_answer(405, b"expected GET\n")

    def probe(self, head: RequestHead) -> Answer:
        """Return /livez or /readyz, for a listener whose other targets are not ours."""
        return self._pages[head.target]() if head.target in _PROBES else plain_answer(404)

    def _is_for_us(self, head: RequestHead) -> bool:
        """Return whether the request names an address or a host of ours. A socket of this machine needs no name."""
        hosts = head.headers.get(_HOST, [])
        if head.peer is None or not hosts:
            return True
        match = _HOST_PARTS.fullmatch(hosts[0].decode("latin-1").lower())
        if match is None or len(hosts) > 1:
            return False
        name = match["address"] or match["name"]
        return name in self._hosts or try_parse_address(name) is not None

    def _explain(self, query: bytes) -> Answer:
        """Explain a request: ?address=A, and as may be peer=P, application=N, at=TIME, header=Name: value.

        metadata=NAMESPACE:KEY=VALUE is of Envoy's metadata.
        """
        try:
            asked = parse_qs(query.decode("ascii"), strict_parsing=True, max_num_fields=64)
            for name in asked.keys() - _ASKED:
                raise InputError(f"found the parameter '{shorten(name)}', expected {', '.join(sorted(_ASKED))}")
            for name in asked.keys() - {"header", "metadata"}:
                if len(asked[name]) > 1:
                    raise InputError(f"found '{name}' {len(asked[name])} times, expected once")
            fields = {name: values[-1] for name, values in asked.items()}
            headers = [
                (name.strip(), value.strip()) for name, _, value in (h.partition(":") for h in asked.get("header", ()))
            ]
            given = parse_address(fields["address"])
            metadata = parse_metadata(asked.get("metadata", ()))
            now = parse_moment(fields["at"]) if "at" in fields else self._clock()
        except AuthzError as error:
            return _json(400, {"error": error.message})
        except (ValueError, KeyError):
            return _json(400, {"error": "expected address=ADDRESS, and times such as 2026-12-01T00:00:00Z"})
        reader = WrittenReader(self._decider.settings)
        request = reader.read_from_client(given, fields.get("peer"), headers, fields.get("application"), metadata)
        return _json(200, explain(self._decider, request, now, _MAX_ENTRIES))

    def _readyz(self) -> Answer:
        ready = self._status.ready
        return _json(200 if ready else 503, {"ready": ready, "reasons": self._status.reasons()})


def _json(status: int, content: object) -> Answer:
    return plain_answer(status, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE), b"application/json")
