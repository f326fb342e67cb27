"""Filling new columns of entries from what the entries say, in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from authz.control.model.records import Entry
from authz.control.store.ledger.follow import sorting

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 5000


def fill(tx: sa.Connection, columns: Sequence[str]) -> None:
    """Fill columns of `entries` with what people sort by."""
    table = sa.table("entries", *(sa.column(name) for name in ("id", "version", "content", *columns)))
    of = (table.c.id == sa.bindparam("of")) & (table.c.version == sa.bindparam("was"))
    change = sa.update(table).where(of).values({name: sa.bindparam(f"new_{name}") for name in columns})
    place: tuple[str, int] = ("", 0)
    while True:
        behind = sa.tuple_(table.c.id, table.c.version) > sa.tuple_(*place)
        query = sa.select(table.c.id, table.c.version, table.c.content).where(behind)
        rows = tx.execute(query.order_by(table.c.id, table.c.version).limit(BATCH)).all()
        if not rows:
            return
        place = (rows[-1].id, rows[-1].version)
        tx.execute(change, [{"of": row.id, "was": row.version} | _new(row.content, columns) for row in rows])


def _new(content: str, columns: Sequence[str]) -> dict[str, str]:
    texts = sorting(msgspec.json.decode(content, type=Entry))
    return {f"new_{name}": texts[name] for name in columns}
