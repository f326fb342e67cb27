"""Quiet hours: by the clock of a time zone, over midnight where they begin later than they end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from authz.control.notify.config import Quiet


def is_quiet(quiet: Quiet | None, topic: str, now: float) -> bool:
    """Return whether a topic has to wait now. now: seconds since 1970."""
    if quiet is None or topic in quiet.urgent:
        return False
    here = datetime.fromtimestamp(now, UTC).astimezone(quiet.zone).time()
    if quiet.from_ <= quiet.to:
        return quiet.from_ <= here < quiet.to
    return here >= quiet.from_ or here < quiet.to
