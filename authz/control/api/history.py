"""`/v1/history`: who did what, when, how and why; `/v1/explain`: why an address is allowed or denied, at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import get
from litestar.params import FromQuery, QueryParameter

from authz.addresses import parse_address
from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Covering,
    Cursor,
    Limit,
    in_thread,
    parsed_moment,
    parsed_network,
    plane_of,
    read_cursor,
    write_cursor,
)
from authz.control.api.common.bodies import EntryBody, HistoryBody, HistoryItem, entry_body, history_item, micro_moment
from authz.control.api.common.problems import documented
from authz.control.lists.explain import Explanation, explain
from authz.control.model.problems import FieldMistake, Invalid, Missing
from authz.control.model.records import MICROSECONDS, POLICY_LAYER
from authz.control.store.detection.listings import evidence_of
from authz.control.store.ledger.checkpoints import SignedCheckpoint, list_checkpoints
from authz.control.store.ledger.history import Place, Wanted, find_changes
from authz.control.store.published.publications import publication_at
from authz.engine.model import ANY_APPLICATION
from authz.errors import AddressError, shorten

if TYPE_CHECKING:
    from authz.control.access.callers import Caller
    from authz.control.plane import ControlPlane


@get("/v1/history", summary="What changed, newest first", responses=documented(), tags=["history"])
async def get_history(
    request: AnyRequest,
    caller: Asker,
    address: Covering = None,
    from_: Annotated[str | None, QueryParameter(name="from", description="Changes at or after this time.")] = None,
    to: Annotated[str | None, QueryParameter(description="Changes before this time.")] = None,
    id_: Annotated[str | None, QueryParameter(name="id", description="Changes of this entry.")] = None,
    layer: FromQuery[str | None] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> HistoryBody:
    """List changes: of an address, an entry, a time, or all."""
    caller.need("read")
    plane = plane_of(request)
    wanted = Wanted(
        caller.sees, layer, id_, parsed_network(address), parsed_moment(from_, "from"), parsed_moment(to, "to")
    )
    return await in_thread(_page, plane, wanted, read_cursor(cursor, _CURSOR), limit)


def _page(plane: ControlPlane, wanted: Wanted, before: Place | None, limit: int) -> HistoryBody:
    with plane.store.reading() as tx:
        changes = find_changes(tx, wanted, before=before, limit=limit + 1)
    last = changes[limit - 1] if len(changes) > limit else None
    cursor = None if last is None else write_cursor((last.time, last.layer, last.sequence))
    return HistoryBody([history_item(change) for change in changes[:limit]], cursor)


_CURSOR: msgspec.json.Decoder[Place] = msgspec.json.Decoder(Place)


class CoveringBody(msgspec.Struct, frozen=True):
    """An entry that covers the address. entry: null where a feed, a country or a host name brought it.

    automatic: of an entry that a trigger made: trigger, window, counts and sample events; otherwise null.
    """

    id: str
    list: str
    network: str
    verdict: str
    entry: EntryBody | None
    change: HistoryItem | None
    automatic: dict[str, Any] | None = None


class ExplainBody(msgspec.Struct, frozen=True):
    """A decision and what led to it. published: by layer, the serial that was offered then."""

    address: str
    application: str
    at: str
    decision: str
    reason: str
    list: str
    entry: str | None
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    covering: tuple[CoveringBody, ...]
    published: dict[str, int]
    complete: bool


@get("/v1/explain", summary="Why an address is allowed or denied", responses=documented(404), tags=["history"])
async def get_explanation(
    request: AnyRequest,
    caller: Asker,
    address: Annotated[str, QueryParameter(max_length=100)],
    application: FromQuery[str | None] = None,
    at: Annotated[str | None, QueryParameter(description="As of this time; default now.")] = None,
) -> ExplainBody:
    """Explain a decision, now or as of a time: every entry that covers the address, who put it there, and why."""
    caller.need("read")
    plane = plane_of(request)
    return await in_thread(_explain, plane, caller, address, application, parsed_moment(at, "at") or plane.store.now())


def _explain(plane: ControlPlane, caller: Caller, text: str, application: str | None, at: int) -> ExplainBody:
    try:
        address = parse_address(text)
    except AddressError as error:
        problem = Invalid([FieldMistake("?address", error.message)])
        problem.status = 400
        raise problem from error
    if application not in {None, ANY_APPLICATION} and not caller.owns(application):
        raise Missing(f"there is no application '{shorten(application)}'")
    with plane.store.reading() as tx:
        policy = plane.opened.at(tx, POLICY_LAYER, at) if caller.sees is None else None
        explanation = explain(tx, address, application, at, tenant=caller.sees, policy=policy)
        evidence = evidence_of(tx, (match.id for match in explanation.covering if match.entry is not None))
        layers = [layer.name for layer in plane.config.layers]
        published = {layer: p.serial for layer in layers if (p := publication_at(tx, layer, at)) is not None}
    return _explain_body(explanation, address.text, at, published, evidence)


def _explain_body(
    explanation: Explanation, address: str, at: int, published: dict[str, int], evidence: dict[str, dict[str, Any]]
) -> ExplainBody:
    now = at / MICROSECONDS
    settings = explanation.application._asdict() | {"deny": explanation.application.deny._asdict()}
    covering = tuple(
        CoveringBody(
            match.id, match.list, str(match.network), match.verdict,
            None if match.entry is None else entry_body(match.entry, now),
            None if match.change is None else history_item(match.change), evidence.get(match.id),
        )
        for match in explanation.covering
    )  # fmt: skip
    verdict = explanation.verdict
    return ExplainBody(
        address, explanation.application.name, micro_moment(at), verdict.decision, verdict.reason, verdict.list,
        None if verdict.entry is None else verdict.entry.id, verdict.warnings, settings, covering, published,
        explanation.complete,
    )  # fmt: skip


@get("/v1/checkpoints", summary="Signed checkpoints of history", responses=documented(), tags=["history"])
async def get_checkpoints(
    request: AnyRequest, caller: Asker, layer: FromQuery[str | None] = None, limit: Limit = 100
) -> list[SignedCheckpoint]:
    """List checkpoints, newest first. Keep them elsewhere, and compare with `authz control check --checkpoints`."""
    caller.need("read")
    plane = plane_of(request)

    def read() -> list[SignedCheckpoint]:
        with plane.store.reading() as tx:
            return list_checkpoints(tx, layer, limit)

    return await in_thread(read)


handlers: Any = [get_history, get_explanation, get_checkpoints]
