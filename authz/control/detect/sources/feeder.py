"""What the sources share: lines become events, events go to the intake, and what cannot is counted."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from authz.control.detect.logs import parser, recognise
from authz.errors import BadLine

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from authz.control.detect.event import Event
    from authz.control.detect.intake import Intake

_FULL: Final = 0.05  # seconds until a full intake is asked again
_LOG = logging.getLogger("authz.control.detect")


class Feeder:
    """Feeds the intake from one source.

    Args:
        name: Of the source, for the log.
        intake: Where events go.
        log_format: Of lines; `auto` recognises the first.
        clock: Seconds since 1970.

    Attributes:
        skipped: Lines that could not be read.
        dropped: Events for which there was no room.
        dropped_before: Returns how many were dropped before we saw them.

    """

    def __init__(
        self, name: str, intake: Intake, log_format: str = "auto", clock: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._intake = intake
        self._clock = clock
        self._read = None if log_format == "auto" else parser(log_format)
        self.skipped = 0
        self.dropped = 0
        self.dropped_before: Callable[[], int] = lambda: 0

    @property
    def all_dropped(self) -> int:
        """How many were dropped, by us and before."""
        return self.dropped + self.dropped_before()

    def events_of(self, lines: Iterable[bytes]) -> list[Event]:
        """Return the events of lines; those that cannot be read are counted, the first of them is logged."""
        now, events = self._clock(), []
        for line in lines:
            if not line.strip():
                continue
            try:
                read = self._read = self._read or parser(recognise(line))
                events.append(read(line, now))
            except BadLine as error:
                if not self.skipped:
                    _LOG.warning("%s: a line cannot be read: it %s", self._name, error)
                self.skipped += 1
        return events

    def offer(self, events: list[Event]) -> bool:
        """Give events to the intake; return whether there was room. Without room they are dropped and counted."""
        if self.has_room(events):
            return True
        self.dropped += len(events)
        return False

    def has_room(self, events: list[Event]) -> bool:
        """Give events to the intake; return whether there was room."""
        return not events or self._intake.put(events, self._clock())

    def insist(self, events: list[Event], ending: threading.Event) -> None:
        """Give events to the intake, and wait until there is room, or until `ending`. Blocks."""
        while not self.has_room(events):
            if ending.wait(_FULL):
                return
