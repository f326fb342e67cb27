"""How often a server is asked: at a steady pace while it answers, less and less often while it does not.

All times are drawn at random around their mean, so that many sidecars do not ask at the same moment.
"""

from __future__ import annotations

import random
from typing import Final

MAX_BACKOFF: Final = 60.0  # seconds; a server that comes back has all sidecars again within this


class Pace:
    """Says how long to wait until the next question.

    Args:
        poll: Seconds between two questions to a server that answers.
    """

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self._failures = 0
        self.held = False  # whether the server held its answer back until there was something: ask again at once

    def succeeded(self, *, held: bool) -> None:
        """Note an answer."""
        self._failures, self.held = 0, held

    def failed(self) -> None:
        """Note that there was none."""
        self._failures, self.held = self._failures + 1, False

    def next(self) -> float:
        """Return the seconds to wait."""
        if self.held:
            return 0.0
        if not self._failures:
            return self._poll * random.uniform(0.9, 1.1)  # noqa: S311  # a delay, no secret
        # From a second on: a server that starts beside us is there in a moment.
        most = min(MAX_BACKOFF, float(1 << min(self._failures - 1, 10)))
        return most * random.uniform(0.5, 1.0)  # noqa: S311  # the same
