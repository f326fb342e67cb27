"""A table for daily counts of entries, and the index by which what expired in a day is found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_INDEX = "ix_entries_expires"


def upgrade() -> None:
    """Make both. The counts of days before are filled in by the control plane, some at a time."""
    op.create_table(
        "daily_counts",
        sa.Column("day", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_daily_counts")),
    )
    op.create_index(_INDEX, "entries", ["expires"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_index(_INDEX, "entries")
    op.drop_table("daily_counts")
