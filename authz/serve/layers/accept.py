"""Accepting a file: verify it, compare its serial with the highest ever accepted, keep it; only then it is used."""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.engine.opened_snapshot import OpenedSnapshot
from authz.snapshot.read import read_with_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.serve.layers.memory import Memory
    from authz.snapshot.keys import PublicKey

_SWITCH: Final = 0.0005  # seconds after which we let go of the interpreter for one who waits; by default 5 ms


class Rules(NamedTuple):
    """What a layer's file must meet.

    Attributes:
        layer: The layer that it must be for.
        keys: The public keys that are trusted.
        threshold: How many of them must have signed.
        max_size: Bytes; a larger file is refused before it is copied into memory.
        permit: Raises SnapshotRefused where the layer's keys may not say what the file says.
    """

    layer: str
    keys: Sequence[PublicKey]
    threshold: int
    max_size: int
    permit: Callable[[OpenedSnapshot], object] = lambda _: None


class Acceptor:
    """Accepts files of one layer. Its methods block: a big file takes a while to read and to hash.

    Args:
        rules: What a file must meet; may be changed at any time.
        memory: Remembers what was accepted.
    """

    def __init__(self, rules: Rules, memory: Memory) -> None:
        self.rules = rules
        self._memory = memory

    def accept(self, path: Path) -> OpenedSnapshot:
        """Return the snapshot at `path`, ready for look-ups, once it is kept and its serial remembered.

        Raises SnapshotRefused; then nothing has changed, here and on the disk.
        """
        return self._accept(path, time.time(), keep=True)

    def restore(self) -> OpenedSnapshot:
        """Return the last good copy, however old it is. Raises SnapshotRefused, `absent` where there is none."""
        return self._accept(self._memory.copy(self.rules.layer), 0.0, keep=False)

    def _accept(self, path: Path, now: float, *, keep: bool) -> OpenedSnapshot:
        layer, keys, threshold, max_size, permit = self.rules
        with _CONSIDERATE:
            snapshot, content = read_with_bytes(path, keys, threshold, now=now, most=max_size, layer=layer)
            opened = OpenedSnapshot(snapshot)
            permit(opened)
            self._memory.remember(layer, snapshot, content if keep else None)
            return opened


class _Considerate:
    """Has those who decide meanwhile wait as little as can be, as long as any thread is in here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._interval = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._interval = sys.getswitchinterval()
                sys.setswitchinterval(min(self._interval, _SWITCH))
                gc.disable()  # what is made here stays; looking for garbage among it would only stall the checks

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                gc.enable()
                sys.setswitchinterval(self._interval)


_CONSIDERATE: Final = _Considerate()
