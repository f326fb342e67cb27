"""Letting go of old history: changes, and versions that ended, before a time. What still holds is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from authz.control.model.records import FOREVER
from authz.control.store.access.idempotency import forget_answers
from authz.control.store.detection.holds import drop_old_holds
from authz.control.store.detection.listings import drop_old_listings
from authz.control.store.entries.covered import forget_covered
from authz.control.store.published.publications import forget_sidecars, published_serials
from authz.control.store.tables import (
    audit,
    changes,
    daily_counts,
    documents,
    entries,
    entry_networks,
    heads,
    publications,
    triggers,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


def forget_before(tx: Connection, before: int, now: int) -> int:
    """Delete what ended before a time (microseconds); return how many changes went.

    The newest change of each layer stays, and so does its newest publication: the chain goes on from them.
    """
    gone: int = tx.execute(
        delete(changes).where(
            changes.c.time < before,
            changes.c.sequence < select(heads.c.sequence).where(heads.c.layer == changes.c.layer).scalar_subquery(),
        )
    ).rowcount
    tx.execute(delete(entry_networks).where(entry_networks.c.recorded_to < before))
    tx.execute(delete(entries).where(entries.c.recorded_to < before, entries.c.recorded_to != FOREVER))
    tx.execute(delete(documents).where(documents.c.recorded_to < before))
    for layer, serial in published_serials(tx).items():
        old = (publications.c.layer == layer) & (publications.c.serial < serial) & (publications.c.created < before)
        tx.execute(delete(publications).where(old))
    tx.execute(delete(daily_counts).where(daily_counts.c.day < before))
    tx.execute(delete(audit).where(audit.c.time < before))
    tx.execute(delete(triggers).where(triggers.c.recorded_to < before))
    drop_old_listings(tx, before)
    drop_old_holds(tx, before)
    forget_covered(tx, now)
    forget_answers(tx, now)
    forget_sidecars(tx, before)
    return gone
