"""`/v1/layers/NAME`: the signed files; `/v1/publications`: what is published, and who has it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, Router, get
from litestar.params import FromPath, FromQuery, HeaderParameter

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Limit,
    client_address,
    in_thread,
    plane_of,
    provide_caller,
)
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.problems import documented
from authz.control.model.problems import Missing, NotReady
from authz.control.store.published.publications import list_publications

if TYPE_CHECKING:
    from collections.abc import Collection

    from authz.control.plane import ControlPlane

MAX_WAIT = 60.0  # seconds of a long poll
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
_SERIAL = re.compile(r"[0-9]{1,18}")
_CODE = re.compile(r"[a-z_]{1,40}")
FILE_TYPE = "application/vnd.authz.snapshot"
MAX_REPORTING: Final = 64  # reports that are written while their askers have their answers already
_REPORTING: Final = set[asyncio.Task[None]]()


class SidecarBody(msgspec.Struct, frozen=True):
    """What a sidecar serves of a layer.

    name: empty, unless the caller is of the tenant that runs the control plane. behind: whether there is a newer file.
    refusal: why it does not take it. token: whether it shows one; `?wait=enforced` waits for those, or, where none
    does, for all.
    """

    name: str
    layer: str
    serial: int
    behind: bool
    refusal: str
    since: str
    seen: str
    token: bool


class PublicationBody(msgspec.Struct, frozen=True):
    """A published file."""

    layer: str
    serial: int
    digest: str
    created: str
    entries: int
    size: int


class PublicationsBody(msgspec.Struct, frozen=True):
    """What is published, newest first; who has it; and why newer changes are not published, by layer."""

    items: list[PublicationBody]
    sidecars: list[SidecarBody]
    problems: dict[str, str]


@get("/{layer:str}", summary="The signed file of a layer", responses=documented(404), media_type=FILE_TYPE)
async def get_layer(
    request: AnyRequest,
    layer: FromPath[str],
    if_none_match: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
    prefer: Annotated[str | None, HeaderParameter(name="Prefer", description="wait=30: a long poll.")] = None,
) -> Response[bytes]:
    """Return the newest file, with its digest as ETag.

    With If-None-Match and `Prefer: wait=N`, wait for a newer one.

    `NAME.SERIAL` is a part that the file requires.
    """
    plane = plane_of(request)
    shown = not plane.config.anonymous_layers or "authorization" in request.headers
    token = ""
    if shown:
        caller = await provide_caller(request)
        caller.need("layers")
        token = caller.token.id
    names = {known.name for known in plane.config.layers}
    if layer not in names:
        return await _part(plane, layer, names)
    named = {tag.strip().strip('"') for tag in (if_none_match or "").split(",")} - {""}
    reporting = asyncio.create_task(_note_sidecar(request, layer, next(iter(named), ""), token, shown=shown))
    asked = _WAIT.search(prefer or "")

    def newer() -> bool:
        offer = plane.offers.get(layer)
        return offer is not None and offer.publication.digest not in named

    if asked:
        await plane.offers.until(newer, min(float(asked[1]), MAX_WAIT))
    if named and newer() and len(_REPORTING) < MAX_REPORTING:  # a new file does not wait for the store
        _REPORTING.add(reporting)
        reporting.add_done_callback(_REPORTING.discard)
    else:
        await reporting
    offer = plane.offers.get(layer)
    if offer is None:
        raise Missing(f"the layer '{layer}' is not published yet", code="not_published")
    headers = {
        "ETag": f'"{offer.publication.digest}"',
        "Authz-Serial": str(offer.publication.serial),
        "Cache-Control": "no-cache",
    }
    if asked:
        headers["Preference-Applied"] = f"wait={asked[1]}"
    if not newer():
        return Response(b"", status_code=304, headers=headers, media_type=FILE_TYPE)
    return Response(offer.content, headers=headers, media_type=FILE_TYPE)


async def _part(plane: ControlPlane, name: str, layers: Collection[str]) -> Response[bytes]:
    """Give a part: it stands under the name of its layer with its serial behind it. It never changes."""
    layer, _, serial = name.rpartition(".")
    content = None
    if layer in layers and _SERIAL.fullmatch(serial):
        content = await in_thread(plane.offers.part, layer, int(serial))
    if content is None:
        raise Missing(f"there is no layer '{name[:64]}', nor a part of that name")
    return Response(content, headers={"Cache-Control": "private, max-age=86400, immutable"}, media_type=FILE_TYPE)


async def _note_sidecar(request: AnyRequest, layer: str, digest: str, token: str, *, shown: bool) -> None:
    """Write down what a sidecar serves. While the store is away, sidecars have their files without that."""
    name = request.headers.get("authz-sidecar", "")
    refusal = request.headers.get("authz-refused", "")
    if not _NAME.fullmatch(name):
        if "prefer" not in request.headers:
            return  # somebody who looks once, such as a person with curl
        name = client_address(request) or "unix"
    peer = None if shown else client_address(request) or "unix"
    plane = plane_of(request)
    at = plane.store.now()  # before others run: reports are noted in any order
    known = refusal if _CODE.fullmatch(refusal) else ""
    with contextlib.suppress(NotReady):
        if await in_thread(plane.sidecars.report, name, layer, digest, known, peer, at, token):
            plane.offers.wake()


@get("", summary="What is published, and which sidecars have it", responses=documented())
async def get_publications(
    request: AnyRequest, caller: Asker, layer: FromQuery[str | None] = None, limit: Limit = 20
) -> PublicationsBody:
    """List published files and sidecars. Only the main tenant sees names of sidecars, and why files were refused."""
    caller.need("read")
    plane = plane_of(request)

    def read() -> list[PublicationBody]:
        with plane.store.reading() as tx:
            publications = list_publications(tx, layer, limit=limit)
        return [
            PublicationBody(p.layer, p.serial, p.digest, micro_moment(p.created), p.entries, p.size)
            for p in publications
        ]

    items = await in_thread(read)
    newest = {known.name: plane.offers.get(known.name) for known in plane.config.layers}
    sidecars = []
    for sidecar in await in_thread(plane.sidecars.connected):
        offer = newest.get(sidecar.layer)
        behind = offer is not None and sidecar.serial < offer.publication.serial
        name = sidecar.name if caller.sees is None else ""
        times = micro_moment(sidecar.since), micro_moment(sidecar.seen)
        sidecars.append(
            SidecarBody(name, sidecar.layer, sidecar.serial, behind, sidecar.refusal, *times, sidecar.shown)
        )
    problems = {
        name: f"{refused.code}: {refused.message}" if caller.sees is None else refused.code
        for name, refused in plane.publisher.problems.items()
    }
    return PublicationsBody(items, sidecars, problems)


layers_router: Any = Router("/v1/layers", route_handlers=[get_layer], tags=["layers"])
publications_router: Any = Router("/v1/publications", route_handlers=[get_publications], tags=["layers"])
