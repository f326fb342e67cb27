"""The guard against broken downloads: a feed that is suddenly much shorter must not unblock everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MAX_SHRINK = 0.5


def check_shrink(path: Path | str, now: int, before: int | None, max_shrink: float = MAX_SHRINK) -> None:
    """Raise InputError where a feed has lost more than `max_shrink` (0 to 1) of its entries, or all of them.

    now, before: `Feed.taken` of this build and of the last one; None: there was none. With max_shrink 1 everything
    passes, an empty feed too.
    """
    if not before or max_shrink >= 1:
        return
    lost = (before - now) / before
    if now == 0 or lost > max_shrink:
        raise InputError(
            f"{path}: found {now:,} entries, and {before:,} in the last build: {100 * lost:.0f} % fewer, "
            f"expected at most {100 * max_shrink:.0f} %",
            hint="a broken download? if the feed is really that short, set max_shrink: 1 on it for one build",
        )
