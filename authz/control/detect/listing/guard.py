"""Who is never listed, and who is not listed now: asked of the store before each listing.

What is allowed by networks the store knows at once. What an allow entry names otherwise (hosts, countries, systems,
source types) and what the policy protects is known from the signed file of the first layer, as far as it resolved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.control.detect.listing.offences import LISTED
from authz.control.lists.holds import NARROW, ORIGIN
from authz.control.model.holds import held
from authz.control.model.records import MICROSECONDS, POLICY_LAYER
from authz.control.store.detection.holds import current_holds
from authz.control.store.entries.find import Filter, added_since, each_entry, find_entries, get_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.addresses import Network
    from authz.control.detect.counting.detector import Listing
    from authz.control.detect.triggers.file import Trigger
    from authz.control.lists.rules.context import ListContext
    from authz.control.model.records import Entry
    from authz.control.publish.opened import OpenedFiles
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Entry as SignedEntry

PROTECTED: Final = "protected"
ALLOWLISTED: Final = "allowlisted"
HELD: Final = "held"
_MAX_KNOWN: Final = 10_000
_MAX_LOOKED_AT: Final = 1000  # like entries over and inside the subject of one listing: another is refused later


class StoreGuard:
    """Says why a client must not be listed."""

    def __init__(self, context: ListContext, opened: OpenedFiles) -> None:
        self._context = context
        self._opened = opened
        self._known: dict[tuple[str, Network, tuple[str, ...]], str] = {}  # entries: who goes on is asked for quickly

    def __call__(self, listing: Listing) -> str | None:
        """Return why `listing` must not be; None if it may. Raises NotReady if the store is away."""
        subject, target = listing.subject, (listing.trigger.then.list, listing.subject, listing.applications)
        with self._context.store.reading() as tx:
            if (known := self._known.get(target)) and _says(get_entry(tx, known), listing):
                return LISTED
            if any(subject.overlaps(network) for network in self._context.rules(tx).protected):
                return PROTECTED
            if held(current_holds(tx, listing.time), listing.trigger, subject, listing.time):
                return HELD
            allowing = Filter(list="allow", network=subject, unexpired_at=int(listing.time))
            if any(_concerns(entry, listing) for entry in each_entry(tx, allowing)):  # however many there are
                return ALLOWLISTED
            policy = self._opened.at(tx, POLICY_LAYER, self._context.store.now())
            if policy is not None and any(subject.overlaps(network) for network in policy.protected):
                return PROTECTED
            if policy is not None and any(
                _concerns(entry, listing) for entry in _allowing(policy, subject, listing.time)
            ):
                return ALLOWLISTED
            like = allowing._replace(list=listing.trigger.then.list, owner="trigger")
            around = find_entries(tx, like, limit=_MAX_LOOKED_AT)
        listed = next((entry for entry in around if _says(entry, listing)), None)
        if listed is None:
            return None
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[target] = listed.id
        return LISTED


class StoreOffences:
    """Who was listed before, by the history of the store."""

    def __init__(self, context: ListContext) -> None:
        self._context = context

    def before(self, trigger: Trigger, subject: Network, now: float) -> int:
        """Return how often `trigger` listed `subject` within its `forget`; see Offences."""
        if trigger.then.grow == 1.0:
            return 0
        since = int((now - trigger.then.forget) * MICROSECONDS)
        origins = {ORIGIN + trigger.name, ORIGIN + trigger.name + NARROW}
        with self._context.store.reading() as tx:
            return sum(entry.origin in origins for entry in added_since(tx, subject, since))

    def add(self, trigger: Trigger, subject: Network, now: float) -> None:
        """Nothing is to be remembered: the entry is in the history."""


def _allowing(policy: OpenedSnapshot, subject: Network, now: float) -> Iterator[SignedEntry]:
    """Give the allow entries of a signed file that cover any of a network's addresses."""
    return (
        match.entry
        for number in policy.index.sets_within(subject.version, subject.value, subject.last)
        for match in policy.matches(subject.version, number)
        if match.entry.list == "allow" and match.entry.active(now)
    )


def _says(entry: Entry | None, listing: Listing) -> bool:
    """Return whether an entry of triggers denies the subject of a listing already."""
    return (
        entry is not None
        and entry.owner == "trigger"
        and entry.list == listing.trigger.then.list
        and entry.active(listing.time)
        and entry.networks == (listing.network,)
        and _concerns(entry, listing)
    )


def _concerns(entry: Entry | SignedEntry, listing: Listing) -> bool:
    return (
        not entry.applications
        or not listing.applications
        or not set(entry.applications).isdisjoint(listing.applications)
    )
