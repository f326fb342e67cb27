"""Holds: after a person deleted an automatic entry, triggers leave the address alone for a while.

No trigger but `api_abuse` lists the address, nor a network over it, before half of the period has passed that the
trigger had set; for an entry without an end, before 24 hours have. Bans by people ignore holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Network
    from authz.control.detect.triggers.file import Trigger

_FOREVER: Final = 24 * 3600.0  # seconds of a hold after the deletion of an entry without an end


class Hold(NamedTuple):
    """One hold.

    Attributes:
        until: Seconds since 1970.
        trigger: The only one that is held; None: every one but api_abuse.
    """

    subject: Network
    until: float
    trigger: str | None = None


def make_hold(subject: Network, period: float | None, now: float, only: str | None = None) -> Hold:
    """Return the hold that begins when a person deletes an entry that had this period.

    period: seconds; None: it had no end. only: the trigger that is held alone; None: every one.
    """
    return Hold(subject, now + (_FOREVER if period is None else period / 2), only)


def held(holds: Iterable[Hold], trigger: Trigger, subject: Network, now: float) -> bool:
    """Return whether a hold keeps `trigger` from listing `subject` now."""
    if trigger.kind == "api_abuse":
        return False
    return any(
        now < hold.until and hold.trigger in {None, trigger.name} and hold.subject.overlaps(subject) for hold in holds
    )
