"""Samples what a process has done, until SIGTERM, then writes it: `python sampling.py PID FILE`.

A line for each sample: when, in ns since 1970; the CPU time of all its threads; and for how long its first thread could
have run and had no core, both in ns since its start.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

PAUSE = 0.002  # seconds between two samples


def main(pid: int, path: Path) -> None:
    """Sample, and write the file at the end."""
    rows: list[tuple[int, int, int]] = []
    over = False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    clock = ~pid << 3 | 2  # of the process, as clock_getcpuclockid(3) makes it on Linux
    with Path(f"/proc/{pid}/schedstat").open(encoding="ascii") as file:
        while not over:
            file.seek(0)
            waited = int(file.read().split()[1])
            rows.append((time.time_ns(), time.clock_gettime_ns(clock), waited))
            time.sleep(PAUSE)
    path.write_text("".join(f"{at} {computed} {waited}\n" for at, computed, waited in rows), encoding="ascii")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
