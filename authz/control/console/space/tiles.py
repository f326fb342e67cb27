"""Pictures of IPv4, drawn once for each published file and application: the whole, and each /8 nearer."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from authz.analysis.decisions import Deciding
from authz.analysis.map.drawing import label_places
from authz.analysis.map.hilbert import fold
from authz.analysis.map.picture import ALLOWED, FEW_DENIED, GRAY, Row, decision_map
from authz.analysis.map.png import encode_png
from authz.engine.entries.manifest import entry_of
from authz.snapshot.ban_ids import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.analysis.map.picture import Map
    from authz.analysis.space import Array
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Entry, ListName

ORDER: Final = 12  # a pixel is a /24
SQUARES: Final = 16  # /8 in a row
DARK: Final = (45, 45, 49)  # of what is allowed, for who looks at it in the dark
MAX_KEPT: Final = 3  # maps: 16 MB each
MAX_DRAWN: Final = 4  # maps that are drawn, or wait to be, at once
_LOG = logging.getLogger("authz.control.console")


class Wanted(NamedTuple):
    """Which map.

    Attributes:
        application: `*` for every one that the policy does not name.
        list: Whose entries are drawn, whatever other lists say; None: what is decided by all.
    """

    layer: str
    application: str
    list: ListName | None


class Drawn(NamedTuple):
    """A map, ready to be looked at.

    Attributes:
        serial: Of the file that it shows.
        whole, whole_dark: Its PNG, for who looks at it in the light and in the dark: packing one takes a tenth of a
            second.
    """

    picture: Map
    serial: int
    whole: bytes
    whole_dark: bytes

    @classmethod
    def of(cls, picture: Map, serial: int) -> Drawn:
        """Return a map with its pictures."""
        return cls(picture, serial, tile(picture, None), tile(picture, None, dark=True))


class NewestMaps:
    """The newest map of each layer, application and list. A newer one is drawn beside: nobody waits for that second."""

    def __init__(self) -> None:
        self._kept: dict[Wanted, Drawn] = {}
        self._drawing: set[Wanted] = set()
        self._lock = threading.Lock()

    def get(self, key: Wanted, serial: int, draw: Callable[[], Drawn | None]) -> Drawn | None:
        """Return the newest map that is drawn; None: none is. Where it is older than `serial`, have `draw` called."""
        with self._lock:
            known = self._kept.get(key)
            is_old = known is None or known.serial < serial
            if is_old and key not in self._drawing and len(self._drawing) < MAX_DRAWN:
                self._drawing.add(key)
                threading.Thread(target=self._draw, args=(key, draw), name="map", daemon=True).start()
        return known

    def _draw(self, key: Wanted, draw: Callable[[], Drawn | None]) -> None:
        drawn = None
        try:
            drawn = draw()
        except Exception:  # noqa: BLE001  # the store may be away, or we end; the next look tries again
            _LOG.warning("the map of %s could not be drawn", key.layer, exc_info=True)
        with self._lock:
            self._drawing.discard(key)
            if drawn is not None:
                self._kept.pop(key, None)
                while len(self._kept) >= MAX_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = drawn


class Maps:
    """The maps drawn last, by what is in their files. Drawing one takes a second, and a thread of its own."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, ListName | None], Map] = {}
        self._lock = threading.Lock()

    def get(self, opened: OpenedSnapshot, parts: Callable[[], list[OpenedSnapshot]], wanted: Wanted, now: float) -> Map:
        """Return the map of a file and its parts for an application; `*` for every one that is not named."""
        key = (opened.digest, wanted.application, wanted.list)
        with self._lock:
            if key not in self._kept:
                while len(self._kept) >= MAX_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                settings = opened.application(wanted.application, "") or opened.general
                if wanted.list is not None:
                    settings = settings._replace(mode="safe_blocking", default="allow", denylist_in_monitoring=True)
                picture = decision_map(Deciding(opened, now=now, only=wanted.list), settings, order=ORDER)
                over = np.fromiter(opened.tombstones, np.uint64, len(opened.tombstones))
                picture = with_bans(picture, opened, settings.name, now, only=wanted.list)
                for part in parts():
                    picture = with_bans(picture, part, settings.name, now, over, only=wanted.list)
                self._kept[key] = picture
            return self._kept[key]


def with_bans(
    picture: Map, opened: OpenedSnapshot, application: str, now: float, over: Array | None = None, *,
    only: ListName | None = None,
) -> Map:  # fmt: skip
    """Return a map with the bans of single addresses, which are kept apart from the index (docs/decisions/0029).

    over: numbers of bans that have been lifted since. only: of this list; None: of any.
    """
    singles = opened.singles
    if singles is None or not len(singles):
        return picture
    addresses, ends, templates, numbers = (np.asarray(column) for column in singles.columns4)
    entries = [entry_of(template, named=False) for template in singles.templates]
    shown = [ALLOWED if only not in {None, entry.list} else _class_of(entry, application) for entry in entries]
    classes = np.array(shown, np.uint8)[templates]
    classes[(ends != NEVER) & (ends <= now)] = ALLOWED
    if over is not None:
        classes[np.isin(numbers, over)] = ALLOWED
    marks = np.zeros(1 << 2 * ORDER, np.uint8)
    np.maximum.at(marks, addresses >> (32 - 2 * ORDER), classes)
    pixels = np.where(picture.pixels == ALLOWED, fold(marks), picture.pixels)
    rows = list(picture.legend)
    for number, label in ((FEW_DENIED, "banned"), (GRAY, "on the gray list")):
        count = int((classes == number).sum())
        if count:
            amount = f"{rows[number].amount}; " if rows[number].amount else ""
            rows[number] = rows[number]._replace(amount=f"{amount}single addresses {label}: {count:,}")
    return picture._replace(pixels=pixels, legend=tuple(rows))


def _class_of(entry: Entry, application: str) -> int:
    if entry.action != "block" or not entry.concerns(application):
        return ALLOWED
    return FEW_DENIED if entry.list == "deny" else GRAY if entry.list == "gray" else ALLOWED


def tile(picture: Map, of: int | None, *, dark: bool = False) -> bytes:
    """Return a PNG: of the whole, a pixel a /20; of a /8 (its number), a pixel a /24."""
    colours = [row.colour for row in picture.legend]
    if dark:
        colours[ALLOWED] = DARK
    side = len(picture.pixels) // SQUARES
    if of is None:
        # Of each 4 x 4 pixels the one that is most worth seeing: classes are numbered from the dullest.
        blocks = picture.pixels.reshape(len(picture.pixels) // 4, 4, len(picture.pixels) // 4, 4)
        return encode_png(np.ascontiguousarray(blocks.max(axis=(1, 3))), colours, title=picture.title)
    row, column = label_places()[of]
    square = picture.pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
    return encode_png(np.ascontiguousarray(square), colours, title=f"{of}.0.0.0/8")


def listed_in(picture: Map, of: int | None) -> list[list[int]]:
    """Return by row and column how many pixels of each square are not simply allowed."""
    pixels, side = picture.pixels, len(picture.pixels) // SQUARES
    if of is not None:
        row, column = label_places()[of]
        pixels = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
        side //= SQUARES
    counts: list[list[int]] = (pixels != ALLOWED).reshape(SQUARES, side, SQUARES, side).sum(axis=(1, 3)).tolist()
    return counts


def legend(picture: Map) -> list[Row]:
    """Return the rows of the legend that occur."""
    return [row for row in picture.legend if row.amount]
