"""Run the benchmarks: `make bench`, or `python benchmarks/run.py [PART ...] [--quick]`.

Parts: lookup, check, grpc, http, memory; all of them without a name. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python benchmarks/run.py` puts only this folder there

from rich.console import Console

from benchmarks import check, grpc_front, http_front, lookup, memory
from benchmarks.report import FORMAT, grids, machine, terminal_table, write_json, write_readme
from benchmarks.scale import QUICK, USUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.report import Part
    from benchmarks.scale import Scale

PARTS: dict[str, Callable[[Scale, Callable[[str], None]], Part]] = {
    "lookup": lookup.run,
    "check": check.run,
    "grpc": grpc_front.run,
    "http": http_front.run,
    "memory": memory.run,
}
_FOLDER = Path(__file__).parent
_MOST_SHOWN = 10  # wrong answers
_OUT, _ERR = Console(), Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, and return the exit status: 0; 1 where an answer was wrong; 2 for a wrong argument."""
    options = _options(arguments)
    scale = QUICK if options.quick else USUAL
    document: dict[str, Any] = {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "scale": scale._asdict(),
        "machine": machine(),
        "parts": [],
    }
    wrong = []
    for name in options.parts or PARTS:
        part = _run(name, scale)
        wrong += part.wrong
        document["parts"].append(part.as_dict())
        document["load_average_at_end"] = os.getloadavg()[0]
        _print(document["parts"][-1])
        write_json(options.output, document)  # after each part: what was measured is kept, whatever comes
    _OUT.print(f"all figures: {options.output}")
    if options.readme and not wrong:
        write_readme(_FOLDER / "README.md", document)
    for line in wrong[:_MOST_SHOWN]:
        _ERR.print(f"wrong answer: {line}", style="red", highlight=False, soft_wrap=True)
    if len(wrong) > _MOST_SHOWN:
        _ERR.print(f"... and {len(wrong) - _MOST_SHOWN} more; {options.output} has all", highlight=False)
    return 1 if wrong else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures say nothing")
    parser.add_argument("--readme", action="store_true", help="put the tables into benchmarks/README.md as well")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    default = _FOLDER / "results" / f"{stamp}.json"
    parser.add_argument("--output", type=Path, default=default, help="the JSON file; default: benchmarks/results/")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"found the part '{unknown[0]}', expected some of {', '.join(PARTS)}")
    return options


def _run(name: str, scale: Scale) -> Part:
    begin = time.monotonic()
    with _ERR.status(name) as status:
        part = PARTS[name](scale, lambda step: status.update(f"{name}: {step}"))
    part.seconds = time.monotonic() - begin
    return part


def _print(part: dict[str, Any]) -> None:
    if part["skipped"]:
        _OUT.print(f"{part['name']}: skipped, {part['skipped']}\n")
        return
    for grid in grids(part):
        _OUT.print(terminal_table(grid))
    right = sum(check["count"] for check in part["checks"] if not check["differences"])
    _OUT.print(f"{part['name']}: {right:,} answers checked before, {part['seconds']:.0f} s")
    for note in part["notes"]:
        _OUT.print(f"- {note}", highlight=False)
    _OUT.print()


if __name__ == "__main__":
    sys.exit(main())
