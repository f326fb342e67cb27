"""A map as an SVG: the pixels as a PNG within, and title, /8 grid and legend as text and lines that scale."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from authz.analysis.map.drawing import INK, SQUARES, label_places
from authz.analysis.map.png import encode_png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.analysis.map.picture import Map
    from authz.analysis.map.png import Colour

SIDE: Final = 1024  # of the map; all lengths are in these units, as wide as the viewer draws them
MARGIN: Final = 24
LINE: Final = 22
AMOUNT: Final = 380  # from the margin to the second column of the legend
_STEP: Final = SIDE // SQUARES
_STYLE: Final = """\
text { font-family: system-ui, "DejaVu Sans", Verdana, sans-serif; fill: %(ink)s; font-size: 15px }
.title { font-size: 24px; font-weight: 600 }
.number { font-size: 12px }
.plate { fill: #fff; fill-opacity: .75 }
.grid { stroke: #fff; stroke-width: 1; fill: none }
.amount { font-variant-numeric: tabular-nums }
"""


def draw_svg(picture: Map) -> str:
    """Return the map as an SVG document."""
    legend = [row for row in picture.legend if row.amount]
    notes = (*picture.notes, picture.scale)
    top = MARGIN + 40 + LINE * len(notes)  # of the map
    height = top + SIDE + MARGIN + LINE * len(legend) + MARGIN // 2
    width = SIDE + 2 * MARGIN
    title = escape(picture.title)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{title}</title>",
        f"<style>{_STYLE % {'ink': _colour(INK)}}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{MARGIN}" y="{MARGIN + 20}"{_squeezed(picture.title, 70)}>{title}</text>',
        *(
            f'<text x="{MARGIN}" y="{MARGIN + 44 + LINE * number}"{_squeezed(note, 120)}>{escape(note)}</text>'
            for number, note in enumerate(notes)
        ),
        f'<g transform="translate({MARGIN} {top})">',
        *_map(picture),
        "</g>",
        *_legend(picture, top + SIDE + MARGIN),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _map(picture: Map) -> Iterator[str]:
    pixels = encode_png(picture.pixels, [row.colour for row in picture.legend])
    data = base64.b64encode(pixels).decode()
    # Scaled down, pixels must be mixed, not dropped; scaled up, they must keep their edges.
    sharp = ' style="image-rendering: pixelated"' if len(picture.pixels) <= SIDE else ""
    yield f'<image{sharp} width="{SIDE}" height="{SIDE}" href="data:image/png;base64,{data}"/>'
    path = "".join(f"M{at} 0V{SIDE}M0 {at}H{SIDE}" for at in range(_STEP, SIDE, _STEP))
    yield f'<path class="grid" d="{path}"/>'
    for number, (row, column) in enumerate(label_places()):
        x, y = column * _STEP + 2, row * _STEP + 2
        yield f'<rect class="plate" x="{x}" y="{y}" width="{4 + 8 * len(str(number))}" height="13"/>'
        yield f'<text class="number" x="{x + 2}" y="{y + 11}">{number}</text>'


def _legend(picture: Map, top: int) -> Iterator[str]:
    rows = [row for row in picture.legend if row.amount]
    for number, row in enumerate(rows):
        y = top + LINE * number
        yield (
            f'<rect x="{MARGIN}" y="{y}" width="15" height="15" '
            f'fill="{_colour(row.colour)}" stroke="{_colour(INK)}" stroke-width=".75"/>'
        )
        yield f'<text x="{MARGIN + 26}" y="{y + 13}">{escape(row.label)}</text>'
        yield f'<text class="amount" x="{MARGIN + AMOUNT}" y="{y + 13}">{escape(row.amount)}</text>'


def _squeezed(text: str, most: int) -> str:
    """Return the attributes that make a text of more than `most` characters as wide as the map."""
    return f' textLength="{SIDE}" lengthAdjust="spacingAndGlyphs"' if len(text) > most else ""


def _colour(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
