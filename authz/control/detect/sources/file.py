"""A log file that somebody writes and rotates, followed by a thread.

It is read from its end at the start. A rotation by rename is noticed by the file's number (inode), one that truncates
by its size. Who writes a file that is renamed does so until he opens the new one (nginx: until it gets USR1), so it is
read on until nothing new has come for a while. What is no regular file (a pipe, a device, a symbolic link to one) is
not followed: it might have no end, or keep us waiting.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from typing import IO, TYPE_CHECKING, Final

from authz.control.detect.event import MAX_EVENT

if TYPE_CHECKING:
    from pathlib import Path

    from authz.control.detect.sources.feeder import Feeder

LOOK: Final = 0.1  # seconds from one look to the next
QUIET: Final = 60.0  # seconds without anything new, after which a file that is renamed is read no more
MAX_RENAMED: Final = 4  # files that are renamed and still read; beyond it the oldest is closed
_CHUNK: Final = 1 << 20  # bytes read in one go
_LOG = logging.getLogger("authz.control.detect")


class FollowedFile:
    """Follows one file."""

    def __init__(self, path: Path, feeder: Feeder) -> None:
        self._path = path
        self._feeder = feeder
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
        self._renamed: list[_Opened] = []  # oldest first
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
        log = self._open(at_end=True)
        while not self._ending.wait(LOOK):
            self._read_renamed()
            if log is None:
                log = self._open(at_end=False)
            if log is not None:
                self._read(log)
                log = self._unless_rotated(log)
        for each in (*self._renamed, *([] if log is None else [log])):
            each.file.close()

    def _open(self, *, at_end: bool) -> _Opened | None:
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
        opened = _Opened(file)
        for log in self._renamed:
            if log.number == opened.number:  # it was away for a moment
                self._renamed.remove(log)
                file.close()
                return log
        return opened

    def _unless_rotated(self, log: _Opened) -> _Opened | None:
        """Return the file, or None where another one is at its path, or none, or it was truncated."""
        try:
            there = self._path.stat()
        except OSError:
            there = None
        if there is None or log.number != (there.st_dev, there.st_ino):
            self._renamed.append(log)
            return None
        if there.st_size < log.file.tell():
            self._close(log)
            return None
        return log

    def _read_renamed(self) -> None:
        now = time.monotonic()
        for log in self._renamed[:]:
            self._read(log)
            if now - log.latest > QUIET or len(self._renamed) > MAX_RENAMED:
                self._renamed.remove(log)
                self._close(log)

    def _read(self, log: _Opened) -> None:
        while not self._ending.is_set() and (chunk := log.file.read(_CHUNK)):
            log.latest = time.monotonic()
            self._feeder.insist(self._feeder.events_of(log.lines(chunk)), self._ending)

    def _close(self, log: _Opened) -> None:
        log.file.close()
        if log.rest:
            self._feeder.insist(self._feeder.events_of([log.rest]), self._ending)


class _Opened:
    """A file that is read.

    Attributes:
        number: Of its device, and its own (inode).
        rest: Of its last line, what has come.
        latest: When something new came, in seconds of the monotonic clock.

    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        status = os.fstat(file.fileno())
        self.number = status.st_dev, status.st_ino
        self.rest = b""
        self.latest = time.monotonic()
        self._too_long = False  # whether the end of a line is to come that is left out: it is no line of its own

    def lines(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are whole now."""
        *lines, rest = (self.rest + chunk).split(b"\n")
        if self._too_long and lines:
            del lines[0]
            self._too_long = False
        self._too_long |= len(rest) > MAX_EVENT
        self.rest = b"" if self._too_long else rest
        return lines


def _open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading. Raises OSError, also where it is no regular file; a pipe is not waited for."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file")
    return file
