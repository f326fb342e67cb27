"""Pictures of IPv4: a pixel for each network of equal size, coloured by what is decided for its addresses.

A pixel of order 12 is a /24, of order 8 a /16: its prefix has 2 bits for each order. Where its addresses are decided
differently it is mixed, and the colour says how many are denied. The colours are those of Okabe and Ito, which
people with any kind of colour blindness tell apart, on light gray.

Memory: a byte a pixel, three times over while the curve is folded (50 MB at order 12), and the pieces of the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from authz.analysis.coverage import Overlay
from authz.analysis.decisions import REASONS
from authz.analysis.map.hilbert import fold
from authz.engine.decision import verdict as d
from authz.engine.model import ANY_APPLICATION
from authz.errors import InputError

if TYPE_CHECKING:
    from authz.analysis.decisions import Deciding
    from authz.analysis.map.png import Colour
    from authz.analysis.space import Array, Cut
    from authz.engine.model import Application

ORDERS: Final = range(4, 13)  # 4: a pixel is a /8, 12: a /24
ADDRESSES: Final = 1 << 32
FEW: Final = 16  # up to one in so many addresses denied is few


class Class(NamedTuple):
    """A class of pixels."""

    colour: Colour
    label: str


class Row(NamedTuple):
    """A row of the legend.

    Attributes:
        amount: How much there is of it, as text; "": nothing to count.
    """

    colour: Colour
    label: str
    amount: str


class Map(NamedTuple):
    """A picture without its frame.

    Attributes:
        pixels: A square of places in `legend` (u8).
    """

    title: str
    notes: tuple[str, ...]
    order: int
    pixels: Array
    legend: tuple[Row, ...]

    @property
    def scale(self) -> str:
        """What a pixel and a square are."""
        length = 2 * self.order
        return f"one pixel is a /{length} ({ADDRESSES >> length:,} addresses), one square a /8 (16,777,216 addresses)"


ALLOWED, ALLOWLISTED, GRAY, DENIED, DENIED_BY_DEFAULT, FEW_DENIED, MANY_DENIED, ALL_DENIED, ALL_ALLOWED = range(9)
DECISIONS: Final = (
    Class((0xEC, 0xEC, 0xE6), "allowed, on no list"),
    Class((0x00, 0x72, 0xB2), "allow list"),
    Class((0xCC, 0x79, 0xA7), "gray list"),
    Class((0xD5, 0x5E, 0x00), "deny list"),
    Class((0x45, 0x45, 0x4D), "denied, on no list"),
    Class((0xF0, 0xE4, 0x42), f"mixed: up to 1 in {FEW} denied"),
    Class((0xE6, 0x9F, 0x00), f"mixed: more than 1 in {FEW} denied"),
    Class((0x8C, 0x51, 0x2B), "mixed: all denied, some on a list"),
    Class((0x56, 0xB4, 0xE9), "mixed: all allowed, some on a list"),
)
_BY_REASON: Final = {
    d.ALLOWLISTED: ALLOWLISTED, d.DEFAULT_ALLOW: ALLOWED, d.GRAYLISTED: GRAY, d.DENYLISTED: DENIED,
    d.DEFAULT_DENY: DENIED_BY_DEFAULT, d.GRAYLISTED_ATTACK: GRAY, d.ATTACK: DENIED_BY_DEFAULT,
}  # fmt: skip

STILL_ALLOWED, STILL_DENIED, NEWLY_DENIED, NEWLY_ALLOWED, STILL_MIXED, PART_DENIED, PART_ALLOWED, BOTH = range(8)
DIFFERENCES: Final = (
    Class((0xEC, 0xEC, 0xE6), "unchanged, allowed"),
    Class((0x80, 0x80, 0x80), "unchanged, denied"),
    Class((0xD5, 0x5E, 0x00), "newly denied"),
    Class((0x00, 0x72, 0xB2), "newly allowed"),
    Class((0xBD, 0xBD, 0xB8), "mixed: unchanged, some denied"),
    Class((0xE6, 0x9F, 0x00), "mixed: some newly denied"),
    Class((0x56, 0xB4, 0xE9), "mixed: some newly allowed"),
    Class((0xCC, 0x79, 0xA7), "mixed: some newly denied, others newly allowed"),
)


def decision_map(deciding: Deciding, application: Application, *, order: int = 12) -> Map:
    """Return the picture of what is decided for one application.

    Args:
        deciding: Of a snapshot.
        application: One of its applications.
        order: A pixel is a network of 2 * order prefix bits.

    Raises:
        InputError: The order is not one of ORDERS.
    """
    decided = deciding.space(application, 4)
    classes = np.array([_BY_REASON[reason] for reason in REASONS], np.uint8)[decided.reasons]
    grid = _Grid(decided.cut, classes, order)
    denied = grid.in_mixed(DENIED, DENIED_BY_DEFAULT)
    cases = [denied == 0, denied == grid.size, denied * FEW <= grid.size]
    grid.paint(np.select(cases, [ALL_ALLOWED, ALL_DENIED, FEW_DENIED], MANY_DENIED))
    return Map(
        f"{_called(application.name)}: who is allowed and who is denied",
        ("dry run: every answer is allow; this is what would be decided",) if application.dry_run else (),
        order,
        fold(grid.pixels),
        grid.legend(DECISIONS),
    )


def difference_map(before: Deciding, after: Deciding, name: str, *, order: int = 12) -> Map:
    """Return the picture of what changes for one application.

    Args:
        before: Of the old snapshot.
        after: Of the new one.
        name: Of the application; see `authz.analysis.diff` for one that a snapshot does not have.
        order: A pixel is a network of 2 * order prefix bits.

    Raises:
        InputError: The order is not one of ORDERS.
    """
    laid = Overlay.of(before.loaded, after.loaded, 4)
    was, is_now = (side.of(side.loaded.application(name, "") or side.loaded.general) for side in (before, after))
    denied, denies = was.denied[laid.before], is_now.denied[laid.after]
    table = np.array([[STILL_ALLOWED, NEWLY_DENIED], [NEWLY_ALLOWED, STILL_DENIED]], np.uint8)
    grid = _Grid(laid.cut, table[denied.astype(np.uint8), denies.astype(np.uint8)], order)
    losing, winning = grid.in_mixed(NEWLY_DENIED) > 0, grid.in_mixed(NEWLY_ALLOWED) > 0
    grid.paint(np.select([losing & winning, losing, winning], [BOTH, PART_DENIED, PART_ALLOWED], STILL_MIXED))
    return Map(f"{_called(name)}: whose decision changes", (), order, fold(grid.pixels), grid.legend(DIFFERENCES))


class _Grid:
    """Pixels in the order of their addresses. pixels: the class of each; mixed: the numbers of those with several."""

    def __init__(self, cut: Cut, classes: Array, order: int) -> None:
        if order not in ORDERS:
            expected = f"{ORDERS[0]} (a pixel is a /8) to {ORDERS[-1]} (a /24)"
            raise InputError(f"order: found {order}, expected {expected}")
        kept = np.ones(len(classes), np.bool_)
        kept[1:] = classes[1:] != classes[:-1]
        self._starts = (cut.high[kept] >> np.uint64(32)).astype(np.int64)
        self._classes = classes[kept]
        self._widths = np.diff(self._starts, append=ADDRESSES)
        self.size = ADDRESSES >> 2 * order  # addresses of a pixel
        firsts = self._starts // self.size  # where a pixel is not all of one class, `paint` is to follow
        self.pixels = np.repeat(self._classes, np.diff(firsts, append=ADDRESSES // self.size))
        self.mixed = np.unique(self._starts[self._starts % self.size != 0] // self.size)

    def in_mixed(self, *classes: int) -> Array:
        """Return how many addresses of each mixed pixel are in one of these classes."""
        counted = np.where(np.isin(self._classes, classes), self._widths, 0)
        # Below each start, and below the end; between them the number grows by 1 an address, or not at all.
        below = np.concatenate([[0], np.cumsum(counted)])
        starts, edges = np.append(self._starts, ADDRESSES), self.mixed * self.size
        counts: Array = np.interp(edges + self.size, starts, below) - np.interp(edges, starts, below)
        return counts

    def paint(self, classes: Array) -> None:
        """Give the mixed pixels their classes."""
        self.pixels[self.mixed] = classes

    def legend(self, classes: tuple[Class, ...]) -> tuple[Row, ...]:
        """Return the legend: addresses for a class that pieces have, pixels for one that is mixed."""
        addresses = np.bincount(self._classes, self._widths, len(classes))
        pixels = np.bincount(self.pixels, minlength=len(classes))
        length = 32 - (self.size.bit_length() - 1)
        return tuple(
            Row(*row, _amount(int(count), mixed, length))
            for row, count, mixed in zip(classes, addresses, pixels.tolist(), strict=True)
        )


def _called(name: str) -> str:
    return "every other application (*)" if name == ANY_APPLICATION else name


def _amount(addresses: int, mixed: int, length: int) -> str:
    if addresses:
        return f"{addresses:,} addresses, {_share(addresses)}"
    return f"{mixed:,} {f'networks of /{length}' if mixed > 1 else f'network of /{length}'}" if mixed else ""


def _share(count: int) -> str:
    percent = 100 * count / ADDRESSES
    if 99.995 <= percent < 100:
        return "more than 99.99 %"
    return f"{percent:.2f} %" if percent >= 0.005 else "less than 0.01 %"
