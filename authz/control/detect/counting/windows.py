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

from bisect import insort
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EXACT: Final = 64  # a limit above it is counted in slices
SLICES: Final = 30  # of a window


class Window(Protocol):
    """Counts events of one client."""

    def add(self, time: float) -> int:
        """Count an event at `time` (seconds), and return how many are in the window that ends with the newest."""


def add_time(times: list[float], time: float, within: float, kept: int) -> int:
    """Count an event in a sorted list of the newest `kept` times; return how many are in the window."""
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
        self._times: list[float] = []

    def add(self, time: float) -> int:
        """Count an event; see Window."""
        if not self._times:
            self._times.append(time)
            return 1
        return add_time(self._times, time, self._within, self._kept)


class SlicedWindow:
    """A window for a large limit: a count for each slice that has any. times: of events so far."""

    __slots__ = ("_counts", "_newest", "_slice", "_sum")

    def __init__(self, within: float, times: Iterable[float] = ()) -> None:
        self._slice = within / SLICES
        self._newest = -1
        self._sum = 0
        self._counts: dict[int, int] = {}  # by number of the slice since 1970
        for time in times:
            self.add(time)

    def add(self, time: float) -> int:
        """Count an event; see Window."""
        number = int(time / self._slice)
        counts = self._counts
        if number > self._newest:
            self._newest = number
            for old in [past for past in counts if past < number - SLICES]:
                self._sum -= counts.pop(old)
        if number >= self._newest - SLICES:
            counts[number] = counts.get(number, 0) + 1
            self._sum += 1
        return self._sum


def make_window(limit: int, within: float) -> Window:
    """Return a window that can tell whether there are more than `limit` in `within` seconds."""
    return ExactWindow(limit, within) if limit <= MAX_EXACT else SlicedWindow(within)
