"""`/v1/bans`: the short form. One address or network, for a time."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Timeout,
    WaitFor,
    in_thread,
    plane_of,
)
from authz.control.api.common.bodies import BanInput, EntriesBody, EntryBody
from authz.control.api.common.changing import change
from authz.control.api.common.operations import AddBan, EndBan
from authz.control.api.common.problems import documented
from authz.control.api.lists.entries import entries_page
from authz.control.model.records import MICROSECONDS
from authz.control.store.entries.find import Filter


@post("", summary="Ban an address or a network", status_code=201, responses=documented(202, 409, 422))
async def add_ban(
    request: AnyRequest, caller: Asker, data: JSONBody[BanInput], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[EntryBody]:  # fmt: skip
    """Put an address or network on the deny (or gray) list. Without a period: one hour."""
    caller.need("ban")
    return await change(request, caller, AddBan(data), idempotency_key, wait, timeout)


@get("", summary="Bans that hold", responses=documented())
async def list_bans(request: AnyRequest, caller: Asker, cursor: Cursor = None, limit: Limit = 100) -> EntriesBody:
    """List the active bans, by id."""
    caller.need("read")
    plane = plane_of(request)
    now = plane.store.now() // MICROSECONDS
    wanted = Filter(tenant=caller.sees, layer=plane.config.rules().bans, unexpired_at=now)
    return await in_thread(entries_page, plane, wanted, cursor, limit)


@delete("/{entry_id:str}", summary="End a ban", status_code=200, responses=documented(404, 409, 412, 422))
async def end_ban(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], if_match: IfMatch = None,
    reason: FromQuery[str] = "", idempotency_key: IdempotencyKey = None, wait: WaitFor = None,
    timeout: Timeout = 10.0,
) -> Response[EntryBody]:  # fmt: skip
    """End a ban. If-Match is accepted, but not needed."""
    caller.need("ban")
    return await change(request, caller, EndBan(entry_id, if_match, reason), idempotency_key, wait, timeout)


router: Any = Router("/v1/bans", route_handlers=[add_ban, list_bans, end_ban], tags=["bans"])
