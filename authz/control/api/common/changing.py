"""One change of lists, as every handler does it: one transaction, one answer, and waiting until it is everywhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar import Response

from authz.control.access.approvals import ask_approval
from authz.control.api.common.asking import idempotent_of, in_thread, plane_of
from authz.control.api.common.matching import etag
from authz.control.api.common.operations import Operation, forced, foreseen, layers_of, perform
from authz.control.model.problems import NeedsApproval
from authz.control.store.access.idempotency import Answer, keep_answer, known_answer
from authz.control.store.ledger.changes import lock_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.access.callers import Caller
    from authz.control.api.common.asking import AnyRequest, Wait
    from authz.control.plane import ControlPlane, Idempotent

T = TypeVar("T")


async def change(
    request: AnyRequest, caller: Caller, operation: Operation, key: str | None, wait: Wait | None, timeout: float
) -> Response[Any]:  # fmt: skip
    """Do an operation and answer it; 202 where it waits for a second person."""
    plane = plane_of(request)
    idempotent = await idempotent_of(request, key)
    layers = layers_of(operation, plane.config.rules())
    try:
        answer = await in_thread(
            plane.mutate, caller, lambda batch: perform(batch, operation), layers=layers, force=forced(operation),
            idempotent=idempotent, foreseen=foreseen(operation),
        )  # fmt: skip
    except NeedsApproval as why:
        wanted = msgspec.json.encode(operation).decode()
        answer = await in_thread(_ask_approval, plane, caller, why.message, wanted, idempotent)
    return await answered(plane, caller, answer, wait, timeout)


def _ask_approval(
    plane: ControlPlane, caller: Caller, why: str, request: str, idempotent: Idempotent | None
) -> Answer:  # fmt: skip
    """Keep a change that waits for a second person; a repeated request gets the answer of before."""
    with plane.store.writing() as tx:
        now = plane.store.now()
        if idempotent is not None:
            lock_head(tx, plane.config.layers[0].name)  # one after the other
            known = known_answer(tx, caller.token.id, idempotent.key, idempotent.request, now)
            if known is not None:
                return known
        body = {"approval": ask_approval(tx, caller, why, request, now), "detail": why}
        answer = Answer(202, msgspec.json.encode(body).decode())
        if idempotent is not None:
            keep_answer(tx, caller.token.id, idempotent.key, idempotent.request, answer, now)
    return answer


def without_approval(use: Callable[[], T]) -> T:
    """Run a use case whose change cannot wait for a second person: what needs one is refused (409)."""
    try:
        return use()
    except NeedsApproval as error:
        error.status = 409
        raise


async def answered(
    plane: ControlPlane, caller: Caller, answer: Answer, wait: Wait | None, timeout: float
) -> Response[Any]:  # fmt: skip
    """Return an answer, once its change is where the caller wants it, and say how far it came.

    `behind` names sidecars to the main tenant; to others it counts them.
    """
    body = msgspec.json.decode(answer.body)
    headers = {}
    if "version" in body and "id" in body:
        headers["ETag"] = etag(body["id"], body["version"])
    serials = body.get("serials") or ({body["layer"]: body["serial"]} if "serial" in body else {})
    if wait is not None and serials:
        body |= await _wait_for(plane, serials, wait, timeout, names=caller.sees is None)
    return Response(
        msgspec.json.encode(body), status_code=answer.status, media_type="application/json", headers=headers
    )


async def _wait_for(
    plane: ControlPlane, serials: dict[str, int], wait: Wait, timeout: float, *, names: bool
) -> dict[str, Any]:  # fmt: skip
    """Wait until serials are published, or enforced."""
    end = time.monotonic() + timeout

    def published() -> bool:
        offers = {layer: plane.offers.get(layer) for layer in serials}
        return all(o is not None and o.publication.serial >= serials[layer] for layer, o in offers.items())

    outcome: dict[str, Any] = {"published": await plane.offers.until(published, timeout)}
    if wait == "enforced":
        behind, count = await in_thread(_behind, plane, serials)
        while behind and time.monotonic() < end:
            await plane.offers.until(lambda: False, min(0.1, max(end - time.monotonic(), 0)))
            behind, count = await in_thread(_behind, plane, serials)
        outcome |= {
            "enforced": outcome["published"] and not behind,
            "behind": behind if names else [""] * len(behind),
            "sidecars": count,
        }
    return outcome


def _behind(plane: ControlPlane, serials: dict[str, int]) -> tuple[list[str], int]:
    known = plane.sidecars.counted()
    late = {sidecar.name for sidecar in known if sidecar.layer in serials and sidecar.serial < serials[sidecar.layer]}
    return sorted(late), len({sidecar.name for sidecar in known})
