"""Where a layer's file comes from: the seam that each kind of source fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from authz.snapshot.heading import Requirement


class Source(ABC):
    """One file that is replaced now and then.

    `fetch`, `fetch_part`, `changed` and `forget` are called one at a time, in a thread, and may block; `wait` and
    `close` are called in the event loop and do not.

    Attributes:
        name: For people: a path or a URL, without a password.
        refused: The code with which its last file was refused; "" where it was taken.
    """

    name: str
    refused: str = ""

    @abstractmethod
    def fetch(self) -> AbstractContextManager[Path | None]:
        """Give the path at which the file can be read now, or None if it is what it was at the last fetch.

        Raises SnapshotRefused if it cannot be had.
        """

    def changed(self) -> bool:
        """Return whether the file was written while the last fetch was looked at: then it is worth another try soon."""
        return False

    @abstractmethod
    def fetch_part(self, part: Requirement) -> AbstractContextManager[Path]:
        """Give the path at which a part can be read that the file requires. Raises SnapshotRefused."""

    @abstractmethod
    def forget(self) -> None:
        """Have the next fetch give the file, whatever it was before."""

    @abstractmethod
    async def wait(self, limit: float) -> None:
        """Wait until the file may be another one, for at most `limit` seconds or as long as the source sees fit."""

    @abstractmethod
    def close(self) -> None:
        """Stop waiting for changes. A second call is harmless."""
