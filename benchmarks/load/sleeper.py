"""A process that sleeps a millisecond again and again, and says how late it woke: what the machine alone costs.

    python -m benchmarks.load.sleeper FILE

writes a line for each time to FILE: when it should have woken, in ns since 1970, and by how many ns it was late. It
ends with SIGTERM.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple, Self

from benchmarks.processes import cores, on_core

_SLEEP: Final = 0.001  # seconds
_ROOT: Final = Path(__file__).parents[2]


class Wake(NamedTuple):
    """due: ns since 1970. late: ns."""

    due: int
    late: int


class Sleeper:
    """Runs that process on the server's core while a `with` block lasts. wakes: all, once it has ended."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115  # closed at the end
        self.wakes: list[Wake] = []

    def __enter__(self) -> Self:
        with on_core(cores().server):
            command = [sys.executable, "-m", "benchmarks.load.sleeper", self._file.name]
            self._process = subprocess.Popen(command, cwd=_ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        lines = Path(self._file.name).read_text(encoding="ascii").splitlines()
        self.wakes = [Wake(*map(int, line.split())) for line in lines]
        self._file.close()


def _sleep(path: Path) -> None:
    wakes: list[tuple[int, int]] = []
    over = False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    while not over:
        due = time.time_ns() + int(_SLEEP * 1e9)
        time.sleep(_SLEEP)
        wakes.append((due, max(0, time.time_ns() - due)))
    path.write_text("".join(f"{due} {late}\n" for due, late in wakes), encoding="ascii")


if __name__ == "__main__":
    _sleep(Path(sys.argv[1]))
