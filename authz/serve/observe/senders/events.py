"""Events: what was decided, sent to a control plane in packed batches of JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from authz.serve.observe.details import MAX_HOST, MAX_PATH, MAX_SHORT, printable
from authz.serve.observe.recorder import Decision
from authz.serve.observe.senders.batches import BatchSender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.engine.decision.outcome import Outcome
    from authz.serve.config.config import EventsConfig
    from authz.serve.observe.recorder import Taken


class EventSender(BatchSender):
    """Sends events. `open`, `start`, then `write` from any thread, then `stop`."""

    WHAT = "events"
    TYPE = "application/x-ndjson"

    def __init__(self, config: EventsConfig) -> None:
        super().__init__(config)
        self._shares = config

    def share(self, outcome: Outcome) -> float:
        """Return the share of decisions of this kind that is sent."""
        if not self.on:
            return 0.0
        if outcome.decision == "deny":
            return self._shares.denied
        return max(self._shares.allowed, self._shares.warned if outcome.warned else 0.0)

    def write(self, taken: Taken) -> None:
        """Queue one event. A decision without a client says nothing of anybody, and is not sent.

        What was rendered of it, up to 3 KiB, is not kept: 20,000 events may wait for hours.
        """
        decision = Decision._make((*taken[:5], None, *taken[6:]))
        if decision.client is not None:
            self.put(decision)

    def body(self, batch: Sequence[Any]) -> bytes:
        """Return events as JSON lines."""
        return b"".join(orjson.dumps(event_of(event)) + b"\n" for event in batch)


def event_of(decision: Decision) -> dict[str, Any]:
    """Return a decision as `POST /v1/events` takes it."""
    outcome, client = decision.outcome, decision.client
    event: dict[str, Any] = {
        "time": decision.now,
        "client": client.text if client else None,
        "application": outcome.application,
        "decision": outcome.decision,
        "reason": outcome.reason,
        "entry": outcome.entry,
        "warnings": outcome.warnings,
        "request_id": printable(decision.request_id, MAX_SHORT),
        "host": printable(decision.host, MAX_HOST),
        "method": printable(decision.method, MAX_SHORT),
        "path": printable(decision.path, MAX_PATH),
    }
    return {name: value for name, value in event.items() if value}
