"""Metrics: plain counters that cost nanoseconds, turned into Prometheus text only when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from authz import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.serve.decision import Outcome


class DecisionLabels(NamedTuple):
    """The labels of a decision. All come from the policy or from us, so their number is bounded."""

    front: str
    application: str
    decision: str
    reason: str
    list: str
    enforced: str


class Metrics:
    """All counters of the sidecar. `gauges` is asked at every scrape."""

    def __init__(self) -> None:
        self._decisions: dict[DecisionLabels, list[int]] = {}
        self.loads: dict[str, int] = {}  # attempts to load a snapshot, by `ok` or the code of the refusal
        self.http_faults: dict[str, int] = {}  # HTTP requests that got no decision, by status
        self.http_connections = 0
        self.gauges: Callable[[], dict[str, tuple[str, float]]] = dict

    def decision_count(self, front: str, outcome: Outcome) -> list[int]:
        """Return the one-element list that counts the decisions with the labels of this outcome."""
        labels = DecisionLabels(
            front, outcome.application, outcome.decision, outcome.reason, outcome.list, str(outcome.enforced).lower()
        )
        return self._decisions.setdefault(labels, [0])

    def count_load(self, result: str) -> None:
        """Count an attempt to load a snapshot: `ok`, or the code of the refusal."""
        self.loads[result] = self.loads.get(result, 0) + 1

    def count_http_fault(self, status: int) -> None:
        """Count an HTTP request that got an error instead of a decision."""
        self.http_faults[str(status)] = self.http_faults.get(str(status), 0) + 1

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(self))
        return generate_latest(registry)

    def families(self) -> Iterator[Metric]:
        """Yield the metrics as Prometheus families."""
        info = GaugeMetricFamily("authz_info", "The version that runs; always 1", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        decisions = CounterMetricFamily("authz_decisions", "Requests answered", labels=DecisionLabels._fields)
        for labels, count in sorted(self._decisions.items()):
            decisions.add_metric(labels, count[0])
        yield decisions
        yield _counter("authz_snapshot_loads", "Attempts to load a snapshot", "result", self.loads)
        yield _counter("authz_http_faults", "HTTP requests answered by an error", "status", self.http_faults)
        yield GaugeMetricFamily("authz_http_connections", "Open HTTP connections", self.http_connections)
        for name, (help_text, value) in self.gauges().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, help_text, value)


class _Families(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families()


def _counter(name: str, text: str, label: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
