"""`/v1/bans`: the short form. One address or network, for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from authz.control.api.asking import (
    AnyRequest,
    Asker,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Timeout,
    WaitFor,
    answer_when,
    check_match,
    idempotent_of,
    in_thread,
    plane_of,
)
from authz.control.api.bodies import BanInput, EntriesBody, EntryBody, entry_body
from authz.control.api.entries import entries_page
from authz.control.api.problems import documented
from authz.control.lists.bans import ban, unban
from authz.control.store.entries import Filter

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch


@post("", summary="Ban an address or a network", status_code=201, responses=documented(404, 409, 422))
async def add_ban(
    request: AnyRequest, caller: Asker, data: JSONBody[BanInput],
    idempotency_key: IdempotencyKey = None, wait: WaitFor = None,
    timeout: Timeout = 10.0,  # noqa: ASYNC109
) -> Response[EntryBody]:  # fmt: skip
    """Put an address or network on the deny (or gray) list. Without a period: one hour."""
    caller.need("ban")
    plane = plane_of(request)
    bans = plane.config.rules().bans
    serials: dict[str, int] = {}

    def use(batch: Batch) -> tuple[int, EntryBody]:
        entry = ban(
            batch, data.address, applications=data.applications, period=data.period, expires=data.expires,
            reason=data.reason, list_="gray" if data.list == "gray" else "deny",
        )  # fmt: skip
        serials[bans] = batch.serial(bans)
        return 201, entry_body(entry, batch.seconds, serial=serials[bans], address=entry.networks[0])

    key = await idempotent_of(request, idempotency_key)
    answer = await in_thread(plane.mutate, caller, use, layers=(bans,), force=data.force, idempotent=key)
    return await answer_when(plane, answer, serials, wait, timeout)  # type: ignore[return-value]


@get("", summary="Bans that hold", responses=documented())
async def list_bans(request: AnyRequest, caller: Asker, cursor: Cursor = None, limit: Limit = 100) -> EntriesBody:
    """List the bans that hold, by id."""
    caller.need("read")
    plane = plane_of(request)
    now = plane.store.now()
    wanted = Filter(tenant=caller.sees, layer=plane.config.rules().bans, unexpired_at=now // 1_000_000)
    return await in_thread(entries_page, plane, wanted, cursor, limit)


@delete("/{entry_id:str}", summary="End a ban", status_code=200, responses=documented(404, 409, 412, 422))
async def end_ban(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], if_match: IfMatch = None, reason: FromQuery[str] = "",
    idempotency_key: IdempotencyKey = None, wait: WaitFor = None, timeout: Timeout = 10.0,  # noqa: ASYNC109
) -> Response[EntryBody]:  # fmt: skip
    """Take a ban off its list. If-Match is taken, and not needed."""
    caller.need("ban")
    plane = plane_of(request)
    bans = plane.config.rules().bans
    serials: dict[str, int] = {}

    def use(batch: Batch) -> tuple[int, EntryBody]:
        before = batch.entry(entry_id)
        check_match(before, if_match, entry_body(before, batch.seconds), required=False)
        entry = unban(batch, entry_id, reason)
        serials[bans] = batch.serial(bans)
        return 200, entry_body(entry, batch.seconds, serial=serials[bans])

    key = await idempotent_of(request, idempotency_key)
    answer = await in_thread(plane.mutate, caller, use, layers=(bans,), idempotent=key)
    return await answer_when(plane, answer, serials, wait, timeout)  # type: ignore[return-value]


router: Any = Router("/v1/bans", route_handlers=[add_ban, list_bans, end_ban], tags=["bans"])
