"""The figures of a part as SVG: bars, lines against the size of a list, and curves of latency percentiles.

What is drawn follows from the labels of a measure (see shapes.py). Points and bars are medians, whiskers the
quartiles of the rounds. A bar begins at 0, and its figure stands beside it; where values are far apart, lines have a
logarithmic axis, and dots stand for bars. The same figures give the same bytes: identifiers are hashed with a fixed
salt, and there is no date.
"""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import matplotlib as mpl

from benchmarks.report.bars import bars, dots, stacks
from benchmarks.report.lines import curves, lines
from benchmarks.report.shapes import MORE_IS_BETTER, shapes
from benchmarks.report.small_svg import smaller
from benchmarks.report.tables import by_measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

_SETTINGS: Final[dict[Any, Any]] = {
    "svg.hashsalt": "authz",
    "svg.fonttype": "none",  # text stays text: to be searched, read aloud, and a tenth of the size
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # of about the same widths, where the first is missing
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.constrained_layout.use": True,
}
_TABLE_ONLY: Final = (
    "CPU time of one check",  # the reciprocal of what is drawn already
    "CPU time of one request, Envoy",  # parts of what is drawn
    "CPU time of one request, nginx",
    "CPU time of one request, server",
)
_UNITS: Final = {"us": "µs"}


class Plot(NamedTuple):
    """name: of the file, without `.svg`. svg: its content."""

    name: str
    title: str
    svg: bytes


def plots(part: dict[str, Any]) -> Iterator[Plot]:
    """Yield the plots of a part, as in JSON. Ratios are left to the tables."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # the second choice of font may be missing
    for (name, unit), measures in by_measure(part).items():
        if unit == "x" or name in _TABLE_ONLY:
            continue
        title = f"{part['name']}: {name}, {unit}"
        along = f"{name}, {_UNITS.get(unit, unit)} ({'more' if unit in MORE_IS_BETTER else 'less'} is better)"
        drawn = shapes(measures)
        for kind, draw, chosen in (
            ("percentiles", curves, drawn.curves),
            ("by size", lines, drawn.lines),
            ("", bars, drawn.bars),
            ("far apart", dots, drawn.dots),
            ("", stacks, drawn.stacks),
        ):
            if chosen:
                with mpl.rc_context(_SETTINGS):
                    svg = _svg(draw(chosen, along), title)
                yield Plot(_file_name(f"{title} {kind}"), title, svg)


def _svg(figure: Figure, title: str) -> bytes:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return smaller(buffer.getvalue()).encode()


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
