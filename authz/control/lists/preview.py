"""What a change would do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import parse_networks
from authz.control.lists.entries import add, layer_for
from authz.control.lists.guard import NeedsApproval, addresses_of
from authz.control.model import MAIN_TENANT
from authz.control.problems import Problem
from authz.control.store.entries import Filter, find_entries

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.model import Entry, Written

MOST_SHOWN = 50


class Preview(NamedTuple):
    """What adding an entry would do.

    addresses: how many it names by networks (IPv6 by /64). overlaps: entries that name some of the same addresses.
    refusal: why it would not be taken. approval: why it would wait for a second person.
    """

    layer: str
    addresses: int
    overlaps: list[Entry]
    refusal: Problem | None
    approval: str


def preview(batch: Batch, written: Written) -> Preview:
    """Try an entry. Nothing is written, whatever the batch does next."""
    refusal, approval = None, ""
    try:
        add(batch, written)
    except NeedsApproval as error:
        approval = error.message
    except Problem as error:
        refusal = error
    if refusal is not None and refusal.code == "invalid":
        return Preview("", 0, [], refusal, "")
    tenant = None if batch.tenant.name == MAIN_TENANT else batch.tenant.name
    found: dict[str, Entry] = {}
    for text in written.networks:
        for network in parse_networks(text):
            wanted = Filter(tenant=tenant, network=network, unexpired_at=int(batch.seconds))
            room = MOST_SHOWN - len(found)
            found |= {entry.id: entry for entry in find_entries(batch.tx, wanted, limit=room)} if room > 0 else {}
    layer = layer_for(written, batch.rules, batch.seconds)
    return Preview(layer, addresses_of(written), list(found.values()), refusal, approval)
