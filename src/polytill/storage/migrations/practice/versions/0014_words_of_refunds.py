"""What a provider said about a refund, a capture or a cancel, and since when a refund's answers cannot be understood."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0014"
down_revision = "practice_0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty in existing rows: the next answer sets them.
    op.add_column("refunds", sa.Column("detail", sa.Text(), nullable=True))
    op.add_column("refunds", sa.Column("unclear_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("payment_operations", sa.Column("detail", sa.Text(), nullable=True))
