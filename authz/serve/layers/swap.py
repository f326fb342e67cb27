"""Swapping: an accepted snapshot takes the place of the one that decides.

It is done in the event loop, so that whatever asks the decider more than once in one go, such as explain, is answered
by one generation.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from authz.engine.ruleset import Ruleset

if TYPE_CHECKING:
    from authz.engine.decider import Decider
    from authz.engine.opened_snapshot import OpenedSnapshot


class Swap:
    """Puts accepted snapshots into the decider."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider

    @property
    def loaded(self) -> OpenedSnapshot | None:
        """What decides now; None before the first."""
        ruleset = self._decider.ruleset
        return ruleset.policy if ruleset else None

    def swap(self, loaded: OpenedSnapshot) -> None:
        """Decide by `loaded` from the next request on. Call it in the event loop."""
        self._decider.load(Ruleset([loaded]))
        gc.freeze()  # what stays for hours need not be looked at by each collection
