"""Whose a token is, who asked for an approval, and which sidecars show a token."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_TEXTS = ("tokens", "approvals")


def upgrade() -> None:
    """Add the columns. A token of before is its own person, by its name."""
    for table in _TEXTS:
        with op.batch_alter_table(table) as change:
            change.add_column(sa.Column("person", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("sidecars") as change:
        change.add_column(sa.Column("shown", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE approvals SET person = lower(actor)")


def downgrade() -> None:
    """Take them away again."""
    with op.batch_alter_table("sidecars") as change:
        change.drop_column("shown")
    for table in _TEXTS:
        with op.batch_alter_table(table) as change:
            change.drop_column("person")
