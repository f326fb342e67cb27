"""Accepting a file: verify it, compare its serial with the highest ever accepted, keep it; only then it is used."""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from authz.engine.entries.marks import marks_of
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.cooperative import CONSIDERATE, next_turn
from authz.snapshot.heading import part_path
from authz.snapshot.read import read_with_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from authz.serve.layers.memory import Memory
    from authz.snapshot.heading import Requirement
    from authz.snapshot.signing.keys import PublicKey

    FetchPart = Callable[[Requirement], AbstractContextManager[Path]]


class Rules(NamedTuple):
    """What a layer's file must meet.

    Attributes:
        layer: The layer that it must be for.
        keys: The public keys that are trusted.
        threshold: How many of them must have signed.
        max_size: Bytes of the file and its parts; what is larger is refused before it is copied into memory.
        permit: Raises SnapshotRefused if the layer's keys may not say what the file says.
        marked: Whether a file without parts gets marks as well; they have 2 MiB.
    """

    layer: str
    keys: Sequence[PublicKey]
    threshold: int
    max_size: int
    permit: Callable[[OpenedSnapshot], object] = lambda _: None
    marked: bool = False


class _Loaded(NamedTuple):
    """The parts of what was accepted last, and what is marked of them alone; one value, for threads replace it."""

    parts: Mapping[Requirement, OpenedSnapshot] = MappingProxyType({})
    marks: bytearray | None = None


class Acceptor:
    """Accepts files of one layer. Its methods block: a big file takes a while to read and to hash.

    Args:
        rules: What a file must meet; may be changed at any time.
        memory: Remembers what was accepted.
        share: Whether other processes use the same memory.
    """

    def __init__(self, rules: Rules, memory: Memory, *, share: bool = False) -> None:
        self.rules = rules
        self._share = share
        self._memory = memory
        self._loaded = _Loaded()

    def accept(self, path: Path, fetch_part: FetchPart) -> OpenedSnapshot:
        """Return the snapshot at `path`, ready for look-ups, once it is kept and its serial remembered.

        Args:
            path: The file.
            fetch_part: Gives the path of a part that it requires; parts that are loaded already are not read again.

        Raises:
            SnapshotRefused: The file, or a part of it, is not to be used. What serves, its serial and the last good
                copy are as they were.
        """
        return self._accept(path, time.time(), fetch_part, keep=True)

    def restore(self) -> OpenedSnapshot:
        """Return the last good copy, however old it is. Raises SnapshotRefused, `absent` if there is none."""
        copy = self._memory.copy(self.rules.layer)
        return self._accept(copy, 0.0, lambda part: nullcontext(part_path(copy, part)), keep=False)

    def forget_parts(self) -> None:
        """Have parts verified again: other keys are trusted than before."""
        self._loaded = _Loaded()

    def _accept(self, path: Path, now: float, fetch_part: FetchPart, *, keep: bool) -> OpenedSnapshot:
        before, (layer, keys, threshold, max_size, permit, marked) = self._loaded, self.rules
        with CONSIDERATE:
            snapshot, content = read_with_bytes(path, keys, threshold, now=now, most=max_size, layer=layer,
                                                  share=self._share)  # fmt: skip
            next_turn()
            opened = OpenedSnapshot(snapshot)
        parts: dict[Requirement, OpenedSnapshot] = {}
        left = max_size - snapshot.size
        for part in snapshot.requires:
            parts[part] = before.parts.get(part) or self._part(part, fetch_part, most=left, keep=keep)
            left = self._left(part, left - parts[part].size)
        opened.parts = tuple(parts.values())
        with CONSIDERATE:
            permit(opened)
            next_turn()
            # Those of the parts are made once for many heads; None: of no use here.
            marks = before.marks if parts == before.parts else marks_of(parts.values()) if parts else None
            if marks is not None or (marked and not parts and not opened.empty):
                opened.marks = marks_of([opened], marks)
            self._memory.remember(layer, snapshot, content if keep else None)
            if self._loaded is before:  # else other keys are trusted since we began
                self._loaded = _Loaded(parts, marks)
            if keep:
                self._memory.drop_parts(layer, parts)
            return opened

    def _left(self, part: Requirement, left: int) -> int:
        """Return how many bytes the other parts may have. Raises SnapshotRefused(`too_large`)."""
        if left < 0:
            most = self.rules.max_size
            raise SnapshotRefused(Refusal.TOO_LARGE, f"with part {part.serial}", found=f"{most - left} bytes",
                                  expected=f"at most {most}, of all files of the layer")  # fmt: skip
        return left

    def _part(self, part: Requirement, fetch_part: FetchPart, *, most: int, keep: bool) -> OpenedSnapshot:
        """Return a part that the source has. most: its bytes."""
        layer, keys, threshold, *_ = self.rules
        try:
            with fetch_part(part) as path, CONSIDERATE:  # not while a server sends it, for as long as it likes
                # Its head says how long it is good for: a part has no end of its own.
                snapshot, content = read_with_bytes(path, keys, threshold, now=0, most=most, layer=layer, part=part,
                                                    share=self._share)  # fmt: skip
        except SnapshotRefused as error:
            if error.code != Refusal.ABSENT:
                raise
            raise SnapshotRefused(
                Refusal.PART_MISSING,
                f"part {part.serial}: {error.message}",
                hint="its publisher writes parts before the file that requires them: is something else copying them?",
            ) from error
        with CONSIDERATE:
            if keep:
                self._memory.keep_part(layer, part, content)
            return OpenedSnapshot(snapshot)
