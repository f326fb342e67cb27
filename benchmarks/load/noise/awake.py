"""Keeps virtual cores awake while something is measured: `python awake.py` computes where nothing else has work.

A core with nothing to do is given back to the host, and whoever wakes then waits until the host gives it again: up to
10 ms on the machines of our reports. A process of SCHED_IDLE (sched(7)) on each core gives way to all others at once,
and the core is not given back. `idle=poll` on the kernel's command line does the same.

It sleeps for a tenth of the time, too short to be given back: a host that gives a machine no more time than its cores
have takes all of them away, for 5 ms, as soon as they and what the host does for them (its disk) ask for more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_COMPUTES: Final = 0.001  # seconds
_SLEEPS: Final = 0.0001


@contextmanager
def awake(*, but: Collection[int] = ()) -> Iterator[None]:
    """Keep all cores that we may run on awake while a `with` block lasts.

    but: cores that real-time programs keep busy. The kernel's fair server gives our process 50 ms before them, since it
    gets so little there.
    """
    with ExitStack() as stack:
        for core in sorted(os.sched_getaffinity(0).difference(but)):
            process = stack.enter_context(subprocess.Popen([sys.executable, __file__, str(core), str(os.getpid())]))
            stack.callback(process.terminate)
        yield


def _compute(core: int, parent: int) -> None:
    """Compute on a core until the parent has ended."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() == parent:
        end = time.perf_counter() + _COMPUTES
        while time.perf_counter() < end:
            pass
        time.sleep(_SLEEPS)


if __name__ == "__main__":
    _compute(int(sys.argv[1]), int(sys.argv[2]))
