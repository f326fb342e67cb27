"""What an operator should know of the layers and of readiness: for /readyz, /snapshot and the gauges of /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.serve.observe.hits import busiest
from authz.serve.observe.metrics import Family
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.engine.decider import Decider
    from authz.engine.opened_snapshot import OpenedSnapshot
    from authz.serve.admin.health import Health
    from authz.serve.layers.layer import LastRefusal, Layer
    from authz.serve.observe.decision_log import DecisionLog
    from authz.serve.observe.metrics import Metrics

_SHOWN_HITS: Final = 100  # entries with their hits in /snapshot


class Status:
    """Answers from what is loaded at the moment.

    Args:
        health: Whether requests are decided.
        layer: What is loaded, and what was refused since.
        decider: Decides by it.
        metrics: Hits of entries.
        log: Lines written and dropped.
        clock: Seconds since 1970.
    """

    def __init__(
        self, health: Health, layer: Layer, decider: Decider, metrics: Metrics, log: DecisionLog,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._health = health
        self._layer = layer
        self._decider = decider
        self._metrics = metrics
        self._log = log
        self._clock = clock

    @property
    def ready(self) -> bool:
        """Whether a request that comes now is decided."""
        return self._health.ready

    def reasons(self) -> list[str]:
        """Return why we are not ready or, where we are, what the operator should know."""
        reasons = []
        if self._health.draining:
            reasons.append("draining: the process was told to end")
        elif not self._health.listening:
            reasons.append("starting: not all fronts listen yet")
        if self._decider.ruleset is None:
            reasons.append("no_snapshot: none was loaded yet")
        elif self._layer.stale(self._clock()):
            reasons.append("stale_snapshot: older than snapshot.max_age, or expired")
        if self._layer.from_the_future:
            reasons.append("created_in_the_future: this clock is wrong, or the publisher's was")
        if self._layer.refusal is not None:
            reasons.append(f"{self._layer.refusal.code}: {self._layer.refusal.message}")
        return reasons

    def snapshot(self) -> dict[str, Any]:
        """Return what is loaded, and what was refused since."""
        decided = self._metrics.entry_hits(_SHOWN_HITS)
        warned = busiest([self._metrics.warning_hits], _SHOWN_HITS)
        opened, refusal = self._layer.opened, self._layer.refusal
        return {
            "loaded": None if opened is None else self._loaded(opened),
            "refused": None if refusal is None else _refused(refusal),
            "hits": {"decided": decided, "warned": warned},
        }

    def _loaded(self, opened: OpenedSnapshot) -> dict[str, Any]:
        return {
            "serial": opened.serial,
            "created": format_moment(opened.created),
            "digest": opened.digest,
            "signed_by": opened.signed_by,
            "bytes": opened.size,
            "entries": len(opened.entries),
            "applications": [application.name for application in opened.applications],
            "pieces": {f"ipv{version}": count for version, count in opened.index.pieces.items()},
            "match_sets": opened.index.set_count,
            "stale": self._layer.stale(self._clock()),
        }

    def gauges(self) -> list[Family]:
        """Return what is looked at instead of counted."""
        families = [
            _gauge("authz_ready", "1 where a request that comes now is decided", self._health.ready),
            Family.of("authz_decision_log_dropped_total", "counter", "Lines that were lost", {(): self._log.dropped}),
            Family.of("authz_decision_log_written_total", "counter", "Lines written", {(): self._log.written}),
        ]
        opened = self._layer.opened
        if opened is not None:
            of = {(("layer", "policy"),): 1}
            values = {
                ("authz_snapshot_serial", "Serial of the snapshot in use"): opened.serial,
                ("authz_snapshot_created_seconds", "When it was made, since 1970"): opened.created,
                ("authz_snapshot_stale", "1 where it is older than it may be"): self._layer.stale(self._clock()),
                ("authz_snapshot_entries", "Entries in it"): len(opened.entries),
                ("authz_snapshot_bytes", "Size of the file"): opened.size,
            }
            families += [
                Family.of(name, "gauge", text, {labels: float(value) for labels in of})
                for (name, text), value in values.items()
            ]
        return families


def _gauge(name: str, text: str, value: float) -> Family:
    return Family.of(name, "gauge", text, {(): float(value)})


def _refused(refusal: LastRefusal) -> dict[str, str]:
    return {"code": refusal.code, "message": refusal.message, "at": format_moment(refusal.at)}
