"""What a server computed, and how long it waited for its core, while a request of somebody else was late.

    |<------------ a late request ------------->|
    | computed 0.9 ms | waited for its core 7.2 |    at most: up to a sample before and a sample behind

A request that is late has waited for the server, or for the machine. The server's share is no more than what its
process computed meanwhile, in all threads: its event loop waits for nothing else but for what it is asked.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple, Self

_PAUSE = 0.001  # seconds between two samples


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
        self._process = subprocess.Popen([sys.executable, __file__, str(self._pid), self._file.name])
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


def main(pid: int, path: Path) -> None:
    """Sample until SIGTERM, then write a line for each sample: when, and the fields of `Share` since the start."""
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
            time.sleep(_PAUSE)
    path.write_text("".join(f"{at} {computed} {waited}\n" for at, computed, waited in rows), encoding="ascii")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
