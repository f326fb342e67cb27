"""Measure what a request costs between what is read from a socket and what is written to it, to 1 % on a busy machine.

    python -m benchmarks.load.hot_path.run [--rounds N] [--output FILE] [--against FILE] [WORK...]

Each work (see `works`) is done in many short rounds; the least CPU time of the thread counts, for whatever disturbs a
round makes it longer. `--against` prints the figures of an earlier output beside the new ones. Run it alternately in
two checkouts to compare them. System calls and the event loop are not in it: `make bench ARGS="grpc http"` has them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from authz.serve.http2 import connection as http2_connection
from benchmarks.load.hot_path.works import works
from benchmarks.report.machine import machine
from benchmarks.rounds import cpu_ns, without_gc

if TYPE_CHECKING:
    from collections.abc import Sequence


async def measure(folder: Path, names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the CPU time of a request in nanoseconds, by work and round. Raises KeyError for a work that is none."""
    http2_connection.TURN = 60.0  # type: ignore[misc]  # a preempted round would be cut into turns
    every = works(folder)
    chosen = {name: every[name] for name in names or every}
    rounds_of = {}
    for name, work in chosen.items():
        work.prepare(3 * work.requests)()
        with without_gc():
            rounds_of[name] = [cpu_ns(work.prepare(work.requests), work.requests) for _ in range(rounds)]
    return rounds_of


def main() -> None:
    """Measure the works that are named, print a line for each, and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help="as the output names them; default: all")
    parser.add_argument("--rounds", type=int, default=40, help="of each work; default: 40")
    parser.add_argument("--output", type=Path, help="where to write the results, as JSON")
    parser.add_argument("--against", type=Path, help="an output to compare with")
    options = parser.parse_args()
    before: dict[str, Any] = json.loads(options.against.read_text())["nanoseconds"] if options.against else {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            nanoseconds = asyncio.run(measure(Path(folder), options.works, options.rounds))
        except KeyError as unknown:
            parser.error(f"found the work {unknown}, expected names of the output without arguments")
    for name, values in nanoseconds.items():
        least, other = min(values), min(before.get(name, [0.0]))
        print(f"{name:45} {least:7,.0f} ns" + (f"  {other:7,.0f} ns  {least / other:5.3f} x" if other else ""))
    if options.output:
        options.output.write_text(json.dumps({"machine": machine(), "nanoseconds": nanoseconds}) + "\n")


if __name__ == "__main__":
    main()
