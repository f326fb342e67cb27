"""The report of a run for people: a folder with `report.md`, its plots and `results.json`, readable on its own.

The first table says which aims of the project the run met. A published report is a copy of that folder in
`benchmarks/reports/`, which is kept with the project, and the table of the aims in benchmarks/README.md.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from benchmarks.report.aims import MISSED, results
from benchmarks.report.document import write_json
from benchmarks.report.plots import plots
from benchmarks.report.tables import grids, markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESULTS: Final = "results.json"
_BEGIN: Final = "<!-- the aims: written by --publish -->\n"
_END: Final = "<!-- end of the aims -->\n"
_WHY: Final = "../../../docs/internals/performance.md"  # from a report's folder, be it in results/ or in reports/
_HOW: Final = """\
What is compared ran in turn, in this one run: in each round every contender once, each round beginning with another
one. Answers were checked before. A figure is the median of the rounds, with the quartiles in parentheses or as
whiskers; without them there was one round, or they read the same. A ratio was taken within each round. CPU time is what
the kernel counted for the process, all its threads. MB are millions of bytes. How each part measures, and what the
figures do not say: `benchmarks/README.md`.
"""


def write_report(folder: Path, document: dict[str, Any]) -> None:
    """Write the figures, the plots and the page into `folder`, which is made where it is missing."""
    write_json(folder / RESULTS, document)
    for old in folder.glob("*.svg"):
        old.unlink()
    lines = [*_head(document)]
    for part in document["parts"]:
        lines += _part(folder, part)
    (folder / "report.md").write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def _head(document: dict[str, Any]) -> Iterator[str]:
    yield from (f"# Benchmarks of {_day(document)}", "")
    yield from (*_machine(document), "")
    yield from ("## What it shows", "", *aims_table(document), "")
    yield from (f"Where an aim is missed, [the page on performance]({_WHY}) says why, and what was tried.", "")
    yield from ("## How it was measured", "", _HOW)


def _day(document: dict[str, Any]) -> str:
    return str(document["started"])[:10]


def _machine(document: dict[str, Any]) -> Iterator[str]:
    where = document["machine"]
    versions = {**where["tools"], **where["packages"]}
    load = f"load average {where['load_average']:.1f} at the begin, {document['load_average_at_end']:.1f} at the end"
    scale = {"quick": "a smoke run: its figures say nothing", "full": "the full run"}
    minutes = sum(part["seconds"] for part in document["parts"]) / 60
    name = scale.get(document["scale"].get("name"), "the usual run")
    yield f"- commit {where['commit']}; {name}, {minutes:.0f} minutes"
    yield f"- {where['cpu']}, {where['cores']} cores, {where['memory_mb'] / 1024:.0f} GiB; {where['kernel']}; {load}"
    yield f"- {where['python']}; " + ", ".join(f"{name} {text}" for name, text in versions.items() if text)


def aims_table(document: dict[str, Any]) -> list[str]:
    """Return the table of the aims, in Markdown."""
    rows = [
        (aim.measure, aim.goal, measured, f"**{state}**" if state == MISSED else state)
        for aim, state, measured in results(document)
    ]
    return markdown_table(("measure", "aim", "found", ""), rows)


def _part(folder: Path, part: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a part; its plots are written meanwhile."""
    yield from (f"## {part['name']}", "")
    if part.get("about"):
        yield from (part["about"], "")
    if part["skipped"]:
        yield from (f"Skipped: {part['skipped']}.", "")
    if part.get("failed"):
        yield from ("**Failed:** it ended with this error, and its figures are lost.", "")
        yield from ("```text", part["failed"].rstrip("\n"), "```", "")
    for check in part["checks"]:
        if check["differences"]:
            yield from (f"**Wrong answers**, so not measured: {check['what']}: {check['differences'][0]}", "")
    for plot in plots(part):
        (folder / f"{plot.name}.svg").write_bytes(plot.svg)
        yield from (f"![{plot.title}]({plot.name}.svg)", "")
    for grid in grids(part):
        yield from (f"**{grid.title}**", "", *markdown_table(grid.columns, grid.rows), "")
    if part["notes"]:
        yield from (*(f"- {note}" for note in part["notes"]), "")


def publish(folder: Path, document: dict[str, Any], benchmarks: Path) -> Path:
    """Copy the report in `folder` into the folder `benchmarks` of the project, and write its README's table anew.

    Returns the copy. Raises ValueError where the README has no place for the table.
    """
    copy = benchmarks / "reports" / _day(document)
    readme = benchmarks / "README.md"
    where = document["machine"]
    head = (
        f"Run of {_day(document)} at {where['commit']} on {where['cpu']}, {where['cores']} cores: "
        f"[the report](reports/{copy.name}/report.md) has all figures and plots."
    )
    _replace(readme, "\n".join([head, "", *aims_table(document), ""]))
    if copy.exists():
        shutil.rmtree(copy)
    copy.mkdir(parents=True)
    for file in [*sorted(folder.glob("*.svg")), folder / "report.md", folder / RESULTS]:
        shutil.copyfile(file, copy / file.name)
    return copy


def _replace(path: Path, text: str) -> None:
    """Replace what stands between the two marks in the file at `path`. Raises ValueError where they are not there."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path}: expected the lines '{_BEGIN.strip()}' and '{_END.strip()}'")
    path.write_text(before + begin + text + end + after, encoding="utf-8")
