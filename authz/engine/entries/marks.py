"""Marks: one bit for each /24 of IPv4, set where a file of a layer may cover an address of it.

A layer of very many bans is a head and parts, and each look-up would have to ask all of them, to find nothing for
nearly every client. Their marks together tell that by one read:

    203.0.113.9    is in /24 number 0xCB0071, which is bit 1 of byte 0x19600E    0: no file covers it
                                                                                 1: the files have to be asked

A part with many addresses brings its marks with it (see `authz.snapshot.sections`); those of the others are set when
the layer is loaded. IPv6 has none: its files are asked one after the other.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

from authz.snapshot.cooperative import next_turn
from authz.snapshot.sections import MARKS_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.engine.entries.opened_snapshot import OpenedSnapshot

MAX_WIDE: Final = 1 << 16  # /24 that the networks of a file may cover; with more, one read tells too little
_CHUNK: Final = 1 << 12  # rows that are looked at in one turn
_STEP: Final = 1 << 15  # bytes of marks that are joined in one turn


def marks_of(files: Iterable[OpenedSnapshot], base: bytes | bytearray | None = None) -> bytearray | None:
    """Return the marks of some files and of those that `base` has; None where they would be too many."""
    marks = bytearray(MARKS_SIZE) if base is None else bytearray(base)
    return marks if all(_mark(marks, file) for file in files) else None


def _mark(marks: bytearray, file: OpenedSnapshot) -> bool:
    singles = file.singles
    if singles is not None and singles.marks is not None:
        _join(marks, singles.marks)
    elif singles is not None:
        for start in range(0, len(singles.v4), _CHUNK):
            for value in singles.v4[start : start + _CHUNK].tolist():
                marks[value >> 11] |= 1 << (value >> 8 & 7)
            next_turn()
    return _mark_networks(marks, file.index.arrays["v4.starts"], file.index.arrays["v4.sets"])


def _mark_networks(marks: bytearray, starts: Sequence[int], sets: Sequence[int]) -> bool:
    left = MAX_WIDE
    for (first, end), number in zip(pairwise(chain(starts, [1 << 32])), sets, strict=True):
        if number:
            numbers = range(first >> 8, (end - 1 >> 8) + 1)
            left -= len(numbers)
            if left < 0:
                return False
            for block in numbers:
                marks[block >> 3] |= 1 << (block & 7)
    return True


def _join(marks: bytearray, others: memoryview[int]) -> None:
    for start in range(0, MARKS_SIZE, _STEP):
        piece = slice(start, start + _STEP)
        joined = int.from_bytes(marks[piece], "little") | int.from_bytes(others[piece], "little")
        marks[piece] = joined.to_bytes(_STEP, "little")
        next_turn()
