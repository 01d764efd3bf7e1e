"""The progress of reconciliation: up to when each configuration was compared with its provider's listing."""

from __future__ import annotations

from datetime import datetime

from polytill.domain.states import AttemptState, Environment
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import known_or
from polytill.storage.units import moment


def keep(unit: Writes, config_id: int, environment: Environment, compared_until: datetime) -> None:
    """Record that everything before this time has been compared."""
    unit.add(
        "INSERT INTO listing_cursors (config_id, environment, compared_until) VALUES ($1, $2, $3)"
        " ON CONFLICT (config_id, environment) DO UPDATE SET compared_until = excluded.compared_until"
        " WHERE listing_cursors.compared_until < excluded.compared_until",
        config_id,
        environment,
        compared_until,
    )


async def kept(db: PracticeDb, config_id: int, environment: Environment) -> datetime | None:
    """The time up to which everything was compared. None if nothing was."""
    until = await db.value(
        "SELECT compared_until FROM listing_cursors WHERE config_id = $1 AND environment = $2", config_id, environment
    )
    return moment(until)


async def taken_between(
    db: PracticeDb, config_id: int, environment: Environment, since: datetime, until: datetime
) -> list[str]:
    """The attempts of a window that took money by our records, or may have, because this version does not know their
    state."""
    return await db.column(
        "SELECT id FROM payment_attempts WHERE config_id = $1 AND environment = $2"  # noqa: S608
        f" AND {known_or('succeeded', AttemptState)}"
        " AND created_at >= $3 AND created_at < $4 ORDER BY id",
        config_id,
        environment,
        since,
        until,
    )
