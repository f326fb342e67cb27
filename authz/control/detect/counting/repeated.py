"""Whether the very same event came before: senders repeat a batch when they did not hear that it had come.

An event is remembered by its hash of 64 bits, in a table with open addressing: a place is the hash modulo the size, or
the next one that is free. The table doubles where it is half full, up to MAX_REMEMBERED events.
"""

from __future__ import annotations

from array import array
from typing import Final

MAX_REMEMBERED: Final = 1 << 21  # events of a generation; two of them take 64 MB
WITHIN: Final = 300.0  # seconds for which a repetition is known, at least, up to some 7,000 events a second
_FIRST: Final = 1 << 12  # places of an empty table
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


class Repeated:
    """Remembers events by their hash, which is keyed by a secret of the process. Two generations, each bounded."""

    def __init__(self) -> None:
        self._young = _Table()
        self._old = _Table()
        self._turns_at = 0.0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def before(self, mark: int, now: float) -> bool:
        """Remember an event by its hash; return whether it came before. now: seconds."""
        if now >= self._turns_at or len(self._young) >= MAX_REMEMBERED:
            self._old, self._young = self._young, _Table(self._young.expected_places)
            self._turns_at = now + WITHIN
        mark = mark & _MASK or 1  # 0 is a free place
        return not self._young.add(mark) or mark in self._old


class _Table:
    """Numbers of 64 bits but 0."""

    def __init__(self, places: int = _FIRST) -> None:
        self._places = array("Q", bytes(8 * places))
        self._last = places - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def expected_places(self) -> int:
        """How many places a table needs that gets about as many numbers: to double it takes its time."""
        return max(_FIRST, 1 << (2 * self._count).bit_length())

    def __contains__(self, mark: int) -> bool:
        return self._places[self._find(mark)] == mark

    def add(self, mark: int) -> bool:
        """Add a number; return False if it is there."""
        place = self._find(mark)
        if self._places[place] == mark:
            return False
        self._places[place] = mark
        self._count += 1
        if 2 * self._count > self._last:
            self._double()
        return True

    def _find(self, mark: int) -> int:
        """Return where a number is, or could be."""
        places, last = self._places, self._last
        place = mark & last
        while (there := places[place]) and there != mark:
            place = (place + 1) & last
        return place

    def _double(self) -> None:
        larger = _Table(2 * len(self._places))
        for mark in self._places:
            if mark:
                larger._places[larger._find(mark)] = mark  # a table of its own class
        self._places, self._last = larger._places, larger._last
