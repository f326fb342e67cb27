"""`/v1/triggers`: what is counted, and what came of it; `/v1/holds`: whom triggers leave alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Router, delete, get, post
from litestar.params import FromPath

from authz.control.api.common.asking import AnyRequest, Asker, in_thread, plane_of
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.problems import documented
from authz.control.problems import Missing
from authz.control.store.access import note
from authz.control.store.holds import end_hold, list_holds
from authz.errors import shorten
from authz.times import format_duration, format_moment

if TYPE_CHECKING:
    from authz.control.access.callers import Caller
    from authz.control.detect.triggers import Trigger
    from authz.control.plane import ControlPlane


class TriggerBody(msgspec.Struct, frozen=True):
    """A trigger at work. suppressed: listings that were not made, by reason. stopped: by its breaker."""

    name: str
    kind: str
    over: int
    within: str
    list: str
    period: str
    dry_run: bool
    stopped: bool
    listed: int
    suppressed: dict[str, int]


class TriggersBody(msgspec.Struct, frozen=True):
    """All triggers, and what the intake does. lag: seconds from the arrival of the newest event to its count."""

    items: list[TriggerBody]
    events: int
    repeated: int
    waiting: int
    lag: float
    clients: int


class HoldBody(msgspec.Struct, frozen=True):
    """A hold: no trigger lists this network until then. only: the one trigger that is held; empty: all."""

    id: str
    network: str
    until: str
    created: str
    actor: str
    entry: str
    trigger: str
    only: str


class HoldsBody(msgspec.Struct, frozen=True):
    """Holds, the next to end first."""

    items: list[HoldBody]


@get("", summary="Triggers, and what came of them", responses=documented())
async def list_triggers(request: AnyRequest, caller: Asker) -> TriggersBody:
    """List the triggers with their counts since the process began."""
    caller.need("read")
    intake = plane_of(request).intake
    return TriggersBody(
        [_body(plane_of(request), trigger) for trigger in intake.triggers],
        events=intake.taken, repeated=intake.repeated, waiting=intake.waiting, lag=round(intake.lag, 3),
        clients=intake.detector.clients,
    )  # fmt: skip


def _body(plane: ControlPlane, trigger: Trigger) -> TriggerBody:
    intake, then = plane.intake, trigger.then
    suppressed = {reason: n for (name, reason), n in [*intake.detector.suppressed.items()] if name == trigger.name}
    return TriggerBody(
        trigger.name, trigger.kind, trigger.count.over, format_duration(trigger.count.within), then.list,
        "forever" if then.period is None else format_duration(then.period), trigger.dry_run,
        trigger.name in intake.detector.stopped, intake.listed[trigger.name], suppressed,
    )  # fmt: skip


@post("/{name:str}/resume", summary="Let a stopped trigger go on", status_code=200, responses=documented(404))
async def resume_trigger(request: AnyRequest, caller: Asker, name: FromPath[str]) -> TriggerBody:
    """Close the breaker of a trigger that had listed too many."""
    caller.need("edit")
    plane = plane_of(request)
    trigger = next((one for one in plane.intake.triggers if one.name == name), None)
    if trigger is None:
        raise Missing(f"there is no trigger '{shorten(name)}'")
    plane.intake.detector.resume(name)
    await in_thread(_note, plane, caller, "trigger.resume", name)
    return _body(plane, trigger)


@get("", summary="Whom triggers leave alone", responses=documented())
async def get_holds(request: AnyRequest, caller: Asker) -> HoldsBody:
    """List the holds that began with the deletion of automatic entries."""
    caller.need("read")
    return await in_thread(_holds, plane_of(request), caller)


def _holds(plane: ControlPlane, caller: Caller) -> HoldsBody:
    with plane.store.reading() as tx:
        rows: list[Any] = [*list_holds(tx, plane.store.clock(), caller.sees)]
    return HoldsBody([
        HoldBody(row.id, row.network, format_moment(row.until), micro_moment(row.created), row.actor, row.entry,
                 row.trigger, row.trigger if row.narrow else "")
        for row in rows
    ])  # fmt: skip


@delete("/{hold_id:str}", summary="End a hold", status_code=204, responses=documented(404))
async def delete_hold(request: AnyRequest, caller: Asker, hold_id: FromPath[str]) -> None:
    """Let triggers list the network again."""
    caller.need("edit")
    await in_thread(_end_hold, plane_of(request), caller, hold_id)


def _end_hold(plane: ControlPlane, caller: Caller, hold_id: str) -> None:
    with plane.store.writing() as tx:
        if not end_hold(tx, hold_id, caller.sees):
            raise Missing(f"there is no hold '{shorten(hold_id)}'")
        note(tx, caller.actor(), "hold.end", hold_id, plane.store.now())


def _note(plane: ControlPlane, caller: Caller, action: str, subject: str) -> None:
    with plane.store.writing() as tx:
        note(tx, caller.actor(), action, subject, plane.store.now())


triggers_router: Any = Router("/v1/triggers", route_handlers=[list_triggers, resume_trigger], tags=["triggers"])
holds_router: Any = Router("/v1/holds", route_handlers=[get_holds, delete_hold], tags=["triggers"])
