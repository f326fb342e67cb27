"""Spans of checks for OpenTelemetry: one for each check of a sampled trace, sent by OTLP over HTTP in JSON.

Which trace that is says the request's `traceparent` (W3C Trace Context, level 1), which the proxy must pass on: Envoy's
printed configuration does where `traces.url` is set. A client can write that header, too, so only `traces.share` of
what is sampled is looked at, and what finds no room in the queue is dropped and counted.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from authz import __version__
from authz.serve.observe.details import MAX_HOST, MAX_SHORT, printable
from authz.serve.observe.metrics import Family
from authz.serve.observe.recorder import Decision
from authz.serve.observe.senders.batches import BatchSender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.engine.decision.outcome import Outcome
    from authz.serve.config.config import TracesConfig
    from authz.serve.observe.recorder import Taken

_FORM: Final = re.compile(rb"00-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_SAMPLED: Final = 1
_SERVER: Final = 2  # SPAN_KIND_SERVER
_NONE: Final = frozenset({b"0" * 32, b"0" * 16})


class Span(NamedTuple):
    """A check of a sampled trace.

    Attributes:
        ended: Seconds since 1970.
    """

    trace: bytes
    parent: bytes
    decision: Decision
    ended: float


class TraceSender(BatchSender):
    """Sends spans. `open`, `start`, then `write` from any thread, then `stop`."""

    WHAT = "traces"
    TYPE = "application/json"

    def __init__(self, config: TracesConfig) -> None:
        super().__init__(config)
        self._share = config.share

    def share(self, outcome: Outcome) -> float:
        """Return the share of checks whose `traceparent` is looked at."""
        return self._share if self.on else 0.0

    def write(self, taken: Taken) -> None:
        """Queue the span of a check, where its trace is sampled."""
        decision = Decision._make(taken)
        match = _FORM.fullmatch(decision.traceparent)
        if match is None or not int(match["flags"], 16) & _SAMPLED or {match["trace"], match["parent"]} & _NONE:
            return
        self.put(Span(match["trace"], match["parent"], decision, time.time()))

    def families(self) -> list[Family]:
        """Return the metrics."""
        return [
            Family.of("authz_spans_sent_total", "counter", "Spans sent", {(): self.sent}),
            Family.of("authz_spans_dropped_total", "counter", "Spans that were lost", {(): self.dropped}),
        ]

    def body(self, batch: Sequence[Any]) -> bytes:
        """Return spans as OTLP has them in JSON."""
        scope = {"scope": {"name": "authz", "version": __version__}, "spans": [span_of(span) for span in batch]}
        resource = {"attributes": _attributes({"service.name": "authz", "service.version": __version__})}
        return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def span_of(span: Span) -> dict[str, Any]:
    """Return one span. Its id is random: nobody refers to it."""
    outcome, client = span.decision.outcome, span.decision.client
    return {
        "traceId": span.trace.decode(),
        "spanId": secrets.token_hex(8),
        "parentSpanId": span.parent.decode(),
        "name": "authz check",
        "kind": _SERVER,
        "startTimeUnixNano": str(int(span.decision.now * 1e9)),
        "endTimeUnixNano": str(int(max(span.ended, span.decision.now) * 1e9)),
        "attributes": _attributes({
            "authz.decision": outcome.decision,
            "authz.reason": outcome.reason,
            "authz.list": outcome.list,
            "authz.entry": outcome.entry,
            "authz.application": outcome.application,
            "authz.enforced": str(outcome.enforced).lower(),
            "authz.front": span.decision.front,
            "client.address": client.text if client else None,
            "http.request.method": printable(span.decision.method, MAX_SHORT),
            "server.address": printable(span.decision.host, MAX_HOST),
        }),
    }  # fmt: skip


def _attributes(values: dict[str, str | None]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items() if value]
