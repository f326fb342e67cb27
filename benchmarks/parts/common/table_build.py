"""`authz snapshot build` as a publisher runs it: from a policy with the BGP table as a feed file to a signed snapshot.

Time by the clock and CPU time from the start of the command to its end; memory is the most that it had resident.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.snapshot.signing.signers import generate_keys
from benchmarks.data.networks import BGP, shared
from benchmarks.report.document import Check

if TYPE_CHECKING:
    from benchmarks.report.document import Part

TIME: Final = "authz build, time"
CPU_TIME: Final = "authz build, CPU time"
MEMORY: Final = "authz build, memory"
_POLICY = """\
version: 1
entries: [{id: routed, list: deny, sources: [bgp]}]
feeds: [{source: bgp, path: bgp.txt}]
"""


class _Built(NamedTuple):
    """seconds: by the clock; cpu_seconds: of the command; peak: bytes, at most; size: of the snapshot, in bytes."""

    seconds: float
    cpu_seconds: float
    peak: int
    networks: int
    size: int


def measure(part: Part, rounds: int, most: int | None) -> None:
    """Add time and memory of the command. most: networks of the table; None: all of it. Without the table: a note."""
    source = shared(BGP)
    if source is None:
        part.notes.append("the BGP table is not beside the project: `authz snapshot build` is not measured")
        return
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(1) as pool:
        folder = Path(name)
        lines = _write(folder, source, most)
        generate_keys(folder / "keys", "bench")
        builds = [pool.apply(_build, (folder,)) for _ in range(rounds)]
    part.checks.append(Check("authz snapshot build, networks in the snapshot", rounds, _wrong(builds, lines)))
    table = f"BGP, whole {lines:,}" if most is None else f"BGP {lines:,}"
    part.add(TIME, "s", {"authz": [build.seconds for build in builds]}, table=table)
    part.add(CPU_TIME, "s", {"authz": [build.cpu_seconds for build in builds]}, table=table)
    part.add(MEMORY, "MB", {"authz": [build.peak / 1e6 for build in builds]}, table=table)
    part.notes.append(
        f"`authz snapshot build`: a feed file of {lines:,} networks in one entry becomes a snapshot of "
        f"{builds[0].size / 1e6:.1f} MB; the start of the interpreter, reading, signing and writing are included"
    )


def _write(folder: Path, source: Path, most: int | None) -> int:
    """Write policy and feed into `folder`; return the number of networks."""
    (folder / "policy.yaml").write_text(_POLICY, encoding="utf-8")
    with gzip.open(source, "rt", encoding="ascii") as packed, (folder / "bgp.txt").open("w", encoding="ascii") as feed:
        lines = list(islice(packed, most))
        feed.writelines(lines)
    return len(lines)


def _wrong(builds: list[_Built], lines: int) -> list[str]:
    return [f"found {build.networks} networks, expected {lines}" for build in builds if build.networks != lines]


def _build(folder: Path) -> _Built:
    """Run the command. To be called in a process that is small: the peak of a child counts from that of its parent."""
    snapshot = folder / "lists.snapshot"
    snapshot.unlink(missing_ok=True)
    command = [sys.executable, "-m", "authz", "snapshot", "build", "policy.yaml", "-o", snapshot.name]
    command += ["--key", "keys/bench.key", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"authz snapshot build: status {done.returncode}: {done.stderr[-2000:]}")
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    networks = int(json.loads(done.stdout)["networks"])
    return _Built(seconds, cpu_seconds, after.ru_maxrss * 1024, networks, snapshot.stat().st_size)
