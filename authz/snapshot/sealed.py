"""A private copy of a file that nobody can change any more.

The carrier of a snapshot is not trusted: whoever can write the volume could change the file after it was checked, or
truncate it under our map and kill us with SIGBUS. So the file is copied into anonymous memory that is sealed against
writing, growing and shrinking (memfd_create(2), fcntl(2) F_ADD_SEALS), and that copy is checked and read.
Where there is no memfd (macOS), the copy is ordinary memory of the process.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
from typing import TYPE_CHECKING

from authz.errors import SnapshotRefused

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 16 << 20  # bytes a system call


def sealed_copy(path: Path, limit: int) -> memoryview:
    """Return a read-only copy of the file at `path`, of at most `limit` bytes.

    The memory lives as long as a view of it. Raises SnapshotRefused: `unreadable` or `too_large`.
    """
    try:
        # Not blocking: a named pipe in the place of the file must not stall us.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _copy(source, path, limit)
        finally:
            os.close(source)
    except OSError as error:
        raise SnapshotRefused("unreadable", f"{path}: {os.strerror(error.errno or errno.EIO)}") from error


def _copy(source: int, path: Path, limit: int) -> memoryview:
    status = os.fstat(source)
    if not stat.S_ISREG(status.st_mode):
        raise SnapshotRefused("unreadable", f"{path}: not a regular file")
    if status.st_size > limit:
        raise SnapshotRefused("too_large", f"{path}: found {status.st_size} bytes, expected at most {limit}")
    if sys.platform != "linux":
        return memoryview(_read_all(source, limit))
    copy = os.memfd_create("authz-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size = _send_all(source, copy, limit)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)  # fmt: skip
        return memoryview(mmap.mmap(copy, size, prot=mmap.PROT_READ)) if size else memoryview(b"")
    finally:
        os.close(copy)


def _send_all(source: int, copy: int, limit: int) -> int:
    size = 0
    while sent := os.sendfile(copy, source, None, min(_CHUNK, limit + 1 - size)):
        size += sent
        if size > limit:  # it grew after we looked
            raise SnapshotRefused("too_large", f"found more than {limit} bytes, expected at most that")
    return size


def _read_all(source: int, limit: int) -> bytes:
    parts = []
    size = 0
    while part := os.read(source, min(_CHUNK, limit + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise SnapshotRefused("too_large", f"found more than {limit} bytes, expected at most that")
    return b"".join(parts)
