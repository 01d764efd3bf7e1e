"""Blocks of search rows with what each can be found by. A worker groups the rows, also those of earlier versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0016"
down_revision = "practice_0015"
branch_labels = None
depends_on = None

_ENVIRONMENT = "environment IN ('sandbox', 'production')"


def upgrade() -> None:
    op.add_column("payment_search", sa.Column("block", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_index(op.f("ix_payment_search_block"), "payment_search", ["block", "environment", "created_at"])
    op.create_table(
        "payment_search_blocks",
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("oldest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(f"part{number}", sa.LargeBinary(), nullable=False) for number in range(8)),
        sa.CheckConstraint(_ENVIRONMENT, name=op.f("ck_payment_search_blocks_environment")),
        sa.PrimaryKeyConstraint("block", name=op.f("pk_payment_search_blocks")),
    )
    op.create_index(
        op.f("ix_payment_search_blocks_environment_block"), "payment_search_blocks", ["environment", "block"]
    )
