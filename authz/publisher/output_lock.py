"""One build at a time on one output: a lock beside it, and no leftovers of builds that were killed.

The lock is a file of its own, `.OUTPUT.lock`, for the output itself is replaced. It stays: whoever removed it could
remove it while another waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

from authz.durable import remove_leftovers
from authz.errors import InputError, shorten
from authz.snapshot.heading import CONTROL_PLANE

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
        descriptor = _opened(lock)
    except PermissionError as error:
        if not lock.exists():
            raise InputError(f"{output}: cannot be written: {error.strerror}") from error
        raise InputError(
            f"{output}: cannot be locked: {lock}: {error.strerror}",
            hint=f"do it as {_owner(lock)}, whose lock it is, or remove the lock while nobody builds",
        ) from error
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from error
    try:
        _wait_for(descriptor, output, patience)
        with contextlib.suppress(OSError):  # somebody else's, or gone: no reason not to build
            remove_leftovers(output)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def _opened(lock: Path) -> int:
    """Open the lock. One that is new is for whoever may replace the output: the folder's owner, and maybe its group."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # not ours to give, then
        folder = lock.parent.stat()
        if os.geteuid() == 0:
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
        if folder.st_mode & stat.S_IWGRP and os.fstat(descriptor).st_gid == folder.st_gid:
            os.fchmod(descriptor, 0o660)
    return descriptor


def _owner(path: Path) -> str:
    """Return the name of a file's owner."""
    try:
        return path.owner()
    except (KeyError, OSError):
        return "its owner"


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


def check_layer(file: Path, before: str, layer: str) -> None:
    """Refuse to replace the file of another layer: sidecars would refuse what stood there then.

    Args:
        file: The file that will be replaced.
        before: The layer that it is of.
        layer: The layer that the new file is for.

    Raises:
        InputError: They are not the same.
    """
    if before != layer:
        raise InputError(
            f"{file}: found the snapshot of the layer '{shorten(before)}', expected one of '{layer}', or no file",
            hint="each layer has a file of its own",
        )


def check_writer(file: Path, source: str) -> None:
    """Refuse to replace a file of a control plane: sidecars would refuse what that writes next, under a lower serial.

    Args:
        file: The file that will be replaced.
        source: What it was made from.

    Raises:
        InputError: A control plane has written it.
    """
    if source == CONTROL_PLANE:
        raise InputError(
            f"{file}: is written by a control plane, which would replace what is written here",
            hint="change it there: `authz rollback TIME`, `authz undo SERIAL`, `authz ban`; to take the layer over, "
            "end the control plane or remove `file` in its control.yaml, and move the file away",
        )
