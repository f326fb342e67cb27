"""Programs that a benchmark starts: on the core of the server, their output in a file, ended by their process id."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.servers import Running, cores, on_core

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

PATIENCE: Final = 120.0  # seconds until a program must serve; Envoy takes its time over 100,000 principals


class Child(Running):
    """A program, started in `folder` with its output in `name`.log.

    A subclass waits in __init__ until it serves (`wait_for`). ready_seconds: from the start until then.
    """

    def __init__(self, folder: Path, name: str, command: Sequence[str | Path]) -> None:
        self._output = folder / f"{name}.log"
        self._begin = time.monotonic()
        self.ready_seconds = 0.0
        with on_core(cores().server), self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        """What it printed so far, to standard output and standard error."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, look: Callable[[], T | None]) -> T:
        """Return what `look` finds, as soon as it does; a connection that fails is nothing found.

        Raises RuntimeError, with the output, where the program ends before or takes longer than PATIENCE.
        """
        while time.monotonic() - self._begin < PATIENCE:
            ended = self._process.poll() is not None
            try:
                found = look()
            except OSError:
                found = None
            if found is not None:
                self.ready_seconds = time.monotonic() - self._begin
                return found
            if ended:
                break
            time.sleep(0.005)
        self.end()
        raise RuntimeError(f"{self._process.args!r} does not serve:\n{self.output[-2000:]}")
