"""One build at a time on one output: a lock beside it, and no leftovers of builds that were killed.

The lock is a file of its own, `.OUTPUT.lock`, for the output itself is replaced. It stays: whoever removed it could
remove it while another waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from authz.durable import remove_leftovers
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60.0  # seconds that a build waits for another one
_LOOK = 0.05  # seconds between two tries


@contextlib.contextmanager
def building(output: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the right to write `output` for the length of a `with` block.

    Args:
        output: The file that will be replaced.
        patience: Seconds to wait for another build.

    Raises:
        InputError: Another build has it all the time, or the folder cannot be written to.

    """
    lock = output.with_name(f".{output.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from error
    try:
        _wait_for(descriptor, output, patience)
        with contextlib.suppress(OSError):  # somebody else's, or gone: no reason not to build
            remove_leftovers(output)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def _wait_for(descriptor: int, output: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise InputError(
                    f"{output}: another build of it has been running for {patience:g} seconds",
                    hint="wait until it ends, or end it; then build again",
                ) from None
            time.sleep(_LOOK)
        except OSError as error:
            raise InputError(f"{output}: cannot be locked: {error.strerror}") from error
        else:
            return
