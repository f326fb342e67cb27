"""Long work in turns, so that requests on the same core do not wait for all of it."""

from __future__ import annotations

import time
from typing import Final

STEP: Final = 1 << 19  # bytes: some 0.3 ms of copying or hashing


def next_turn() -> None:
    """Let go of the interpreter and of the core, for some 0.1 ms; for less if nobody waits for them.

    Not sched_yield(2): a thread that only yields keeps the rest of its time slice, 3 ms and more.
    """
    time.sleep(0)
