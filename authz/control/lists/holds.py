"""The hold that begins when a person deletes an automatic entry: triggers leave its addresses alone for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.addresses import parse_network
from authz.control.model.holds import make_hold
from authz.control.model.records import MICROSECONDS
from authz.control.store.detection.holds import add_hold
from authz.control.store.entries.find import first_version

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.model.records import Entry

ORIGIN: Final = "trigger:"  # of an automatic entry, before the trigger's name
NARROW: Final = "?hold=same"  # behind it, where a deletion keeps only this trigger off


def hold_after_deletion(batch: Batch, entry: Entry) -> None:
    """Begin the hold that keeps triggers off, where a person deletes an automatic entry."""
    if not entry.origin.startswith(ORIGIN) or batch.actor.kind in {"trigger", "system"}:
        return
    name, _, narrow = entry.origin.removeprefix(ORIGIN).partition("?")
    first = first_version(batch.tx, entry.id) or entry
    period = None if first.expires is None else first.expires - first.created / MICROSECONDS
    for number, text in enumerate(entry.networks):
        hold = make_hold(parse_network(text), period, batch.seconds, name if narrow else None)
        add_hold(
            batch.tx, hold, hold_id=f"{entry.id}.{entry.version}.{number}", created=batch.now, tenant=entry.tenant,
            actor=batch.actor.name, entry=entry.id, trigger=name,
        )  # fmt: skip
