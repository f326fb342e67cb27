"""What of an HTTP/2 connection is under way, compared from one sweep to the next: who makes us wait is ended."""

from __future__ import annotations

from typing import NamedTuple


class Unfinished(NamedTuple):
    """What is under way.

    Attributes:
        begun: Whether preface and SETTINGS have come.
        cut: Which frame has come in part, by number; 0: none.
        block: The stream of a header block that goes on in other frames; 0: none.
        pause: Which time it is that the peer does not take its answers; 0: it takes them.
        streams: Calls that are not complete.
    """

    begun: bool
    cut: int
    block: int
    pause: int
    streams: frozenset[int]

    def stuck_since(self, before: Unfinished) -> bool:
        """Return whether we wait for the same as at an earlier sweep. A byte now and then changes nothing."""
        unbegun = not (before.begun or self.begun)
        cut = self.cut and self.cut == before.cut
        headless = self.block and self.block == before.block
        deaf = self.pause and self.pause == before.pause
        return bool(unbegun or cut or headless or deaf)
