"""Parts of layers: what files of many bans require."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "parts",
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("layer", "serial", name=op.f("pk_parts")),
    )
    op.create_table(
        "part_contents",
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("layer", "serial", name=op.f("pk_part_contents")),
    )
    with op.batch_alter_table("publications", schema=None) as batch_op:
        batch_op.add_column(sa.Column("parts", sa.Text(), nullable=False, server_default="[]"))
    with op.batch_alter_table("publications", schema=None) as batch_op:
        batch_op.alter_column("parts", server_default=None)


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("publications", schema=None) as batch_op:
        batch_op.drop_column("parts")
    op.drop_table("part_contents")
    op.drop_table("parts")
