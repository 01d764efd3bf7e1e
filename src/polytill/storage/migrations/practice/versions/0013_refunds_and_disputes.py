"""Disputes with their kind and reason, what of each is booked as lost, and how much of a payment is disputed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0013"
down_revision = "practice_0012"
branch_labels = None
depends_on = None

_STATES = "state IN ('open', 'won', 'lost', 'closed')"
_KINDS = "kind IN ('inquiry', 'chargeback')"
_KEPT = (
    "id, payment_id, practice_id, environment, provider_dispute_id, state, provider_state, amount, currency,"
    " funds_withdrawn, due_at, created_at, updated_at, attempt_id"
)
# An open chargeback about the money that the payment holds; older rows do not name the attempt.
_DISPUTED = (
    "UPDATE payments SET amount_disputed = COALESCE((SELECT SUM(COALESCE(d.amount, payments.amount)) FROM disputes AS d"
    " WHERE d.payment_id = payments.id AND d.state = 'open' AND d.kind = 'chargeback' AND (d.attempt_id IS NULL"
    " OR d.attempt_id IN (SELECT a.id FROM payment_attempts AS a WHERE a.payment_id = payments.id"
    " AND a.provider_transaction_id = payments.provider_transaction_id))), 0)"
    " WHERE id IN (SELECT payment_id FROM disputes WHERE state = 'open')"
)


def upgrade() -> None:
    op.add_column(
        "payments", sa.Column("amount_disputed", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "payments", sa.Column("dispute_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("refunds", sa.Column("provider_dispute_id", sa.Text(), nullable=True))
    if op.get_context().dialect.name == "sqlite":
        _made_anew()
    else:
        _altered()
    op.execute("UPDATE disputes SET booked = COALESCE(amount, 0) WHERE state = 'lost'")
    op.execute("UPDATE disputes SET kind = 'inquiry' WHERE provider_state LIKE 'warning!_%' ESCAPE '!'")
    op.execute("UPDATE disputes SET state = 'closed' WHERE provider_state = 'warning_closed' AND state = 'won'")
    op.execute(_DISPUTED)
    op.execute("UPDATE operator_cases SET kind = 'over_returned' WHERE kind = 'over_refund'")
    op.execute("UPDATE payments SET dispute_version = 1 WHERE id IN (SELECT payment_id FROM disputes)")


def _added() -> list[sa.Column[object]]:
    return [
        sa.Column("kind", sa.Text(), server_default="chargeback", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("provider_reason", sa.Text(), nullable=True),
        sa.Column("booked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    ]


def _altered() -> None:
    for column in _added():
        op.add_column("disputes", column)
    op.drop_constraint(op.f("ck_disputes_state"), "disputes", type_="check")
    op.create_check_constraint(op.f("ck_disputes_state"), "disputes", _STATES)
    op.create_check_constraint(op.f("ck_disputes_kind"), "disputes", _KINDS)
    op.create_check_constraint(op.f("ck_disputes_booked"), "disputes", "booked >= 0")


def _made_anew() -> None:
    """SQLite cannot change a CHECK constraint: the table is made again, and its rows are copied."""
    op.rename_table("disputes", "disputes_before")
    op.create_table(
        "disputes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("practice_id", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("provider_dispute_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("provider_state", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("funds_withdrawn", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        *_added(),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_disputes_environment")),
        sa.CheckConstraint(_STATES, name=op.f("ck_disputes_state")),
        sa.CheckConstraint(_KINDS, name=op.f("ck_disputes_kind")),
        sa.CheckConstraint("booked >= 0", name=op.f("ck_disputes_booked")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_disputes_payment_id")),
        sa.ForeignKeyConstraint(["practice_id"], ["practices.id"], name=op.f("fk_disputes_practice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
        sa.UniqueConstraint(
            "payment_id", "provider_dispute_id", name=op.f("uq_disputes_payment_id_provider_dispute_id")
        ),
    )
    op.execute(f"INSERT INTO disputes ({_KEPT}) SELECT {_KEPT} FROM disputes_before")  # noqa: S608
    op.drop_table("disputes_before")
    op.create_index(op.f("ix_disputes_provider_dispute_id"), "disputes", ["provider_dispute_id"])
