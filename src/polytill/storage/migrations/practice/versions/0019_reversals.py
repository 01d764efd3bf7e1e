"""Reversals and what a won dispute returned; cases of disputes that ended before a case ended with its dispute are ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "practice_0019"
down_revision = "practice_0018"
branch_labels = None
depends_on = None

# ``\\:`` keeps a colon from being read as a parameter.
_ITS_DISPUTE = (
    " FROM disputes AS d WHERE d.payment_id = operator_cases.payment_id"
    " AND operator_cases.subject = d.provider_dispute_id || '{suffix}'"
)
_OPEN_OF = "state = 'open' AND kind = '{kind}' AND EXISTS (SELECT 1{dispute} AND {holds})"
_RESOLUTION = {
    "sqlite": "json_set(COALESCE(detail, '{{}}'), '$.resolution', json_object('action', 'dispute_' || ({state})))",
    "postgresql": "COALESCE(detail, '{{}}'::jsonb) || jsonb_build_object('resolution',"
    " jsonb_build_object('action', 'dispute_' || ({state})))",
}
_AUDITED = {
    "sqlite": "json_object('kind', kind, 'action', json_extract(detail, '$.resolution.action'))",
    "postgresql": "jsonb_build_object('kind', kind, 'action', detail->'resolution'->>'action')",
}
_SUFFIXES = {"dispute_open": "\\:open", "inquiry_open": "\\:inquiry"}


def upgrade() -> None:
    op.add_column("refunds", sa.Column("is_reversal", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("disputes", sa.Column("funds_returned", sa.Boolean(), server_default=sa.false(), nullable=False))
    _end_cases(op.get_context().dialect.name)


def _end_cases(dialect: str) -> None:
    """The case of an open dispute ends as it would have ended with the dispute. One about an inquiry becomes that."""
    for kind, suffix in _SUFFIXES.items():
        its = _ITS_DISPUTE.format(suffix=suffix)
        ended = _OPEN_OF.format(kind=kind, dispute=its, holds="d.state <> 'open'")
        resolution = _RESOLUTION[dialect].format(state=f"SELECT d.state{its}")
        op.execute(
            sa.text(
                f"UPDATE operator_cases SET detail = {resolution}, state = 'resolved',"  # noqa: S608
                f" resolved_at = (SELECT d.updated_at{its}), resolved_by = 'migration' WHERE {ended}"
            )
        )
    op.execute(
        sa.text(
            "INSERT INTO audit_log (at, actor, action, subject, detail) SELECT CURRENT_TIMESTAMP, 'migration',"  # noqa: S608
            f" 'case.resolved', id, {_AUDITED[dialect]} FROM operator_cases WHERE resolved_by = 'migration'"
        )
    )
    inquiry = _OPEN_OF.format(
        kind="dispute_open",
        dispute=_ITS_DISPUTE.format(suffix="\\:open"),
        holds="d.state = 'open' AND d.kind = 'inquiry'",
    )
    # A subject ends with ':open', 5 characters.
    named = "SUBSTR(subject, 1, LENGTH(subject) - 5) || '\\:inquiry'"
    op.execute(
        sa.text(
            f"UPDATE operator_cases SET kind = 'inquiry_open', subject = {named} WHERE {inquiry}"  # noqa: S608
            f" AND NOT EXISTS (SELECT 1 FROM operator_cases AS c WHERE c.kind = 'inquiry_open'"
            " AND c.subject = SUBSTR(operator_cases.subject, 1, LENGTH(operator_cases.subject) - 5) || '\\:inquiry')"
        )
    )
