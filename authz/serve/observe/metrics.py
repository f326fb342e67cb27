"""Metrics: plain counters that cost nanoseconds, turned into Prometheus text only when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from authz import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.engine.decision import Outcome


_Values = dict[tuple[tuple[str, str], ...], float]  # by labels


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
        """Return all metrics in the text format of Prometheus, version 0.0.4."""
        return "".join(str(family) for family in self.families()).encode()

    def families(self) -> Iterator[Family]:
        """Yield the metrics."""
        yield Family.of("authz_info", "gauge", "The version that runs; always 1", {(("version", __version__),): 1})
        decisions: _Values = {
            tuple(labels._asdict().items()): count[0] for labels, count in sorted(self._decisions.items())
        }
        yield Family.of("authz_decisions_total", "counter", "Requests answered", decisions)
        loads: _Values = {(("result", result),): count for result, count in sorted(self.loads.items())}
        yield Family.of("authz_snapshot_loads_total", "counter", "Attempts to load a snapshot", loads)
        faults: _Values = {(("status", status),): count for status, count in sorted(self.http_faults.items())}
        yield Family.of("authz_http_faults_total", "counter", "HTTP requests answered by an error", faults)
        yield Family.of("authz_http_connections", "gauge", "Open HTTP connections", {(): self.http_connections})
        for name, (text, value) in self.gauges().items():
            yield Family.of(name, "counter" if name.endswith("_total") else "gauge", text, {(): value})


class Sample(NamedTuple):
    """One value of a metric."""

    name: str
    labels: dict[str, str]
    value: float

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in self.labels.items())
        return f"{self.name}{f'{{{labels}}}' if labels else ''} {float(self.value)!r}"


class Family(NamedTuple):
    """A metric with its samples. As text it is in the exposition format of Prometheus, version 0.0.4."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    samples: list[Sample]

    @classmethod
    def of(
        cls,
        name: str,
        kind: Literal["counter", "gauge"],
        text: str,
        values: _Values,
    ) -> Family:
        """Make a family of the values by their labels."""
        return cls(name, kind, text, [Sample(name, dict(labels), value) for labels, value in values.items()])

    def __str__(self) -> str:
        lines = (f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.type}", *map(str, self.samples))
        return "".join(f"{line}\n" for line in lines)


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
