"""Metrics of several processes as one: counters are summed, of those that have died as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.serve.observe.hits import Hits, busiest
from authz.serve.observe.metrics import COUNTERS, Family, Metrics, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.observe.metrics import Effect

# What is not summed. A layer and a configuration are the same everywhere: what the keeper counts of them counts.
_LEAST: Final = frozenset({
    "authz_ready", "authz_tls_certificate_expires_seconds", "authz_tls_crl_expires_seconds", "authz_info",
    "process_start_time_seconds", "process_max_fds",
})  # fmt: skip
_OF_THE_KEEPER: Final = ("authz_snapshot_", "authz_stale_total", "authz_config_reloads_total")
_HITS: Final = "authz_entry_hits_total"
_RESTARTS: Final = "authz_worker_restarts_total"

Plain = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


def as_plain(families: Iterator[Family]) -> Plain:
    """Return families as JSON takes them."""
    return [
        (
            family.name,
            family.type,
            family.help,
            [(sample.name, sample.labels, sample.value) for sample in family.samples],
        )
        for family in families
    ]


class SummedMetrics(Metrics):
    """The metrics of this process and of all workers that have reported.

    dead: counters of workers that have ended, as JSON takes them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[int, Plain] = {}  # by worker
        self.dead: Plain = []

    def take(self, worker: int, report: Plain) -> None:
        """Take what a worker counts now."""
        self._reports[worker] = report

    def bury(self, worker: int) -> None:
        """Keep the counters of a worker that has ended: counters never fall."""
        counters = [family for family in self._reports.pop(worker, []) if family[1] != "gauge"]
        restart: Plain = [(_RESTARTS, "counter", COUNTERS[_RESTARTS], [(_RESTARTS, {"worker": str(worker)}, 1.0)])]
        self.dead = as_plain(iter(_summed([self.dead, counters, restart])))

    def families(self) -> Iterator[Family]:
        """Yield the metrics of all."""
        yield from _summed([as_plain(super().families()), self.dead, *self._reports.values()])

    def entry_hits(self, effect: Effect, number: int) -> dict[tuple[str, str], int]:
        """Return the entries that decided or warned of most requests in all processes, as `Metrics.entry_hits` does."""
        by_layer: dict[str, Hits] = {}
        for family in self.families():
            for sample in family.samples if family.name == _HITS else ():
                labels = sample.labels
                if labels["effect"] == effect:
                    by_layer.setdefault(labels["layer"], Hits()).counts[labels["entry"]] += int(sample.value)
        return busiest(by_layer.items(), number)


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
