"""Leases of practices, the feed of events, and where they are delivered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "owner_0002"
down_revision = "owner_0001"
branch_labels = None
depends_on = None

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Moment = sa.DateTime(timezone=True)


def _stamp(name: str) -> sa.Column[object]:
    return sa.Column(name, _Moment, server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "practice_leases",
        sa.Column("practice_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lease_until", _Moment, nullable=False),
        sa.ForeignKeyConstraint(["practice_id"], ["practices.id"], name=op.f("fk_practice_leases_practice_id")),
        sa.PrimaryKeyConstraint("practice_id", name=op.f("pk_practice_leases")),
    )
    op.create_index(op.f("ix_practice_leases_lease_until"), "practice_leases", ["lease_until"])
    op.create_table(
        "event_feed",
        sa.Column("id", _Serial, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_event_feed_environment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_feed")),
        sa.UniqueConstraint("event_id", name=op.f("uq_event_feed_event_id")),
    )
    op.create_index(op.f("ix_event_feed_payment_id"), "event_feed", ["payment_id"])
    op.create_table(
        "event_destinations",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        _stamp("created_at"),
        _stamp("updated_at"),
        sa.CheckConstraint("id = 1", name=op.f("ck_event_destinations_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_destinations")),
    )
    op.create_table(
        "event_deliveries",
        sa.Column("feed_id", _Serial, autoincrement=False, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", _Moment, nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", _Moment, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'given_up')", name=op.f("ck_event_deliveries_state")),
        sa.ForeignKeyConstraint(["feed_id"], ["event_feed.id"], name=op.f("fk_event_deliveries_feed_id")),
        sa.PrimaryKeyConstraint("feed_id", name=op.f("pk_event_deliveries")),
    )
    op.create_index(op.f("ix_event_deliveries_state_next_try_at"), "event_deliveries", ["state", "next_try_at"])
    op.create_index(op.f("ix_event_deliveries_payment_id"), "event_deliveries", ["payment_id"])
