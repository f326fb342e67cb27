"""How many in the last seconds: a sliding window.

Few are counted exactly, by the times themselves; only as many are kept as the limit, for more says nothing new. Many
are counted in slices of the window, so that memory does not grow with the limit:

    within 60 s, in slices of 2 s      ... |  3 |  0 | 41 |  7 |     the slices of the last 60 s are added up

The oldest slice counts as a whole for as long as a part of it is inside, so a sliced window may reach back up to one
slice (a thirtieth) further than was asked for. It never counts less than there was.

Times may come in any order, as they do from several machines: an event later than the newest one moves the window, an
earlier one is counted where it belongs.
"""

from __future__ import annotations

from array import array
from bisect import insort
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    Times = array[float]  # of doubles: a quarter of what a list of them takes

MAX_EXACT: Final = 64  # a limit above it is counted in slices
SLICES: Final = 30  # of a window
_RING: Final = SLICES + 1  # slices that have a part in the window
_MAX_COUNT: Final = 0xFFFF_FFFF  # events of a slice that are counted


class Window(Protocol):
    """Counts events of one client."""

    def add(self, time: float) -> int:
        """Count an event at `time` (seconds), and return how many are in the window that ends with the newest."""


def times_of(*times: float) -> Times:
    """Return sorted times as `add_time` takes them."""
    return array("d", times)


def add_time(times: Times, time: float, within: float, kept: int) -> int:
    """Count an event in the sorted newest `kept` times; return how many are in the window."""
    if time >= times[-1]:
        times.append(time)
    elif time > times[-1] - within:
        insort(times, time)
    begin = times[-1] - within
    if times[0] > begin and len(times) <= kept:
        return len(times)
    drop = max(0, len(times) - kept)
    while times[drop] <= begin:
        drop += 1
    del times[:drop]
    return len(times)


class ExactWindow:
    """A window for a small limit: the newest `limit` + 1 times. A count above the limit is given as limit + 1."""

    __slots__ = ("_kept", "_times", "_within")

    def __init__(self, limit: int, within: float) -> None:
        self._kept = limit + 1
        self._within = within
        self._times = times_of()

    def add(self, time: float) -> int:
        """Count an event; see Window."""
        if not self._times:
            self._times.append(time)
            return 1
        return add_time(self._times, time, self._within, self._kept)


class SlicedWindow:
    """A window for a large limit: a ring with a count for each slice.

    Args:
        times: Of events so far.
    """

    __slots__ = ("_counts", "_newest", "_slice", "_sum")

    def __init__(self, within: float, times: Iterable[float] = ()) -> None:
        self._slice = within / SLICES
        self._newest = -1  # the number of the newest slice since 1970; it stands at its number modulo _RING
        self._sum = 0
        self._counts = array("I", bytes(4 * _RING))
        for time in times:
            self.add(time)

    def add(self, time: float) -> int:
        """Count an event; see Window."""
        number = int(time / self._slice)
        counts = self._counts
        if number > self._newest:
            for begun in range(max(self._newest, number - _RING) + 1, number + 1):
                self._sum -= counts[begun % _RING]
                counts[begun % _RING] = 0
            self._newest = number
        if number >= self._newest - SLICES and counts[number % _RING] < _MAX_COUNT:
            counts[number % _RING] += 1
            self._sum += 1
        return self._sum


def make_window(limit: int, within: float) -> Window:
    """Return a window that can tell whether there are more than `limit` in `within` seconds."""
    return ExactWindow(limit, within) if limit <= MAX_EXACT else SlicedWindow(within)
