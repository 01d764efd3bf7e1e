"""Where a practice is: its country and time zone. Existing practices get those of their default currency."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from polytill.domain.currencies import CURRENCIES
from polytill.domain.localities import locality

revision = "practice_0009"
down_revision = "practice_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("practices", sa.Column("country", sa.Text(), nullable=True))
    op.add_column("practices", sa.Column("time_zone", sa.Text(), nullable=False, server_default="UTC"))
    places = {currency.numeric: locality(currency.code) for currency in CURRENCIES.values()}
    countries = " ".join(f"WHEN {number} THEN '{one.country}'" for number, one in places.items() if one.country)
    zones = " ".join(f"WHEN {number} THEN '{one.time_zone}'" for number, one in places.items())
    op.execute(
        f"UPDATE practices SET country = CASE default_currency_id {countries} END,"  # noqa: S608
        f" time_zone = CASE default_currency_id {zones} ELSE 'UTC' END"
    )
