"""Entries that triggers make: their owner is `trigger`, their origin the trigger, their reason what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.control.lists.entries import add
from authz.control.lists.holds import NARROW, ORIGIN
from authz.control.model.records import Written
from authz.times import format_duration

if TYPE_CHECKING:
    from authz.control.detect.counting.detector import Listing
    from authz.control.lists.batch import Batch
    from authz.control.model.records import Entry


def list_client(batch: Batch, listing: Listing) -> Entry:
    """Make an entry of a listing. Raises what `lists.entries.add` does."""
    trigger = listing.trigger
    written = Written(
        list="gray" if trigger.then.list == "gray" else "deny",
        networks=(listing.network,),
        applications=listing.applications,
        expires=None if listing.period is None else int(listing.time + listing.period),
        reason=reason_of(listing),
        author=trigger.name,
    )
    origin = f"{ORIGIN}{trigger.name}{NARROW if trigger.hold == 'same' else ''}"
    return add(batch, written, layer=batch.rules.bans, owner="trigger", origin=origin)


def reason_of(listing: Listing) -> str:
    """Return what was counted, as a sentence: `login-guessing: 31 requests within 30s, limit 30 (2nd time)`."""
    trigger, count = listing.trigger, listing.trigger.count
    what = "requests" if count.distinct is None else f"different values of {count.distinct.removeprefix('param:')}"
    again = f", time {listing.offence}" if listing.offence > 1 else ""
    if listing.asn:
        what += f" of AS{listing.asn}"
    within = format_duration(count.within)
    return f"{trigger.name}: {listing.counted} {what} within {within}, limit {count.over}{again}"
