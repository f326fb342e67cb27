"""What an operator should know of the layers and of readiness: for /readyz, /snapshot and the gauges of /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.serve.layers.layer import entries_of
from authz.serve.observe.metrics import Family, Values
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from authz.engine.decision.decider import Decider
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.serve.admin.health import Health
    from authz.serve.layers.layer import LastRefusal, Layer
    from authz.serve.layers.layers import Layers
    from authz.serve.listeners.tls.certificates import Certificates
    from authz.serve.observe.decision_log import DecisionLog
    from authz.serve.observe.metrics import Effect, Metrics
    from authz.serve.observe.senders.events import EventSender

_SHOWN_HITS: Final = 100  # entries with their hits in /snapshot


class Status:
    """Answers from what is loaded at the moment.

    Args:
        health: Whether requests are decided.
        layers: What is loaded, and what was refused since.
        decider: Decides by it.
        metrics: Hits of entries.
        log: Lines written and dropped.
        events: Events sent, waiting and dropped.
        clock: Seconds since 1970.
    """

    def __init__(
        self, health: Health, layers: Layers, decider: Decider, metrics: Metrics, log: DecisionLog, events: EventSender,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.health = health
        self._layers = layers
        self._decider = decider
        self._metrics = metrics
        self._log = log
        self._events = events
        self._clock = clock
        self.more: Callable[[], list[str]] = list  # reasons of others
        self.certificates: Sequence[Certificates] = ()  # of the listeners with TLS

    @property
    def ready(self) -> bool:
        """Whether a request that comes now is decided."""
        return self.health.ready

    def reasons(self) -> list[str]:
        """Return why we are not ready or, where we are, what the operator should know."""
        reasons = []
        if self.health.draining:
            reasons.append("draining: the process was told to end")
        elif not self.health.listening:
            reasons.append("starting: not all fronts listen yet")
        if self._decider.ruleset is None:
            reasons.append("no_snapshot: none was loaded yet")
        for number, layer in enumerate(self._layers):
            of = f"{layer.config.name}: " if number else ""
            reasons += [f"{code}: {of}{text}" for code, text in self._reasons_of(layer, first=number == 0)]
        return reasons + self.expired_lists() + self.more()

    def expired_lists(self) -> list[str]:
        """Return which listeners have a revocation list that expired, as reasons."""
        text = "a list in client_crl expired: its clients cannot connect"
        return [f"crl_expired: {of.name}: {text}" for of in self.certificates if of.lists_expired]

    def _reasons_of(self, layer: Layer, *, first: bool) -> Iterator[tuple[str, str]]:
        if layer.opened is None and not first:
            yield "no_snapshot", "none was loaded yet"
        if layer.stale(self._clock()):
            yield "stale_snapshot", "older than max_age, or expired"
        if layer.last_good:
            since = "" if layer.refusal else "; the file has not been read yet"
            yield (
                "last_good",
                f"serial {layer.opened.serial if layer.opened else 0} serves, of the last good copy{since}",
            )
        if layer.distrusted:
            yield "untrusted_key", "what is loaded is signed by keys that are trusted no more"
        if layer.from_the_future:
            yield "created_in_the_future", "this clock is wrong, or the publisher's was"
        if layer.overruled.entries:
            yield "overruled", str(layer.overruled)
        if layer.refusal is not None:
            yield layer.refusal.code, layer.refusal.message

    def snapshot(self) -> dict[str, Any]:
        """Return what is loaded, and what was refused since, by layer; and the busiest entries."""
        return {
            "layers": {layer.config.name: self._layer(layer) for layer in self._layers},
            "hits": {"decided": self._hits("decided"), "warned": self._hits("warned")},
        }

    def _hits(self, effect: Effect) -> list[dict[str, Any]]:
        hits = self._metrics.entry_hits(effect, _SHOWN_HITS)
        return [{"layer": layer, "entry": entry, "hits": count} for (layer, entry), count in hits.items()]

    def _layer(self, layer: Layer) -> dict[str, Any]:
        opened, refusal = layer.opened, layer.refusal
        return {
            "source": layer.source.name,
            "loaded": None if opened is None else self._loaded(layer, opened),
            "last_good": layer.last_good,
            "overruled": [{"entry": denial.entry.id, "address": str(denial)} for denial in layer.overruled.entries],
            "refused": None if refusal is None else _refused(refusal),
        }

    def _loaded(self, layer: Layer, opened: OpenedSnapshot) -> dict[str, Any]:
        return {
            "serial": opened.serial,
            "created": format_moment(opened.created),
            "digest": opened.digest,
            "signed_by": opened.signed_by,
            "bytes": opened.size,
            "entries": entries_of(opened),
            "applications": [application.name for application in opened.applications],
            "pieces": {f"ipv{version}": count for version, count in opened.index.pieces.items()},
            "match_sets": opened.index.set_count,
            "stale": layer.stale(self._clock()),
        }

    def gauges(self) -> list[Family]:
        """Return what is looked at instead of counted."""
        families = [
            _gauge("authz_ready", "1 where a request that comes now is decided", self.health.ready),
            Family.of("authz_decision_log_dropped_total", "counter", "Lines that were lost", {(): self._log.dropped}),
            Family.of("authz_decision_log_written_total", "counter", "Lines written", {(): self._log.written}),
            Family.of("authz_events_dropped_total", "counter", "Events that were lost", {(): self._events.dropped}),
            Family.of("authz_events_sent_total", "counter", "Events sent", {(): self._events.sent}),
            Family.of("authz_events_waiting", "gauge", "Events that wait to be sent", {(): self._events.waiting}),
        ]
        for name, (text, value) in _OF_LAYERS.items():
            values: Values = {  # zero before the first one: an alert must find something
                (("layer", layer.config.name),): 0 if layer.opened is None else value(layer, layer.opened)
                for layer in self._layers
            }
            families.append(Family.of(name, "gauge", text, values))
        stale: Values = {(("layer", layer.config.name),): layer.stale(self._clock()) for layer in self._layers}
        expires: Values = {(("listener", certificate.name),): certificate.expires for certificate in self.certificates}
        name, text = "authz_tls_certificate_expires_seconds", "When the certificate in use expires, since 1970"
        families.append(Family.of(name, "gauge", text, expires))
        lists: Values = {
            (("listener", certificate.name),): certificate.clients.lists_expire
            for certificate in self.certificates
            if certificate.clients.lists_expire is not None
        }
        name, text = "authz_tls_crl_expires_seconds", "When the first of the revocation lists expires, since 1970"
        families.append(Family.of(name, "gauge", text, lists))
        return [*families, Family.of("authz_snapshot_stale", "gauge", "1 where it is older than it may be", stale)]


_OF_LAYERS: Final[dict[str, tuple[str, Callable[[Layer, OpenedSnapshot], float]]]] = {
    "authz_snapshot_loaded": ("1 where there is one", lambda *_: 1),
    "authz_snapshot_serial": ("Serial of the snapshot in use", lambda _, opened: opened.serial),
    "authz_snapshot_created_seconds": ("When it was made, since 1970", lambda _, opened: opened.created),
    "authz_snapshot_entries": ("Entries in it", lambda _, opened: entries_of(opened)),
    "authz_snapshot_bytes": ("Size of the file", lambda _, opened: opened.size),
    "authz_snapshot_last_good": ("1 where it is the last good copy", lambda layer, _: layer.last_good),
    "authz_snapshot_overruled": (
        "Entries without effect, since the policy protects what they would deny",
        lambda layer, _: len(layer.overruled.entries),
    ),
}


def _gauge(name: str, text: str, value: float) -> Family:
    return Family.of(name, "gauge", text, {(): float(value)})


def _refused(refusal: LastRefusal) -> dict[str, str]:
    return {"code": refusal.code, "message": refusal.message, "at": format_moment(refusal.at)}
