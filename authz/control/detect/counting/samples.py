"""The newest events of clients that are near a limit: evidence, if they are listed.

They are an outsider's words, so their number and their length are bounded; those of the client that was first near a
limit go first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from authz.control.detect.event import Event

MAX_SAMPLES: Final = 3  # events that a listing shows
MAX_SAMPLED: Final = 10_000  # clients of all triggers, each counted once for each trigger
_MAX_PATH: Final = 512  # characters
_MAX_ATTACKS: Final = 4


class Samples:
    """Events by trigger and client."""

    def __init__(self) -> None:
        # Not a plain dict: where its first keys were deleted, each search for the first one passes their places.
        self._events: OrderedDict[tuple[str, int], tuple[Event, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, trigger: str, client: int, event: Event) -> None:
        """Keep an event that counted, instead of the oldest of MAX_SAMPLES."""
        before = self._events.pop((trigger, client), ())
        if len(self._events) >= MAX_SAMPLED:
            self._events.popitem(last=False)
        if len(event.path) > _MAX_PATH or len(event.attacks) > _MAX_ATTACKS or event.warnings:
            event = event._replace(path=event.path[:_MAX_PATH], attacks=event.attacks[:_MAX_ATTACKS], warnings=())
        self._events[trigger, client] = (*before[1 - MAX_SAMPLES :], event)

    def take(self, trigger: str, client: int) -> tuple[Event, ...]:
        """Return the newest events of a client, and keep them no longer."""
        return self._events.pop((trigger, client), ())

    def clear(self) -> None:
        """Keep none."""
        self._events.clear()
