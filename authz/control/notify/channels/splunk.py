"""Splunk's HTTP Event Collector (HEC): an event for each thing that a message tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from authz.control.notify.channels.http import post, secret_of
from authz.times import parse_moment

if TYPE_CHECKING:
    from authz.control.notify.config import Channel
    from authz.control.notify.message import Message


def send(channel: Channel, message: Message) -> None:
    """Send a message. Raises NotTaken unless the answer is a 2xx, and OSError where the token cannot be read."""
    events = []
    for item in message.items or [{"text": message.text}]:
        time = parse_moment(item["time"]) if "time" in item else parse_moment(message.created)
        event = {"topic": message.topic, "delivery": message.delivery} | item
        events.append(msgspec.json.encode(
            {"time": time, "source": "authz", "sourcetype": f"authz:{message.topic}", "event": event}
        ))  # fmt: skip
    token = secret_of(channel.secret_file).decode("ascii", "replace")
    post(channel.splunk or "", b"\n".join(events), {"Authorization": f"Splunk {token}"})
