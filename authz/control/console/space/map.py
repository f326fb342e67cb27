"""The map: IPv4 as a picture of what is decided for whom; nearer by a click, and what is there by pointing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import numpy as np
from litestar import Response, Router, get
from litestar.params import FromPath

from authz.addresses import Network, parse_network
from authz.analysis.map.drawing import label_places
from authz.analysis.map.hilbert import fold
from authz.analysis.map.picture import ALLOWED
from authz.control.api.common.asking import in_thread, parsed_network
from authz.control.console.common.session import Asked, Asker
from authz.control.console.lists.reading import Known, known_of
from authz.control.console.look.render import HEADERS, page
from authz.control.console.space.tiles import Drawn, Maps, NewestMaps, Wanted, legend, listed_in, tile
from authz.control.model.problems import Missing
from authz.control.model.records import MICROSECONDS, Entry
from authz.control.store.entries.find import Filter, find_entries
from authz.engine.model import ANY_APPLICATION

if TYPE_CHECKING:
    from authz.control.plane import ControlPlane
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import ListName

LISTS: Final[tuple[ListName, ...]] = ("deny", "allow", "gray")
SHOWN: Final = 12  # entries of a network
_MAPS: Final = Maps()
_NEWEST: Final[WeakKeyDictionary[ControlPlane, NewestMaps]] = WeakKeyDictionary()
_AGAIN: Final = "1"  # seconds after which a browser asks again for a map that is being drawn


class Cell(NamedTuple):
    """A square of the picture: a /8, or nearer a /16.

    Attributes:
        listed: How many /24 of it a list names, or parts of them.
    """

    network: str
    number: int
    row: int
    column: int
    listed: int


@get("/map")
async def show_map(asked: Asker) -> Response[str]:
    """Show the map of a layer, or of one /8 of it; until it is drawn, that it will be."""
    known = await in_thread(known_of, asked)
    wanted, of = _wanted(asked, known)
    offer = asked.plane.offers.get(wanted.layer)
    drawn = None if offer is None else _newest(asked.plane, wanted, offer.publication.serial)
    listed = [[0] * 16] * 16 if drawn is None else await in_thread(listed_in, drawn.picture, of)
    cells = [
        Cell(f"{number}.0.0.0/8" if of is None else f"{of}.{number}.0.0/16", number, row, column, listed[row][column])
        for number, (row, column) in enumerate(_places(of))
    ]
    answer = page(
        asked, "space/map.html", wanted=wanted, query=_query(wanted), of=of, cells=cells, known=known,
        layers=[layer.name for layer in asked.plane.config.layers], drawn=drawn, lists=LISTS,
        rows=[] if drawn is None else legend(drawn.picture),
        ground=None if drawn is None else drawn.picture.legend[ALLOWED].colour,
        newest=None if offer is None else offer.publication.serial,
    )  # fmt: skip
    if drawn is None and offer is not None:
        answer.headers["Refresh"] = _AGAIN
    return answer


def _places(of: int | None) -> list[tuple[int, int]]:
    """Return row and column of each square. A /8 lies in its square as the curve has it there: turned, or mirrored."""
    return label_places() if of is None else inner_places(of)


def inner_places(of: int) -> list[tuple[int, int]]:
    """Return row and column of each /16 of a /8."""
    whole = fold(np.arange(1 << 16))
    row, column = label_places()[of]
    square = whole[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] - (of << 8)
    rows, columns = np.unravel_index(np.argsort(square, axis=None), (16, 16))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


@get("/map/picture/{layer:str}")
async def get_picture(asked: Asker, layer: FromPath[str]) -> Response[bytes]:
    """Give the picture."""
    wanted, of = _wanted(asked, await in_thread(known_of, asked))
    wanted = wanted._replace(layer=layer)
    if layer not in {known.name for known in asked.plane.config.layers}:
        raise Missing("there is no such layer")
    offer = asked.plane.offers.get(layer)
    drawn = None if offer is None else _newest(asked.plane, wanted, offer.publication.serial)
    drawn = drawn or await in_thread(_drawn, asked.plane, wanted)
    if drawn is None:
        raise Missing("no file of this layer is published yet")
    dark = asked.request.query_params.get("look") == "dark"
    content = drawn.whole_dark if dark else drawn.whole
    if of is not None:
        content = await in_thread(tile, drawn.picture, of, dark=dark)
    headers = HEADERS | {"Cache-Control": "private, max-age=3600"}
    return Response(content, media_type="image/png", headers=headers)


@get("/map/at")
async def show_there(asked: Asker) -> Response[str]:
    """Show what is there: the entries that cover a network, or lie in it."""
    asked.caller.need("read")
    network = parsed_network(asked.request.query_params.get("network"), "network") or parse_network("0.0.0.0/0")
    list_ = _list_of(asked)
    entries = await in_thread(_entries, asked, network, list_)
    return page(asked, "space/there.html", network=str(network), entries=entries[:SHOWN], more=len(entries) > SHOWN,
                seconds=asked.plane.store.now() / MICROSECONDS)  # fmt: skip


def _entries(asked: Asked, network: Network, list_: ListName | None) -> list[Entry]:
    now = asked.plane.store.now() // MICROSECONDS
    wanted = Filter(tenant=asked.caller.sees, list=list_, network=network, unexpired_at=now)
    with asked.plane.store.reading() as tx:
        return find_entries(tx, wanted, limit=SHOWN + 1)


def _list_of(asked: Asked) -> ListName | None:
    given = asked.request.query_params.get("list", "")
    return next((name for name in LISTS if name == given), None)


def _query(wanted: Wanted) -> str:
    """Return what the addresses of this map's pages and pictures ask for."""
    given = {"layer": wanted.layer, "application": wanted.application, "list": wanted.list or ""}
    return urlencode({name: value for name, value in given.items() if value})


def _wanted(asked: Asked, known: Known) -> tuple[Wanted, int | None]:
    """Return which map is asked for, and which /8 of it."""
    asked.caller.need("read")
    if asked.caller.sees is not None:
        raise Missing("the map shows all tenants' entries: only the main tenant sees it")
    given = asked.request.query_params
    layers = [known.name for known in asked.plane.config.layers]
    layer = given.get("layer", "")
    of = given.get("of", "")
    number = int(of) if of.isascii() and of.isdigit() and len(of) < 4 and int(of) < 256 else None
    application = given.get("application", "").strip()
    known_name = application if application in known.applications else ANY_APPLICATION
    return Wanted(layer if layer in layers else layers[0], known_name, _list_of(asked)), number


def _newest(plane: ControlPlane, wanted: Wanted, serial: int) -> Drawn | None:
    maps = _NEWEST.setdefault(plane, NewestMaps())
    return maps.get(wanted, serial, lambda: _drawn(plane, wanted))


def _drawn(plane: ControlPlane, wanted: Wanted) -> Drawn | None:
    now = plane.store.now()
    with plane.store.reading() as tx:
        opened = plane.opened.at(tx, wanted.layer, now)
        if opened is None:
            return None

        def parts() -> list[OpenedSnapshot]:
            return plane.opened.parts_at(tx, wanted.layer, now)

        return Drawn.of(_MAPS.get(opened, parts, wanted, now / MICROSECONDS), opened.serial)


router: Any = Router("/", route_handlers=[show_map, get_picture, show_there])
