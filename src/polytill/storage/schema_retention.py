"""The tables of retention: periods of single practices in the owner database, and in both how far removal has come."""

from __future__ import annotations

import sqlalchemy as sa

from polytill.domain.retention import RetentionKind
from polytill.storage.schema_columns import given_id, moment, one_of, small, text, whole
from polytill.storage.schema_owner import owner
from polytill.storage.schema_practice import practice

# ``days``: 0 is for ever. A practice without a row has the period of the settings.
sa.Table(
    "practice_retention",
    owner,
    sa.Column(
        "practice_id",
        sa.Integer,
        sa.ForeignKey("practices.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    given_id("kind"),
    *small("days"),
    one_of("kind", RetentionKind),
)

# ``reached``: the id up to which nothing is left to remove, where rows stay. ``removed``: of all time.
for _metadata in (owner, practice):
    sa.Table(
        "retention_marks",
        _metadata,
        given_id("kind"),
        *text("reached", default=""),
        *whole("removed", default=0),
        *moment("ran_at"),
        one_of("kind", RetentionKind),
    )
