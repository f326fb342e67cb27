"""What was measured: the figures of a part, all of them as JSON, and as tables for a terminal and for the README.

    {"format": 1, "started": "...", "quick": false, "machine": {...}, "load_average_at_end": 1.2,
     "parts": [{"name": "lookup", "seconds": 61.0, "skipped": null, "notes": [...],
       "checks": [{"what": "...", "count": 2000, "differences": []}],
       "measures": [{"name": "time of one look-up", "contender": "authz", "unit": "ns",
         "labels": {"address": "hit", ...}, "rounds": [402.1, ...], "median": 405.0, "quartiles": [398.2, 420.7]}]}]}

A measure whose unit is `x` is a ratio of two contenders, taken round by round.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from benchmarks.rounds import ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FORMAT: Final = 1
_PACKAGES: Final = (
    "authz",
    "grpcio",
    "httptools",
    "maxminddb",
    "numpy",
    "protobuf",
    "pygrpc-native",
    "pytricia",
    "uvloop",
)
_BEGIN: Final = "<!-- the last run: written by --readme -->\n"
_END: Final = "<!-- end of the last run -->\n"
_PROJECT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Check:
    """Whether answers were right, before anything was measured. count: answers looked at; differences: in words."""

    what: str
    count: int
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Measure:
    """One figure for each round. unit: of the figures. labels: under which circumstances."""

    name: str
    contender: str
    unit: str
    labels: dict[str, str]
    rounds: list[float]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, with median and quartiles."""
        median, low, high = spread(self.rounds)
        return {**asdict(self), "median": median, "quartiles": [low, high]}


@dataclass
class Part:
    """What one part of the benchmarks found. skipped: why it could not run; seconds: it took."""

    name: str
    notes: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    skipped: str | None = None
    seconds: float = 0.0

    def add(self, name: str, unit: str, rounds: Mapping[str, Sequence[float]], **labels: str) -> None:
        """Add a measure of several contenders."""
        for contender, values in rounds.items():
            self.measures.append(Measure(name, contender, unit, labels, list(values)))

    def compare(self, name: str, contender: str, other: str) -> None:
        """Add the ratio contender / other wherever both have the measure `name`."""
        found = {tuple(m.labels.items()): m for m in self.measures if m.name == name and m.contender == other}
        for measure in [m for m in self.measures if m.name == name and m.contender == contender]:
            base = found.get(tuple(measure.labels.items()))
            if base is not None:
                rounds = ratios(measure.rounds, base.rounds)
                self.measures.append(Measure(name, f"{contender} / {other}", "x", measure.labels, rounds))

    @property
    def wrong(self) -> list[str]:
        """What was answered wrongly."""
        return [f"{check.what}: {difference}" for check in self.checks for difference in check.differences]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 1),
            "skipped": self.skipped,
            "notes": self.notes,
            "checks": [asdict(check) for check in self.checks],
            "measures": [measure.as_dict() for measure in self.measures],
        }


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, kernel, versions, and how busy it is."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _package(name) for name in _PACKAGES},
        "tools": {"h2load": _first_line("h2load", "--version"), "wrk": _first_line("wrk", "--version")},
        "commit": _first_line("git", "-C", str(_PROJECT), "describe", "--always", "--dirty", "--exclude=*"),
        "load_average": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _first_line(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return lines[0].partition(" Copyright")[0] if lines else None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the whole report; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Grid:
    """A table of text: a title, the names of its columns, and rows."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def grids(part: dict[str, Any]) -> Iterable[Grid]:
    """Yield a table for each measure of a part (as in JSON), and one for its ratios: circumstances by contenders."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for measure in part["measures"]:
        kinds.setdefault((measure["name"], measure["unit"]), []).append(measure)
    for (name, unit), measures in kinds.items():
        title = f"{name}, ratios" if unit == "x" else f"{name}, {unit}"
        yield _grid(f"{part['name']}: {title}", measures)


def _grid(title: str, measures: list[dict[str, Any]]) -> Grid:
    labels = list(dict.fromkeys(label for measure in measures for label in measure["labels"]))
    contenders = list(dict.fromkeys(measure["contender"] for measure in measures))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for measure in measures:
        row = tuple(measure["labels"].get(label, "") for label in labels)
        cells.setdefault(row, {})[measure["contender"]] = _cell(measure)
    rows = [[*row, *(found.get(contender, "") for contender in contenders)] for row, found in cells.items()]
    return Grid(title, [*labels, *contenders], rows)


def _cell(measure: dict[str, Any]) -> str:
    """Return median and quartiles, such as `405 (398-421)`."""
    low, high = measure["quartiles"]
    median, low, high = (_number(value, measure["unit"]) for value in (measure["median"], low, high))
    return median if low == high == median else f"{median} ({low}-{high})"


def _number(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def terminal_table(grid: Grid) -> Table:
    """Return a table for a person at a terminal."""
    table = Table(title=grid.title, title_justify="left")
    for column in grid.columns:
        table.add_column(column)
    for row in grid.rows:
        table.add_row(*row)
    return table


def markdown(document: dict[str, Any]) -> str:
    """Return the whole report (as in JSON) in Markdown, without headings."""
    where = document["machine"]
    load = f"load average {where['load_average']:.1f} at the begin, {document['load_average_at_end']:.1f} at the end"
    head = (
        f"Run of {document['started'][:10]} at {where['commit']}: {where['cpu']}, {where['cores']} cores, "
        f"{where['kernel']}, {where['python']}; {load}. Median, and quartiles in parentheses."
    )
    lines = [head, ""]
    for part in document["parts"]:
        lines += [f"{part['name']}: skipped, {part['skipped']}.", ""] if part["skipped"] else []
        for grid in grids(part):
            lines += [f"**{grid.title}**", "", _row(grid.columns), _row(["---"] * len(grid.columns))]
            lines += [_row(row) for row in grid.rows] + [""]
        lines += [f"- {note}" for note in part["notes"]] + [""] if part["notes"] else []
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_readme(path: Path, document: dict[str, Any]) -> None:
    """Replace the tables between the two marks in the README at `path`. Raises ValueError where they are not there."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path}: expected the lines '{_BEGIN.strip()}' and '{_END.strip()}'")
    path.write_text(before + begin + markdown(document).rstrip("\n") + "\n" + end + after, encoding="utf-8")
