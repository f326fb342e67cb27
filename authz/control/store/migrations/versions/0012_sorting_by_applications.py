"""A column and its index for people who sort lists by the applications of entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from authz.control.store.migrations.filling import fill

revision = "0012"
down_revision = "0011"

_INDEX = "ix_entries_recorded_to_applications_id"


def upgrade() -> None:
    """Add the column, fill it from what entries say, and make the index."""
    op.add_column("entries", sa.Column("applications", sa.Text(), nullable=False, server_default=""))
    fill(op.get_bind(), ("applications",))
    with op.batch_alter_table("entries") as table:
        table.alter_column("applications", server_default=None)
    op.create_index(_INDEX, "entries", ["recorded_to", "applications", "id"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_index(_INDEX, "entries")
    with op.batch_alter_table("entries") as table:
        table.drop_column("applications")
