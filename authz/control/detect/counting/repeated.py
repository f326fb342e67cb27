"""Whether the very same event came before: senders repeat a batch when they did not hear that it had come."""

from __future__ import annotations

from typing import Final

MAX_REMEMBERED: Final = 200_000  # events of a generation
WITHIN: Final = 300.0  # seconds for which a repetition is known, at least


class Repeated:
    """Remembers events by their hash, which is keyed by a secret of the process. Two generations, each bounded."""

    def __init__(self) -> None:
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._turns_at = 0.0

    def before(self, mark: int, now: float) -> bool:
        """Remember an event by its hash; return whether it came before. now: seconds."""
        if mark in self._young:
            return True
        if now >= self._turns_at or len(self._young) >= MAX_REMEMBERED:
            self._old, self._young = self._young, set()
            self._turns_at = now + WITHIN
        self._young.add(mark)
        return mark in self._old
