"""What a change would have touched of yesterday's events, for a preview and for who has to approve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from authz.control.api.common.bodies import micro_moment
from authz.control.lists.preview import against_yesterday
from authz.errors import AddressError

if TYPE_CHECKING:
    from authz.control.access.callers import Caller
    from authz.control.model.records import Written
    from authz.control.plane import ControlPlane
    from authz.control.store.events.impact import Touched


class TouchedBody(msgspec.Struct, frozen=True):
    """Events of one application. denied: how many of them were denied already."""

    application: str
    events: int
    denied: int
    clients: int


class YesterdayBody(msgspec.Struct, frozen=True):
    """What a change would have touched of the last 24 hours. complete: false: at least so many.

    known: false: no events came in that time, so that the counts say nothing.
    uncounted: subjects of the entry that events do not tell, such as countries.
    """

    since: str
    known: bool
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
        micro_moment(counted.since), counted.known, total.events, total.denied, total.clients, counted.impact.complete,
        [_touched(touched) for touched in counted.impact.applications], list(counted.uncounted),
    )  # fmt: skip


def _touched(touched: Touched) -> TouchedBody:
    return TouchedBody(touched.application, touched.events, touched.denied, touched.clients)
