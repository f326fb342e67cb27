"""What is wrong now: one notice when it begins, and one when it is over.

    refused   the signer, or a sidecar, refuses a layer: its older file serves on
    stale     a sidecar serves an older file than is offered, or was not seen, for longer than `notify.stale`
    feed      a feed could not be fetched, broke or shrank, and its last good content is kept

The store keeps what was sent, so a restart sends no notice twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from authz.control.model.records import MAIN_TENANT, MICROSECONDS, SETTINGS
from authz.control.notify.message import Notice
from authz.control.notify.outbox import note_notices
from authz.control.store.entries.documents import get_document
from authz.control.store.notifications.alarms import end_alarm, find_alarms, raise_alarm
from authz.control.store.published.inputs import list_inputs
from authz.control.store.published.publications import counted, list_sidecars, newest_publication
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from authz.control.lists.rules.context import ListContext
    from authz.control.notify.config import Topic
    from authz.control.publish.publisher import Publisher

_LOOK: Final = 5.0  # seconds between looks
_FORGOTTEN: Final = 86400 * MICROSECONDS  # a sidecar not seen for a day was taken away
MAX_ALARMS: Final = 1000  # of one look

Conditions = dict[str, tuple["Topic", str]]  # by key: what is wrong


class Watch:
    """Looks at what this process publishes, and (where it has the lease to send) at all sidecars."""

    def __init__(self, context: ListContext, publisher: Publisher) -> None:
        self._context = context
        self._publisher = publisher
        self._looked = -_LOOK

    def look(self, *, of_all: bool) -> None:
        """Tell of what has begun and what is over since the last look. Raises NotReady."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        self.look_now(of_all=of_all)

    def look_now(self, *, of_all: bool) -> None:
        """Look at once; see `look`."""
        if of_all:
            with self._context.store.reading() as tx:
                sidecars, feeds = dict([*self._sidecars(tx)][:MAX_ALARMS]), dict(_feeds(tx))
            self._tell("sidecar:", sidecars)
            self._tell("input:", feeds)
        if self._publisher.leading:
            self._tell("layer:", dict(self._layers()))

    def _tell(self, prefix: str, conditions: Conditions) -> None:
        with self._context.store.reading() as tx:
            known = find_alarms(tx, prefix)
        begun, over = conditions.keys() - known.keys(), known.keys() - conditions.keys()
        if not begun and not over:
            return
        now = self._context.store.now()
        with self._context.store.writing() as tx:
            notices = []
            for key in sorted(begun):
                topic, text = conditions[key]
                if raise_alarm(tx, key, msgspec.json.encode([topic, text]).decode(), now):
                    notices.append(_notice(topic, text, now, "begun"))
            for key in sorted(over):
                topic, text = msgspec.json.decode(known[key])
                if end_alarm(tx, key):
                    notices.append(_notice(topic, f"over: {text}", now, "over"))
            note_notices(tx, self._context.config.notify, notices, now)

    def _layers(self) -> Iterator[tuple[str, tuple[Topic, str]]]:
        for layer, problem in [*self._publisher.problems.items()]:
            text = f"the layer {layer} is not signed: {problem.message or problem.code}"
            yield f"layer:{layer}:refused:{problem.code}", ("refused", text)
        for layer, warnings in [*self._publisher.warnings.items()]:
            for warning in warnings:
                yield f"layer:{layer}:feed:{warning[:200]}", ("feed", f"the layer {layer}: {warning}")

    def _sidecars(self, tx: Connection) -> Iterator[tuple[str, tuple[Topic, str]]]:
        now, stale = self._context.store.now(), int(self._context.config.notify.stale * MICROSECONDS)
        newest = {layer.name: newest_publication(tx, layer.name) for layer in self._context.config.layers}
        for sidecar in counted(list_sidecars(tx, now - _FORGOTTEN)):
            name, offered = f"the sidecar {sidecar.name}", newest.get(sidecar.layer)
            if sidecar.refusal:
                text = f"{name} refuses the layer {sidecar.layer}: {sidecar.refusal}"
                yield f"sidecar:{sidecar.name}:{sidecar.layer}:refused:{sidecar.refusal}", ("refused", text)
            if now - sidecar.seen > stale:
                since = format_moment(sidecar.seen // MICROSECONDS)
                text = f"{name} was last seen at {since}, for the layer {sidecar.layer}"
                yield f"sidecar:{sidecar.name}:{sidecar.layer}:gone", ("stale", text)
            elif offered is not None and sidecar.serial < offered.serial and now - offered.created > stale:
                text = f"{name} serves {sidecar.layer} {sidecar.serial}, {offered.serial} is offered"
                yield f"sidecar:{sidecar.name}:{sidecar.layer}:behind", ("stale", text)


def _feeds(tx: Connection) -> Iterator[tuple[str, tuple[Topic, str]]]:
    """Give the feeds of the policy whose last fetch failed. A key has no problem: it may read otherwise each time."""
    settings = msgspec.json.decode(get_document(tx, SETTINGS) or b"{}")
    wanted = {feed.get("path") for feed in settings.get("feeds") or ()}
    for feed in list_inputs(tx):
        if feed.problem and feed.path in wanted:
            yield f"input:{feed.path}", ("feed", f"the feed {feed.path}: {feed.problem}; its last good content is kept")


def _notice(topic: Topic, text: str, now: int, action: str) -> Notice:
    item = {"time": format_moment(now // MICROSECONDS), "action": action, "text": text, "tenant": MAIN_TENANT}
    return Notice(topic, MAIN_TENANT, item)
