"""Events: what clients did. In PostgreSQL a partition a day; counts by the minute beside them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = """
    time BIGINT NOT NULL, id BIGINT NOT NULL, client BYTEA NOT NULL, application TEXT NOT NULL, method TEXT NOT NULL,
    host TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL, decision TEXT NOT NULL, entry TEXT NOT NULL,
    attacks TEXT NOT NULL, request_id TEXT NOT NULL
"""


def upgrade() -> None:
    """Make the tables."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE TABLE events ({_COLUMNS}) PARTITION BY RANGE (time)")
        op.execute("CREATE TABLE events_other PARTITION OF events DEFAULT")
    else:
        op.execute(f"CREATE TABLE events ({_COLUMNS.replace('BYTEA', 'BLOB')})")
    op.create_index("ix_events_client_time", "events", ["client", "time"])
    op.create_index("ix_events_time_id", "events", ["time", "id"])
    op.create_table(
        "event_counts",
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("application", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "application", "decision", "status", name=op.f("pk_event_counts")),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("event_counts")
    op.drop_table("events")
