"""The health of each provider in the owner database, one row for an environment: written compare-and-set."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from polytill.storage.databases import OwnerDb, Writes


class Stored(NamedTuple):
    """A health as it is stored: JSON, and how often it was changed. 0: there is no row."""

    version: int
    state: str


async def all_of(owner: OwnerDb) -> dict[tuple[str, str], Stored]:
    """Every stored health, by provider and environment."""
    rows = await owner.fetch("SELECT provider_code, environment, version, state FROM routing_health")
    return {(row["provider_code"], row["environment"]): Stored(row["version"], row["state"]) for row in rows}


def put(unit: Writes, provider_code: str, environment: str, new: Stored, now: datetime) -> None:
    """Store the next version. ``Stale`` if it is not the next one: another process was first."""
    unit.add(
        "INSERT INTO routing_health (provider_code, environment, version, state, changed_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (provider_code, environment) DO UPDATE SET"
        " version = excluded.version, state = excluded.state, changed_at = excluded.changed_at"
        " WHERE routing_health.version = excluded.version - 1",
        provider_code,
        environment,
        new.version,
        new.state,
        now,
        expect=1,
    )
