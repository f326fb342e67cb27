"""Why a trigger listed somebody: what was counted, and sample events, beside the entry that came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, insert, select

from authz.control.store.tables import listings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection


def add_listing(tx: Connection, entry: str, trigger: str, evidence: dict[str, Any], now: int) -> None:
    """Keep the evidence of an automatic entry. now: microseconds."""
    content = msgspec.json.encode(evidence).decode()
    tx.execute(insert(listings).values(entry=entry, time=now, trigger=trigger, content=content))


def evidence_of(tx: Connection, entries: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the evidence of those of the entries that triggers made, by id."""
    wanted = [*entries]
    rows = tx.execute(select(listings.c.entry, listings.c.content).where(listings.c.entry.in_(wanted)))
    return {row.entry: msgspec.json.decode(row.content) for row in rows}


def drop_old_listings(tx: Connection, before: int) -> None:
    """Delete evidence from before a time (microseconds)."""
    tx.execute(delete(listings).where(listings.c.time < before))
