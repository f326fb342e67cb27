"""One budget of memory for the counters of all triggers.

What each client takes is estimated, in bytes. Where all of them take more than the budget, the counters that take most
make room: who floods one trigger with clients pushes out nobody that other triggers count.
"""

from __future__ import annotations

from typing import Final, Protocol

MAX_BYTES: Final = 400_000_000  # some three million clients that came once


class Sharer(Protocol):
    """Counters that share a budget."""

    @property
    def weight(self) -> int:
        """About how many bytes they take."""

    def make_room(self) -> None:
        """Forget some clients."""


class Budget:
    """How many bytes counters take together, and how many they may.

    Args:
        most: How many they may take; None: MAX_BYTES.

    Attributes:
        used: About how many they take.

    """

    def __init__(self, most: int | None = None) -> None:
        self._most = MAX_BYTES if most is None else most
        self._sharers: list[Sharer] = []
        self.used = 0

    def join(self, sharer: Sharer) -> None:
        """Have counters share the budget."""
        self._sharers.append(sharer)

    def leave(self, sharer: Sharer) -> None:
        """Give back what counters took."""
        self._sharers.remove(sharer)
        self.used -= sharer.weight

    def take(self, weight: int) -> None:
        """Take bytes, or give them back; if there are none left, those who take most make room."""
        self.used += weight
        if self.used > self._most and weight > 0:
            max(self._sharers, key=lambda sharer: sharer.weight).make_room()
