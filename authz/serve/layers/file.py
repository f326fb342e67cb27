"""A file of this machine: noticed are a rename over it, a write in place, and a change of a link on the way to it.

Kubernetes swaps such a link, `..data`. Should the system not tell us of a change, a slow poll looks. No path is
touched in the event loop: a volume can hang in stat(2).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from authz.serve.background import in_thread
from authz.serve.layers.source import Source
from authz.serve.layers.watch import FolderWatch
from authz.snapshot.heading import part_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.snapshot.heading import Requirement

SETTLE: Final = 0.2  # seconds after which a file that changed while we read it is read again
_MAX_LINKS: Final = 40  # as path_resolution(7) follows
_UNWATCHED: Final = 1.0  # seconds between two looks where the system does not tell us: no folder yet, or no inotify


class Signature(NamedTuple):
    """What tells one state of the file from another."""

    device: int
    inode: int
    size: int
    changed: int  # nanoseconds; ctime, which a change of the rights moves too


class FileSource(Source):
    """The file at `path`.

    Args:
        poll: Seconds between two looks, if the system does not tell us of a change.
    """

    def __init__(self, path: Path, poll: float) -> None:
        self.name = str(path)
        self._path = path
        self._poll = poll
        self._tried: Signature | Literal["absent", "never"] = "never"
        self._told = asyncio.Event()
        self._folders: FolderWatch | None = None

    @contextlib.contextmanager
    def fetch(self) -> Iterator[Path | None]:
        """Give the path where the file is another one than at the last fetch."""
        now = self._signature()
        same = now == self._tried
        self._tried = now
        yield None if same else self._path

    @contextlib.contextmanager
    def fetch_part(self, part: Requirement) -> Iterator[Path]:
        """Give the path of the part, which stands beside the file."""
        yield part_path(self._path, part)

    def changed(self) -> bool:
        """Return whether somebody is writing it: what we read may have been half of it."""
        return self._signature() != self._tried

    def forget(self) -> None:
        """Have the next fetch return the path."""
        self._tried = "never"

    def _signature(self) -> Signature | Literal["absent"]:
        try:
            status = self._path.stat()
        except OSError:
            return "absent"
        return Signature(status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)

    async def wait(self, limit: float) -> None:
        """Wait until the system tells of a change, or for the next poll."""
        if self._folders is None:
            self._folders = FolderWatch(asyncio.get_running_loop(), self._told.set, SETTLE)
        all_watched, new = await in_thread(self._follow, self._folders)
        if not new:  # else what happened before has told nobody
            poll = self._poll if all_watched else min(self._poll, _UNWATCHED)
            with contextlib.suppress(TimeoutError):  # not wait_for(): before Python 3.12 it can swallow our end
                async with asyncio.timeout(min(poll, limit)):
                    await self._told.wait()
        self._told.clear()  # before the look: what changes from now on is seen again

    def _follow(self, folders: FolderWatch) -> tuple[bool, bool]:
        """Watch the folder of the file, and the one where it really stands, for what is on the way to it."""
        watched, names = {self._path.parent}, {self._path.name}
        link = self._path
        with contextlib.suppress(OSError):  # it is no link, or there is none
            for _ in range(_MAX_LINKS):
                target = link.readlink()
                names.update(target.parts)
                link = link.parent / target
        with contextlib.suppress(OSError, RuntimeError):  # before Python 3.13 a circle of links is a RuntimeError
            stands = self._path.resolve()
            watched.add(stands.parent)
            names.update(stands.parts)
        return folders.follow(watched, names)

    def close(self) -> None:
        """Stop watching."""
        if self._folders is not None:
            self._folders.close()
            self._folders = None
