"""For operators: the host's identifier of a practice, the fingerprint of the key ring, live nodes, oldest readers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "owner_0008"
down_revision = "owner_0007"
branch_labels = None
depends_on = None

_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("practices", sa.Column("external_id", sa.Text(), nullable=True))
    op.create_index(op.f("ix_practices_external_id"), "practices", ["external_id"], unique=True)
    # Filled by the `polytill migrate` that runs this step: SQL knows no key.
    op.create_table(
        "key_ring_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("check_value", sa.Text(), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_key_ring_keys")),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("runs_worker", sa.Boolean(), nullable=False),
        sa.Column("key_checks", sa.Text(), nullable=False),
        sa.Column("started_at", _Moment, nullable=False),
        sa.Column("live_until", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "schema_readers",
        sa.Column("tree", sa.Text(), nullable=False),
        sa.Column("oldest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tree", name=op.f("pk_schema_readers")),
    )
