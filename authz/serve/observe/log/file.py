"""The file that the decision log writes to: whole lines or none, whatever the disk does.

- A line that a full disk cut is ended before the next one begins.
- A named pipe without a reader neither blocks nor fails: its lines are lost, and counted, until somebody reads.
- A file that was moved away is opened again when told.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from typing import ClassVar, Final

STANDARD_OUTPUT: Final = "-"


class LogFile:
    """A file, a named pipe or standard output (`-`), opened by `open`. Used by one thread, but for `open`.

    Attributes:
        lock: Where several processes write, a descriptor that they lock (fcntl(2)) while they do; -1 if there is one.
    """

    lock: ClassVar[int] = -1

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._cut = False  # whether what was written last is half a line

    def open(self) -> None:
        """Open the file, or open it again under its name. Raises OSError; then the one so far stays open.

        A named pipe that nobody reads is no error: `write` tries again.
        """
        if self._path == STANDARD_OUTPUT:
            self._descriptor = sys.stdout.fileno()
            return
        try:
            # Not blocking: opening a named pipe would wait for a reader, at the start of the sidecar.
            new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(self._path).st_mode):  # noqa: PTH116  # a text
                return
            raise
        self.close()
        os.set_blocking(new, True)
        self._descriptor, self._cut = new, _ends_in_half_a_line(self._path, new)

    def write(self, lines: bytes | bytearray) -> None:
        """Write whole lines. Raises OSError; a line that was begun is ended at the next call."""
        if self._descriptor < 0:
            self.open()
        if self._descriptor < 0:
            raise OSError(errno.ENXIO, "nobody reads the named pipe")
        if self._cut:
            lines = b"\n" + lines
        left = memoryview(lines)
        if self.lock >= 0:
            fcntl.lockf(self.lock, fcntl.LOCK_EX)
        try:
            while left:  # a disk that is nearly full may take a part
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            self.close()  # the reader has gone; another one may come
            raise
        finally:
            if self.lock >= 0:
                fcntl.lockf(self.lock, fcntl.LOCK_UN)
            written = len(lines) - len(left)
            if written:
                self._cut = lines[written - 1] != ord("\n")

    def close(self) -> None:
        """Close the file. A second call is harmless; standard output stays open."""
        if self._descriptor >= 0 and self._path != STANDARD_OUTPUT:
            os.close(self._descriptor)
        self._descriptor = -1


def _ends_in_half_a_line(path: str, descriptor: int) -> bool:
    """Return whether whoever wrote this file before was stopped in a line."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    with contextlib.suppress(OSError):  # we may write to it, and not read it
        reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(reader, 1, status.st_size - 1) != b"\n"
        finally:
            os.close(reader)
    return False
