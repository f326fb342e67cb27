"""Swapping: an accepted snapshot takes the place of the one that decides.

It is done in the event loop, so that whatever asks the decider more than once in one go, such as explain, is answered
by one generation.
"""

from __future__ import annotations

import _thread
import asyncio
import gc
import os
import time
from typing import TYPE_CHECKING, Final

from authz.engine.entries.ruleset import Ruleset
from authz.snapshot.cooperative import CONSIDERATE
from authz.snapshot.sealed_memory import give_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.engine.decision.decider import Decider
    from authz.engine.decision.generation import Generation
    from authz.engine.entries.opened_snapshot import OpenedSnapshot

_TURN: Final = 256  # outcomes; some 0.1 ms
_LEFT: Final = 0.05  # seconds after which the event loop refers to them no more


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
            ruleset = Ruleset([self._opened[name] for name in self._order if name in self._opened])
            before = self._decider.load(ruleset)
            gc.freeze()  # what stays for hours need not be looked at by each collection
            if before is not None:
                _give_up(before, [file for file in before.ruleset.files if file not in ruleset.files])


def _give_up(generation: Generation, files: list[OpenedSnapshot]) -> None:
    """Forget what was remembered of lists that no longer decide, a little in each turn of the loop, then the lists.

    files: which are in no list that decides.
    """
    if generation.give_up(_TURN):
        asyncio.get_running_loop().call_soon(_give_up, generation, files)
    elif files:
        _thread.start_new_thread(_free, (files,))  # not threading.Thread: see authz.serve.background


def _free(files: list[OpenedSnapshot]) -> None:
    """Free files that nobody else refers to any more, in a thread, so that no request waits for it."""
    time.sleep(_LEFT)
    with CONSIDERATE:
        kept = [give_back(file.index.arrays["v4.starts"]) for file in files]
    files.clear()
    for descriptor in kept:
        if descriptor is not None:
            os.close(descriptor)
