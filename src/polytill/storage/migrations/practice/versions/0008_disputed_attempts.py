"""Which of a payment's attempts a dispute is about: of several that were paid, one has lost the money."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0008"
down_revision = "practice_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty in the rows that are there: ``flows/payments/duplicates.py`` reads those as before.
    op.add_column("disputes", sa.Column("attempt_id", sa.Text(), nullable=True))
