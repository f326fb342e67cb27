"""The figures of a part as tables of text: circumstances by contenders, for a terminal and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True)
class Grid:
    """A table of text: a title, the names of its columns, and rows."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def grids(part: dict[str, Any]) -> Iterator[Grid]:
    """Yield a table for each measure of a part (as in JSON), and one for its ratios: circumstances by contenders."""
    for (name, unit), measures in by_measure(part).items():
        title = f"{name}, ratios" if unit == "x" else f"{name}, {unit}"
        yield _grid(f"{part['name']}: {title}", measures)


def by_measure(part: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the measures of a part by name and unit, in the order of the part."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for measure in part["measures"]:
        kinds.setdefault((measure["name"], measure["unit"]), []).append(measure)
    return kinds


def _grid(title: str, measures: list[dict[str, Any]]) -> Grid:
    labels = list(dict.fromkeys(label for measure in measures for label in measure["labels"]))
    contenders = list(dict.fromkeys(measure["contender"] for measure in measures))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for measure in measures:
        row = tuple(measure["labels"].get(label, "") for label in labels)
        cells.setdefault(row, {})[measure["contender"]] = _cell(measure)
    rows = [[*row, *(measured.get(contender, "") for contender in contenders)] for row, measured in cells.items()]
    return Grid(title, [*labels, *contenders], rows)


def _cell(measure: dict[str, Any]) -> str:
    """Return median and quartiles, such as `405 (398-421)`."""
    low, high = measure["quartiles"]
    return with_quartiles(measure["median"], low, high, measure["unit"])


def with_quartiles(median: float, low: float, high: float, unit: str) -> str:
    """Return such as `405 (398-421)`, or `405` where they read the same."""
    texts = [number(value, unit) for value in (median, low, high)]
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]} ({texts[1]}-{texts[2]})"


def number(value: float, unit: str) -> str:
    """Return a figure as it is read: ratios with two decimals, others with three digits or all before the point."""
    if unit == "x":
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def terminal_table(grid: Grid) -> Table:
    """Return a table for a person at a terminal."""
    table = Table(title=grid.title, title_justify="left")
    for column in grid.columns:
        table.add_column(column)
    for row in grid.rows:
        table.add_row(*row)
    return table


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
