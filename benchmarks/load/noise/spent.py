"""What a server computed, and how long it waited for its core, while a request of somebody else was late.

    |<------------ a late request ------------->|
    | computed 0.9 ms | waited for its core 7.2 |    at most: up to a sample before and a sample behind

A request that is late has waited for the server, or for the machine. The server's share is no more than what its
process computed meanwhile, in all threads: its event loop waits for nothing else but for what it is asked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks.processes import cores, on_core


class Share(NamedTuple):
    """What a process did in a span of time, in nanoseconds, at most.

    Attributes:
        computed: CPU time of all its threads.
        waited: How long its first thread, the event loop, could have run and had no core.
    """

    computed: int
    waited: int


class Spent:
    """Samples the process of a server while a `with` block lasts; then `share` says what it did in a span of time.

    Args:
        pid: Of the process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._times: list[int] = []
        self._rows: list[Share] = []

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile()  # closed at the end
        program = Path(__file__).with_name("sampling.py")
        with on_core(cores().load):
            self._process = subprocess.Popen([sys.executable, str(program), str(self._pid), self._file.name])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        status = self._process.wait()
        lines = [tuple(map(int, line.split())) for line in Path(self._file.name).read_text("ascii").splitlines()]
        self._times = [line[0] for line in lines]
        self._rows = [Share(computed, waited) for _, computed, waited in lines]
        self._file.close()
        if status or not lines:
            raise RuntimeError(f"the process that samples ended with status {status}")

    def share(self, begin: int, end: int) -> Share:
        """Return what the process did from `begin` to `end`, in nanoseconds since 1970."""
        first = self._rows[max(0, bisect_right(self._times, begin) - 1)]
        last = self._rows[min(len(self._rows) - 1, bisect_left(self._times, end))]
        return Share(last.computed - first.computed, last.waited - first.waited)
