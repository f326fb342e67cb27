"""What a trigger would have done with the events that the store has, before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.addresses import parse_address
from authz.control.detect.counting.places import read_places
from authz.control.detect.event import Event
from authz.control.detect.trial.on_log import Trial, try_on_events
from authz.control.detect.triggers.book import parse_trigger
from authz.control.model.records import MICROSECONDS
from authz.control.store.events.search import WantedEvents, client_of, find_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

    from authz.control.plane import ControlPlane

MAX_EVENTS: Final = 200_000  # of a trial: the newest of the time asked for
_PAGE: Final = 5000


def try_on_yesterday(plane: ControlPlane, content: dict[str, Any], begin: int, end: int) -> Trial:
    """Feed the events of a time to the trigger that `content` writes; nothing is listed.

    begin, end: microseconds. Raises Invalid if the trigger has mistakes.
    """
    file = plane.intake.file
    trigger = parse_trigger(content, file)
    application = trigger.where.application[0] if len(trigger.where.application) == 1 else None
    with plane.store.reading() as tx:
        protected = plane.rules(tx).protected
        rows = [*_newest(tx, WantedEvents(application=application, begin=begin, end=end))]
    events = (_event_of(row) for row in reversed(rows))
    return try_on_events([trigger], read_places(file.databases, [trigger]), events, protected)


def _newest(tx: Connection, wanted: WantedEvents) -> Iterator[Row[Any]]:
    place, left = None, MAX_EVENTS
    while left > 0:
        rows = find_events(tx, wanted, before=place, limit=min(_PAGE, left))
        yield from rows
        if len(rows) < min(_PAGE, left):
            return
        left -= len(rows)
        place = rows[-1].time, rows[-1].id


def _event_of(row: Row[Any]) -> Event:
    return Event(
        time=row.time / MICROSECONDS,
        client=parse_address(client_of(bytes(row.client))),
        application=row.application,
        method=row.method,
        host=row.host,
        path=row.path,
        status=row.status,
        attacks=tuple(row.attacks.split(",")) if row.attacks else (),
        payload=row.payload,
        decision=row.decision,
        entry=row.entry,
        request_id=row.request_id,
        reason=row.reason,
    )
