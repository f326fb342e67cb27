"""A counter for each client, in bounded memory, whatever clients there are.

Counters live in two generations. A client that is seen moves into the young one; when its time is over, the old one is
dropped and the young one becomes old. So what was not seen for a whole window is gone, without looking for it:

    young  a b      window over      young            c comes:   young  c
    old    c d      ----------->     old    a b                  old    a b

Most clients come once, so what is kept of one grows with it:

    came once        the time itself (for different values: time and digest)
    came again       the times (the digests) in the window, up to MAX_EXACT
    more, and the limit is larger     counts in slices of the window (sketches)

All triggers share one budget of memory (see budget). Where it is used up, clients that came once go first, those of the
old generation before those of the young: somebody who sends from random addresses of a /32 fills it with such, and
pushes out nobody who comes again and again.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

from authz.control.detect.counting.distinct import REGISTERS, ExactDistinct, SketchedDistinct
from authz.control.detect.counting.windows import MAX_EXACT, SlicedWindow, add_time, times_of

if TYPE_CHECKING:
    from authz.control.detect.counting.budget import Budget

# What is kept of a client, in bytes, as CPython takes them on 64 bits.
_ONCE: Final = 120  # a place in a dictionary, the number of the client, a time
_ONCE_VALUE: Final = 220  # the same with a pair of time and digest
_ARRAY: Final = 240  # of times, without the times; it has places to spare
_SLICED: Final = 400
_VALUES: Final = 400  # of digests and their times, without them
_SKETCHED: Final = 600  # without its sketches
_SKETCH: Final = REGISTERS + 180


class Counters:
    """What both kinds of counters share: two generations by client.

    Args:
        limit: More than this is too many; there is no need to tell apart what is above it.
        within: Seconds of the window, after which a client that was not seen may be forgotten.
        budget: What they share with others.

    Attributes:
        evicted: Clients that were forgotten before their time.

    """

    def __init__(self, limit: int, within: float, budget: Budget) -> None:
        self._limit = limit
        self._kept = min(limit, MAX_EXACT) + 1
        self._within = within
        self._budget = budget
        self._young: dict[int, Any] = {}
        self._old: dict[int, Any] = {}
        self._young_weight = 0
        self._old_weight = 0
        self._turns_at = 0.0
        self.evicted = 0
        budget.join(self)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def weight(self) -> int:
        """About how many bytes they take."""
        return self._young_weight + self._old_weight

    def forget(self, client: int) -> None:
        """Start again with a client."""
        known = self._young.pop(client, None)
        if known is not None:
            self._grow(-self._weigh(known))

    def clear(self) -> None:
        """Start again with all."""
        self._budget.take(-self.weight)
        self._young, self._old = {}, {}
        self._young_weight = self._old_weight = 0

    def make_room(self) -> None:
        """Forget clients, at least a quarter of what they take: who came once, then who was seen long ago."""
        enough, before = self.weight * 3 // 4, len(self)
        self._replace_old({client: known for client, known in self._old.items() if not self._came_once(known)})
        if self.weight > enough:
            young = {client: known for client, known in self._young.items() if not self._came_once(known)}
            self._replace_young(young)
        if self.weight > enough:
            self._replace_old({})
        if self.weight > enough:
            newer = [*self._young][len(self._young) // 2 :]
            self._replace_young({client: self._young[client] for client in newer})
        self.evicted += before - len(self)

    def _replace_old(self, clients: dict[int, Any]) -> None:
        weight = sum(map(self._weigh, clients.values()))
        self._budget.take(weight - self._old_weight)
        self._old, self._old_weight = clients, weight

    def _replace_young(self, clients: dict[int, Any]) -> None:
        weight = sum(map(self._weigh, clients.values()))
        self._budget.take(weight - self._young_weight)
        self._young, self._young_weight = clients, weight

    def _take(self, client: int, time: float) -> Any:
        """Return what is known of a client, in the young generation; None: nothing."""
        if time >= self._turns_at:
            self._turn(time)
        known = self._young.get(client)
        if known is None:
            known = self._old.pop(client, None)
            if known is not None:
                weight = self._weigh(known)
                self._old_weight -= weight
                self._young_weight += weight
                self._young[client] = known
        return known

    def _turn(self, time: float) -> None:
        """Make the young generation old. After a pause of two windows both are gone."""
        pause = time >= self._turns_at + self._within
        self._turns_at = time + self._within
        self._budget.take(-self._old_weight)
        self._old, self._old_weight = self._young, self._young_weight
        self._young, self._young_weight = {}, 0
        if pause:
            self._replace_old({})

    def _grow(self, weight: int) -> None:
        self._young_weight += weight
        self._budget.take(weight)

    def _weigh(self, known: Any) -> int:
        raise NotImplementedError

    def _came_once(self, known: Any) -> bool:
        raise NotImplementedError


class RequestCounters(Counters):
    """How many requests of each client."""

    def add(self, client: int, time: float) -> int:
        """Count a request at `time` (seconds); return how many are in the window, see windows.Window."""
        known = self._take(client, time)
        if known is None:
            self._young[client] = time
            self._grow(_ONCE)
            return 1
        if known.__class__ is SlicedWindow:
            return known.add(time)
        if known.__class__ is float:
            known = self._young[client] = times_of(known)
            self._grow(_ARRAY + 8 - _ONCE)
        before = len(known)
        count = add_time(known, time, self._within, self._kept)
        if count > MAX_EXACT and self._limit > MAX_EXACT:
            self._young[client] = SlicedWindow(self._within, known)
            self._grow(_SLICED - _ARRAY - 8 * before)
        elif count != before:
            self._grow(8 * (count - before))
        return count

    def _weigh(self, known: Any) -> int:
        if known.__class__ is float:
            return _ONCE
        return _ARRAY + 8 * len(known) if known.__class__ is array else _SLICED

    def _came_once(self, known: Any) -> bool:
        return known.__class__ is float


class ValueCounters(Counters):
    """How many different values of each client."""

    def add(self, client: int, time: float, value: int) -> int:
        """Count a digest at `time`; return how many different ones there are."""
        known = self._take(client, time)
        if known is None:
            self._young[client] = time, value
            self._grow(_ONCE_VALUE)
            return 1
        if known.__class__ is tuple and known[1] == value:
            self._young[client] = max(time, known[0]), value
            return 1
        before = self._weigh(known)
        if known.__class__ is tuple:
            first, known = known, ExactDistinct(self._kept - 1, self._within)
            known.add(*first)
        count: int = known.add(time, value)
        if count > MAX_EXACT and self._limit > MAX_EXACT and known.__class__ is ExactDistinct:
            known = _sketch(known, self._within)
        self._young[client] = known
        self._grow(self._weigh(known) - before)
        return count

    def _weigh(self, known: Any) -> int:
        if known.__class__ is tuple:
            return _ONCE_VALUE
        if known.__class__ is ExactDistinct:
            return _VALUES + 16 * len(known)
        return _SKETCHED + _SKETCH * len(known)

    def _came_once(self, known: Any) -> bool:
        return known.__class__ is tuple


def _sketch(known: ExactDistinct, within: float) -> SketchedDistinct:
    sketch = SketchedDistinct(within)
    for value, time in known.last_times():
        sketch.add(time, value)
    return sketch
