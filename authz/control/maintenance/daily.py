"""Each day, how many entries every list has is kept: counts as of any time are asked from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.control.store.entries.counts import add_checkpoints, missing_checkpoints

if TYPE_CHECKING:
    from authz.control.store.database import Store

EVERY: Final = 600.0  # seconds between two looks whether a day has ended


def count_days(store: Store) -> int:
    """Count the days that have ended, those of before this was done among them; return how many. Raises NotReady."""
    count = 0
    while True:
        with store.reading() as tx:
            checkpoints = missing_checkpoints(tx, store.now())
        if not checkpoints:
            return count
        with store.writing() as tx:
            add_checkpoints(tx, checkpoints)
        count += len(checkpoints)
