"""What a change would have touched of yesterday's events, for a preview and for who has to approve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from authz.control.api.common.bodies import EntryPatch, micro_moment
from authz.control.api.common.operations import AddBan, AddEntry, Operation
from authz.control.lists.preview import against_yesterday
from authz.control.model.records import SUBJECTS, Written
from authz.control.store.entries.find import get_entry
from authz.errors import AddressError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.access.callers import Caller
    from authz.control.plane import ControlPlane
    from authz.control.store.events.impact import Touched

_NAMED = (*SUBJECTS, "except_", "list", "applications", "action")


class TouchedBody(msgspec.Struct, frozen=True):
    """Events of one application. denied: how many of them were denied already."""

    application: str
    events: int
    denied: int
    clients: int


class YesterdayBody(msgspec.Struct, frozen=True):
    """What a change would have touched of the last 24 hours. complete: false: at least so many.

    uncounted: subjects of the entry that events do not tell, such as countries.
    """

    since: str
    events: int
    denied: int
    clients: int
    complete: bool
    applications: list[TouchedBody]
    uncounted: list[str]


def yesterday_of(plane: ControlPlane, caller: Caller, written: Written | None) -> YesterdayBody | None:
    """Count the events that an entry touches, of applications that the caller may see; None: it names no clients."""
    if written is None:
        return None
    patterns = None if caller.sees is None else caller.tenant.applications
    try:
        with plane.store.reading() as tx:
            counted = against_yesterday(tx, written, plane.store.now(), patterns)
    except AddressError:  # the answer names the mistake elsewhere
        return None
    total = counted.impact.total
    return YesterdayBody(
        micro_moment(counted.since), total.events, total.denied, total.clients, counted.impact.complete,
        [_touched(touched) for touched in counted.impact.applications], list(counted.uncounted),
    )  # fmt: skip


def _touched(touched: Touched) -> TouchedBody:
    return TouchedBody(touched.application, touched.events, touched.denied, touched.clients)


def named_by(tx: Connection, operation: Operation) -> Written | None:
    """Return whom an operation is about: the entry as it would be, or as it is that would go; None: it is gone."""
    if isinstance(operation, AddBan):
        return Written(networks=(operation.data.address,), applications=operation.data.applications)
    if isinstance(operation, AddEntry):
        return Written(**{name: getattr(operation.data, name) for name in _NAMED})
    entry = get_entry(tx, operation.id)
    if entry is None:
        return None
    data = getattr(operation, "data", None)
    return entry.says() if not isinstance(data, EntryPatch) else msgspec.structs.replace(entry.says(), **_given(data))


def _given(data: EntryPatch) -> dict[str, object]:
    return {name: getattr(data, name) for name in _NAMED if getattr(data, name) is not UNSET}
