"""What waits for a second person: with what it would do, to approve or reject."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath

from authz.control.access.approvals import WAITING
from authz.control.api.access import approvals as api
from authz.control.api.common.asking import in_thread
from authz.control.api.common.operations import AddBan, AddEntry, ChangeEntry, Operation
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.session import Asked, Asker
from authz.control.console.common.trying import try_waiting
from authz.control.console.look.render import page, see_other
from authz.control.model.problems import Problem
from authz.control.model.records import SUBJECTS

STATES = ("waiting", "approved", "rejected")
LABELS = {"except": "Except", "except_": "Except", "asns": "ASNs", "hosts": "Host names", "sources": "Source types",
          "expires": "Ends", "take_over": "Takes over", "period": "For"}  # fmt: skip


@get("/approvals")
async def show_approvals(asked: Asker) -> Response[str]:
    """Show what waits, or waited."""
    chosen = asked.request.query_params.get("state", "waiting")
    state = chosen if chosen in STATES else "waiting"
    approvals = await done_by(api.get_approvals, asked, state_=state)
    return page(asked, "overview/approvals.html", approvals=approvals, state=state, states=STATES,
                kind_of=kind_of, headline=headline)  # fmt: skip


@get("/approvals/{approval_id:str}")
async def show_one(asked: Asker, approval_id: FromPath[str]) -> Response[str]:
    """Show one change that waits, or waited."""
    return await _shown(asked, approval_id, None)


@post("/approvals/{approval_id:str}", status_code=200)
async def decide(asked: Asker, approval_id: FromPath[str]) -> Response[str]:
    """Approve or reject it."""
    form = await asked.form()
    handler: Any = api.approve if form.get("do") == "approve" else api.reject
    try:
        await done_by(handler, asked, approval_id=approval_id)
    except Problem as error:
        return await _shown(asked, approval_id, error)
    return see_other(f"/approvals/{approval_id}")


async def _shown(asked: Asked, approval_id: str, problem: Problem | None) -> Response[str]:
    """Show it; while it waits, with what it would do. problem: why what was just asked for could not be done."""
    approval = await done_by(api.show_approval, asked, approval_id=approval_id)
    preview, refusal = None, None
    if approval.state == WAITING:
        try:
            preview = await in_thread(try_waiting, asked, approval.request, approval.tenant)
            refusal = preview and preview.refusal
        except Problem as error:
            refusal = error
    return page(asked, "overview/approval.html", status=problem.status if problem else 200, approval=approval,
                problem=problem, preview=preview, refusal=refusal, fields=told(approval.request),
                what=kind_of(approval.request), headline=headline(approval.request))  # fmt: skip


def kind_of(request: dict[str, Any]) -> str:
    """Return what a change does, as a word."""
    return {"AddBan": "Ban", "AddEntry": "Add", "ChangeEntry": "Change", "DeleteEntry": "Delete", "EndBan": "Unban"}[
        request["type"]
    ]


def headline(request: dict[str, Any]) -> str:
    """Return whom a change is about, in a few words: the entry's id where it says nothing else."""
    operation = msgspec.convert(request, Operation)
    if isinstance(operation, AddBan):
        return str(operation.data.address)
    if isinstance(operation, AddEntry):
        named = [str(value) for kind in SUBJECTS for value in getattr(operation.data, kind)]
        return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return str(operation.id)


def told(request: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a change says, field by field."""
    operation = msgspec.convert(request, Operation)
    if isinstance(operation, AddBan | AddEntry | ChangeEntry):
        content = msgspec.to_builtins(operation.data)
        said = {name: value for name, value in content.items() if value not in (None, "", [], (), False)}
        fields = [(LABELS.get(name, name.capitalize()), _text(value)) for name, value in said.items()]
        return [("Entry", operation.id), *fields] if isinstance(operation, ChangeEntry) else fields
    return [("Entry", operation.id), ("Reason", operation.reason)]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


router: Any = Router("/", route_handlers=[show_approvals, show_one, decide])
