"""Bringing all practices to the present schema: who is at it now, since when, and which practices could not be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "owner_0005"
down_revision = "owner_0004"
branch_labels = None
depends_on = None

_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "fleet_migration",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("to_migrate", sa.BigInteger(), nullable=False),
        sa.Column("started_at", _Moment, nullable=False),
        sa.Column("claimed_until", _Moment, nullable=False),
        sa.Column("ended_at", _Moment, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_fleet_migration_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_migration")),
    )
    op.create_table(
        "fleet_migration_failures",
        sa.Column("practice_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", _Moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["practice_id"], ["practices.id"], name=op.f("fk_fleet_migration_failures_practice_id")
        ),
        sa.PrimaryKeyConstraint("practice_id", name=op.f("pk_fleet_migration_failures")),
    )
