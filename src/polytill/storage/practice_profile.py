"""The practice's own row in its database: name, currency, country, time zone, and color on the checkout."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from polytill.domain.localities import Locality
from polytill.domain.rollout import RolloutPhase
from polytill.storage.databases import PracticeDb, Tx, Writes


def phase_of(text: str | None) -> RolloutPhase | None:
    """The phase in a rollout from its column; None if the practice is not in one."""
    return None if text is None else RolloutPhase(text)


async def rollout_phase(db: PracticeDb) -> RolloutPhase | None:
    """The practice's phase in a rollout; None if it is not in one."""
    return phase_of(await db.value("SELECT rollout_phase FROM practices WHERE id = $1", db.practice_id))


async def lock_rollout_phase(tx: Tx, practice_id: int) -> RolloutPhase | None:
    """The practice's phase in a rollout, which nobody else can change until the transaction ends."""
    lock = "UPDATE practices SET rollout_phase = rollout_phase WHERE id = $1 RETURNING rollout_phase"
    return phase_of(await tx.value(lock, practice_id))


async def change_providers(tx: Tx, practice_id: int) -> RolloutPhase | None:
    """Count a change of the provider configurations, and do what ``lock_rollout_phase`` does."""
    count = "UPDATE practices SET provider_changes = provider_changes + 1 WHERE id = $1 RETURNING rollout_phase"
    return phase_of(await tx.value(count, practice_id))


async def rollout(db: PracticeDb | Tx, practice_id: int) -> tuple[RolloutPhase | None, int]:
    """The practice's phase in a rollout, and how often its provider configurations were changed."""
    row: Any = await db.one("SELECT rollout_phase, provider_changes FROM practices WHERE id = $1", practice_id)
    return phase_of(row["rollout_phase"]), int(row["provider_changes"])


def set_rollout_phase(unit: Writes, practice_id: int, phase: RolloutPhase | None) -> None:
    """Set the copy of the phase in the practice's own database."""
    unit.add("UPDATE practices SET rollout_phase = $2 WHERE id = $1", practice_id, phase, expect=1)


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
