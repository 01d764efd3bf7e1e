"""The practice's own row in its database: name, currency, country, time zone, and color on the checkout."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from polytill.domain.localities import Locality
from polytill.storage.databases import PracticeDb, Writes


async def settings(db: PracticeDb) -> tuple[int, Locality]:
    """The practice's ``default_currency_id``, country and time zone, from its own database."""
    row: Any = await db.one(
        "SELECT default_currency_id, country, time_zone FROM practices WHERE id = $1", db.practice_id
    )
    return int(row["default_currency_id"]), Locality(row["country"], row["time_zone"])


def update(unit: Writes, practice_id: int, name: str, currency_id: int, place: Locality, now: datetime) -> None:
    """Name, default currency, country and time zone in the practice's own database."""
    unit.add(
        "UPDATE practices SET name = $2, default_currency_id = $3, updated_at = $4, country = $5, time_zone = $6"
        " WHERE id = $1",
        practice_id,
        name,
        currency_id,
        now,
        place.country,
        place.time_zone,
        expect=1,
    )


async def checkout_color(db: PracticeDb) -> str | None:
    """The practice's color on the checkout, ``#rrggbb``. None if it has chosen none."""
    color: str | None = await db.value("SELECT checkout_color FROM practices WHERE id = $1", db.practice_id)
    return color


def set_checkout_color(unit: Writes, practice_id: int, color: str | None, now: datetime) -> None:
    """Set the color. None restores the default."""
    unit.add(
        "UPDATE practices SET checkout_color = $2, updated_at = $3 WHERE id = $1", practice_id, color, now, expect=1
    )
