"""Metrics of automatic listing: how far behind the counting is, what came of it, and what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.serve.observe.metrics import Family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.control.plane import ControlPlane
    from authz.serve.observe.metrics import Values


def detection_metrics(plane: ControlPlane) -> Iterator[Family]:
    """Yield the metrics. Label values are names of triggers, sources, sinks and reasons: none is a client's."""
    yield from _events(plane)
    yield from _triggers(plane)
    keeper = plane.intake.keeper
    sinks = {writer.name: writer for writer in plane.intake.writers if writer is not keeper}
    yield _counter("sink_written", "Events that a sink took.",
                   _by("sink", {name: sink.written for name, sink in sinks.items()}))  # fmt: skip
    yield _counter("sink_lost", "Events that found no room on their way to a sink.",
                   _by("sink", {name: sink.lost for name, sink in sinks.items()}))  # fmt: skip
    feeders = plane.sources.feeders.items()
    yield _counter("source_skipped", "Lines of a source that could not be read.",
                   _by("source", {name: feeder.skipped for name, feeder in feeders}))  # fmt: skip
    yield _counter("source_dropped", "Events of a source for which there was no room.",
                   _by("source", {name: feeder.all_dropped for name, feeder in feeders}))  # fmt: skip


def _events(plane: ControlPlane) -> Iterator[Family]:
    intake = plane.intake
    detector, keeper = intake.detector, intake.keeper
    yield _counter("events", "Events that were counted.", {(): intake.taken})
    yield _counter("events_repeated", "Events that had come before, and did not count again.", {(): intake.repeated})
    yield _counter("events_refused", "Events for which there was no room; their senders try again.",
                   {(): intake.refused})  # fmt: skip
    yield _counter("events_kept", "Events that were written for search.", {(): keeper.written})
    yield _counter("events_lost", "Events that were counted, and could not be kept for search.", {(): keeper.lost})
    yield _counter("clients_evicted", "Clients that were forgotten before their time, for lack of room.",
                   {(): detector.evicted})  # fmt: skip
    yield _gauge("events_waiting", "Events that wait to be counted.", {(): intake.waiting})
    yield _gauge("events_lag_seconds", "From the arrival of the newest event to its count.", {(): intake.lag})
    yield _gauge("clients_counted", "Clients that are counted now, by all triggers.", {(): detector.clients})
    yield _gauge("counters_bytes", "About how much memory counters take; a limit is at 400 MB.",
                 {(): detector.memory})  # fmt: skip


def _triggers(plane: ControlPlane) -> Iterator[Family]:
    intake = plane.intake
    counting = {state.trigger.name: state for state in intake.detector.counting}
    yield _counter("trigger_evaluations", "Events that were looked at for a trigger.",
                   _by("trigger", {name: state.evaluations for name, state in counting.items()}))  # fmt: skip
    yield _counter("trigger_listings", "Entries that a trigger made.",
                   _by("trigger", {name: intake.listed[name] for name in counting}))  # fmt: skip
    yield _counter("trigger_tried", "Clients that a trigger would have listed, or notified about.",
                   _by("trigger", {name: intake.tried[name] for name in counting}))  # fmt: skip
    yield _gauge("trigger_stopped", "Whether the trigger's breaker has stopped it.",
                 _by("trigger", {name: state.breaker.open for name, state in counting.items()}))  # fmt: skip
    suppressed: Values = {
        (("trigger", name), ("reason", reason)): count
        for (name, reason), count in [*intake.detector.suppressed.items()]
    }
    yield _counter("trigger_suppressed", "Listings that were not made, by reason.", suppressed)


def _by(label: str, values: Mapping[str, float]) -> Values:
    return {((label, key),): value for key, value in values.items()}


def _counter(name: str, text: str, values: Values) -> Family:
    return Family.of(f"authz_control_{name}_total", "counter", text, values)


def _gauge(name: str, text: str, values: Values) -> Family:
    return Family.of(f"authz_control_{name}", "gauge", text, values)
