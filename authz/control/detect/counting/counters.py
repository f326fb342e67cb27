"""A counter for each client, in bounded memory, whatever clients there are.

Counters live in two generations. A client that is seen moves into the young one; when its time is over, the old one is
dropped and the young one becomes old. So what was not seen for a whole window is gone, without looking for it:

    young  a b      window over      young            c comes:   young  c
    old    c d      ----------->     old    a b                  old    a b

Where the young generation is full before that, clients that were seen only once go first: somebody who sends from
random addresses of a /32 fills it with such, and pushes out nobody who comes again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_CLIENTS = 200_000  # of one trigger in a generation, for counters of at most 64 numbers
MAX_SKETCHED = 5_000  # the same where each counter is some sketches of a kilobyte

C = TypeVar("C")


class Counters(Generic[C]):
    """Counters by client.

    Args:
        make: Makes the counter of a client not seen lately.
        within: Seconds after which a client that was not seen may be forgotten.
        most: Clients of a generation.

    """

    def __init__(self, make: Callable[[], C], within: float, most: int = MAX_CLIENTS) -> None:
        self._make = make
        self._within = within
        self._most = most
        self._young: dict[Hashable, tuple[C, bool]] = {}  # by client: its counter, and whether it came again
        self._old: dict[Hashable, tuple[C, bool]] = {}
        self._turns_at = 0.0
        self.evicted = 0  # clients that were forgotten before their time

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, client: Hashable, time: float) -> C:
        """Return the counter of a client that is seen at `time` (seconds)."""
        if time >= self._turns_at:
            self._turn(time)
        known = self._young.get(client)
        if known is None:
            known = self._old.pop(client, None)
            counter = self._make() if known is None else known[0]
            if len(self._young) >= self._most:
                self._make_room()
            self._young[client] = counter, known is not None
            return counter
        if not known[1]:
            self._young[client] = known[0], True
        return known[0]

    def forget(self, client: Hashable) -> None:
        """Begin anew with a client."""
        self._young.pop(client, None)
        self._old.pop(client, None)

    def _turn(self, time: float) -> None:
        """Make the young generation old. After a pause of two windows both are gone."""
        self._old = {} if time >= self._turns_at + self._within else self._young
        self._young = {}
        self._turns_at = time + self._within

    def _make_room(self) -> None:
        """Forget who was seen once; where all came again, those who came first."""
        kept = {client: known for client, known in self._young.items() if known[1]}
        if len(kept) > self._most * 3 // 4:
            kept = dict(list(kept.items())[len(kept) // 2 :])
        self.evicted += len(self._young) - len(kept)
        self._young = kept
