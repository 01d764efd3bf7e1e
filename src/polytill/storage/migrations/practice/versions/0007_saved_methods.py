"""Methods that payers let us charge again, sealed; and what a payment asks of its provider besides the method."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "practice_0007"
down_revision = "practice_0006"
branch_labels = None
depends_on = None

_Json = sa.JSON().with_variant(JSONB(), "postgresql")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("payments", sa.Column("save_method", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("payments", sa.Column("saved_method_id", sa.Text(), nullable=True))
    op.add_column("payments", sa.Column("method_details", _Json, nullable=True))
    op.create_table(
        "saved_methods",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column("provider_code", sa.Text(), nullable=False),
        sa.Column("customer_email", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("last4", sa.Text(), nullable=True),
        sa.Column("expires", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("provider_customer_id", sa.Text(), nullable=True),
        sa.Column("sealed_token", sa.Text(), nullable=True),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("removed_at", _Moment, nullable=True),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_saved_methods_environment")),
        sa.CheckConstraint("(sealed_token IS NULL) = (removed_at IS NOT NULL)", name=op.f("ck_saved_methods_removed")),
        sa.ForeignKeyConstraint(["practice_id"], ["practices.id"], name=op.f("fk_saved_methods_practice_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_saved_methods_payment_id")),
        sa.ForeignKeyConstraint(
            ["config_id"], ["practice_payment_providers.id"], name=op.f("fk_saved_methods_config_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_methods")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_saved_methods_payment_id")),
    )
    op.create_index(op.f("ix_saved_methods_customer_email"), "saved_methods", ["customer_email"])
