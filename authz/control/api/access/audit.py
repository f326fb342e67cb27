"""`/v1/audit`: who did what to tokens, tenants, sessions and approvals, and who read the list of tokens."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Router, get
from litestar.params import FromQuery

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Cursor,
    Limit,
    in_thread,
    parsed_moment,
    plane_of,
    read_cursor,
    write_cursor,
)
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.problems import documented
from authz.control.store.access.tokens import list_notes

_CURSOR = msgspec.json.Decoder(int)


class AuditItem(msgspec.Struct, frozen=True):
    """Something that was done. subject: the id of what it was done to."""

    time: str
    tenant: str
    actor: str
    action: str
    subject: str
    detail: str
    request_id: str


class AuditBody(msgspec.Struct, frozen=True):
    """A page, newest first."""

    items: list[AuditItem]
    cursor: str | None


@get("/v1/audit", summary="Who did what to tokens, tenants and sessions", responses=documented(), tags=["access"])
async def get_audit(
    request: AnyRequest, caller: Asker, from_: FromQuery[str | None] = None, actor: FromQuery[str | None] = None,
    limit: Limit = 100, cursor: Cursor = None,
) -> AuditBody:  # fmt: skip
    """List what was done, newest first. from_: at or after this time."""
    caller.need("admin")
    plane = plane_of(request)
    before, since = read_cursor(cursor, _CURSOR), parsed_moment(from_, "from_")

    def read() -> AuditBody:
        with plane.store.reading() as tx:
            notes = list_notes(tx, caller.sees, since=since, actor=actor, before=before, limit=limit + 1)
        items = [
            AuditItem(micro_moment(n.time), n.tenant, n.actor, n.action, n.subject, n.detail, n.request_id)
            for n in notes[:limit]
        ]
        return AuditBody(items, write_cursor(notes[limit - 1].id) if len(notes) > limit else None)

    return await in_thread(read)


router: Any = Router("/", route_handlers=[get_audit])
