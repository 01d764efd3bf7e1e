"""The tables of routing: a practice's policies in its own database, and what all practices share in the owner's.

What is shared is anonymous: no row has a practice, a payment or an amount of one payment.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from polytill.storage.schema_columns import (
    Moment,
    check,
    environment,
    id_column,
    maybe,
    moment,
    of,
    small,
    text,
    unique,
    whole,
)
from polytill.storage.schema_owner import owner
from polytill.storage.schema_practice import practice


def _key(*names: str) -> Any:
    return (sa.Column(name, sa.Text, primary_key=True, nullable=False) for name in names)


# ── In a practice's database ──

# A version can be edited until it is published for the first time, and never again.
sa.Table(
    "routing_policies",
    practice,
    id_column(),
    of("practice_id", "practices"),
    *environment(),
    *small("version"),
    *small("edits", default=0),  # counts changes, so that two people cannot edit the same draft
    *text("content"),
    *text("note", default=""),
    *text("created_by", "changed_by"),
    *moment("created_at", "changed_at"),
    *maybe("published_by"),
    *maybe("published_at", kind=Moment),  # the first time
    unique("environment", "version"),
)

# The version that routes payments. One row for each environment; version 0 is the default order, without a policy.
sa.Table(
    "routing_active",
    practice,
    *_key("environment"),
    of("practice_id", "practices"),
    *small("version"),
    *text("changed_by"),
    *moment("changed_at"),
    check("environment", "environment IN ('sandbox', 'production')"),
)

# ── In the owner database ──

# Outcomes of attempts, over all practices. The counts are of ``period``, a number of half-lives since the epoch; they
# are halved for each period since then. In thousandths, so that halving does not lose them at once.
sa.Table(
    "routing_outcomes",
    owner,
    *_key("provider_code", "environment", "currency", "method"),
    *whole("period", "paid", "declined"),
)

# Fees that providers really charged, as a sum of shares of the amount in parts per million. ``band``: the bits of the
# amount in minor units, so that amounts of one row are within a factor of two of each other.
sa.Table(
    "routing_fees",
    owner,
    *_key("provider_code", "environment", "currency", "method"),
    sa.Column("band", sa.Integer, primary_key=True, autoincrement=False),
    *whole("period", "payments", "share_ppm"),
)

# The health of a provider, as the state machine of ``flows/routing/health.py`` has it. ``version`` counts its changes,
# so that of two processes that want to probe it only one does.
sa.Table(
    "routing_health",
    owner,
    *_key("provider_code", "environment"),
    *whole("version"),
    *text("state"),
    *moment("changed_at"),
)
