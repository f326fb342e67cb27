"""Marks: bits for each /24 of IPv4 and for the /48 of IPv6, set where a file of a layer may cover an address of it.

A layer of very many bans is a head and parts, and each look-up would have to ask all of them, to find nothing for
nearly every client. Their marks together tell that by one read:

    203.0.113.9    is in /24 number 0xCB0071, which is bit 1 of byte 0x19600E    0: no file covers it
    2001:db8::9    is in /48 number 0x20010DB80000; what `IPV6_MARKS` leaves     1: the files have to be asked
                   of it is 0x18032A, which is bit 2 of byte 0x30065

Several /48 have the same bit, and the two versions share the bits: a bit too many costs a look-up, and no answer.
A part with many addresses brings its marks with it (see `authz.snapshot.sections`); those of the others are set when
the layer is loaded. Few addresses need no 2 MiB: their marks are 2^k bytes, and of the number of a byte its last k bits
count. At least 63 of 64 clients that no file covers find no bit set.
"""

from __future__ import annotations

from functools import reduce
from itertools import chain, pairwise
from operator import or_
from typing import TYPE_CHECKING, Final

from authz.snapshot.cooperative import in_turns, next_turn
from authz.snapshot.sections import IPV6_MARKS, MARKS_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.snapshot.sections import Marks
    from authz.snapshot.singles import Singles

MAX_WIDE: Final = 1 << 16  # /24 and /48 that the networks of a file may cover; with more, one read tells too little
_SMALLEST: Final = 1 << 12  # bytes
_CHUNK: Final = 1 << 9  # rows that are looked at in one turn
_STEP: Final = 1 << 16  # bytes of marks that are made in one turn; all 2 MiB at once take the interpreter a millisecond


def marks_of(files: Iterable[OpenedSnapshot], base: Marks | None = None) -> bytearray | None:
    """Return the marks of some files and of those that `base` has; None if they would be too many."""
    given = [] if base is None else [base]
    listed: list[Singles] = []
    covered: dict[int, list[range]] = {4: [], 6: []}
    for file in files:
        if not _add_networks(covered, file):
            return None
        if file.singles is not None and file.singles.marks is not None:
            given.append(file.singles.marks)
        elif file.singles is not None:
            listed.append(file.singles)
    wanted = sum(map(len, listed)) + sum(map(len, chain(covered[4], covered[6])))
    marks = _joined(given, max([_size(wanted), *map(len, given)]))
    last = len(marks) - 1
    numbers6 = (number % IPV6_MARKS for number in chain(*covered[6]))
    for number in in_turns(chain(*map(_numbers_of, listed), *covered[4], numbers6), _CHUNK):
        marks[number >> 3 & last] |= 1 << (number & 7)
    return marks


def _size(count: int) -> int:
    """Return the bytes of marks for so many numbers: eight for each, a power of two."""
    return min(max(_SMALLEST, 1 << (8 * count - 1).bit_length()), MARKS_SIZE)


def _joined(several: Sequence[Marks], size: int) -> bytearray:
    """Return marks of `size` bytes with the bits that any has; shorter ones count again and again."""
    marks = bytearray()
    for start in range(0, size, _STEP):
        length = min(_STEP, size)
        pieces = [_piece(others, start, length) for others in several] or [bytes(length)]
        if len(pieces) == 1:
            marks += pieces[0]
        else:
            marks += reduce(or_, (int.from_bytes(piece, "little") for piece in pieces)).to_bytes(length, "little")
        next_turn()
    return marks


def _piece(marks: Marks, start: int, length: int) -> bytes:
    begin = start % len(marks)
    piece = bytes(marks[begin : begin + length])
    return piece * (length // len(piece))


def _numbers_of(singles: Singles) -> Iterator[int]:
    """Yield the numbers of the /24, and of the /48, in which single addresses are."""
    for rows, host_bits, divisor in ((singles.v4, 8, 1 << 24), (singles.v6_highs, 16, IPV6_MARKS)):
        for start in range(0, len(rows), _CHUNK):
            for value in rows[start : start + _CHUNK].tolist():
                yield (value >> host_bits) % divisor


def _add_networks(covered: dict[int, list[range]], file: OpenedSnapshot) -> bool:
    """Add the /24, and the /48, in which the networks of a file are; return False if they are too many."""
    left = MAX_WIDE
    for version, ranges in covered.items():
        for numbers in _networks_of(file, version):
            left -= len(numbers)
            if left < 0:
                return False
            ranges.append(numbers)
    return True


def _networks_of(file: OpenedSnapshot, version: int) -> Iterator[range]:
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
