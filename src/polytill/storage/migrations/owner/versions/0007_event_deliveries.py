"""Event deliveries: claims by workers, the practice of each, resolved abandoned ones, and secrets that were replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "owner_0007"
down_revision = "owner_0006"
branch_labels = None
depends_on = None

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "event_previous_secrets",
        sa.Column("id", _Serial, autoincrement=True, nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("signs_until", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_previous_secrets")),
    )
    # SQLite adds a column that is never null only with a default.
    practice = sa.Column("practice_id", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("event_deliveries", practice)
    for name, kind in (
        ("given_up_at", _Moment),
        ("resolved_at", _Moment),
        ("claimed_by", sa.Text()),
        ("claimed_until", _Moment),
    ):
        op.add_column("event_deliveries", sa.Column(name, kind, nullable=True))
    op.execute(
        "UPDATE event_deliveries SET practice_id = (SELECT f.practice_id FROM event_feed f WHERE f.id = feed_id)"
    )
    op.execute("UPDATE event_deliveries SET given_up_at = next_try_at WHERE state = 'given_up'")
    op.create_index(op.f("ix_event_deliveries_claimed_by"), "event_deliveries", ["claimed_by"])
    pending = sa.text("state = 'pending'")
    for columns in (("practice_id", "next_try_at"), ("payment_id", "feed_id")):
        op.create_index(
            f"ix_event_deliveries_pending_{'_'.join(columns)}",
            "event_deliveries",
            list(columns),
            postgresql_where=pending,
            sqlite_where=pending,
        )
