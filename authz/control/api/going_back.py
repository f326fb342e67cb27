"""`/v1/preview`, `/v1/undo`, `/v1/rollback`: what a change would do; taking one back; going back to an older state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, Router, post
from litestar.params import JSONBody
from msgspec import Meta

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    IdempotencyKey,
    Timeout,
    WaitFor,
    idempotent_of,
    in_thread,
    parsed_moment,
    plane_of,
)
from authz.control.api.common.bodies import EntryBody, EntryInput, Input, Reason, entry_body
from authz.control.api.common.changing import answered, without_approval
from authz.control.api.common.operations import all_of, written_of
from authz.control.api.common.problems import documented, problem_body
from authz.control.api.common.touched import YesterdayBody, yesterday_of
from authz.control.lists.entries import layers_of
from authz.control.lists.overlapping import Standing
from authz.control.lists.preview import preview
from authz.control.lists.undo import can_be_undone, differing, roll_back, undo, would_be_again
from authz.control.model.problems import Conflict, FieldMistake, Invalid, Missing
from authz.control.model.records import SUBJECTS, Written
from authz.control.store.ledger.history import get_change

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.access.callers import Caller
    from authz.control.lists.batch import Batch
    from authz.control.plane import ControlPlane


LAST_SERIAL: Final = 2**63 - 1  # that a database keeps


class PreviewBody(msgspec.Struct, frozen=True):
    """What adding an entry would do. addresses: of its networks (IPv6 by /64). problem: why it would be refused.

    overlaps: entries that name the same addresses as its first 100 networks, at most 50.
    deciding: which entry decides for what both name, by the id of the overlapping one: `this` that is tried, `that`,
    `varies` by application or address, `same` (both say the same), `neither`. approval: why it would wait for a second
    person; empty: it would not. yesterday: what it would have touched of the last day's events; null: not known.
    """

    layer: str
    addresses: int
    overlaps: list[EntryBody]
    deciding: dict[str, Standing]
    problem: dict[str, Any] | None
    approval: str
    yesterday: YesterdayBody | None = None


class UndoInput(Input, frozen=True, kw_only=True):
    """Which change. layer: needed only where several layers have a change of this serial."""

    layer: str | None = None
    serial: Annotated[int, Meta(ge=0, le=LAST_SERIAL)]
    reason: Reason = ""


class RollbackInput(Input, frozen=True, kw_only=True):
    """Where to go back to: a time, or a serial of a layer (`bans` unless named)."""

    to: Annotated[str | Annotated[int, Meta(ge=0, le=LAST_SERIAL)], Meta(description="RFC 3339, or a serial.")]
    layer: str | None = None
    reason: Reason = ""
    dry_run: bool = False


class RollbackBody(msgspec.Struct, frozen=True):
    """What going back did: ids. skipped: with why. serials: by layer, in which it takes effect."""

    restored: list[str]
    changed: list[str]
    deleted: list[str]
    skipped: dict[str, str]
    dry_run: bool
    serials: dict[str, int]


class UndoBody(msgspec.Struct, frozen=True):
    """The entry as it is again; null: it is off its list."""

    entry: EntryBody | None
    serials: dict[str, int]


@post(
    "/v1/preview", summary="What adding an entry would do", status_code=200, responses=documented(422), tags=["changes"]
)
async def preview_entry(request: AnyRequest, caller: Asker, data: JSONBody[EntryInput]) -> PreviewBody:
    """Preview an entry: what it covers, overlaps and would have affected yesterday, and whether it would be refused."""
    caller.need("read")
    plane = plane_of(request)

    def use(batch: Batch) -> PreviewBody:
        outcome = preview(batch, written_of(data, batch))
        overlaps = [entry_body(entry, batch.seconds) for entry in outcome.overlaps]
        problem = None if outcome.refusal is None else problem_body(outcome.refusal)
        return PreviewBody(
            outcome.layer, outcome.addresses, overlaps, outcome.deciding, problem, outcome.approval
        )  # fmt: skip

    layers = layers_of(plane.config.rules())
    shown: PreviewBody = await in_thread(
        plane.consider, caller, use, layers=layers, force=data.force, foreseen=all_of(data)
    )
    named = Written(**{name: getattr(data, name) for name in (*SUBJECTS, "except_", "applications")})
    if (shown.problem or {}).get("code") == "invalid":
        return shown
    yesterday = await in_thread(yesterday_of, plane, caller, named)
    return msgspec.structs.replace(shown, yesterday=yesterday)


@post(
    "/v1/undo", summary="Take one change back", status_code=200, responses=documented(404, 409, 422), tags=["changes"]
)
async def undo_change(
    request: AnyRequest, caller: Asker, data: JSONBody[UndoInput], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[UndoBody]:  # fmt: skip
    """Undo a change of an entry, if nobody has changed the entry since."""
    caller.need("edit")
    plane = plane_of(request)
    layer = await in_thread(_layer_of, plane, caller, data)

    def use(batch: Batch) -> tuple[int, UndoBody]:
        entry = without_approval(lambda: undo(batch, layer, data.serial, data.reason))
        serials = {layer: batch.serial(layer)}
        return 200, UndoBody(None if entry is None else entry_body(entry, batch.seconds), serials)

    key = await idempotent_of(request, idempotency_key)
    layers = {*layers_of(plane.config.rules()), layer}  # all: what the first layer protects stays so meanwhile
    before = [(layer, data.serial)]
    answer = await in_thread(
        plane.mutate, caller, use, layers=layers, idempotent=key, foreseen=lambda tx: would_be_again(tx, before)
    )
    return await answered(plane, caller, answer, wait, timeout)


def _layer_of(plane: ControlPlane, caller: Caller, data: UndoInput) -> str:
    """Return the layer of the change that is meant. Raises Missing, and Conflict (`ambiguous`)."""
    layers = [*plane.config.limits()]
    if data.layer is not None:
        if data.layer not in layers:
            raise Missing(f"there is no layer '{data.layer[:64]}'")
        return data.layer
    with plane.store.reading() as tx:
        made = [get_change(tx, layer, data.serial) for layer in layers]
    having = [c.layer for c in made if c and can_be_undone(c) and caller.sees in {None, c.tenant}]
    if len(having) > 1:
        raise Conflict(
            f"the layers {' and '.join(having)} each have a change {data.serial}", code="ambiguous",
            hint="name the layer",
        )  # fmt: skip
    return having[0] if having else plane.config.rules().bans


@post(
    "/v1/rollback",
    summary="Go back to an older state",
    status_code=200,
    responses=documented(404, 409, 422),
    tags=["changes"],
)
async def roll_lists_back(
    request: AnyRequest, caller: Asker, data: JSONBody[RollbackInput], idempotency_key: IdempotencyKey = None,
    wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[RollbackBody]:  # fmt: skip
    """Restore an earlier state of the lists, under new serials.

    What has expired since does not come back; history keeps everything.
    """
    caller.need("edit")
    plane = plane_of(request)
    limits = plane.config.limits()
    if data.layer is not None and data.layer not in limits:
        raise Missing(f"there is no layer '{data.layer[:64]}'")
    given = data.to if isinstance(data.to, int) else _moment(data.to)
    layer = data.layer or (plane.config.rules().bans if isinstance(data.to, int) else None)

    def when(tx: Connection) -> int:
        if not isinstance(data.to, int) or layer is None:
            return given
        made = get_change(tx, layer, data.to)
        if made is None:
            raise Missing(f"the layer '{layer}' has no serial {data.to}")
        return made.time

    def use(batch: Batch) -> tuple[int, RollbackBody]:
        at = when(batch.tx)
        if at > batch.now:
            raise Invalid([FieldMistake("/to", "found a time in the future, expected one in the past")])
        done = roll_back(batch, at, layer=layer, reason=data.reason or f"rollback to {data.to}")
        if data.dry_run:
            batch.discard()
        touched = {entry.layer for entry in (*done.restored, *done.changed, *done.deleted)}
        serials = {} if data.dry_run else {layer: batch.serial(layer) for layer in touched}
        restored, changed, deleted = ([entry.id for entry in some] for some in done[:3])
        return 200, RollbackBody(restored, changed, deleted, dict(done.skipped), data.dry_run, serials)

    key = await idempotent_of(request, idempotency_key)
    answer = await in_thread(
        plane.mutate, caller, use, layers=layers_of(plane.config.rules()), idempotent=key,
        foreseen=lambda tx: differing(tx, when(tx), caller.sees, layer)[0].values(),
    )  # fmt: skip
    return await answered(plane, caller, answer, wait, timeout)


def _moment(text: str) -> int:
    try:
        return parsed_moment(text, "to") or 0
    except Invalid as error:
        raise Invalid([FieldMistake("/to", error.mistakes[0].detail)]) from error


router: Any = Router("/", route_handlers=[preview_entry, undo_change, roll_lists_back], tags=["changes"])
