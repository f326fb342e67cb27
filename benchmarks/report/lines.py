"""Plots of lines: figures against the size of a list, and latency against the percentile. Each returns a figure."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Final, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.report.shapes import (
    PERCENTILES,
    Measure,
    Measures,
    networks,
    percentile,
    without_percentile,
    without_size,
)
from benchmarks.report.styles import EDGE, LEGEND, TITLE, WIDTH, plain_numbers, style_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    Lines = dict[str, list["_Point"]]  # by contender, from left to right

_PANEL: Final = 2.0  # inches, the height of a panel of lines
_FAR_APART: Final = 40.0  # largest / smallest: above it, lines need a logarithmic axis
_NEAR: Final = 300.0  # largest / smallest: below it, the powers of ten are too few marks for a logarithmic axis
_STEPS: Final = (1.0, 2.0, 5.0)  # of the marks then
_PLACES: Final = dict(zip(PERCENTILES, (0.3, 1.0, 2.0, 3.0, 4.0), strict=True))  # -log10(1 - p); the worst: beyond


class _Point(NamedTuple):
    """x: networks, or the place of a percentile."""

    x: float
    measure: Measure


def lines(measures: Measures, what: str) -> Figure:
    """Draw a line for each contender against the number of networks, a panel for each circumstance."""
    panels = _panels(measures, lambda labels: float(networks(labels) or 0), without_size)
    figure, grid = _figure(panels, "networks in the list", what)
    for axes, drawn in zip(grid, panels.values(), strict=False):
        axes.set_xscale("log")
        for contender, points in drawn.items():
            _line(axes, contender, points)
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_major_locator(LogLocator(numticks=9))
        axes.xaxis.set_minor_locator(NullLocator())
    return figure


def curves(measures: Measures, what: str) -> Figure:
    """Draw latency against the percentile, the rarer the farther to the right, both on logarithmic axes."""
    panels = _panels(measures, lambda labels: _PLACES[percentile(labels) or ""], without_percentile)
    figure, grid = _figure(panels, "percentile", what, logarithmic=True)
    shown = sorted({point.x for lines in panels.values() for points in lines.values() for point in points})
    names = {place: name for name, place in _PLACES.items()}
    for axes, drawn in zip(grid, panels.values(), strict=False):
        for contender, points in drawn.items():
            _line(axes, contender, points)
        axes.set_xticks(shown, [names[place] for place in shown])
        axes.set_xlim(min(shown) - 0.25, max(shown) + 0.25)
    return figure


def _panels(
    measures: Measures, place: Callable[[dict[str, str]], float], title: Callable[[dict[str, str]], str]
) -> dict[str, Lines]:
    """Return the points of each contender, from left to right, by the titles of their panels."""
    panels: dict[str, Lines] = {}
    for measure in measures:
        lines = panels.setdefault(title(measure["labels"]), {})
        lines.setdefault(measure["contender"], []).append(_Point(place(measure["labels"]), measure))
    return {
        panel: {contender: sorted(points, key=lambda point: point.x) for contender, points in lines.items()}
        for panel, lines in panels.items()
    }


def _line(axes: Axes, contender: str, points: Sequence[_Point]) -> None:
    style = style_of(contender)
    medians = [point.measure["median"] for point in points]
    lows = [point.measure["median"] - point.measure["quartiles"][0] for point in points]
    highs = [point.measure["quartiles"][1] - point.measure["median"] for point in points]
    axes.errorbar(
        [point.x for point in points], medians, yerr=[lows, highs], label=contender, color=style.colour,
        linestyle=style.dash, marker=style.marker, markeredgecolor=EDGE, markeredgewidth=0.5, elinewidth=0.9,
        ecolor=EDGE, capsize=2,
    )  # fmt: skip


def _figure(
    panels: dict[str, Lines], along: str, what: str, *, logarithmic: bool | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes for all panels, of one scale, and the legend of all contenders below them.

    logarithmic: whether the axis upwards is; None: where values are far apart.
    """
    values = [p.measure["median"] for lines in panels.values() for points in lines.values() for p in points]
    if logarithmic is None:
        logarithmic = min(values) > 0 and max(values) / min(values) > _FAR_APART
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    contenders = list(dict.fromkeys(contender for lines in panels.values() for contender in lines))
    legend_columns = 2 if max(map(len, contenders)) > 16 else 3
    legend_rows = -(-len(contenders) // legend_columns)
    figure = Figure(figsize=(WIDTH, _PANEL * rows + LEGEND * legend_rows + 0.3))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    flat: list[Axes] = list(grid.flat)
    for axes, panel in zip(flat, panels, strict=False):
        axes.set_title(fill(panel, TITLE if columns > 1 else 2 * TITLE))
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=_marks(values)))
        plain_numbers(axes.yaxis)
        axes.grid(visible=True)
    for axes in flat[len(panels) :]:
        axes.set_visible(False)
    if not logarithmic:
        highest = max(p.measure["quartiles"][1] for lines in panels.values() for ps in lines.values() for p in ps)
        flat[0].set_ylim(0, highest * 1.06)
    for axes in flat[len(panels) - columns : len(panels)]:
        axes.set_xlabel(along)
    figure.suptitle(what, x=0.01, horizontalalignment="left", fontsize=8)
    figure.legend(
        handles=[_handle(contender) for contender in contenders], loc="outside lower center", ncols=legend_columns,
        handlelength=2.6, columnspacing=1.4,
    )  # fmt: skip
    return figure, flat


def _marks(values: Sequence[float]) -> tuple[float, ...]:
    """Return the marks in each power of ten of a logarithmic axis."""
    return _STEPS if max(values) / min(values) < _NEAR else (1.0,)


def _handle(contender: str) -> Line2D:
    style = style_of(contender)
    return Line2D(
        [], [], color=style.colour, linestyle=style.dash, marker=style.marker, markeredgecolor=EDGE,
        markeredgewidth=0.5, label=contender,
    )  # fmt: skip


def _short(value: float, _: float) -> str:
    """Return 10, 1 k, 100 k, 1 M."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    return f"{value / 1_000:g} k" if value >= 1_000 else f"{value:g}"
