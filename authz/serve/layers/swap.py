"""Swapping: an accepted snapshot takes the place of the one that decides.

It is done in the event loop, so that whatever asks the decider more than once in one go, such as explain, is answered
by one generation.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from authz.engine.entries.ruleset import Ruleset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.engine.decision.decider import Decider
    from authz.engine.entries.opened_snapshot import OpenedSnapshot


class Swap:
    """Puts accepted snapshots into the decider. Call its methods in the event loop.

    Args:
        decider: Decides by them, from the first policy on.
    """

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._order: tuple[str, ...] = ()
        self._opened: dict[str, OpenedSnapshot] = {}

    def keep(self, order: Sequence[str]) -> None:
        """Decide by these layers and no others, the policy first."""
        changed = tuple(order) != self._order
        self._order = tuple(order)
        self._opened = {name: opened for name, opened in self._opened.items() if name in order}
        if changed:
            self._load()

    def swap(self, layer: str, opened: OpenedSnapshot) -> None:
        """Decide by this snapshot of a layer from the next request on."""
        self._opened[layer] = opened
        self._load()

    def drop(self, layer: str) -> None:
        """Decide without this layer, which is not the policy."""
        if self._opened.pop(layer, None) is not None:
            self._load()

    def _load(self) -> None:
        if self._order and self._order[0] in self._opened:
            self._decider.load(Ruleset([self._opened[name] for name in self._order if name in self._opened]))
            gc.freeze()  # what stays for hours need not be looked at by each collection
