"""`/v1/entries`: everything that is on a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from authz.control.api.asking import (
    AnyRequest,
    Asker,
    Covering,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Timeout,
    WaitFor,
    answer_when,
    check_match,
    etag,
    idempotent_of,
    in_thread,
    parsed_moment,
    parsed_network,
    plane_of,
    read_cursor,
    write_cursor,
)
from authz.control.api.bodies import (
    BulkBody,
    EntriesBody,
    EntryBody,
    EntryInput,
    EntryPatch,
    RowResult,
    entry_body,
)
from authz.control.api.problems import documented, problem_body
from authz.control.lists import entries as lists
from authz.control.lists.guard import NeedsApproval
from authz.control.lists.periods import DEFAULT_PERIOD, end_of, moment
from authz.control.model import MICROSECONDS, SUBJECTS, WRITTEN, Entry, Written
from authz.control.problems import FieldMistake, Invalid, Missing, Problem
from authz.control.store.entries import Filter, find_entries, get_entry
from authz.engine.model import ListName

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.plane import ControlPlane

MAX_BULK = 1000


def entries_page(plane: ControlPlane, wanted: Filter, cursor: str | None, limit: int) -> EntriesBody:
    """Return a page of entries."""
    after = read_cursor(cursor, str) or ""
    with plane.store.reading() as tx:
        found = find_entries(tx, wanted, after=after, limit=limit + 1)
    now = (wanted.at or plane.store.now()) / MICROSECONDS
    following = write_cursor(found[limit - 1].id) if len(found) > limit else None
    return EntriesBody([entry_body(entry, now) for entry in found[:limit]], following)


@get("", summary="Entries, now or as of a time", responses=documented())
async def list_entries(
    request: AnyRequest,
    caller: Asker,
    address: Covering = None,
    at: Annotated[str | None, QueryParameter(description="As of this time; default now.")] = None,
    list_: Annotated[ListName | None, QueryParameter(name="list")] = None,
    application: FromQuery[str | None] = None,
    origin: FromQuery[str | None] = None,
    expired: Annotated[bool, QueryParameter(description="Also what has expired and was not deleted.")] = False,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> EntriesBody:  # fmt: skip
    """List entries by id."""
    caller.need("read")
    plane = plane_of(request)
    recorded = parsed_moment(at, "at")
    unexpired = None if expired else (recorded or plane.store.now()) // MICROSECONDS
    wanted = Filter(
        tenant=caller.sees, list=list_, application=application, origin=origin, network=parsed_network(address),
        at=recorded, unexpired_at=unexpired,
    )  # fmt: skip
    return await in_thread(entries_page, plane, wanted, cursor, limit)


@get("/{entry_id:str}", summary="One entry", responses=documented(404))
async def show_entry(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], at: FromQuery[str | None] = None
) -> Response[EntryBody]:
    """Show an entry, now or as of a time, with its ETag."""
    caller.need("read")
    plane = plane_of(request)
    recorded = parsed_moment(at, "at")

    def read() -> Entry | None:
        with plane.store.reading() as tx:
            return get_entry(tx, entry_id, at=recorded)

    entry = await in_thread(read)
    if entry is None or caller.sees not in {None, entry.tenant}:
        raise Missing(f"there is no entry '{entry_id[:64]}'")
    now = (recorded or plane.store.now()) / MICROSECONDS
    return Response(entry_body(entry, now), headers={"ETag": etag(entry)})


@post("", summary="Add an entry", status_code=201, responses=documented(409, 422))
async def add_entry(
    request: AnyRequest, caller: Asker, data: JSONBody[EntryInput], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,  # noqa: ASYNC109
) -> Response[EntryBody]:  # fmt: skip
    """Add an entry. One that says the same as another is refused (409) with the id of that one, to be changed."""
    caller.need("edit")
    plane = plane_of(request)
    serials: dict[str, int] = {}

    def use(batch: Batch) -> tuple[int, EntryBody]:
        entry = lists.add(batch, written_of(data, batch))
        serials[entry.layer] = batch.serial(entry.layer)
        return 201, entry_body(entry, batch.seconds, serial=serials[entry.layer])

    key = await idempotent_of(request, idempotency_key)
    layers = lists.layers_of(plane.config.rules())
    answer = await in_thread(plane.mutate, caller, use, layers=layers, force=data.force, idempotent=key)
    return await answer_when(plane, answer, serials, wait, timeout)  # type: ignore[return-value]


@post("/bulk", summary="Add up to 1,000 entries", status_code=200, responses=documented(409, 422))
async def add_entries(
    request: AnyRequest, caller: Asker, data: JSONBody[list[EntryInput]], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,  # noqa: ASYNC109
) -> Response[BulkBody]:  # fmt: skip
    """Add entries, with a result for each row. Rows that are refused do not keep the others from being added."""
    caller.need("edit")
    if not 1 <= len(data) <= MAX_BULK:
        raise Invalid([FieldMistake("", f"found {len(data)} rows, expected 1 to {MAX_BULK}")])
    plane = plane_of(request)
    serials: dict[str, int] = {}

    def use(batch: Batch) -> tuple[int, BulkBody]:
        rows = [_bulk_row(batch, row) for row in data]
        serials.update({row.entry.layer: batch.serial(row.entry.layer) for row in rows if row.entry is not None})
        return 200, BulkBody(rows, dict(serials))

    key = await idempotent_of(request, idempotency_key)
    layers = lists.layers_of(plane.config.rules())
    answer = await in_thread(plane.mutate, caller, use, layers=layers, idempotent=key)
    return await answer_when(plane, answer, serials, wait, timeout)  # type: ignore[return-value]


def _bulk_row(batch: Batch, row: EntryInput) -> RowResult:
    batch.force = row.force
    try:
        entry = lists.add(batch, written_of(row, batch))
    except NeedsApproval as error:
        error.status = 409
        return RowResult(409, problem=problem_body(error))
    except Problem as error:
        return RowResult(error.status, problem=problem_body(error))
    return RowResult(201, entry_body(entry, batch.seconds))


@patch("/{entry_id:str}", summary="Change an entry, or its period", responses=documented(404, 409, 412, 422, 428))
async def change_entry(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], data: JSONBody[EntryPatch], if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None, wait: WaitFor = None, timeout: Timeout = 10.0,  # noqa: ASYNC109
) -> Response[EntryBody]:  # fmt: skip
    """Change what is given. A new period counts from now."""
    caller.need("ban")
    plane = plane_of(request)
    serials: dict[str, int] = {}

    def use(batch: Batch) -> tuple[int, EntryBody]:
        before = batch.entry(entry_id)
        if before.layer != batch.rules.bans or _says_more_than_when(data):
            caller.need("edit")
        check_match(before, if_match, entry_body(before, batch.seconds))
        reason = "" if data.reason is UNSET else data.reason
        entry = lists.change(batch, before, patched(before, data, batch), reason, take_over=data.take_over)
        serials[entry.layer] = batch.serial(entry.layer)
        return 200, entry_body(entry, batch.seconds, serial=serials[entry.layer])

    key = await idempotent_of(request, idempotency_key)
    layers = lists.layers_of(plane.config.rules())
    answer = await in_thread(plane.mutate, caller, use, layers=layers, force=data.force, idempotent=key)
    return await answer_when(plane, answer, serials, wait, timeout)  # type: ignore[return-value]


@delete("/{entry_id:str}", summary="Delete an entry", status_code=200, responses=documented(404, 409, 412, 422, 428))
async def delete_entry(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], if_match: IfMatch = None, reason: FromQuery[str] = "",
    take_over: FromQuery[bool] = False, idempotency_key: IdempotencyKey = None, wait: WaitFor = None,
    timeout: Timeout = 10.0,  # noqa: ASYNC109
) -> Response[EntryBody]:  # fmt: skip
    """Take an entry off its list. History keeps it."""
    caller.need("edit")
    plane = plane_of(request)
    serials: dict[str, int] = {}

    def use(batch: Batch) -> tuple[int, EntryBody]:
        before = batch.entry(entry_id)
        check_match(before, if_match, entry_body(before, batch.seconds))
        entry = lists.delete(batch, before, reason, take_over=take_over)
        serials[entry.layer] = batch.serial(entry.layer)
        return 200, entry_body(entry, batch.seconds, serial=serials[entry.layer])

    key = await idempotent_of(request, idempotency_key)
    layers = lists.layers_of(plane.config.rules())
    answer = await in_thread(plane.mutate, caller, use, layers=layers, idempotent=key)
    return await answer_when(plane, answer, serials, wait, timeout)  # type: ignore[return-value]


def written_of(data: JSONBody[EntryInput], batch: Batch) -> Written:
    """Return what a request says, with its window worked out."""
    starts = None if data.starts is None else moment(data.starts, "/starts")
    names = (*SUBJECTS, "except_", "list", "applications", "action", "reason")
    return Written(
        **{name: getattr(data, name) for name in names},
        starts=starts,
        expires=end_of(data.period, data.expires, batch.seconds, default=DEFAULT_PERIOD, start=starts),
        author=data.author or batch.actor.name,
    )


def patched(before: Entry, data: JSONBody[EntryPatch], batch: Batch) -> Written:
    """Return what an entry says after a change."""
    given = {
        name: getattr(data, name)
        for name in WRITTEN
        if name not in {"starts", "expires", "author"} and getattr(data, name) is not UNSET
    }
    if data.starts is not UNSET:
        given["starts"] = None if data.starts is None else moment(data.starts, "/starts")
    if data.period is not UNSET or data.expires is not UNSET:
        period = None if data.period is UNSET else data.period
        expires = None if data.expires is UNSET else data.expires or "forever"
        given["expires"] = end_of(period, expires, batch.seconds)
    return msgspec.structs.replace(before.says(), **given)


def _says_more_than_when(data: JSONBody[EntryPatch]) -> bool:
    return any(getattr(data, name) is not UNSET for name in WRITTEN if name not in {"expires", "reason", "author"})


router: Any = Router(
    "/v1/entries",
    route_handlers=[list_entries, show_entry, add_entry, add_entries, change_entry, delete_entry],
    tags=["entries"],
)
