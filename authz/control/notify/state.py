"""Channels and messages as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from authz.control.model.records import MICROSECONDS
from authz.control.store.notifications.deliveries import count_deliveries, list_deliveries
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.control.plane import ControlPlane


class ChannelState(msgspec.Struct, frozen=True):
    """A channel, without its secrets and addresses.

    Attributes:
        messages: Of the last 30 days by state.
    """

    name: str
    kind: str
    topics: list[str]
    tenant: str | None
    messages: dict[str, int]


class Delivery(msgspec.Struct, frozen=True):
    """A message.

    Attributes:
        state: Waiting, sent or dropped.
        decided: When it was sent or dropped.
        error: Of the last try.
    """

    id: str
    created: str
    channel: str
    topic: str
    count: int
    text: str
    state: str
    tries: int
    decided: str | None
    error: str


def list_channels(plane: ControlPlane) -> list[ChannelState]:
    """Return the channels of the configuration."""
    with plane.store.reading() as tx:
        counts = count_deliveries(tx)
    return [
        ChannelState(
            channel.name, channel.kind, [*channel.topics], channel.tenant,
            {state: many for (name, state), many in sorted(counts.items()) if name == channel.name},
        )
        for channel in plane.config.notify.channels
    ]  # fmt: skip


def list_messages(
    plane: ControlPlane, channel: str | None = None, before: int | None = None, limit: int = 100
) -> list[Delivery]:
    """Return messages, the newest first. before: made before this time (microseconds)."""
    with plane.store.reading() as tx:
        rows = list_deliveries(tx, channel=channel, before=before, limit=limit)
    return [
        Delivery(
            row.id, format_moment(row.created // MICROSECONDS), row.channel, row.topic, row.many, row.text,
            row.state, row.tries, format_moment(row.decided // MICROSECONDS) if row.decided else None, row.error,
        )
        for row in rows
    ]  # fmt: skip
