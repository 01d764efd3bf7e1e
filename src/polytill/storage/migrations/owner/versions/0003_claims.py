"""Claims on leases: which worker visits a practice now, and when the next visit is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "owner_0003"
down_revision = "owner_0002"
branch_labels = None
depends_on = None

_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("practice_leases", sa.Column("visit_due_at", _Moment, nullable=True))
    op.add_column("practice_leases", sa.Column("claimed_by", sa.Text(), nullable=True))
    op.add_column("practice_leases", sa.Column("claimed_until", _Moment, nullable=True))
    op.create_index(op.f("ix_practice_leases_visit_due_at"), "practice_leases", ["visit_due_at"])
    op.create_index(op.f("ix_practice_leases_claimed_by"), "practice_leases", ["claimed_by"])
