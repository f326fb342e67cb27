"""`/v1/triggers`: what is counted, and what came of it; `/v1/holds`: whom triggers leave alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, UnsetType

from authz.control.api.common.asking import AnyRequest, Asker, IfMatch, in_thread, plane_of
from authz.control.api.common.bodies import Input, Moment, micro_moment
from authz.control.api.common.matching import etag
from authz.control.api.common.problems import documented
from authz.control.detect.trial.on_events import try_on_yesterday
from authz.control.detect.triggers import state
from authz.control.detect.triggers.state import TriggerState, TriggerVersion
from authz.control.lists.rules.periods import moment
from authz.control.model.problems import Forbidden, Missing
from authz.control.model.records import MICROSECONDS
from authz.control.store.access.tokens import note
from authz.control.store.detection.holds import end_hold, list_holds
from authz.control.store.events.writing import DAY
from authz.errors import shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.control.access.callers import Caller
    from authz.control.plane import ControlPlane


class TriggersBody(msgspec.Struct, frozen=True):
    """All triggers, and what the intake does. lag: seconds from the arrival of the newest event to its count.

    A tenant sees the triggers that count its own applications only, and zeros for the intake, which all share.
    """

    items: list[TriggerState]
    events: int
    repeated: int
    waiting: int
    lag: float
    clients: int


class TrialInput(Input, frozen=True, kw_only=True):
    """A trigger that is to be tried on events of the store. Without times: the last day."""

    trigger: dict[str, Any]
    from_: Moment | UnsetType = msgspec.field(name="from", default=UNSET)
    to: Moment | UnsetType = UNSET


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
    plane = plane_of(request)
    intake = plane.intake
    states = [shown for shown in await in_thread(state.list_states, plane) if _sees(caller, shown)]
    if caller.sees is not None:
        return TriggersBody(states, events=0, repeated=0, waiting=0, lag=0.0, clients=0)
    return TriggersBody(
        states, events=intake.taken, repeated=intake.repeated, waiting=intake.waiting, lag=round(intake.lag, 3),
        clients=intake.detector.clients,
    )  # fmt: skip


@get("/{name:str}", summary="A trigger", responses=documented(404))
async def get_trigger(request: AnyRequest, caller: Asker, name: FromPath[str]) -> Response[TriggerState]:
    """Return a trigger with its state. If it was added by the API, the ETag names its version."""
    caller.need("read")
    return _tagged(await _visible(request, caller, name))


@get("/{name:str}/versions", summary="Who wrote a trigger", responses=documented(404))
async def get_versions(request: AnyRequest, caller: Asker, name: FromPath[str]) -> list[TriggerVersion]:
    """List all versions of a trigger that was added by the API, newest first, also if it was deleted.

    A tenant sees only those that counted its own applications.
    """
    caller.need("read")
    if caller.sees is not None:
        await _visible(request, caller, name)
    versions = await in_thread(state.list_versions, plane_of(request), name)
    return [version for version in versions if _owns(caller, version.applications())]  # it may have been another's


@post("", summary="Add a trigger", responses=documented(409, 422))
async def add_trigger(request: AnyRequest, caller: Asker, data: JSONBody[dict[str, Any]]) -> Response[TriggerState]:
    """Add a trigger, with the keys that triggers.yaml has. It works at once."""
    _need_main(caller)
    return _tagged(await in_thread(state.write, plane_of(request), caller.actor(), data), status=201)


@put("/{name:str}", summary="Change a trigger", responses=documented(404, 409, 412, 422, 428))
async def set_trigger(
    request: AnyRequest, caller: Asker, name: FromPath[str], data: JSONBody[dict[str, Any]], if_match: IfMatch = None
) -> Response[TriggerState]:
    """Replace a trigger that was added by the API. What it has listed stays listed; counting starts again."""
    _need_main(caller)
    seen = _version_of(name, if_match)
    return _tagged(await in_thread(state.write, plane_of(request), caller.actor(), data, name=name, version=seen))


@delete("/{name:str}", summary="Delete a trigger", status_code=204, responses=documented(404, 409, 412, 428))
async def delete_trigger(request: AnyRequest, caller: Asker, name: FromPath[str], if_match: IfMatch = None) -> None:
    """Delete a trigger that was added by the API. What it has listed stays listed."""
    _need_main(caller)
    await in_thread(state.delete, plane_of(request), caller.actor(), name, _version_of(name, if_match))


@post("/test", summary="Try a trigger", status_code=200, responses=documented(422))
async def test_trigger(request: AnyRequest, caller: Asker, data: JSONBody[TrialInput]) -> dict[str, Any]:
    """Return the clients that a trigger would have listed, based on the stored events. Nothing is listed."""
    _need_main(caller)
    plane = plane_of(request)
    end = plane.store.now() if data.to is UNSET else moment(data.to, "/to") * MICROSECONDS
    begin = end - DAY if data.from_ is UNSET else moment(data.from_, "/from") * MICROSECONDS
    trial = await in_thread(try_on_yesterday, plane, data.trigger, begin, end)
    return trial.as_dict()


@post("/{name:str}/resume", summary="Let a stopped trigger go on", status_code=200, responses=documented(404))
async def resume_trigger(request: AnyRequest, caller: Asker, name: FromPath[str]) -> TriggerState:
    """Resume a trigger that its breaker has stopped."""
    _need_main(caller)
    return await in_thread(state.resume, plane_of(request), caller.actor(), name)


def _need_main(caller: Caller) -> None:
    """Raise Forbidden unless the caller may edit, for the tenant that runs the control plane: triggers concern all."""
    caller.need("edit")
    if caller.sees is not None:
        raise Forbidden("triggers are the main tenant's", code="tenant")


async def _visible(request: AnyRequest, caller: Caller, name: str) -> TriggerState:
    trigger = await in_thread(state.get_state, plane_of(request), name)
    if not _sees(caller, trigger):
        raise Missing(f"there is no trigger '{shorten(name)}'")
    return trigger


def _sees(caller: Caller, shown: TriggerState) -> bool:
    return _owns(caller, shown.applications)


def _owns(caller: Caller, applications: Sequence[str]) -> bool:
    """Return whether a trigger of these applications is the caller's to see; one of all is the main tenant's."""
    return caller.sees is None or (bool(applications) and all(map(caller.owns, applications)))


def _tagged(state: TriggerState, status: int = 200) -> Response[TriggerState]:
    headers = {} if state.version is None else {"ETag": etag(state.name, state.version)}
    return Response(state, status_code=status, headers=headers)


def _version_of(name: str, if_match: str | None) -> int | None:
    """Return the version that If-Match names; None without the header. Raises Stale if it names none of these."""
    if if_match is None:
        return None
    version = if_match.strip().removeprefix(f'"{name}.').removesuffix('"')
    return int(version) if re.fullmatch(r"[0-9]{1,9}", version) else -1


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
    """End a hold: triggers may list the network again."""
    caller.need("edit")
    await in_thread(_end_hold, plane_of(request), caller, hold_id)


def _end_hold(plane: ControlPlane, caller: Caller, hold_id: str) -> None:
    with plane.store.writing() as tx:
        if not end_hold(tx, hold_id, caller.sees):
            raise Missing(f"there is no hold '{shorten(hold_id)}'")
        note(tx, caller.actor(), "hold.end", hold_id, plane.store.now())


_TRIGGERS = [
    list_triggers, get_trigger, get_versions, add_trigger, set_trigger, delete_trigger, test_trigger, resume_trigger,
]  # fmt: skip
triggers_router: Any = Router("/v1/triggers", route_handlers=_TRIGGERS, tags=["triggers"])
holds_router: Any = Router("/v1/holds", route_handlers=[get_holds, delete_hold], tags=["triggers"])
