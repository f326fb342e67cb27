"""`/v1/approvals`: what waits for a second person, with what it would have touched yesterday."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath, QueryParameter

from authz.control.access.approvals import (
    APPROVED,
    APPROVED_BY,
    REJECTED,
    WAITING,
    Approval,
    decide_approval,
    get_approval,
    list_approvals,
)
from authz.control.access.callers import Caller
from authz.control.api.common.asking import AnyRequest, Asker, Timeout, WaitFor, in_thread, plane_of
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.changing import answered
from authz.control.api.common.operations import Operation, forced, foreseen, layers_of, named_by, perform
from authz.control.api.common.problems import documented
from authz.control.api.common.touched import YesterdayBody, yesterday_of
from authz.control.model.problems import Missing
from authz.control.model.records import Actor
from authz.control.store.access import tokens as store_access

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.plane import ControlPlane

State = Literal["waiting", "approved", "rejected"]
_OPERATIONS: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(Operation)


class ApprovalBody(msgspec.Struct, frozen=True):
    """A change that waits for a second person, or waited."""

    id: str
    created: str
    tenant: str
    actor: str
    why: str
    state: str
    decided_by: str
    request: dict[str, Any]


def _approval_body(approval: Approval) -> ApprovalBody:
    content = msgspec.json.decode(approval.request)
    return ApprovalBody(
        approval.id,
        micro_moment(approval.created),
        approval.tenant,
        approval.actor,
        approval.why,
        approval.state,
        approval.decided_by,
        content,
    )


@get("/v1/approvals", summary="What waits for a second person", responses=documented(), tags=["access"])
async def get_approvals(
    request: AnyRequest, caller: Asker, state_: Annotated[State | None, QueryParameter(name="state")] = None
) -> list[ApprovalBody]:
    """List the changes that wait for a second person, or have waited."""
    caller.need("read")
    plane = plane_of(request)

    def read() -> list[ApprovalBody]:
        with plane.store.reading() as tx:
            return [_approval_body(approval) for approval in list_approvals(tx, caller.sees, state_)]

    return await in_thread(read)


class ApprovalShown(ApprovalBody, frozen=True):
    """One change that waits, with what it would have touched of the last day's events. null: it was decided."""

    yesterday: YesterdayBody | None = None


@get("/v1/approvals/{approval_id:str}", summary="One change that waits", responses=documented(404), tags=["access"])
async def show_approval(request: AnyRequest, caller: Asker, approval_id: FromPath[str]) -> ApprovalShown:
    """Show a waiting or finished change. While it waits, show the events of the last day that it would affect."""
    caller.need("read")
    return await in_thread(_shown, plane_of(request), caller, approval_id)


def _shown(plane: ControlPlane, caller: Caller, approval_id: str) -> ApprovalShown:
    with plane.store.reading() as tx:
        approval = get_approval(tx, caller.sees, approval_id)
        named = named_by(tx, _OPERATIONS.decode(approval.request)) if approval.state == WAITING else None
    yesterday = yesterday_of(plane, caller, named)
    return ApprovalShown(**msgspec.structs.asdict(_approval_body(approval)), yesterday=yesterday)


@post("/v1/approvals/{approval_id:str}/approve", summary="Approve a change", status_code=200,
      responses=documented(404, 409, 412, 422), tags=["access"])  # fmt: skip
async def approve(
    request: AnyRequest, caller: Asker, approval_id: FromPath[str], wait: WaitFor = None,
    timeout: Timeout = 10.0,
) -> Response[Any]:  # fmt: skip
    """Approve a waiting change. Its author may not approve it. History names both people."""
    caller.need("approve")
    plane = plane_of(request)
    answer = await in_thread(_approve, plane, caller, approval_id)
    return await answered(plane, caller, answer, wait, timeout)


def _approve(plane: ControlPlane, caller: Caller, approval_id: str) -> Any:
    with plane.store.reading() as tx:
        waiting = get_approval(tx, caller.sees, approval_id)
        owner = store_access.get_tenant(tx, waiting.tenant)
    if owner is None:
        raise Missing("there is no such approval")
    operation = _OPERATIONS.decode(waiting.request)

    def use(batch: Batch) -> tuple[int, Any]:
        approval = decide_approval(batch.tx, caller, approval_id, APPROVED, batch.now)
        batch.tenant = owner
        name = f"{approval.actor}{APPROVED_BY}{caller.token.name}"
        batch.actor = Actor(approval.tenant, name, "token", caller.method, caller.request_id, caller.address)
        status, body = perform(batch, operation)
        return (200 if status == 201 else status), body

    layers = layers_of(operation, plane.config.rules())
    return plane.mutate(
        caller, use, layers=layers, force=forced(operation), approved=True, foreseen=foreseen(operation)
    )  # fmt: skip


@post("/v1/approvals/{approval_id:str}/reject", summary="Reject a change", status_code=200,
      responses=documented(404, 409), tags=["access"])  # fmt: skip
async def reject(request: AnyRequest, caller: Asker, approval_id: FromPath[str]) -> ApprovalBody:
    """Reject a waiting change. Its author may withdraw it in this way."""
    plane = plane_of(request)

    def write() -> ApprovalBody:
        with plane.store.writing() as tx:
            approval = decide_approval(tx, caller, approval_id, REJECTED, plane.store.now())
            if approval.person != caller.token.who:
                caller.need("approve")
        return _approval_body(approval)

    return await in_thread(write)


router: Any = Router("/", route_handlers=[get_approvals, show_approval, approve, reject])
