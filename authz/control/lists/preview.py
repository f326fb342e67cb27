"""What a change would do, without doing it; what it would have touched of yesterday's events."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import parse_networks
from authz.control.lists.entries import add, change, layer_for
from authz.control.lists.overlapping import standing
from authz.control.lists.rules.guard import addresses_of
from authz.control.model.problems import NeedsApproval, Problem
from authz.control.model.records import APPLICATION, MAIN_TENANT, SUBJECTS
from authz.control.store.entries.documents import find_documents
from authz.control.store.entries.find import Filter, find_entries
from authz.control.store.events.impact import Impact, client_ranges, count_touched
from authz.control.store.events.search import WantedEvents, events_came
from authz.control.store.events.writing import DAY

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.lists.batch import Batch
    from authz.control.lists.overlapping import Standing
    from authz.control.model.records import Entry, Written

MAX_SHOWN = 50
MAX_LOOKED_FOR = 100  # networks whose overlaps are looked for: a question each, while nobody else writes


class Preview(NamedTuple):
    """What adding or changing an entry would do.

    Attributes:
        layer: That would carry it; an entry that is there stays in its own.
        addresses: How many it names by networks (IPv6 by /64).
        overlaps: Entries that name some of the same addresses as the first MAX_LOOKED_FOR networks.
        deciding: Which decides there, by the id of each of these.
        refusal: Why it would not be taken.
        approval: Why it would wait for a second person.
    """

    layer: str
    addresses: int
    overlaps: list[Entry]
    deciding: dict[str, Standing]
    refusal: Problem | None
    approval: str


def preview(batch: Batch, written: Written, changed: Entry | None = None) -> Preview:
    """Try an entry, or what one that is there is to say. Nothing is written, whatever the batch does next."""
    refusal, approval = None, ""
    try:
        add(batch, written) if changed is None else change(batch, changed, written, take_over=True)
    except NeedsApproval as error:
        approval = error.message
    except Problem as error:
        refusal = error
    if refusal is not None and refusal.code == "invalid":
        return Preview("", 0, [], {}, refusal, "")
    tenant = None if batch.tenant.name == MAIN_TENANT else batch.tenant.name
    overlapping: dict[str, Entry] = {}
    networks = chain.from_iterable(map(parse_networks, written.networks))
    for network in islice(networks, MAX_LOOKED_FOR):
        wanted = Filter(tenant=tenant, network=network, unexpired_at=int(batch.seconds))
        room = MAX_SHOWN - len(overlapping)
        overlapping |= {entry.id: entry for entry in find_entries(batch.tx, wanted, limit=room)} if room > 0 else {}
    if changed is not None:
        overlapping.pop(changed.id, None)
    layer = layer_for(written, batch.rules, batch.seconds) if changed is None else changed.layer
    documents = find_documents(batch.tx, APPLICATION) if overlapping else {}
    deciding = {entry.id: standing(written, entry, documents, batch.seconds) for entry in overlapping.values()}
    return Preview(layer, addresses_of(written), list(overlapping.values()), deciding, refusal, approval)


class Yesterday(NamedTuple):
    """Events of the 24 hours since `since` (microseconds) from addresses that an entry names.

    Attributes:
        known: Whether any events came in that time; where none did, the counts say nothing.
        uncounted: Subjects that the entry names otherwise than by networks: events do not say what they are.
    """

    since: int
    known: bool
    impact: Impact
    uncounted: tuple[str, ...]


def against_yesterday(
    tx: Connection, written: Written, now: int, patterns: tuple[str, ...] | None = None
) -> Yesterday:  # fmt: skip
    """Return what an entry would have touched, had it been there for a day.

    now: microseconds. patterns: of applications whose events may be seen; None: all. Raises AddressError for networks
    that are none.
    """
    networks = [network for text in written.networks for network in parse_networks(text)]
    exceptions = [network for text in written.except_ for network in parse_networks(text)]
    wanted = WantedEvents(begin=now - DAY, end=now, patterns=patterns)
    impact = count_touched(tx, client_ranges(networks, exceptions), written.applications, wanted)
    uncounted = tuple(name for name in SUBJECTS if name != "networks" and getattr(written, name))
    return Yesterday(now - DAY, events_came(tx, now - DAY, now, patterns), impact, uncounted)
