"""The first hit of a `warn` entry: somebody wanted to know whom it would stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.control.model.records import MAIN_TENANT, MICROSECONDS
from authz.control.notify.message import Notice
from authz.control.notify.outbox import note_notices
from authz.control.store.access.tokens import owner_of
from authz.control.store.entries.find import get_entry
from authz.control.store.notifications.alarms import count_alarms, raise_alarm
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.control.detect.event import Event
    from authz.control.lists.rules.context import ListContext
    from authz.control.model.records import Entry

_PREFIX: Final = "warned:"
MAX_UNKNOWN: Final = 1000  # of a tenant: entries that only a policy file has, whose ids come with the events
MAX_NEW: Final = 50  # of a batch: each is looked up in a transaction, while no other event is counted
_MAX_KNOWN: Final = 100_000


class FirstHits:
    """Tells of the first event that each entry warned of; once in the life of the store.

    The sender of events says which entry warned. So a tenant uses up its own first hits only: an entry of another
    tenant is passed over, and one that is for all is told once for each tenant in whose applications it warned.
    """

    def __init__(self, context: ListContext) -> None:
        self._context = context
        self._known: set[tuple[str, str]] = set()

    def note(self, events: Iterable[Event]) -> None:
        """Look at events that came together, and at MAX_NEW of their hits; others come again. Raises NotReady."""
        if not self._context.config.notify.channels:
            return
        first: dict[tuple[str, str], Event] = {}
        for event in events:
            for entry in event.warnings:
                first.setdefault((entry, event.application), event)
        new = [(hit, event) for hit, event in first.items() if hit not in self._known]
        for hit, event in new[:MAX_NEW]:
            self._tell(hit[0], event)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known.add(hit)

    def _tell(self, entry: str, event: Event) -> None:
        now = self._context.store.now()
        with self._context.store.writing() as tx:
            known, owner = get_entry(tx, entry), owner_of(tx, (event.application,)).name
            tenant = MAIN_TENANT if known is None else known.tenant
            if known is not None and not _warned(known, event, owner):
                return
            ours = f"{_PREFIX}{owner}:"
            if known is None and count_alarms(tx, ours) >= MAX_UNKNOWN:
                return
            if not raise_alarm(tx, ours + entry, event.client.text, now):
                return
            item = {
                "time": format_moment(now // MICROSECONDS), "id": entry, "client": event.client.text,
                "applications": [event.application], "path": event.path,
                "reason": "" if known is None else known.reason,
                "text": f"{event.client.text} is the first whom {entry} warns of, in {event.application or '*'}",
            }  # fmt: skip
            note_notices(tx, self._context.config.notify, [Notice("warned", tenant, item)], now)


def _warned(entry: Entry, event: Event, owner: str) -> bool:
    """Return whether an entry can have warned of an event in an application of this tenant."""
    concerned = not entry.applications or event.application in entry.applications
    return concerned and entry.tenant in {MAIN_TENANT, owner}
