"""Events have the country of their client and the reason of their decision; counts by country; events of an entry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_KEY = ("hour", "application", "decision", "country")
_HAS_ENTRY = sa.text("entry <> ''")


def upgrade() -> None:
    """Make the columns, the index and the table."""
    for name in ("reason", "country"):
        op.add_column("events", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_events_entry_time", "events", ["entry", "time"], sqlite_where=_HAS_ENTRY, postgresql_where=_HAS_ENTRY
    )
    op.create_table(
        "event_countries",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("application", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_event_countries")),
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("event_countries")
    op.drop_index("ix_events_entry_time", "events")
    for name in ("reason", "country"):
        op.drop_column("events", name)
