"""What `/metrics` says of automatic listing: how far behind the counting is, what came of it, and what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.control.plane import ControlPlane


def detection_metrics(plane: ControlPlane) -> list[str]:
    """Return the lines. Label values are names of triggers, sources and reasons: none is a client's."""
    intake, lines = plane.intake, list[str]()
    detector, keeper = intake.detector, intake.keeper
    counters = {
        ("events", "Events that were counted."): intake.taken,
        ("events_repeated", "Events that had come before, and did not count again."): intake.repeated,
        ("events_refused", "Events for which there was no room; their senders try again."): intake.refused,
        ("events_kept", "Events that were written for search."): keeper.written,
        ("events_lost", "Events that were counted, and could not be kept for search."): keeper.lost,
        ("clients_evicted", "Clients that were forgotten before their time, for lack of room."): detector.evicted,
    }
    for (name, text), value in counters.items():
        _family(lines, f"{name}_total", "counter", text, {"": value})
    gauges = {
        ("events_waiting", "Events that wait to be counted."): float(intake.waiting),
        ("events_lag_seconds", "From the arrival of the newest event to its count."): intake.lag,
        ("clients_counted", "Clients that are counted now, by all triggers."): float(detector.clients),
        ("counters_bytes", "About how much memory counters take; a limit is at 400 MB."): float(detector.memory),
    }
    for (name, text), number in gauges.items():
        _family(lines, name, "gauge", text, {"": number})
    _triggers(lines, plane)
    feeders = plane.sources.feeders
    sinks = {f'sink="{writer.name}"': writer for writer in intake.writers if writer is not keeper}
    _family(lines, "sink_written_total", "counter", "Events that a sink took.",
            {labels: writer.written for labels, writer in sinks.items()})  # fmt: skip
    _family(lines, "sink_lost_total", "counter", "Events that found no room on their way to a sink.",
            {labels: writer.lost for labels, writer in sinks.items()})  # fmt: skip
    _family(lines, "source_skipped_total", "counter", "Lines of a source that could not be read.",
            {f'source="{name}"': feeder.skipped for name, feeder in feeders.items()})  # fmt: skip
    _family(lines, "source_dropped_total", "counter", "Events of a source for which there was no room.",
            {f'source="{name}"': feeder.all_dropped for name, feeder in feeders.items()})  # fmt: skip
    return lines


def _triggers(lines: list[str], plane: ControlPlane) -> None:
    intake = plane.intake
    counting = {f'trigger="{state.trigger.name}"': state for state in intake.detector.counting}
    _family(lines, "trigger_evaluations_total", "counter", "Events that were looked at for a trigger.",
            {label: state.evaluations for label, state in counting.items()})  # fmt: skip
    _family(lines, "trigger_listings_total", "counter", "Entries that a trigger made.",
            {label: intake.listed[state.trigger.name] for label, state in counting.items()})  # fmt: skip
    _family(lines, "trigger_tried_total", "counter", "Clients that a trigger would have listed, or notified about.",
            {label: intake.tried[state.trigger.name] for label, state in counting.items()})  # fmt: skip
    _family(lines, "trigger_stopped", "gauge", "Whether the trigger's breaker has stopped it.",
            {label: int(state.breaker.open) for label, state in counting.items()})  # fmt: skip
    suppressed = [*intake.detector.suppressed.items()]
    _family(lines, "trigger_suppressed_total", "counter", "Listings that were not made, by reason.",
            {f'trigger="{name}",reason="{reason}"': count for (name, reason), count in suppressed})  # fmt: skip


def _family(lines: list[str], name: str, kind: str, text: str, values: Mapping[str, float]) -> None:
    name = f"authz_control_{name}"
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{{{label}}} {value}" if label else f"{name} {value}" for label, value in values.items()]
