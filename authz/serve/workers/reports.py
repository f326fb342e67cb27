"""Metrics of several processes as one: counters are summed, of those that have died as well.

Applications and entries may be thousands, so decisions and hits are passed on as plain counts: as samples with labels
they would take a worker several milliseconds each second. A worker sums them up in steps; the keeper decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from authz.serve.observe.hits import busiest, together
from authz.serve.observe.metrics import COUNTERS, EFFECTS, Family, Metrics, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.observe.hits import Counts
    from authz.serve.observe.metrics import Effect
    from authz.serve.steps import Steps

# What is not summed. A layer and a configuration are the same everywhere: what the keeper counts of them counts.
_LEAST: Final = frozenset({
    "authz_ready", "authz_tls_certificate_expires_seconds", "authz_tls_crl_expires_seconds", "authz_info",
    "process_start_time_seconds", "process_max_fds",
})  # fmt: skip
_OF_THE_KEEPER: Final = ("authz_snapshot_", "authz_stale_total", "authz_config_reloads_total")
_RESTARTS: Final = "authz_worker_restarts_total"

Plain = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


class Counted(TypedDict):
    """What a process counts, as JSON takes it.

    Attributes:
        families: All but decisions and hits.
        decisions: By their labels as text.
        hits: Of entries, by effect.
    """

    families: Plain
    decisions: dict[str, int]
    hits: dict[Effect, Counts]


NOTHING: Final = Counted(families=[], decisions={}, hits={})


def _as_plain(families: Iterator[Family]) -> Plain:
    return [
        (
            family.name,
            family.type,
            family.help,
            [(sample.name, sample.labels, sample.value) for sample in family.samples],
        )
        for family in families
    ]


class WorkerMetrics(Metrics):
    """The metrics of a worker."""

    def counted(self) -> Steps[Counted]:
        """Return all of them."""
        hits = {}
        for effect in EFFECTS:
            hits[effect] = self.hits(effect)
            yield
        decisions = yield from self.decisions()
        return Counted(families=_as_plain(self.families()), decisions=decisions, hits=hits)


class SummedMetrics(Metrics):
    """The metrics of this process and of all workers that have reported.

    Attributes:
        dead: Counters of workers that have ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[int, Counted] = {}  # by worker
        self.dead = NOTHING

    def take(self, worker: int, report: Counted) -> None:
        """Take what a worker counts now."""
        self._reports[worker] = report

    def bury(self, worker: int) -> None:
        """Keep the counters of a worker that has ended: they never fall, but for hits of entries beyond the busiest."""
        report = self._reports.pop(worker, NOTHING)
        counters = [family for family in report["families"] if family[1] != "gauge"]
        restart: Plain = [(_RESTARTS, "counter", COUNTERS[_RESTARTS], [(_RESTARTS, {"worker": str(worker)}, 1.0)])]
        self.dead = Counted(
            families=_as_plain(iter(_summed([self.dead["families"], counters, restart]))),
            decisions=_sum(self.dead["decisions"], report["decisions"]),
            hits={
                effect: _bounded(together([self.dead["hits"].get(effect, {}), report["hits"].get(effect, {})]))
                for effect in EFFECTS
            },
        )

    def decisions(self) -> Steps[dict[str, int]]:
        """Return how many requests were answered by all, by the labels as text."""
        own = yield from super().decisions()
        return _sum(own, *(report["decisions"] for report in self._others()))

    def hits(self, effect: Effect) -> Counts:
        """Return the hits of entries of all."""
        return together([super().hits(effect), *(report["hits"].get(effect, {}) for report in self._others())])

    def families(self) -> Iterator[Family]:
        """Yield the metrics of all but those of decisions and of hits."""
        yield from _summed([_as_plain(super().families()), *(report["families"] for report in self._others())])

    def _others(self) -> list[Counted]:
        return [self.dead, *self._reports.values()]


def _sum(*several: dict[str, int]) -> dict[str, int]:
    result: dict[str, int] = {}
    for counts in several:
        for name, count in counts.items():
            result[name] = result.get(name, 0) + count
    return result


def _bounded(counts: Counts) -> Counts:
    result: Counts = {}
    for (layer, name), count in busiest(counts).items():
        result.setdefault(layer, {})[name] = count
    return result


def _summed(reports: list[Plain]) -> list[Family]:
    texts: dict[str, tuple[Any, str]] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for number, report in enumerate(reports):
        for name, kind, text, samples in report:
            if number and name.startswith(_OF_THE_KEEPER):
                continue
            texts.setdefault(name, (kind, text))
            known = values.setdefault(name, {})
            for sample, labels, value in samples:
                key = sample, tuple(labels.items())
                least = name in _LEAST and key in known
                known[key] = min(known[key], value) if least else known.get(key, 0.0) + value
    return [
        Family(
            name, kind, text, [Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()]
        )
        for name, (kind, text) in texts.items()
    ]
