"""Long work in turns, so that requests that the same process answers do not wait for all of it.

    with CONSIDERATE:               # the work is done beside an event loop that answers requests
        for entry in in_turns(entries, 64):
            ...                     # some 0.1 ms of the interpreter between two turns

The system preempts a thread when its time slice is over and other threads want the core. If the thread holds the
interpreter then, every request waits until it runs again: 10 ms and more on a busy machine. A thread that lets go
every 0.1 ms is seldom preempted while it holds the interpreter (decision 0078). Outside of `CONSIDERATE` a turn costs
nothing. A load that is short, such as that of a ban, makes longer pauses: it is over as soon as others are (0114).
"""

from __future__ import annotations

import _thread  # `threading` takes 3 ms to load, of a ban that has to hold soon
import gc
import sys
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

T = TypeVar("T")
STEP: Final = 1 << 19  # bytes: some 0.3 ms of copying or hashing, which do not hold the interpreter
SWITCH: Final = 0.0001  # seconds after which we let go of the interpreter for a waiting thread; by default 5 ms
_SHORT: Final = 0.00005  # seconds; who has worked for less goes on
_FIRST_TURNS: Final = 32  # of a load, some 4 ms
_FIRST_PAUSES: Final = 0.0002  # seconds: in a longer one, a request is answered as a whole
_PAUSES: Final = 0.00001  # seconds; of no time at all, a thread of real-time priority would not let go of the core
_CHUNK: Final = 1 << 13  # numbers that are looked at in one turn; some 0.1 ms


class Considerate:
    """Makes decisions wait as little as possible while any thread is in here.

    Attributes:
        inside: How many threads are.
        turns: How many turns they have taken since nobody was.
        began: When the last of these was over, in seconds.

    """

    def __init__(self) -> None:
        self.inside = self.turns = 0
        self.began = 0.0
        self._lock = _thread.allocate_lock()
        self._interval = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            if self.inside == 1:
                self._interval = sys.getswitchinterval()
                sys.setswitchinterval(min(self._interval, SWITCH))
                self.turns, self.began = 0, time.perf_counter()
                gc.disable()  # what is made here stays; looking for garbage among it would only stall the checks

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1
            if self.inside == 0:
                gc.enable()
                sys.setswitchinterval(self._interval)


CONSIDERATE: Final = Considerate()


def next_turn() -> None:
    """Let go of the interpreter and of the core, for less than 0.3 ms; do nothing if no requests are answered.

    Not sched_yield(2): a thread that only yields keeps the rest of its time slice, 3 ms and more.
    """
    if CONSIDERATE.inside and time.perf_counter() - CONSIDERATE.began > _SHORT:
        CONSIDERATE.turns += 1
        time.sleep(_FIRST_PAUSES if CONSIDERATE.turns <= _FIRST_TURNS else _PAUSES)
        CONSIDERATE.began = time.perf_counter()


def in_turns(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield the items, with a turn for others after each `count` of them."""
    left = count
    for item in items:
        yield item
        left -= 1
        if not left:
            next_turn()
            left = count


def write_in_turns(file: BinaryIO, content: Iterable[bytes | memoryview]) -> None:
    """Write a file that is not in use yet, with a turn for others after each `STEP` bytes.

    Ten megabytes in one write(2) keep the core for longer than a time slice, and the system preempts no such call.

    Args:
        file: Opened for writing.
        content: Its bytes, in pieces.
    """
    for piece in content:
        view = memoryview(piece)
        for start in range(0, len(view), STEP):
            file.write(view[start : start + STEP])
            next_turn()


def greatest(numbers: Sequence[int] | memoryview[int]) -> int:
    """Return the greatest of some numbers that are not below 0; 0 of none. One call over a million takes 20 ms."""
    highest = 0
    for start in range(0, len(numbers), _CHUNK):
        highest = max(highest, *numbers[start : start + _CHUNK])
        next_turn()
    return highest
