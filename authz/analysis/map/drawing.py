"""A map as a PNG: title, squares of a /8 with their numbers, legend.

The squares stand apart by a thin line, so that no pixel of the map is hidden; a number is drawn into its square in dark
and light shades of the colours below it. All lengths are in units of a 1024th of the map's side, so the picture looks
the same at each order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from authz.analysis.map.font import ADVANCE, HEIGHT, dots
from authz.analysis.map.hilbert import fold
from authz.analysis.map.png import encode_png

if TYPE_CHECKING:
    from authz.analysis.map.picture import Map
    from authz.analysis.map.png import Colour
    from authz.analysis.space import Array

SIDE: Final = 1024  # pixels of the smallest map that is drawn; smaller ones are drawn with larger pixels
SQUARES: Final = 16  # /8 in a row
MARGIN: Final = 24
SWATCH: Final = 16
LINE: Final = 24  # from one line of small text to the next
TITLE: Final = 3  # units a dot
TEXT: Final = 2
AMOUNT: Final = 52 * ADVANCE  # dots from the margin to the second column of the legend
PAPER: Final = (0xFF, 0xFF, 0xFF)
INK: Final = (0x20, 0x20, 0x20)


def draw_png(picture: Map) -> bytes:
    """Return the map with its frame as a PNG file."""
    return encode_png(*_draw(picture), title=" - ".join((picture.title, *picture.notes)))


def label_places() -> list[tuple[int, int]]:
    """Return the row and column, among the 16 x 16 squares, of each /8."""
    rows, columns = np.unravel_index(np.argsort(fold(np.arange(SQUARES * SQUARES)), axis=None), (SQUARES, SQUARES))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _draw(picture: Map) -> tuple[Array, list[Colour]]:
    colours = [row.colour for row in picture.legend]
    paper, ink = 3 * len(colours), 3 * len(colours) + 1
    squares = _squares(picture.pixels, paper, shade=len(colours))
    unit = max(1, len(picture.pixels) // SIDE)
    header = MARGIN + HEIGHT * TITLE + MARGIN + LINE * (len(picture.notes) + 1)
    legend = [(number, row) for number, row in enumerate(picture.legend) if row.amount]
    footer = MARGIN + LINE * len(legend) + MARGIN
    height, width = len(squares) + (header + footer) * unit, len(squares) + 2 * MARGIN * unit
    canvas = np.full((height, width), paper, np.uint8)

    def write(text: str, x: int, y: int, scale: int) -> None:
        room = (width // unit - MARGIN - x) // ADVANCE  # letters of one unit a dot
        fitting = max(1, min(scale, room // max(1, len(text))))
        _stamp(canvas, dots(text[: room // fitting]), x * unit, y * unit, fitting * unit, ink)

    y = MARGIN
    write(picture.title, MARGIN, y, TITLE)
    y += HEIGHT * TITLE + MARGIN // 2
    for note in (*picture.notes, picture.scale):
        write(note, MARGIN, y, TEXT)
        y += LINE
    y += MARGIN // 2
    canvas[y * unit : y * unit + len(squares), MARGIN * unit : MARGIN * unit + len(squares)] = squares
    y += len(squares) // unit + MARGIN
    for number, row in legend:
        _swatch(canvas[y * unit : (y + SWATCH) * unit, MARGIN * unit : (MARGIN + SWATCH) * unit], number, ink)
        write(row.label, MARGIN + 2 * SWATCH, y, TEXT)
        write(row.amount, MARGIN + AMOUNT * TEXT, y, TEXT)
        y += LINE
    dark, light = ([_towards(shade, colour) for colour in colours] for shade in (INK, PAPER))
    return canvas, [*colours, *dark, *light, PAPER, INK]


def _squares(pixels: Array, line: int, *, shade: int) -> Array:
    """Return the map with a line around each /8, and the number of each.

    line: the colour of the lines. shade: added to a class for its dark shade, twice for its light one.
    """
    zoom = max(1, SIDE // len(pixels))
    pixels = pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)
    side = len(pixels) // SQUARES
    unit = len(pixels) // SIDE
    step = side + unit
    drawn = np.full((SQUARES * step + unit, SQUARES * step + unit), line, np.uint8)
    inner = drawn[unit:, unit:].reshape(SQUARES, step, SQUARES, step)  # a view: squares by row and column
    inner[:, :side, :, :side] = pixels.reshape(SQUARES, side, SQUARES, side)
    scale = max(2, 3 * unit // 2)
    for number, (row, column) in enumerate(label_places()):
        square = inner[row, :side, column, :side]
        label = _scaled(np.pad(dots(str(number)), 1)[:-1, :-1], scale)
        square[unit : unit + label.shape[0], unit : unit + label.shape[1]] += np.where(label, shade, 2 * shade).astype(
            np.uint8
        )
    return drawn


def _stamp(canvas: Array, text: Array, x: int, y: int, scale: int, ink: int) -> None:
    drawn = _scaled(text, scale)
    canvas[y : y + drawn.shape[0], x : x + drawn.shape[1]][drawn] = ink


def _scaled(text: Array, scale: int) -> Array:
    return text.repeat(scale, axis=0).repeat(scale, axis=1)


def _swatch(place: Array, colour: int, ink: int) -> None:
    edge = max(1, len(place) // SWATCH)
    place[:] = ink
    place[edge:-edge, edge:-edge] = colour


def _towards(shade: Colour, colour: Colour) -> Colour:
    red, green, blue = (round(0.75 * to + 0.25 * part) for to, part in zip(shade, colour, strict=True))
    return red, green, blue
