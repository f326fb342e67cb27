"""What is kept of a decision: a count, and sometimes a line in the decision log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.engine.decision import Outcome
    from authz.serve.observe.decision_log import DecisionLog
    from authz.serve.observe.metrics import Metrics


class Recorder:
    """Counts and logs the decisions of one front. Each front has its own, so that no count is shared by threads."""

    def __init__(self, front: str, metrics: Metrics, log: DecisionLog) -> None:
        self._front = front
        self._metrics = metrics
        self._log = log
        self._logs = log.on

    def record(self, outcome: Outcome, client: Address | None, peer: str | None, now: float) -> None:
        """Count a decision, and log it where its turn has come. peer: as the proxy reported it."""
        try:
            count = outcome.memo[self]
        except KeyError:
            count = outcome.memo[self] = self._metrics.decision_count(self._front, outcome)
        count[0] += 1
        if self._logs and self._log.wants(outcome):
            self._log.write(outcome, client, peer, self._front, now)
