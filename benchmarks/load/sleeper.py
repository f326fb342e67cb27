"""A process that sleeps again and again, and says how late it woke: what the machine alone costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks.processes import cores, on_core, run_first


class Wake(NamedTuple):
    """due: ns since 1970. late: ns."""

    due: int
    late: int


class Sleeper:
    """Runs sleeping.py on the server's core while a `with` block lasts. wakes: all, once it has ended.

    first: Whether it runs before all else there, as what it is compared with does.
    """

    def __init__(self, *, first: bool = False) -> None:
        self._first = first
        self.wakes: list[Wake] = []

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile()  # closed at the end
        with on_core(cores().server):
            command = [sys.executable, str(Path(__file__).with_name("sleeping.py")), self._file.name]
            self._process = subprocess.Popen(command)
        if self._first:
            run_first(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        status = self._process.wait()
        lines = Path(self._file.name).read_text(encoding="ascii").splitlines()
        self.wakes = [Wake(*map(int, line.split())) for line in lines]
        self._file.close()
        if status or not lines:
            raise RuntimeError(f"the process that sleeps ended with status {status}")
