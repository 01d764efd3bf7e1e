"""Copies of one customer's same card are one saved method; removed ones are detached at the provider.

Existing rows get their keys by ``flows/admin/indexing.py``: text cannot be folded in SQL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0015"
down_revision = "practice_0014"
branch_labels = None
depends_on = None

_Moment = sa.DateTime(timezone=True)


def _stamp(name: str) -> sa.Column[object]:
    return sa.Column(name, _Moment, server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False)


def upgrade() -> None:
    op.add_column("saved_methods", sa.Column("same_card", sa.Text(), nullable=True))
    op.drop_index(op.f("ix_saved_methods_email_key"), table_name="saved_methods")
    # The same for e-mails, and it holds phone numbers as well.
    op.execute("ALTER TABLE saved_methods RENAME COLUMN email_key TO customer_key")
    op.create_index(op.f("ix_saved_methods_customer_key"), "saved_methods", ["customer_key"])
    op.create_index(op.f("ix_saved_methods_same_card"), "saved_methods", ["same_card"])
    op.create_table(
        "saved_method_detachments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column("sealed_token", sa.Text(), nullable=True),
        sa.Column("provider_customer_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="due", nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", _Moment, nullable=True),
        sa.Column("last_code", sa.Text(), nullable=True),
        _stamp("created_at"),
        _stamp("updated_at"),
        sa.CheckConstraint(
            "environment IN ('sandbox', 'production')", name=op.f("ck_saved_method_detachments_environment")
        ),
        sa.CheckConstraint("state IN ('due', 'detached', 'refused')", name=op.f("ck_saved_method_detachments_state")),
        sa.ForeignKeyConstraint(
            ["practice_id"], ["practices.id"], name=op.f("fk_saved_method_detachments_practice_id")
        ),
        sa.ForeignKeyConstraint(
            ["config_id"], ["practice_payment_providers.id"], name=op.f("fk_saved_method_detachments_config_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_method_detachments")),
    )
    op.create_index(
        op.f("ix_saved_method_detachments_state_next_try_at"), "saved_method_detachments", ["state", "next_try_at"]
    )
