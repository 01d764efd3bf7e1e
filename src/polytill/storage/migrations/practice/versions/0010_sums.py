"""What overviews read: the provider and the method of a ledger entry, and indexes that hold all that is summed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0010"
down_revision = "practice_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("provider_code", "method"):
        op.add_column("ledger_lines", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.execute(
        "UPDATE ledger_lines SET provider_code = COALESCE((SELECT MAX(substr(other.account, 10)) FROM ledger_lines other"
        " WHERE other.payment_id = ledger_lines.payment_id AND other.entry_id = ledger_lines.entry_id"
        " AND substr(other.account, 1, 9) = 'provider:'), ''),"
        " method = COALESCE((SELECT payment_method FROM payments WHERE payments.id = ledger_lines.payment_id), '')"
        " WHERE substr(account, 1, 9) <> 'provider:'"
    )
    op.create_index(
        "ix_ledger_lines_sums",
        "ledger_lines",
        ["environment", "currency", "account", "fact", "provider_code", "method", "created_at", "amount"],
        sqlite_where=sa.text("provider_code <> ''"),
        postgresql_where=sa.text("provider_code <> ''"),
    )
    op.create_index("ix_payments_counts", "payments", ["environment", "currency", "status", "created_at"])
