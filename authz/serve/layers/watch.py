"""Folders under watch, by inotify(7): no thread, no library, nothing to do while nothing happens.

    folders = FolderWatch(loop, hurry, settle)
    folders.follow({Path("/etc/authz")}, {"bans.snapshot"})  # again and again: a folder may come, go, be another one
    folders.close()

Only what happens to the names is told, and to those of parts, such as `bans.snapshot.1795830000`: who writes other
files beside, as `authz ban` does, wakes nobody.

A file that was closed after writing, or renamed to where it is, is whole: that is told at once. Anything else (a file
or link that was made or removed, rights that changed) may be the first half of something, and is told a little later.
Where there is no inotify (macOS), or it has no watch left, nothing is followed and nothing told.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from pathlib import Path

# <linux/inotify.h>, of all processors alike
_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ONLYDIR = 0x400, 0x800, 0x01000000
_WHOLE: Final = _CLOSE_WRITE | _MOVED_TO
_MASK: Final = _WHOLE | _ATTRIB | _MOVED_FROM | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_EVENT: Final = struct.Struct("iIII")  # watch, what happened, cookie, length of the name that follows
_BUFFER: Final = 1 << 16  # bytes


class FolderWatch:
    """Calls `changed` in the event loop, at once or `settle` seconds after something happened in a folder."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None], settle: float) -> None:
        self._loop = loop
        self._changed = changed
        self._settle = settle
        self._libc = _libc()
        self._watched: set[int] = set()
        self._names: frozenset[bytes] = frozenset()
        self._descriptor = -1 if self._libc is None else self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._read)

    def follow(self, folders: Iterable[Path], names: Iterable[str]) -> tuple[bool, bool]:
        """Watch these folders and no others, for what happens to these names in any of them.

        Returns whether all are watched, and whether a folder or a name was not until now: what happened to it before
        has told nobody.
        """
        if self._libc is None or self._descriptor < 0:
            return False, False
        before, self._names = self._names, frozenset(map(os.fsencode, names))
        descriptors = {self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK) for folder in folders}
        watched = descriptors - {-1}  # one that is watched already has the number that it had
        for gone in self._watched - watched:
            self._libc.inotify_rm_watch(self._descriptor, gone)
        new = bool(watched - self._watched) or bool(watched and not before.issuperset(self._names))
        self._watched = watched
        return watched == descriptors, new

    def close(self) -> None:
        """End. A second call is harmless."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            events = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return
        happened = _happened(events, self._names)
        if happened & _WHOLE:
            self._changed()
        elif happened:
            self._loop.call_later(self._settle, self._changed)


def _happened(events: bytes, names: frozenset[bytes]) -> int:
    """Return all that happened to these names, their parts and the folders themselves, in one number."""
    happened, position = 0, 0
    while position < len(events):
        _, what, _, length = _EVENT.unpack_from(events, position)
        position += _EVENT.size
        name = events[position : position + length].rstrip(b"\0")
        position += length
        if not name or name in names or name.rpartition(b".")[0] in names:
            happened |= what
    return happened


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if hasattr(libc, "inotify_init1") else None
