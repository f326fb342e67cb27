"""Columns and indexes for people who sort lists: by author, reason, and whom an entry names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from authz.control.store.migrations.filling import fill

revision = "0009"
down_revision = "0008"

_COLUMNS = ("author", "reason", "subject")
_INDEXES = (
    ("recorded_from", "id"), ("recorded_to", "recorded_from", "id"), ("recorded_to", "list", "recorded_from", "id"),
    ("recorded_to", "list", "id"), ("recorded_to", "list", "expires"), ("recorded_to", "expires", "id"), ("recorded_to", "subject", "id"), ("recorded_to", "reason", "id"),
    ("recorded_to", "author", "id"),
)  # fmt: skip


def upgrade() -> None:
    """Add the columns, fill them from what entries say, and make the indexes."""
    for name in _COLUMNS:
        op.add_column("entries", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    fill(op.get_bind(), _COLUMNS)
    with op.batch_alter_table("entries") as table:
        for name in _COLUMNS:
            table.alter_column(name, server_default=None)
    op.drop_index("ix_entries_recorded_to_expires", "entries")
    for columns in _INDEXES:
        op.create_index(f"ix_entries_{'_'.join(columns)}", "entries", list(columns))


def downgrade() -> None:
    """Take them away again."""
    for columns in _INDEXES:
        op.drop_index(f"ix_entries_{'_'.join(columns)}", "entries")
    with op.batch_alter_table("entries") as table:
        for name in _COLUMNS:
            table.drop_column(name)
    op.create_index("ix_entries_recorded_to_expires", "entries", ["recorded_to", "expires"])
