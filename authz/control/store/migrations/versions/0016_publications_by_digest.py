"""An index by which a file is found by its digest: whoever fetches a layer names one."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

_INDEX = "ix_publications_layer_digest"


def upgrade() -> None:
    """Make it."""
    op.create_index(_INDEX, "publications", ["layer", "digest"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_index(_INDEX, "publications")
