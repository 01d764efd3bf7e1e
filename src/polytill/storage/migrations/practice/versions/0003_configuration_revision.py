"""A count of each configuration's changes, so that a payment can check that its route is not out of date."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0003"
down_revision = "practice_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "practice_payment_providers", sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False)
    )
