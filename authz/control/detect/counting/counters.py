"""A counter for each client, in bounded memory, whatever clients there are.

Counters live in two generations. A client that is seen moves into the young one; when its time is over, the old one is
dropped and the young one becomes old. So what was not seen for a whole window is gone, without looking for it:

    young  a b      window over      young            c comes:   young  c
    old    c d      ----------->     old    a b                  old    a b

Most clients come once, so what is kept of one grows with it:

    came once        the time itself (for different values: time and digest)
    came again       the times (the digests) in the window, up to MAX_EXACT
    more, and the limit is larger     counts in slices of the window (sketches)

Where the young generation is full before its time, clients that came once go first: somebody who sends from random
addresses of a /32 fills it with such, and pushes out nobody who comes again and again.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from authz.control.detect.counting.distinct import ExactDistinct, SketchedDistinct
from authz.control.detect.counting.windows import MAX_EXACT, SlicedWindow, add_time

MAX_CLIENTS: Final = 2_000_000  # of all triggers together in a generation
MIN_CLIENTS: Final = 50_000  # of one trigger, however many triggers there are
MAX_SKETCHED: Final = 2_000  # clients of one trigger with sketches: some 8 kB each


class Counters:
    """What both kinds of counters share: two generations by client.

    Args:
        limit: More than this is too many; there is no need to tell apart what is above it.
        within: Seconds of the window, after which a client that was not seen may be forgotten.
        most: Clients of a generation.

    """

    def __init__(self, limit: int, within: float, most: int) -> None:
        self._limit = limit
        self._kept = min(limit, MAX_EXACT) + 1
        self._within = within
        self._most = most
        self._young: dict[int, Any] = {}
        self._old: dict[int, Any] = {}
        self._turns_at = 0.0
        self.evicted = 0  # clients that were forgotten before their time

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def forget(self, client: int) -> None:
        """Begin anew with a client."""
        self._young.pop(client, None)
        self._old.pop(client, None)

    def clear(self) -> None:
        """Begin anew with all."""
        self._young, self._old = {}, {}

    def _turn(self, time: float) -> None:
        """Make the young generation old. After a pause of two windows both are gone."""
        self._old = {} if time >= self._turns_at + self._within else self._young
        self._young = {}
        self._turns_at = time + self._within

    def _came_once(self, known: Any) -> bool:
        raise NotImplementedError

    def _make_room(self) -> None:
        """Forget who came once; where all came again, those who came first."""
        once = self._came_once
        kept = {client: known for client, known in self._young.items() if not once(known)}
        if len(kept) > self._most * 3 // 4:
            kept = dict(list(kept.items())[len(kept) // 2 :])
        self.evicted += len(self._young) - len(kept)
        self._young = kept


class RequestCounters(Counters):
    """How many requests of each client."""

    def add(self, client: int, time: float) -> int:
        """Count a request at `time` (seconds); return how many are in the window, see windows.Window."""
        if time >= self._turns_at:
            self._turn(time)
        known: Any = self._young.get(client)
        if known is None:
            known = self._old.pop(client, None)
            if len(self._young) >= self._most:
                self._make_room()
            if known is None:
                self._young[client] = time
                return 1
        if known.__class__ is float:
            known = [known]
        self._young[client] = known
        if isinstance(known, list):
            count = add_time(known, time, self._within, self._kept)
            if count > MAX_EXACT and self._limit > MAX_EXACT:
                self._young[client] = SlicedWindow(self._within, known)
            return count
        counted: int = known.add(time)
        return counted

    def _came_once(self, known: Any) -> bool:
        return known.__class__ is float


class ValueCounters(Counters):
    """How many different values of each client."""

    def __init__(self, limit: int, within: float, most: int) -> None:
        super().__init__(limit, within, most)
        self._sketched: deque[int] = deque()  # clients, in the order in which they got sketches

    def add(self, client: int, time: float, value: int) -> int:
        """Count a digest at `time`; return how many different ones there are."""
        if time >= self._turns_at:
            self._turn(time)
        known = self._young.get(client)
        if known is None:
            known = self._old.pop(client, None)
            if len(self._young) >= self._most:
                self._make_room()
            if known is None:
                self._young[client] = time, value
                return 1
        if known.__class__ is tuple:
            if known[1] == value:
                self._young[client] = max(time, known[0]), value
                return 1
            first = known
            known = ExactDistinct(self._kept - 1, self._within)
            known.add(*first)
        self._young[client] = known
        count: int = known.add(time, value)
        if count > MAX_EXACT and self._limit > MAX_EXACT and known.__class__ is ExactDistinct:
            self._sketch(client, known)
        return count

    def _sketch(self, client: int, known: ExactDistinct) -> None:
        sketch = SketchedDistinct(self._within)
        for value, time in known.last_times():
            sketch.add(time, value)
        self._young[client] = sketch
        self._sketched.append(client)
        if len(self._sketched) > MAX_SKETCHED:
            self.forget(self._sketched.popleft())
            self.evicted += 1

    def _came_once(self, known: Any) -> bool:
        return known.__class__ is tuple
