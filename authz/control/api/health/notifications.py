"""Metrics of notifications: what waits, and what became of the messages of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.control.notify.outbox import count_waiting
from authz.control.store.notifications.deliveries import count_deliveries
from authz.serve.observe.metrics import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.control.plane import ControlPlane
    from authz.serve.observe.metrics import Values


def notification_metrics(plane: ControlPlane) -> Iterator[Family]:
    """Yield the metrics. Reads the store. Label values are names of channels, and states."""
    with plane.store.reading() as tx:
        waiting, counts = count_waiting(tx), count_deliveries(tx)
    name = "authz_control_notifications"
    yield Family.of(f"{name}_waiting", "gauge", "Things to tell, and messages, that wait.", {(): waiting})
    known = {channel.name for channel in plane.config.notify.channels}
    messages: Values = {
        (("channel", channel), ("state", state)): count
        for (channel, state), count in sorted(counts.items())
        if channel in known
    }
    yield Family.of(name, "gauge", "Messages of the last 30 days.", messages)
