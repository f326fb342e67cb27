"""Accepting a file: verify it, compare its serial with the highest ever accepted, remember it; only then it is used."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from typing import TYPE_CHECKING, Final

from authz.engine.opened_snapshot import OpenedSnapshot
from authz.snapshot.read import read_snapshot
from authz.snapshot.rollback_guard import State, accept, save_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from authz.snapshot.keys import PublicKey

_SWITCH: Final = 0.0005  # seconds after which we let go of the interpreter for one who waits; by default 5 ms


class Acceptor:
    """Accepts files of one layer.

    Args:
        keys: The public keys that are trusted.
        threshold: How many of them must have signed.
        max_size: Bytes; a larger file is refused before it is copied into memory.
        file: The state file.
        state: What was accepted last, as the state file has it.
    """

    def __init__(
        self, keys: Sequence[PublicKey], threshold: int, max_size: int, file: Path, state: State | None
    ) -> None:
        self._keys = keys
        self._threshold = threshold
        self._max_size = max_size
        self._file = file
        self._state = state

    def accept(self, path: Path) -> OpenedSnapshot:
        """Return the snapshot at `path`, ready for look-ups. Blocks: a big file takes a while to read and to hash.

        Raises SnapshotRefused; then nothing has changed, here and on the disk.
        """
        with _considerate():
            snapshot = read_snapshot(path, self._keys, self._threshold, now=time.time(), most=self._max_size)
            state = accept(snapshot, self._state)
            loaded = OpenedSnapshot(snapshot)
            if state != self._state:
                save_state(self._file, state)
            self._state = state
            return loaded


@contextlib.contextmanager
def _considerate() -> Iterator[None]:
    """Work so that those who decide meanwhile wait as little as can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH))
    gc.disable()  # what is made here stays; looking for garbage among it would only stall the checks
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval)
