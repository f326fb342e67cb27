"""What a message says: how many changes by whom, and the first of them."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from authz.control.model.records import MICROSECONDS
from authz.control.notify.template import render
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.control.model.records import Change
    from authz.control.notify.config import Topic

MAX_ITEMS: Final = 100  # of a message
_MAX_NETWORKS: Final = 20  # of an item
_DONE: Final = {"add": "added", "change": "changed", "delete": "deleted"}


class Notice(NamedTuple):
    """Something to tell.

    Attributes:
        tenant: Whose it is; what is of the whole control plane is the main one's.
        item: As shown.
    """

    topic: Topic
    tenant: str
    item: dict[str, Any]


def notices_of(changes: Iterable[Change]) -> list[Notice]:
    """Return the notices about changes."""
    return [
        Notice(topic, change.tenant, item_of(change)) for change in changes if (topic := topic_of(change)) is not None
    ]


def topic_of(change: Change) -> Topic | None:
    """Return the topic of a change; None: nobody is notified about it."""
    if ":" in change.subject or change.actor_kind == "system":
        return None
    if change.actor_kind == "trigger":
        return "listed" if change.action == "add" else None
    return "entry"


def item_of(change: Change) -> dict[str, Any]:
    """Return a change as a message shows it."""
    said = change.entry_after() or change.entry_before()
    assert said is not None  # noqa: S101  # a change of an entry has one or the other
    return {
        "time": format_moment(change.time // MICROSECONDS),
        "action": change.action,
        "id": change.subject,
        "list": said.list,
        "networks": said.networks[:_MAX_NETWORKS],
        "applications": said.applications,
        "actor": change.actor,
        "tenant": change.tenant,
        "reason": change.reason,
        "expires": None if said.expires is None else format_moment(said.expires),
    }


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message, as the outbox keeps it and a webhook sends it.

    Attributes:
        count: Of what it tells.
        items: The first of them.
    """

    delivery: str
    topic: str
    created: str
    text: str
    count: int
    items: list[dict[str, Any]]

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)


def make_message(
    delivery: str, topic: str, items: Sequence[dict[str, Any]], created: int, template: str | None = None,
    most: int = MAX_ITEMS,
) -> Message:  # fmt: skip
    """Return a message of items in order. delivery: its id. created: microseconds. most: items that it shows."""
    moment = format_moment(created // MICROSECONDS)
    text = _text(topic, items)
    if template is not None:
        values = {"topic": topic, "count": len(items), "created": moment, "text": text, "items": [*items]}
        text = render(template, values)
    return Message(delivery=delivery, topic=topic, created=moment, text=text, count=len(items), items=[*items[:most]])


def _text(topic: str, items: Sequence[dict[str, Any]]) -> str:
    if topic == "test":
        return "a test of this channel"
    if topic in {"listed", "told"}:
        tally = Tally(item["actor"] for item in items)
        done = "listed by" if topic == "listed" else "noticed by"
        return "; ".join(f"{many} {_plural('address', many)} {done} {actor}" for actor, many in tally.items())
    if topic == "entry":
        told = Tally((item["actor"], item["action"]) for item in items).items()
        return "; ".join(f"{many} {_plural('entry', many)} {_DONE[action]} by {who}" for (who, action), many in told)
    return "; ".join(str(item["text"]) for item in items[:10]) + ("; …" if len(items) > 10 else "")


def _plural(word: str, many: int) -> str:
    return word if many == 1 else {"address": "addresses", "entry": "entries"}[word]
