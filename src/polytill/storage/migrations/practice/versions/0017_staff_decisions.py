"""What staff decided about outcomes that stayed unknown, and whether a dispute is the same money as a refund."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0017"
down_revision = "practice_0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty in existing rows: nobody could decide it before.
    op.add_column("disputes", sa.Column("counted_as", sa.Text(), nullable=True))
    op.create_table(
        "staff_decisions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("decided_on", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("transaction_key", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_staff_decisions_environment")),
        sa.CheckConstraint(
            "decided_on IN ('payment', 'refund', 'capture', 'cancel')", name=op.f("ck_staff_decisions_decided_on")
        ),
        sa.ForeignKeyConstraint(["practice_id"], ["practices.id"], name=op.f("fk_staff_decisions_practice_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_staff_decisions_payment_id")),
        sa.ForeignKeyConstraint(["attempt_id"], ["payment_attempts.id"], name=op.f("fk_staff_decisions_attempt_id")),
        sa.ForeignKeyConstraint(
            ["config_id"], ["practice_payment_providers.id"], name=op.f("fk_staff_decisions_config_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_decisions")),
        sa.UniqueConstraint("decided_on", "subject", name=op.f("uq_staff_decisions_decided_on_subject")),
        sa.UniqueConstraint(
            "config_id",
            "environment",
            "transaction_key",
            name=op.f("uq_staff_decisions_config_id_environment_transaction_key"),
        ),
    )
    op.create_index(op.f("ix_staff_decisions_attempt_id"), "staff_decisions", ["attempt_id"])
