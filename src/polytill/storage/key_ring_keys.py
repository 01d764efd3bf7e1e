"""The fingerprint of the key ring in the owner database: a check value of each key that wraps something."""

from __future__ import annotations

from datetime import datetime

from polytill.storage.databases import OwnerDb, Tx, Writes

_ALL = "SELECT key_id, check_value FROM key_ring_keys ORDER BY key_id"


async def recorded(owner: OwnerDb | Tx) -> dict[str, str]:
    """The check values by key id."""
    return {row["key_id"]: row["check_value"] for row in await owner.fetch(_ALL)}


def record(unit: Writes, checks: dict[str, str], now: datetime) -> None:
    """Add check values. Existing ones stay."""
    for key_id, check in checks.items():
        unit.add(
            "INSERT INTO key_ring_keys (key_id, check_value, created_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (key_id) DO NOTHING",
            key_id,
            check,
            now,
        )


async def anything_sealed(owner: OwnerDb) -> list[tuple[int, str]]:
    """For each key id in use, one data key of a practice that it wraps, with the practice's id."""
    rows = await owner.fetch("SELECT id, wrapped_data_key FROM practices WHERE wrapped_data_key <> '' ORDER BY id")
    by_key = {str(row["wrapped_data_key"]).partition(":")[0]: (row["id"], row["wrapped_data_key"]) for row in rows}
    return list(by_key.values())
