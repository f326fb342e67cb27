"""Replacing a file so that a crash leaves the old one or the new one, whole.

Write beside, sync the file, rename, sync the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO


def replace_file(
    path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o644, check: Callable[[], object] = lambda: None
) -> None:
    """Replace `path` by what `write` writes.

    Args:
        path: The file.
        write: Writes the content.
        mode: The rights of the new file.
        check: Called when the new file is on the disk, right before the rename; what it raises keeps the old one.

    Raises:
        OSError: The file cannot be written. As for whatever `write` and `check` raise, `path` is as it was then, and
            nothing is left beside it.

    """
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        check()
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_folder(path.parent)


def remove_leftovers(path: Path) -> list[Path]:
    """Remove what a killed `replace_file` of `path` has left beside it, and return it. Nobody else may write it now.

    Raises:
        OSError: The folder cannot be read, or the file cannot be removed.

    """
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.new")
    leftovers = [leftover for leftover in path.parent.iterdir() if name.fullmatch(leftover.name)]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return leftovers


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
