"""Marks: a bit for each /24 of IPv4 and for the /48 of IPv6, set where a file of a layer may cover an address of it.

A layer of very many bans is a head and parts, and each look-up would have to ask all of them, to find nothing for
nearly every client. Their marks together tell that by one read:

    203.0.113.9    is in /24 number 0xCB0071, which is bit 1 of byte 0x19600E    0: no file covers it
    2001:db8::9    is in /48 number 0x20010DB80000; what `IPV6_MARKS` leaves     1: the files have to be asked
                   of it is 0x18032A, which is bit 2 of byte 0x30065

Several /48 have the same bit, and the two versions share the bits: a bit too many costs a look-up, and no answer.
A part with many addresses brings its marks with it (see `authz.snapshot.sections`); those of the others are set when
the layer is loaded.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

from authz.snapshot.cooperative import in_turns, next_turn
from authz.snapshot.sections import IPV6_MARKS, MARKS_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.snapshot.sections import Marks

MAX_WIDE: Final = 1 << 16  # /24 and /48 that the networks of a file may cover; with more, one read tells too little
_CHUNK: Final = 1 << 9  # rows that are looked at in one turn
_STEP: Final = 1 << 15  # bytes of marks that are joined in one turn


def marks_of(files: Iterable[OpenedSnapshot], base: Marks | None = None) -> bytearray | None:
    """Return the marks of some files and of those that `base` has; None if they would be too many."""
    marks = bytearray(MARKS_SIZE) if base is None else bytearray(base)
    return marks if all(_mark(marks, file) for file in files) else None


def _mark(marks: bytearray, file: OpenedSnapshot) -> bool:
    singles = file.singles
    if singles is not None and singles.marks is not None:
        _join(marks, singles.marks)
    elif singles is not None:
        for rows, host_bits, divisor in ((singles.v4, 8, 1 << 24), (singles.v6_highs, 16, IPV6_MARKS)):
            for start in range(0, len(rows), _CHUNK):
                for value in rows[start : start + _CHUNK].tolist():
                    place = (value >> host_bits) % divisor
                    marks[place >> 3] |= 1 << (place & 7)
                next_turn()
    left = MAX_WIDE
    for version in (4, 6):
        for numbers in _covered(file, version):
            left -= len(numbers)
            if left < 0:
                return False
            for number in in_turns(numbers, _CHUNK):
                place = number if version == 4 else number % IPV6_MARKS
                marks[place >> 3] |= 1 << (place & 7)
    return True


def _covered(file: OpenedSnapshot, version: int) -> Iterator[range]:
    """Yield the numbers of the /24, or of the /48, in which the networks of a file are."""
    arrays = file.index.arrays
    if version == 4:
        starts, host_bits, end_of_all = iter(arrays["v4.starts"]), 8, 1 << 32
    else:
        halves = zip(arrays["v6.starts_high"], arrays["v6.starts_low"], strict=True)
        starts, host_bits, end_of_all = (high << 64 | low for high, low in halves), 80, 1 << 128
    pieces = zip(pairwise(chain(starts, [end_of_all])), arrays[f"v{version}.sets"], strict=True)
    for (first, end), number in in_turns(pieces, _CHUNK):
        if number:
            yield range(first >> host_bits, (end - 1 >> host_bits) + 1)


def _join(marks: bytearray, others: memoryview[int]) -> None:
    for start in range(0, MARKS_SIZE, _STEP):
        piece = slice(start, start + _STEP)
        joined = int.from_bytes(marks[piece], "little") | int.from_bytes(others[piece], "little")
        marks[piece] = joined.to_bytes(_STEP, "little")
        next_turn()
