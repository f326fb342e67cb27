"""`DELETE /v1/entries?expect=N`, `PUT /v1/sources/NAME/entries`: many entries in one change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, Router, delete, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Covering,
    IdempotencyKey,
    Timeout,
    WaitFor,
    idempotent_of,
    in_thread,
    parsed_network,
    plane_of,
)
from authz.control.api.common.bodies import EntryInput
from authz.control.api.common.changing import answered, without_approval
from authz.control.api.common.operations import all_of, written_of
from authz.control.api.common.problems import documented
from authz.control.lists.entries import layers_of
from authz.control.lists.many import MAX_DELETED, delete_matching, replace_source
from authz.control.model.problems import FieldMistake, Invalid
from authz.control.store.entries.find import Filter
from authz.engine.model import TOKEN, ListName

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch

MAX_ROWS: Final = 5000  # of a source

Expect = Annotated[int, QueryParameter(ge=1, le=MAX_DELETED, description="How many entries the filter finds.")]
OfList = Annotated[ListName | None, QueryParameter(name="list")]
Reason = Annotated[str, QueryParameter(max_length=1000)]


class DeletedBody(msgspec.Struct, frozen=True):
    """The ids of what was deleted. serials: by layer, in which it takes effect."""

    deleted: list[str]
    serials: dict[str, int]


class SkippedRow(msgspec.Struct, frozen=True):
    """A row (from 0) that says what an entry of somebody else says."""

    row: int
    id: str


class ReplacedBody(msgspec.Struct, frozen=True):
    """What the new list of a source did, by ids. serials: by layer, in which all of it takes effect."""

    added: list[str]
    changed: list[str]
    deleted: list[str]
    kept: list[str]
    skipped: list[SkippedRow]
    serials: dict[str, int]


@delete("", summary="Delete what a filter finds", status_code=200, responses=documented(403, 409, 422))
async def delete_entries(
    request: AnyRequest, caller: Asker, expect: Expect, address: Covering = None, list_: OfList = None,
    application: FromQuery[str | None] = None, origin: FromQuery[str | None] = None,
    permanent: Annotated[bool, QueryParameter(description="Also bans without an end.")] = False, reason: Reason = "",
    take_over: FromQuery[bool] = False, idempotency_key: IdempotencyKey = None, wait: WaitFor = None,
    timeout: Timeout = 10.0,
) -> Response[DeletedBody]:  # fmt: skip
    """Delete the caller's entries that a filter finds, in one change, if there are exactly `expect`.

    Otherwise none is deleted (409). `application` also finds entries for all applications. Bans without an end are
    found only by `origin`, by their id, or with `permanent`, so that nobody deletes them by accident.
    """
    caller.need("edit")
    wanted = Filter(list=list_, application=application, origin=origin, network=parsed_network(address))
    if wanted == Filter():
        raise Invalid([FieldMistake("?expect", "found no filter, expected address, list, application or origin")])
    plane = plane_of(request)

    def use(batch: Batch) -> tuple[int, DeletedBody]:
        gone = without_approval(lambda: delete_matching(
            batch, wanted, expect, reason, take_over=take_over, permanent=permanent or origin is not None
        ))  # fmt: skip
        return 200, DeletedBody([entry.id for entry in gone], batch.serials())

    key = await idempotent_of(request, idempotency_key)
    answer = await in_thread(plane.mutate, caller, use, layers=layers_of(plane.config.rules()), idempotent=key)
    return await answered(plane, caller, answer, wait, timeout)


@put("/v1/sources/{source:str}/entries", summary="Replace what a source says", status_code=200,
     responses=documented(403, 409, 422))  # fmt: skip
async def replace_entries(
    request: AnyRequest, caller: Asker, source: FromPath[str], data: JSONBody[list[EntryInput]], reason: Reason = "",
    idempotency_key: IdempotencyKey = None, wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[ReplacedBody]:  # fmt: skip
    """Replace the caller's entries of a source by these rows, in one change.

    Entries that are no longer in it are deleted. One refused row refuses the whole request. To empty a source, delete
    its entries by `origin`.
    """
    caller.need("edit")
    if not TOKEN.fullmatch(source):
        raise Invalid([FieldMistake("?source", "expected letters, digits, '.', '_' and '-', at most 64")])
    if not 1 <= len(data) <= MAX_ROWS:
        raise Invalid([FieldMistake("", f"found {len(data)} rows, expected 1 to {MAX_ROWS}")])
    plane = plane_of(request)

    def use(batch: Batch) -> tuple[int, ReplacedBody]:
        rows = [written_of(row, batch) for row in data]
        done = without_approval(lambda: replace_source(batch, source, rows, reason))
        added, changed, deleted, kept = ([entry.id for entry in some] for some in done[:4])
        skipped = [SkippedRow(*row) for row in done.skipped]
        return 200, ReplacedBody(added, changed, deleted, kept, skipped, batch.serials())

    key = await idempotent_of(request, idempotency_key)
    layers = layers_of(plane.config.rules())
    answer = await in_thread(plane.mutate, caller, use, layers=layers, idempotent=key, foreseen=all_of(*data))
    return await answered(plane, caller, answer, wait, timeout)


router: Any = Router("/", route_handlers=[replace_entries], tags=["entries"])
