"""An index by which history finds what somebody has changed, also where that is nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_INDEX = "ix_changes_actor_time"


def upgrade() -> None:
    """Make it. Publications are no part of history."""
    is_history = sa.text("action <> 'publish'")
    columns = ["actor", "time", "layer", "sequence"]
    op.create_index(_INDEX, "changes", columns, sqlite_where=is_history, postgresql_where=is_history)


def downgrade() -> None:
    """Take it away again."""
    op.drop_index(_INDEX, "changes")
