"""The tables of erasing customers' personal data: the record of each erasure, in the owner database.

It is in the owner database so that it survives a restore of the practice's database.
"""

from __future__ import annotations

import sqlalchemy as sa

from polytill.storage.schema_columns import Json, Moment, given_id, index, maybe, moment, partial_index, small, text
from polytill.storage.schema_owner import owner
from polytill.storage.schema_practice import practice

# ``digests``: keyed with the practice's data key, of the customer's identifiers. ``asked_at``: what was recorded later is
# not erased. ``ended_at``: when nothing was left to erase; NULL: payments were still needed, or a process died.
sa.Table(
    "erasures",
    owner,
    given_id(),
    *small("practice_id"),
    sa.Column("digests", Json, nullable=False),
    *text("asked_by"),
    *moment("asked_at"),
    *maybe("ended_at", kind=Moment),
    index("practice_id"),
    partial_index("ix_erasures_open", "ended_at IS NULL", "practice_id"),
)

# ``payments.erasure``: the last erasure that erased the customer of a payment.
_erasure = practice.tables["payments"].c.erasure
_erased = sa.text("erasure IS NOT NULL")
sa.Index("ix_payments_erasure", _erasure, postgresql_where=_erased, sqlite_where=_erased)
