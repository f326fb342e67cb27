"""Sleeps 5 ms again and again until SIGTERM, then writes how late it woke: `python sleeping.py FILE`.

A line for each time: when it should have woken, in ns since 1970, and by how many ns it was late.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

SLEEP = 0.005  # seconds; with one, requests on the same core wait much longer (docs/internals/performance.md)


def main(path: Path) -> None:
    """Sleep, and write the file at the end."""
    wakes: list[tuple[int, int]] = []
    over = False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    while not over:
        due = time.time_ns() + int(SLEEP * 1e9)
        time.sleep(SLEEP)
        wakes.append((due, max(0, time.time_ns() - due)))
    path.write_text("".join(f"{due} {late}\n" for due, late in wakes), encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
