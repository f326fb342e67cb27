"""`/v1/entries`: everything that is on a list."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Covering,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Timeout,
    WaitFor,
    idempotent_of,
    in_thread,
    needing,
    parsed_moment,
    parsed_network,
    plane_of,
    read_cursor,
    write_cursor,
)
from authz.control.api.common.bodies import (
    BulkBody,
    EntriesBody,
    EntryBody,
    EntryInput,
    EntryPatch,
    RowResult,
    entry_body,
)
from authz.control.api.common.changing import answered, change, without_approval
from authz.control.api.common.matching import etag
from authz.control.api.common.operations import AddEntry, ChangeEntry, DeleteEntry, all_of, check_together, written_of
from authz.control.api.common.problems import documented, problem_body
from authz.control.api.lists.many.changes import delete_entries
from authz.control.api.lists.many.jobs import JobBody, accepted
from authz.control.lists import entries as lists
from authz.control.maintenance.jobs import Row, ask_job, subjects_in
from authz.control.model.problems import FieldMistake, Invalid, Missing, NeedsApproval, Problem
from authz.control.model.records import MICROSECONDS, Entry
from authz.control.store.entries.find import Filter, find_page_by_id, get_entry
from authz.engine.model import ListName

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.plane import ControlPlane

MAX_BULK: Final = 5000  # rows that are added before the answer
MAX_JOB: Final = 200_000  # rows of a job
MAX_JOB_SUBJECTS: Final = 1_000_000  # of all its rows, and exceptions
MAX_BULK_BODY: Final = 64 << 20  # bytes
_JOB = ResponseSpec(JobBody, description="Accepted: a job", media_type="application/json")
_CURSOR = msgspec.json.Decoder(str)


def entries_page(plane: ControlPlane, wanted: Filter, cursor: str | None, limit: int) -> EntriesBody:
    """Return a page of entries."""
    after = read_cursor(cursor, _CURSOR) or ""
    with plane.store.reading() as tx:
        entries, following = find_page_by_id(tx, wanted, after=after, limit=limit)
    now = (wanted.at or plane.store.now()) / MICROSECONDS
    cursor = None if following is None else write_cursor(following)
    return EntriesBody([entry_body(entry, now) for entry in entries], cursor)


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
) -> EntriesBody:
    """List entries by id. Continue until there is no cursor: also a page with fewer than `limit` may have one."""
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
    return Response(entry_body(entry, now), headers={"ETag": etag(entry.id, entry.version)})


@post("", summary="Add an entry", status_code=201, responses=documented(202, 409, 422))
async def add_entry(
    request: AnyRequest, caller: Asker, data: JSONBody[EntryInput], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[EntryBody]:  # fmt: skip
    """Add an entry. A duplicate is refused (409) with the id of the existing entry, which can be changed."""
    caller.need("edit")
    return await change(request, caller, AddEntry(data), idempotency_key, wait, timeout)


@post("/bulk", summary="Add many entries", status_code=200, responses=documented(409, 422) | {202: _JOB},
      request_max_body_size=MAX_BULK_BODY, guards=[needing("edit")])  # fmt: skip
async def add_entries(
    request: AnyRequest, caller: Asker, data: JSONBody[list[EntryInput]], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[BulkBody | JobBody]:  # fmt: skip
    """Add entries, with a result for each row. A refused row does not stop the others.

    Up to 5,000 rows are added before the answer. More, up to 200,000, become a job (202), at `Location`.
    """
    if not 1 <= len(data) <= MAX_JOB:
        raise Invalid([FieldMistake("", f"found {len(data)} rows, expected 1 to {MAX_JOB}")])
    plane = plane_of(request)
    key = await idempotent_of(request, idempotency_key)
    if len(data) > MAX_BULK:
        rows: list[Row] = [msgspec.to_builtins(row) for row in data]
        if (named := sum(map(subjects_in, rows))) > MAX_JOB_SUBJECTS:
            told = f"found {named} subjects and exceptions, expected at most {MAX_JOB_SUBJECTS}: make a feed of them"
            raise Invalid([FieldMistake("", told)], code="too_many")
        await in_thread(without_approval, partial(check_together, data, plane.config.rules().four_eyes))
        return accepted(await in_thread(ask_job, plane, caller, rows, key))

    def use(batch: Batch) -> tuple[int, BulkBody]:
        rows = [_bulk_row(batch, row) for row in data]
        return 200, BulkBody(rows, batch.serials())

    layers = lists.layers_of(plane.config.rules())
    answer = await in_thread(plane.mutate, caller, use, layers=layers, idempotent=key, foreseen=all_of(*data))
    return await answered(plane, caller, answer, wait, timeout)


def add_row(batch: Batch, row: Row) -> Entry:
    """Add an entry of a row of a job. Raises Problem."""
    try:
        data = msgspec.convert(row, EntryInput)
    except msgspec.ValidationError as error:  # a version before has kept it
        raise Invalid([FieldMistake("", str(error))]) from error
    return lists.add(batch, written_of(data, batch))


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


@patch("/{entry_id:str}", summary="Change an entry, or its period", responses=documented(202, 404, 409, 412, 422, 428))
async def change_entry(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], data: JSONBody[EntryPatch],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None, wait: WaitFor = None,
    timeout: Timeout = 10.0,
) -> Response[EntryBody]:  # fmt: skip
    """Change the given fields. A new period counts from now."""
    caller.need("ban")
    operation = ChangeEntry(entry_id, data, if_match, caller.may("edit"))
    return await change(request, caller, operation, idempotency_key, wait, timeout)


@delete(
    "/{entry_id:str}", summary="Delete an entry", status_code=200, responses=documented(202, 404, 409, 412, 422, 428)
)
async def delete_entry(
    request: AnyRequest, caller: Asker, entry_id: FromPath[str], if_match: IfMatch = None,
    reason: FromQuery[str] = "", take_over: FromQuery[bool] = False, idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[EntryBody]:  # fmt: skip
    """Delete an entry. History keeps it."""
    caller.need("edit")
    operation = DeleteEntry(entry_id, if_match, reason, take_over)
    return await change(request, caller, operation, idempotency_key, wait, timeout)


router: Any = Router(
    "/v1/entries",
    route_handlers=[list_entries, show_entry, add_entry, add_entries, change_entry, delete_entry, delete_entries],
    tags=["entries"],
)
