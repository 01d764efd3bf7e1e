"""People sign in: their sessions, the links that invite them or reset a password, and failed tries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0006"
down_revision = "practice_0005"
branch_labels = None
depends_on = None

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Moment = sa.DateTime(timezone=True)


def _of_user(table: str) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    name = op.f(f"fk_{table}_user_id")
    return sa.Column("user_id", sa.Integer(), nullable=False), sa.ForeignKeyConstraint(
        ["user_id"], ["users.id"], name=name
    )


def upgrade() -> None:
    user, of_user = _of_user("sessions")
    op.create_table(
        "sessions",
        sa.Column("id", _Serial, autoincrement=True, nullable=False),
        user,
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("last_seen_at", _Moment, nullable=False),
        of_user,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sessions_token_hash")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])
    user, of_user = _of_user("person_links")
    op.create_table(
        "person_links",
        sa.Column("id", _Serial, autoincrement=True, nullable=False),
        user,
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("created_at", _Moment, nullable=False),
        sa.Column("expires_at", _Moment, nullable=False),
        of_user,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_person_links_token_hash")),
    )
    op.create_index(op.f("ix_person_links_user_id"), "person_links", ["user_id"])
    op.create_table(
        "sign_in_failures",
        sa.Column("id", _Serial, autoincrement=True, nullable=False),
        sa.Column("email_hash", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.Text(), nullable=False),
        sa.Column("at", _Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_failures")),
    )
    op.create_index(op.f("ix_sign_in_failures_at"), "sign_in_failures", ["at"])
