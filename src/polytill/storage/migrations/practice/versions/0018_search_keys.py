"""Ids of refunds and disputes as they are searched, and search rows in their newer form.

Text cannot be folded in SQL: ``flows/admin/indexing.py`` makes the keys and the search rows after the migration, from the
payments. The same for keys of saved methods whose e-mail has letters beyond ASCII: folding made one person of two.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0018"
down_revision = "practice_0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, name in (("refunds", "provider_refund_id"), ("disputes", "provider_dispute_id")):
        op.add_column(table, sa.Column("search_key", sa.Text(), nullable=True))
        op.drop_index(op.f(f"ix_{table}_{name}"), table_name=table)
        op.create_index(op.f(f"ix_{table}_search_key"), table, ["search_key"])
    op.execute("DELETE FROM payment_search_blocks")
    op.execute("DELETE FROM payment_search")
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    size = "length(CAST(customer_email AS BLOB))" if is_sqlite else "octet_length(customer_email)"
    op.execute(f"UPDATE saved_methods SET same_card = NULL WHERE {size} > length(customer_email)")  # noqa: S608
