"""Payment links and the payments made through them; a practice's color on its payers' pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0005"
down_revision = "practice_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("practices", sa.Column("checkout_color", sa.Text(), nullable=True))
    op.create_table(
        "payment_links",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("single_use", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_payment_links_amount")),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_payment_links_environment")),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_payment_links_state")),
        sa.ForeignKeyConstraint(["practice_id"], ["practices.id"], name=op.f("fk_payment_links_practice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_links")),
    )
    op.create_table(
        "payment_link_payments",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("link_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["payment_links.id"], name=op.f("fk_payment_link_payments_link_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_payment_link_payments_payment_id")),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_payment_link_payments")),
    )
    op.create_index(
        op.f("ix_payment_link_payments_link_id_created_at"), "payment_link_payments", ["link_id", "created_at"]
    )
