"""Which descriptors this process has, for tests that none is left behind."""

from __future__ import annotations

import gc
from pathlib import Path


def descriptors() -> set[str]:
    """Return their numbers; first, what earlier tests have left for the garbage collector is closed.

    Compare by `<=`: a thread of an earlier test may close some meanwhile.
    """
    gc.collect()
    return {path.name for path in Path("/proc/self/fd").iterdir()}
