"""A log file that somebody writes and rotates, followed by a thread.

It is read from its end at the start. A rotation by rename is noticed by the file's number (inode), one that truncates
by its size; the old file is read to its end first. What is no regular file (a pipe, a device, a symbolic link to one)
is not followed: it might have no end, or keep us waiting.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from typing import IO, TYPE_CHECKING, Final

from authz.control.detect.event import MAX_EVENT

if TYPE_CHECKING:
    from pathlib import Path

    from authz.control.detect.sources.feeder import Feeder

LOOK: Final = 0.1  # seconds from one look to the next
_CHUNK: Final = 1 << 20  # bytes read in one go
_LOG = logging.getLogger("authz.control.detect")


class FollowedFile:
    """Follows one file."""

    def __init__(self, path: Path, feeder: Feeder) -> None:
        self._path = path
        self._feeder = feeder
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
        self._rest = b""
        self._too_long = False  # whether the end of a line is to come that is left out: it is no line of its own
        self._missing = False

    def start(self) -> None:
        """Begin to follow. The file may be missing yet."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following. A second call is harmless."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        file = self._open(at_end=True)
        while not self._ending.wait(LOOK):
            if file is not None:
                self._read(file)
                if not self._moved(file):
                    continue
                self._read(file)  # what was written between the read and the rotation
                self._take(self._rest)
                self._rest, self._too_long = b"", False
                file.close()
            file = self._open(at_end=False)
        if file is not None:
            file.close()

    def _open(self, *, at_end: bool) -> IO[bytes] | None:
        try:
            file = _open_regular(self._path)
        except OSError as error:
            if not self._missing:
                _LOG.warning("%s: cannot be followed: %s", self._path, error.strerror)
            self._missing = True
            return None
        self._missing = False
        if at_end:
            file.seek(0, os.SEEK_END)
        return file

    def _moved(self, file: IO[bytes]) -> bool:
        """Return whether another file is there now, or this one was truncated."""
        here = os.fstat(file.fileno())
        try:
            there = self._path.stat()
        except OSError:
            return True
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) or there.st_size < file.tell()

    def _read(self, file: IO[bytes]) -> None:
        while not self._ending.is_set() and (chunk := file.read(_CHUNK)):
            *lines, rest = (self._rest + chunk).split(b"\n")
            if self._too_long and lines:
                del lines[0]
                self._too_long = False
            self._too_long |= len(rest) > MAX_EVENT
            self._rest = b"" if self._too_long else rest
            self._feeder.insist(self._feeder.events_of(lines), self._ending)

    def _take(self, line: bytes) -> None:
        if line:
            self._feeder.insist(self._feeder.events_of([line]), self._ending)


def _open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading. Raises OSError, also where it is no regular file; a pipe is not waited for."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file")
    return file
