"""Columns and indexes for people who sort lists: by author, reason, and whom an entry names."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

from authz.control.model import Entry
from authz.control.store.ledger.follow import sorting

revision = "0009"
down_revision = "0008"

_COLUMNS = ("author", "reason", "subject")
_INDEXES = (
    ("recorded_from", "id"), ("recorded_to", "recorded_from", "id"), ("recorded_to", "list", "recorded_from", "id"),
    ("recorded_to", "list", "id"), ("recorded_to", "list", "expires"), ("recorded_to", "expires", "id"), ("recorded_to", "subject", "id"), ("recorded_to", "reason", "id"),
    ("recorded_to", "author", "id"),
)  # fmt: skip
_BATCH = 5000


def upgrade() -> None:
    """Add the columns, fill them from what entries say, and make the indexes."""
    for name in _COLUMNS:
        op.add_column("entries", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    _fill(op.get_bind())
    with op.batch_alter_table("entries") as table:
        for name in _COLUMNS:
            table.alter_column(name, server_default=None)
    op.drop_index("ix_entries_recorded_to_expires", "entries")
    for columns in _INDEXES:
        op.create_index(f"ix_entries_{'_'.join(columns)}", "entries", list(columns))


def _fill(tx: sa.Connection) -> None:
    table = sa.table("entries", *(sa.column(name) for name in ("id", "version", "content", *_COLUMNS)))
    of = (table.c.id == sa.bindparam("of")) & (table.c.version == sa.bindparam("was"))
    change = sa.update(table).where(of).values({name: sa.bindparam(f"new_{name}") for name in _COLUMNS})
    place: tuple[str, int] = ("", 0)
    while True:
        behind = sa.tuple_(table.c.id, table.c.version) > sa.tuple_(*place)
        query = sa.select(table.c.id, table.c.version, table.c.content).where(behind)
        rows = tx.execute(query.order_by(table.c.id, table.c.version).limit(_BATCH)).all()
        if not rows:
            return
        place = (rows[-1].id, rows[-1].version)
        tx.execute(change, [
            {"of": row.id, "was": row.version}
            | {f"new_{name}": value for name, value in sorting(msgspec.json.decode(row.content, type=Entry)).items()}
            for row in rows
        ])  # fmt: skip


def downgrade() -> None:
    """Take them away again."""
    for columns in _INDEXES:
        op.drop_index(f"ix_entries_{'_'.join(columns)}", "entries")
    with op.batch_alter_table("entries") as table:
        for name in _COLUMNS:
            table.drop_column(name)
    op.create_index("ix_entries_recorded_to_expires", "entries", ["recorded_to", "expires"])
