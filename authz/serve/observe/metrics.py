"""Metrics: plain counters that cost nanoseconds, turned into Prometheus text only when somebody asks.

A policy may have a thousand applications, and a page of metrics ten thousand lines. It is made in steps, so that no
decision waits until it is complete.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

from authz import __version__
from authz.engine.model import TOKEN
from authz.serve.observe.hits import STEP, EntryHits, busiest
from authz.serve.steps import finished

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from authz.engine.decision.outcome import Outcome
    from authz.serve.observe.hits import Counts, Hits
    from authz.serve.steps import Steps

T = TypeVar("T")
Effect = Literal["decided", "warned"]
Values = dict[tuple[tuple[str, str], ...], float]  # by labels


class DecisionLabels(NamedTuple):
    """The labels of a decision. All come from the policy or from us, so their number is bounded."""

    front: str
    application: str
    decision: str
    reason: str
    list: str
    enforced: str

    def __str__(self) -> str:
        return "{" + ",".join([f'{name}="{_escaped(value)}"' for name, value in self._asdict().items()]) + "}"


# Counters by name, and what they count. Label values of each come from the policy or from us, or are bounded.
COUNTERS: Final = {
    "authz_snapshot_loads_total": "Attempts to load a layer's snapshot",
    "authz_http_faults_total": "HTTP requests answered by an error",
    "authz_warned_total": "Requests let through although an entry warns or a dry run would deny",
    "authz_unknown_applications_total": "Requests for applications that the policy does not name",
    "authz_forwarding_ignored_total": "Requests that named a client, from a peer that is not a trusted proxy",
    "authz_stale_total": "Times that a layer's snapshot became stale",
    "authz_tls_handshakes_total": "TLS handshakes of clients, by how they ended",
    "authz_tls_reloads_total": "Times that certificates were read again",
    "authz_worker_restarts_total": "Workers that ended and were replaced",
    "authz_config_reloads_total": "Times that the configuration was read again",
}
EFFECTS: Final[tuple[Effect, ...]] = ("decided", "warned")  # of an entry on a request
MAX_UNKNOWN: Final = 100  # names of unknown applications that are counted by name


class GrpcState(NamedTuple):
    """What the engine native says of its connections and calls.

    Attributes:
        open: Connections.
        idle: Those of them without a call.
        without_place: Connections closed, for there was no place for them.
        gave_way: Connections closed, for a new one took their place.
        refused: Calls that had waited for their turn for too long.
        late: Calls whose grpc-timeout had passed.
    """

    open: int = 0
    idle: int = 0
    without_place: int = 0
    gave_way: int = 0
    refused: int = 0
    late: int = 0


class Metrics:
    """All counters of the sidecar. `gauges` is asked at every scrape."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[DecisionLabels, str], Hits] = {}  # and by the layer; of the entries that decided
        self._by_labels: dict[str, list[Hits]] = {}  # the same, by the labels as text
        self._warnings: dict[str, Hits] = {}  # by the layer; of the entries that warned
        self._of_entries: dict[Effect, EntryHits] = {"decided": EntryHits(), "warned": EntryHits()}
        self._counts: dict[str, dict[tuple[tuple[str, str], ...], int]] = {name: {} for name in COUNTERS}
        self.http_connections = 0
        self.http_idle: Callable[[], int] = lambda: 0  # how many of them are idle
        self.http_without_place: Callable[[], int] = lambda: 0  # how many were closed
        self.http_gave_way: Callable[[], int] = lambda: 0  # how many were closed for a new one
        self.grpc_state: Callable[[], GrpcState | None] = GrpcState  # None: the engine says not
        self.gauges: Callable[[], list[Family]] = list

    def decision_counts(self, front: str, outcome: Outcome) -> defaultdict[str | None, int]:
        """Return what counts the decisions with the labels of this outcome, by entry."""
        labels = DecisionLabels(
            front, outcome.application, outcome.decision, outcome.reason, outcome.list, str(outcome.enforced).lower()
        )
        key = labels, outcome.layer or ""
        if key not in self._decisions:
            hits = self._decisions[key] = self._of_entries["decided"].add(key[1])
            self._by_labels.setdefault(str(labels), []).append(hits)
        return self._decisions[key].counts

    def count_warning(self, layer: str, entry: str) -> None:
        """Count a request of which an entry warned."""
        if layer not in self._warnings:
            self._warnings[layer] = self._of_entries["warned"].add(layer)
        self._warnings[layer].counts[entry] += 1

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter of `COUNTERS`. Give the same labels in the same order each time."""
        counts, key = self._counts[name], tuple(labels.items())
        counts[key] = counts.get(key, 0) + 1

    def begin(self, name: str, **labels: str) -> None:
        """Show a counter of `COUNTERS` from now on, though nothing was counted: an alert must find something."""
        self._counts[name].setdefault(tuple(labels.items()), 0)

    def count_load(self, result: str, layer: str = "policy") -> None:
        """Count an attempt to load a snapshot: `ok`, or the code of the refusal."""
        self.count("authz_snapshot_loads_total", layer=layer, result=result)

    def count_http_fault(self, status: int) -> None:
        """Count an HTTP request that got an error instead of a decision."""
        self.count("authz_http_faults_total", status=str(status))

    def count_unknown(self, application: str) -> None:
        """Count a request for an application that the policy does not name, the first `MAX_UNKNOWN` by name.

        A name that no policy could have is counted as `(invalid)`, the names after those as `(other)`.
        """
        counts = self._counts["authz_unknown_applications_total"]
        name = application if TOKEN.fullmatch(application) else "(invalid)"
        if (("application", name),) not in counts and len(counts) >= MAX_UNKNOWN:
            name = "(other)"
        self.count("authz_unknown_applications_total", application=name)

    def loads(self, layer: str = "policy") -> dict[str, int]:
        """Return how often a layer was loaded or refused, by `ok` or the code of the refusal."""
        counts = self._counts["authz_snapshot_loads_total"].items()
        return {dict(labels)["result"]: count for labels, count in counts if dict(labels)["layer"] == layer and count}

    @property
    def http_faults(self) -> dict[str, int]:
        """HTTP requests that got an error instead of a decision, by status."""
        return {labels[0][1]: count for labels, count in self._counts["authz_http_faults_total"].items()}

    def entry_hits(self, effect: Effect, number: int) -> dict[tuple[str, str], int]:
        """Return the entries that decided or warned of most requests, and how many each.

        By layer and id; both are "" for all others together.
        """
        return busiest(self.hits(effect), number)

    def hits(self, effect: Effect) -> Counts:
        """Return the hits of entries."""
        return self._of_entries[effect].by_layer()

    def decisions(self) -> Steps[dict[str, int]]:
        """Return how many requests were answered, by the labels of `DecisionLabels` as text."""
        result: dict[str, int] = {}
        for some in _batches(tuple(self._by_labels.items())):
            for labels, several in some:
                result[labels] = sum([sum(hits.counts.values()) for hits in several])
            yield
        return result

    def fold(self) -> Steps[None]:
        """Sum up the hits of entries, if there are many, and forget who is seldom hit; in steps of some 0.1 ms."""
        for hits in self._of_entries.values():
            yield from hits.fold()

    def text(self) -> bytes:
        """Return what `text_in_steps` does, in one go."""
        return finished(self.text_in_steps())

    def text_in_steps(self) -> Steps[bytes]:
        """Return all metrics in the text format of Prometheus, version 0.0.4.

        Decisions may have a thousand applications, and hits have a thousand entries: they are written without samples.
        """
        hits = [_head("authz_entry_hits_total", "counter", "Requests by entry, the busiest; empty: all others")]
        for effect in EFFECTS:
            counts = self.hits(effect)
            yield
            several = busiest(counts)
            yield
            for batch in _batches(several.items()):
                hits.append("".join([_hits_line(layer, entry, effect, count) for (layer, entry), count in batch]))
                yield
        decided = yield from self.decisions()
        decisions = [_head("authz_decisions_total", "counter", "Requests answered")]
        for some in _batches(decided.items()):
            decisions.append("".join([f"authz_decisions_total{labels} {count}.0\n" for labels, count in some]))
            yield
        return "".join([*decisions, *hits, *map(str, self.families())]).encode()

    def families(self) -> Iterator[Family]:
        """Yield the metrics but those of decisions and of hits."""
        yield Family.of("authz_info", "gauge", "The version that runs; always 1", {(("version", __version__),): 1})
        for name, text in COUNTERS.items():
            yield Family.of(name, "counter", text, dict(sorted(self._counts[name].items())))
        yield Family.of("authz_http_connections", "gauge", "Open HTTP connections", {(): self.http_connections})
        yield Family.of(
            "authz_http_idle_connections", "gauge", "HTTP connections without a request", {(): self.http_idle()}
        )
        closed, way = "closed, for there was no place for them", "closed, for a new one took their place"
        without_place, gave_way = self.http_without_place(), self.http_gave_way()
        yield _counter("authz_http_connections_refused_total", f"HTTP connections {closed}", without_place)
        yield _counter("authz_http_connections_gave_way_total", f"HTTP connections {way}", gave_way)
        state = self.grpc_state()
        if state is not None:
            yield Family.of(
                "authz_grpc_connections", "gauge", "Open connections of the engine native", {(): state.open}
            )
            yield Family.of("authz_grpc_idle_connections", "gauge", "Those of them without a call", {(): state.idle})
            yield _counter("authz_grpc_connections_refused_total", f"gRPC connections {closed}", state.without_place)
            yield _counter("authz_grpc_connections_gave_way_total", f"gRPC connections {way}", state.gave_way)
            text = "Calls refused, for they had waited for five seconds"
            yield _counter("authz_grpc_refused_total", text, state.refused)
            text = "Calls refused, for their grpc-timeout had passed"
            yield _counter("authz_grpc_deadline_exceeded_total", text, state.late)
        yield from self.gauges()


class Sample(NamedTuple):
    """One value of a metric."""

    name: str
    labels: dict[str, str]
    value: float

    def __str__(self) -> str:
        labels = ",".join([f'{name}="{_escaped(value)}"' for name, value in self.labels.items()])
        return f"{self.name}{f'{{{labels}}}' if labels else ''} {float(self.value)!r}"


class Family(NamedTuple):
    """A metric with its samples. As text it is in the exposition format of Prometheus, version 0.0.4."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[Sample]

    @classmethod
    def of(
        cls,
        name: str,
        kind: Literal["counter", "gauge"],
        text: str,
        values: Mapping[tuple[tuple[str, str], ...], float],
    ) -> Family:
        """Make a family of the values by their labels."""
        return cls(name, kind, text, [Sample(name, dict(labels), value) for labels, value in values.items()])

    def __str__(self) -> str:
        return _head(self.name, self.type, self.help) + "".join(f"{sample}\n" for sample in self.samples)


def _counter(name: str, text: str, value: int) -> Family:
    """Return the family of a counter without labels."""
    return Family.of(name, "counter", text, {(): value})


def _batches(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Yield as many at a time as take some 0.2 ms."""
    left = iter(items)
    while some := tuple(islice(left, STEP)):
        yield some


def _hits_line(layer: str, entry: str, effect: Effect, count: int) -> str:
    labels = f'layer="{_escaped(layer)}",entry="{_escaped(entry)}",effect="{effect}"'
    return f"authz_entry_hits_total{{{labels}}} {count}.0\n"


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
