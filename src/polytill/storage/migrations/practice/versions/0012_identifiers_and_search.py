"""Payment numbers for people, the identifiers of providers, rows to search by, and e-mails in their normal form.

Existing rows get theirs by ``flows/admin/indexing.py``, in batches: text cannot be folded in SQL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0012"
down_revision = "practice_0011"
branch_labels = None
depends_on = None

_ENVIRONMENT = "environment IN ('sandbox', 'production')"


def upgrade() -> None:
    op.add_column("payments", sa.Column("number", sa.Text(), nullable=True))
    op.create_index(op.f("ix_payments_practice_id_number"), "payments", ["practice_id", "number"], unique=True)
    op.add_column(
        "payment_attempts", sa.Column("wire_format", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("saved_methods", sa.Column("email_key", sa.Text(), nullable=True))
    op.create_index(op.f("ix_saved_methods_email_key"), "saved_methods", ["email_key"])
    op.create_index(op.f("ix_refunds_provider_refund_id"), "refunds", ["provider_refund_id"])
    op.create_index(op.f("ix_disputes_provider_dispute_id"), "disputes", ["provider_dispute_id"])
    op.create_table(
        "payment_identifiers",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("search_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(_ENVIRONMENT, name=op.f("ck_payment_identifiers_environment")),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["payment_attempts.id"], name=op.f("fk_payment_identifiers_attempt_id")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_payment_identifiers_payment_id")),
        sa.ForeignKeyConstraint(["practice_id"], ["practices.id"], name=op.f("fk_payment_identifiers_practice_id")),
        sa.PrimaryKeyConstraint("attempt_id", "kind", "value", name=op.f("pk_payment_identifiers")),
    )
    op.create_index(op.f("ix_payment_identifiers_search_key"), "payment_identifiers", ["search_key"])
    op.create_index(op.f("ix_payment_identifiers_payment_id"), "payment_identifiers", ["payment_id"])
    op.create_table(
        "payment_search",
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("major_units", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.CheckConstraint(_ENVIRONMENT, name=op.f("ck_payment_search_environment")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_payment_search_payment_id")),
        sa.PrimaryKeyConstraint("environment", "created_at", "payment_id", name=op.f("pk_payment_search")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_payment_search_email"), "payment_search", ["email"])
    op.create_index(op.f("ix_payment_search_reference"), "payment_search", ["reference"])
