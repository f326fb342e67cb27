"""Plots of rows: bars, dots where bars would hide most of them, and stacked bars. Each function returns a figure."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.report.shapes import STACK_MARK, STACK_TOTAL, STACKED, Measure, Measures, without_percentile
from benchmarks.report.styles import EDGE, LEGEND, TITLE, WIDTH, plain_numbers, style_of
from benchmarks.report.tables import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

_MARKS: Final = 6  # on the axis, at most: such as 100,000 stand beside each other
_ROW: Final = 0.2  # inches for each bar and each heading
_THICK: Final = 1.6  # rows for a stacked bar, whose text may take two lines


def bars(measures: Measures, what: str) -> Figure:
    """Draw horizontal bars from 0: a group for each circumstance, a bar for each contender."""
    figure, axes = _rows(measures, _bar)
    lowest = min(0, *(measure["quartiles"][0] for measure in measures))  # below 0 only what is a difference
    axes.set_xlim(lowest * 1.1, max(measure["quartiles"][1] for measure in measures) * 1.22 or 1.0)
    _finish(axes, what)
    return figure


def dots(measures: Measures, what: str) -> Figure:
    """Draw dots in place of bars, on a logarithmic axis: where one bar would hide all others."""
    figure, axes = _rows(measures, _dot)
    axes.set_xscale("log")
    lowest, highest = (pick(measure["median"] for measure in measures) for pick in (min, max))
    axes.set_xlim(lowest / 2, highest * (highest / lowest) ** 0.2)  # room for the figures
    _finish(axes, f"{what}, logarithmic")
    return figure


def _rows(measures: Measures, draw: Callable[[Axes, float, Measure], None]) -> tuple[Figure, Axes]:
    """Return a figure with a row for each measure and each heading, drawn from the top."""
    groups: dict[str, Measures] = {}
    for measure in measures:
        groups.setdefault(without_percentile(measure["labels"]), []).append(measure)
    alone = all(len(group) == 1 for group in groups.values()) and len({m["contender"] for m in measures}) == 1
    rows: list[tuple[str, Measure | None]] = []
    for title, group in groups.items():
        if alone:
            rows.append((title, group[0]))
            continue
        rows += [(title, None)] if title else []
        rows += [(measure["contender"], measure) for measure in group]
    figure = Figure(figsize=(WIDTH, _ROW * len(rows) + 0.55))
    axes = figure.add_subplot()
    for place, (text, shown) in enumerate(rows):
        if shown is None:
            axes.annotate(
                text, (0, place), xycoords=("axes fraction", "data"), xytext=(2, 0), textcoords="offset points",
                va="center", fontweight="bold",
            )  # fmt: skip
        else:
            draw(axes, place, shown)
    places = [(place, text) for place, (text, shown) in enumerate(rows) if shown]
    axes.set_yticks([place for place, _ in places], [text for _, text in places])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return figure, axes


def _finish(axes: Axes, what: str) -> None:
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(what)
    plain_numbers(axes.xaxis)
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(_MARKS, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(visible=True, axis="x")


def _bar(axes: Axes, place: float, measure: Measure) -> None:
    """Draw one bar with its whisker and its figure."""
    style, median = style_of(measure["contender"]), measure["median"]
    axes.barh(place, median, height=0.78, color=style.colour, hatch=style.hatch, edgecolor=EDGE, linewidth=0.5)
    _whisker(axes, place, measure)
    _beside(axes, place, max(measure["quartiles"][1], 0), number(median, measure["unit"]))


def _dot(axes: Axes, place: float, measure: Measure) -> None:
    style, median = style_of(measure["contender"]), measure["median"]
    axes.plot(median, place, style.marker, color=style.colour, markeredgecolor=EDGE, markeredgewidth=0.5, zorder=3)
    _whisker(axes, place, measure)
    _beside(axes, place, measure["quartiles"][1], number(median, measure["unit"]))


def _whisker(axes: Axes, place: float, measure: Measure) -> None:
    if len(measure["rounds"]) > 1:
        median, (low, high) = measure["median"], measure["quartiles"]
        across = [[median - low], [high - median]]
        axes.errorbar(median, place, xerr=across, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)


def _beside(axes: Axes, place: float, end: float, text: str) -> None:
    """Write a text to the right of where a bar and its whisker end."""
    axes.annotate(text, (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5)


def stacks(measures: Measures, what: str) -> Figure:
    """Draw a bar for each circumstance, whose segments add up to the resident size; a stroke marks the highest."""
    rows: dict[str, dict[str, Measure]] = {}
    for measure in measures:
        rows.setdefault(without_percentile(measure["labels"]), {})[measure["contender"]] = measure
    figure = Figure(figsize=(WIDTH, _ROW * len(rows) * _THICK + LEGEND + 0.55))
    axes = figure.add_subplot()
    for place, row in enumerate(rows.values()):
        left = 0.0
        for name in STACKED:
            style, width = style_of(name), row[name]["median"]
            axes.barh(
                place, width, left=left, height=0.7, color=style.colour, hatch=style.hatch, edgecolor=EDGE,
                linewidth=0.5, label=name if place == 0 else None,
            )  # fmt: skip
            left += width
        total, highest = row[STACK_TOTAL], row[STACK_MARK]["median"]
        _whisker(axes, place, total)
        axes.plot([highest] * 2, [place - 0.45, place + 0.45], color="black", label=STACK_MARK if place == 0 else None)
        texts = [number(size, total["unit"]) for size in (total["median"], highest)]
        text = texts[0] if texts[0] == texts[1] else f"{texts[0]}, at most {texts[1]}"
        _beside(axes, place, max(highest, total["quartiles"][1]), text)
    axes.set_yticks(range(len(rows)), [fill(text, TITLE) for text in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, max(measure["median"] for measure in measures) * 1.3)
    figure.legend(loc="outside lower center", ncols=len(STACKED) + 1, handlelength=1.6, columnspacing=1.2)
    _finish(axes, f"{what}; the figure: {STACK_TOTAL}")
    return figure
