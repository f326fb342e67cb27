"""Run the benchmarks: `make bench`, `make bench-full`, or `python benchmarks/run.py [PART ...] [--quick]`.

Parts: lookup, check, grpc, http, envoy, nginx, reload, reload_storm, memory, bans, enforcement, control; without a name
all of them.
See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python benchmarks/run.py` puts only this folder there
sys.path.insert(1, str(Path(__file__).parents[1] / "tests"))  # for support.processes

from rich.console import Console
from rich.table import Table

from benchmarks.load.noise.awake import awake
from benchmarks.processes import cores
from benchmarks.report.aims import results
from benchmarks.report.document import FORMAT, Part, read_json, write_json
from benchmarks.report.machine import machine, stolen_seconds
from benchmarks.report.tables import grids, terminal_table
from benchmarks.scale import FULL, QUICK, USUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.scale import Scale

# Each is a module of benchmarks.parts, whose `run(scale, note)` measures and returns a Part.
PARTS = (
    *("lookup", "check", "grpc", "http", "envoy", "nginx", "reload", "reload_storm", "memory", "bans", "enforcement"),
    "control",
)
_SCALES = {"quick": QUICK, "usual": USUAL, "full": FULL}
_FOLDER = Path(__file__).parent
_MAX_SHOWN = 10  # wrong answers
_OUT, _ERR = Console(), Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, and return the exit status.

    0; 1 where an answer was wrong or a part failed; 2 for a wrong argument.
    """
    options = _options(arguments)
    if options.report:
        document = read_json(options.report)
    else:
        document = _measure(options.parts or list(PARTS), options.scale, options.output / "results.json", options.set)
    _write(options.output, document)
    bad = _bad(document)
    if options.publish:
        _publish(options.output, document, bad)
    for line in bad[:_MAX_SHOWN]:
        _ERR.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if len(bad) > _MAX_SHOWN:
        _ERR.print(f"... and {len(bad) - _MAX_SHOWN} more; {options.output} has all", highlight=False)
    return 1 if bad else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--quick", dest="scale", action="store_const", const="quick", default="usual",
        help="seconds instead of minutes; the figures say nothing",
    )  # fmt: skip
    scale.add_argument(
        "--full", dest="scale", action="store_const", const="full", help="more sizes and rounds (make bench-full)"
    )
    scale.add_argument("--report", type=Path, metavar="FILE", help="measure nothing: draw the report of a results.json")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another value of benchmarks/scale.py"
    )
    parser.add_argument("--publish", action="store_true", help="keep the report in benchmarks/reports/ as well")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of the report; default: in benchmarks/results/")
    options = parser.parse_args(arguments)
    try:
        _SCALES[options.scale].changed(options.set)
    except ValueError as error:
        parser.error(f"--set: {error}")
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"found the part '{unknown[0]}', expected some of {', '.join(PARTS)}")
    if options.output is None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        options.output = options.report.parent if options.report else _FOLDER / "results" / stamp
    return options


def _measure(names: Sequence[str], name_of_scale: str, path: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Run the parts, and return the document. It is written to `path` after each: what was measured is kept."""
    scale = _SCALES[name_of_scale].changed(settings)
    document: dict[str, Any] = {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": {"name": name_of_scale, **scale._asdict()},
        "machine": machine(),
        "parts": [],
    }
    for name in names:
        document["parts"].append(_run(name, scale).as_dict())
        document["load_average_at_end"] = os.getloadavg()[0]
        _print(document["parts"][-1])
        write_json(path, document)
    return document


def _run(name: str, scale: Scale) -> Part:
    """Run one part. Whatever ends it is kept in the part, for the others are still to be measured."""
    begin, stolen = time.monotonic(), stolen_seconds()
    about = ""
    left = {cores().server} if scale.first else set()
    with _ERR.status(name) as status:
        try:
            module = import_module(f"benchmarks.parts.{name}")
            about = (module.__doc__ or "").partition("\n\n")[0]
            with awake(but=left) if scale.awake else nullcontext():
                part: Part = module.run(scale, lambda step: status.update(f"{name}: {step}"))
        except Exception as error:  # noqa: BLE001  # a part that fails is told in the report; the others go on
            traceback.print_exc()
            part = Part(name, failed="".join(traceback.format_exception_only(error)).rstrip("\n"))
    if scale.awake:
        which = "the cores but the server's" if left else "the cores"
        part.notes.append(f"{which} were kept awake by processes of SCHED_IDLE (benchmarks/load/noise/awake.py)")
    part.about = about
    part.seconds = time.monotonic() - begin
    taken = 1e3 * (stolen_seconds() - stolen) / part.seconds
    part.notes.append(f"of each second, the host of the machine gave {taken:.1f} ms of its cores to others (steal)")
    return part


def _print(part: dict[str, Any]) -> None:
    if part["skipped"] or part["failed"]:
        reason = f"skipped, {part['skipped']}" if part["skipped"] else f"failed, {part['failed']}"
        _OUT.print(f"{part['name']}: {reason}\n", highlight=False, markup=False)
        return
    for grid in grids(part):
        _OUT.print(terminal_table(grid))
    right = sum(check["count"] for check in part["checks"] if not check["differences"])
    _OUT.print(f"{part['name']}: {right:,} answers checked before, {part['seconds']:.0f} s")
    for note in part["notes"]:
        _OUT.print(f"- {note}", highlight=False, markup=False)
    _OUT.print()


def _write(folder: Path, document: dict[str, Any]) -> None:
    """Write the report, and print what became of the aims."""
    from benchmarks.report.page import write_report  # noqa: PLC0415  # matplotlib takes a second: not for --help

    write_report(folder, document)
    table = Table("measure", "aim", "found", "", title="the aims", title_justify="left")
    for aim, state, measured in results(document):
        table.add_row(aim.measure, aim.goal, measured, state)
    _OUT.print(table)
    _OUT.print(f"all figures and plots: {folder / 'report.md'}", soft_wrap=True)


def _publish(folder: Path, document: dict[str, Any], bad: list[str]) -> None:
    """Publish the report in `folder`, unless it says nothing or is not whole."""
    from benchmarks.report.page import publish  # noqa: PLC0415  # see _write

    if document["scale"].get("name") == "quick":
        _ERR.print("not published: the figures of a smoke run say nothing")
    elif bad:
        _ERR.print("not published: not everything was measured")
    else:
        _OUT.print(f"published: {publish(folder, document, _FOLDER)}", soft_wrap=True)


def _bad(document: dict[str, Any]) -> list[str]:
    """Return a line for each wrong answer and each part that failed."""
    lines = []
    for part in document["parts"]:
        for check in part["checks"]:
            lines += [f"wrong answer: {check['what']}: {difference}" for difference in check["differences"]]
        if part.get("failed"):
            lines.append(f"{part['name']} failed: {part['failed'].splitlines()[0]}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
