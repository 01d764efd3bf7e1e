"""Since when a provider answers about an attempt in words that are not known: a review case opens within the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0011"
down_revision = "practice_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty in existing rows: the next answer that cannot be understood sets it.
    op.add_column("payment_attempts", sa.Column("unclear_since", sa.DateTime(timezone=True), nullable=True))
