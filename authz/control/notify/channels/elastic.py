"""Elasticsearch by its bulk API: a document for each thing that a message tells, in the Elastic Common Schema (ECS).

The id of a document is made of the delivery's id, so a message that is sent again makes no second document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from authz.addresses import try_parse_address
from authz.control.model.problems import NotTaken
from authz.control.notify.channels.http import post, secret_of

if TYPE_CHECKING:
    from authz.control.notify.config import Channel
    from authz.control.notify.message import Message

_THERE: Final = frozenset({200, 201, 409})  # 409: it came before


def send(channel: Channel, message: Message) -> None:
    """Send a message. Raises NotTaken unless every document is there, and OSError where the key cannot be read."""
    base, _, index = (channel.elastic or "").rpartition("/")
    lines = []
    for number, item in enumerate(message.items or [{"text": message.text}]):
        lines.append(msgspec.json.encode({"create": {"_index": index, "_id": f"{message.delivery}-{number}"}}))
        lines.append(msgspec.json.encode(document(message, item)))
    headers = {"Content-Type": "application/x-ndjson"}
    if channel.secret_file is not None:
        headers["Authorization"] = f"ApiKey {secret_of(channel.secret_file).decode('ascii', 'replace')}"
    _check(post(f"{base}/_bulk", b"\n".join(lines) + b"\n", headers))


def document(message: Message, item: dict[str, Any]) -> dict[str, Any]:
    """Return what a message tells as ECS has it."""
    event: dict[str, Any] = {
        "kind": "alert", "category": ["intrusion_detection"], "provider": "authz", "dataset": "authz.notification",
        "action": f"{message.topic}.{item['action']}" if "action" in item else message.topic, "id": message.delivery,
        "reason": item.get("reason", ""),
    }  # fmt: skip
    said: dict[str, Any] = {
        "@timestamp": item.get("time", message.created),
        "ecs": {"version": "8.11"},
        "event": event,
        "message": str(item.get("text") or item.get("reason") or message.text),
        "labels": {name: item[name] for name in ("list", "tenant", "id") if item.get(name)},
        "tags": [message.topic, *item.get("applications", ())],
    }
    address = next(iter(item.get("networks", ())), item.get("client", ""))
    if try_parse_address(address) is not None:
        said["source"] = {"ip": address, "address": address}
    if trigger := item.get("trigger"):
        said["rule"] = {"name": trigger, "ruleset": "authz"}
    if actor := item.get("actor"):
        said["user"] = {"name": actor}
    return said


def _check(answer: bytes) -> None:
    try:
        content = msgspec.json.decode(answer)
        rows = [next(iter(row.values())) for row in content["items"]]
        refused = [row for row in rows if row["status"] not in _THERE]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise NotTaken("the receiver's answer is not one of the bulk API") from error
    if refused:
        raise NotTaken(f"{len(refused)} of {len(rows)} documents were refused: status {refused[0]['status']}")
