"""Keeps virtual cores awake while something is measured: `python awake.py` computes where nothing else has work.

A core with nothing to do is given back to the host, and whoever wakes then waits until the host gives it again: up to
10 ms on the machines of our reports. A process of SCHED_IDLE (sched(7)) on each core gives way to all others at once,
and the core is never given back. `idle=poll` on the kernel's command line does the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def awake() -> Iterator[None]:
    """Keep all cores that we may run on awake while a `with` block lasts."""
    with ExitStack() as stack:
        for core in sorted(os.sched_getaffinity(0)):
            process = stack.enter_context(subprocess.Popen([sys.executable, __file__, str(core), str(os.getpid())]))
            stack.callback(process.terminate)
        yield


def _compute(core: int, parent: int) -> None:
    """Compute on a core until the parent has ended."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass


if __name__ == "__main__":
    _compute(int(sys.argv[1]), int(sys.argv[2]))
