"""A table of how many addresses the layers of limited rights cover, filled from the entries that hold."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

from authz.control.model.records import FOREVER, POLICY_LAYER, Entry
from authz.control.store.entries.covered import note_covered
from authz.control.store.migrations.filling import BATCH

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make it, and fill it."""
    op.create_table(
        "covered",
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("until", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("addresses", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("layer", "version", "until", name=op.f("pk_covered")),
    )
    entries, tx = sa.table("entries", *map(sa.column, ("layer", "content", "recorded_to"))), op.get_bind()
    holds = (entries.c.recorded_to == FOREVER) & (entries.c.layer != POLICY_LAYER)
    rows = tx.execute(sa.select(entries.c.content).where(holds).execution_options(yield_per=BATCH))
    note_covered(tx, ((None, msgspec.json.decode(content, type=Entry)) for content in rows.scalars()), 0)


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("covered")
