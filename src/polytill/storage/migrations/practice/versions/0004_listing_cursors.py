"""How far the provider's listing was compared with our rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0004"
down_revision = "practice_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "listing_cursors",
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("compared_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_listing_cursors_environment")),
        sa.ForeignKeyConstraint(
            ["config_id"], ["practice_payment_providers.id"], name=op.f("fk_listing_cursors_config_id")
        ),
        sa.PrimaryKeyConstraint("config_id", "environment", name=op.f("pk_listing_cursors")),
    )
