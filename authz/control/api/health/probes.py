"""`/livez` and `/readyz`: whether the process lives, and whether it can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get

from authz.control.api.common.asking import AnyRequest, in_thread, plane_of
from authz.control.model.problems import Problem
from authz.control.store.ledger.changes import read_heads

if TYPE_CHECKING:
    from authz.control.plane import ControlPlane


class ReadyBody(msgspec.Struct, frozen=True):
    """Whether requests can be answered, and if not, why."""

    ready: bool
    reason: str = ""


@get("/livez", summary="Whether the process lives", tags=["health"])
async def livez() -> dict[str, str]:
    """Answer 200 as long as the event loop runs."""
    return {"status": "live"}


@get("/readyz", summary="Whether it can serve", tags=["health"], raises=[])
async def readyz(request: AnyRequest) -> Response[ReadyBody]:
    """Answer 200 if the store can be read and every layer has a file to offer."""
    plane = plane_of(request)
    reason = await in_thread(_not_ready, plane)
    return Response(ReadyBody(not reason, reason), status_code=503 if reason else 200)


def _not_ready(plane: ControlPlane) -> str:
    try:
        with plane.store.reading() as tx:
            read_heads(tx)
    except Problem as error:
        return error.message
    problems = plane.publisher.problems  # of which anybody is told the code: a message may name an entry
    missing = [
        f"{layer.name} ({problems[layer.name].code})" if layer.name in problems else layer.name
        for layer in plane.config.layers if plane.offers.get(layer.name) is None
    ]  # fmt: skip
    return f"not published yet: {', '.join(missing)}" if missing else ""


handlers: Any = [livez, readyz]
