"""A private copy of a file that nobody can change any more.

The carrier of a snapshot is not trusted: whoever can write the volume could change the file after it was checked, or
truncate it under our map and kill us with SIGBUS. So the file is copied into anonymous memory that is sealed against
writing, growing and shrinking (memfd_create(2), fcntl(2) F_ADD_SEALS), and that copy is checked and read.
Where there is no memfd (macOS), the copy is ordinary memory of the process.

What is needed only until it is checked is read into ordinary memory, which can be given back: of sealed memory nothing
can be.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.cooperative import STEP, next_turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAGES: Final = 1 << 19  # bytes that are given back in one turn; some 0.1 ms


class Descriptor:
    """A descriptor that is closed when nobody refers to this any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class _Map(mmap.mmap):
    """Sealed memory as we read it.

    Attributes:
        descriptor: Of the memory.
    """

    descriptor: Descriptor


def mapped(descriptor: Descriptor) -> memoryview:
    """Return sealed memory, in place; see `give_back` for its end."""
    size = os.fstat(descriptor.number).st_size
    if not size:
        return memoryview(b"")
    memory = _Map(descriptor.number, size, prot=mmap.PROT_READ)
    memory.descriptor = descriptor
    return memoryview(memory)


def give_back(view: memoryview[Any]) -> int | None:
    """Give the pages of sealed memory back to the system a few at a time, before the last view of it goes.

    Unmapping 24 MB takes milliseconds, during which the interpreter is held. Without pages it takes none; what is read
    again meanwhile is read back automatically. Call it in a thread.

    Returns:
        A descriptor that keeps the memory until it is closed, which frees it without holding the interpreter: close it
        when the last view has gone. None: the view is of other memory.

    """
    memory = view.obj
    if not isinstance(memory, _Map):
        return None
    for start in range(0, len(memory), _PAGES):
        memory.madvise(mmap.MADV_DONTNEED, start, min(_PAGES, len(memory) - start))
        next_turn()
    return os.dup(memory.descriptor.number)


class Source:
    """A file that is read once, from its begin to its end: first by `read`, and what is left by `seal`.

    Args:
        size: Its bytes when it was opened.

    Raises:
        SnapshotRefused: `too_large`, from both: it has grown over the limit.
    """

    def __init__(self, descriptor: int, size: int, limit: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._limit = limit
        self._left = limit

    def read(self, size: int) -> bytes:
        """Read that many bytes, or fewer where the file ends."""
        parts = []
        while size and (part := os.read(self._descriptor, min(STEP, size))):
            parts.append(part)
            size -= len(part)
            self._count(len(part))
            next_turn()
        return b"".join(parts)

    def seal(self) -> tuple[memoryview, Descriptor | None]:
        """Copy the rest into sealed memory, which lives as long as a view of it; return its descriptor, too.

        None: there is no sealed memory here (macOS).
        """
        if sys.platform != "linux":
            return memoryview(self.read(self._left + 1)), None
        copy = os.memfd_create("authz-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            self._send(copy)
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS,
                        fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)  # fmt: skip
            descriptor = Descriptor(copy)
        except BaseException:
            os.close(copy)
            raise
        return mapped(descriptor), descriptor

    def _send(self, copy: int) -> None:
        while sent := os.sendfile(copy, self._descriptor, None, min(STEP, self._left + 1)):
            self._count(sent)
            next_turn()

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:  # it grew after we looked
            raise SnapshotRefused(Refusal.TOO_LARGE, found=f"more than {self._limit} bytes", expected="at most that")


@contextmanager
def opened(path: Path, limit: int) -> Iterator[Source]:
    """Open a regular file of at most `limit` bytes. Raises SnapshotRefused: `absent`, `unreadable` or `too_large`."""
    try:
        # Not blocking: a named pipe in the place of the file must not stall us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield Source(descriptor, _checked_size(descriptor, path, limit), limit)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise SnapshotRefused(Refusal.ABSENT, f"{path}: {error.strerror}") from error
    except OSError as error:
        raise SnapshotRefused(Refusal.UNREADABLE, f"{path}: {os.strerror(error.errno or errno.EIO)}") from error


def _checked_size(descriptor: int, path: Path, limit: int) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise SnapshotRefused(Refusal.UNREADABLE, f"{path}: not a regular file")
    if status.st_size > limit:
        raise SnapshotRefused(
            Refusal.TOO_LARGE, str(path), found=f"{status.st_size} bytes", expected=f"at most {limit}"
        )
    return status.st_size
