"""Processes that sleep again and again, and say how late they woke: what the machine alone costs.

On a virtual machine a core stands still now and then, because the host gives it to somebody else, for up to 60 ms on
the machines of our reports. A process that sleeps there, with the highest priority, then wakes as late.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from bisect import bisect_left
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from benchmarks.processes import cores, on_core, run_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ABOVE_ALL: Final = 50  # a real-time priority; whoever runs first has 1
_STILL: Final = 500_000  # nanoseconds; a wake-up that is less late says nothing of the machine


class Wake(NamedTuple):
    """due: ns since 1970. late: ns."""

    due: int
    late: int


class Sleeper:
    """Runs sleeping.py while a `with` block lasts. wakes: all, once it has ended.

    priority: Its real-time priority; 0: none. core: Where it runs; None: on the server's.
    """

    def __init__(self, *, priority: int = 0, core: int | None = None) -> None:
        self._priority = priority
        self._core = cores().server if core is None else core
        self.wakes: list[Wake] = []

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile()  # closed at the end
        with on_core(self._core):
            command = [sys.executable, str(Path(__file__).with_name("sleeping.py")), self._file.name]
            self._process = subprocess.Popen(command)
        if self._priority:
            run_first(self._process.pid, self._priority)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        status = self._process.wait()
        lines = Path(self._file.name).read_text(encoding="ascii").splitlines()
        self.wakes = [Wake(*map(int, line.split())) for line in lines]
        self._file.close()
        if status or not lines:
            raise RuntimeError(f"the process that sleeps ended with status {status}")


class Standstill:
    """Tells when a core of the server or of the load stood still, or made up for it, while a `with` block lasts.

    A call of the kernel that cannot be interrupted looks the same, so `total` is to be compared with a control.
    Raises PermissionError without the right to a real-time priority.
    """

    def __init__(self) -> None:
        self._sleepers = [Sleeper(priority=_ABOVE_ALL, core=core) for core in sorted({*cores()})]
        self._stack = ExitStack()
        self._spans: list[tuple[int, int]] = []  # in order, and apart from each other

    def __enter__(self) -> Self:
        for sleeper in self._sleepers:
            self._stack.enter_context(sleeper)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._spans = standstills([wake for sleeper in self._sleepers for wake in sleeper.wakes])

    def total(self, begin: int, end: int) -> int:
        """Return how much of the time between two times was such; all in nanoseconds, since 1970."""
        return overlap(self._spans, begin, end)


def standstills(wakes: Iterable[Wake]) -> list[tuple[int, int]]:
    """Return when a core stood still, and as long again: then it makes up for what had waited.

    Sleepers were late by more than the kernel takes to wake them. They may be those of several cores: where one of them
    stands still, a request waits. The spans are in order, and apart from each other.
    """
    spans: list[tuple[int, int]] = []
    for begin, late in sorted(wakes):
        if late < _STILL:
            continue
        end = begin + 2 * late
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((begin, end))
    return spans


def overlap(spans: Sequence[tuple[int, int]], begin: int, end: int) -> int:
    """Return how much of the time from `begin` to `end` is in spans, which are in order and apart from each other."""
    total = 0
    for first, last in spans[max(0, bisect_left(spans, (begin,)) - 1) :]:
        if first >= end:
            break
        total += max(0, min(last, end) - max(first, begin))
    return total
