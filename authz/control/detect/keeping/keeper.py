"""Events are kept in the store, for search; old ones are deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.control.detect.keeping.writer import Writer, in_their_time
from authz.control.model.records import MICROSECONDS
from authz.control.store.events.writing import drop_old_events, write_events

if TYPE_CHECKING:
    from authz.control.detect.event import Event
    from authz.control.detect.keeping.countries import Countries
    from authz.control.store.database import Store

_CLEANING: Final = 600.0  # seconds from one look for old events to the next


class EventKeeper(Writer):
    """Keeps events in the store.

    Args:
        store: Where.
        retention: Seconds after which they are deleted.
        countries: Of clients.

    """

    def __init__(self, store: Store, retention: float, countries: Countries) -> None:
        super().__init__("events")
        self._store = store
        self._retention = retention
        self._countries = countries
        self._cleaned = 0.0

    def write_batch(self, batch: list[Event]) -> None:
        """Write events in one transaction, but for those that would be deleted at once. Raises NotReady.

        What was counted less than a second before the machine loses its power may be missing in searches.
        """
        now = self._store.clock()
        self._countries.refresh(now)
        with self._store.writing(durable=False) as tx:  # a listing must not wait for the disk behind what is searched
            write_events(tx, in_their_time(batch, now, self._retention), self._countries.find)
            if now - self._cleaned > _CLEANING:
                drop_old_events(tx, int((now - self._retention) * MICROSECONDS))
                self._cleaned = now
