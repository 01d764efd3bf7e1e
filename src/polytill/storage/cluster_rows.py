"""The registered clusters, as rows of the owner database: their sealed addresses, limits and states.

The default cluster has a row without an address, because its address is a setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import ClusterState
from polytill.storage.columns import Table
from polytill.storage.databases import OwnerDb, Tx, Writes


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A registered cluster.

    ``capacity``: how many practices it may have; None for no limit. ``connection_limit``: how many connections one process
    may hold there; None for the setting. ``priority``: the higher comes first where several have the same room.
    """

    name: str
    sealed_url: str | None
    state: ClusterState
    capacity: int | None
    connection_limit: int | None
    priority: int
    created_at: datetime | None


_CLUSTERS = Table("clusters", ClusterRow)


async def listed(owner: OwnerDb) -> list[ClusterRow]:
    """All clusters, the default one first."""
    return await _CLUSTERS.all(owner, "ORDER BY id")


async def counts(owner: OwnerDb) -> dict[str, int]:
    """How many practices each cluster has, those included that are being created. One without any is left out."""
    rows = await owner.fetch("SELECT cluster, COUNT(*) AS n FROM practices GROUP BY cluster")
    return {row["cluster"]: int(row["n"]) for row in rows}


def add(unit: Writes, row: ClusterRow) -> None:
    """Register a cluster. ``Duplicate`` if there is one of this name."""
    _CLUSTERS.insert(unit, row, updated_at=row.created_at)


def change(unit: Writes, name: str, values: dict[str, Any], now: datetime) -> None:
    """Set columns of a cluster. ``Stale`` if there is none of this name."""
    columns = (*values, "updated_at")
    assigned = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 2))
    unit.add(f"UPDATE clusters SET {assigned} WHERE name = $1", name, *values.values(), now, expect=1)  # noqa: S608


async def hold(tx: Tx, name: str) -> tuple[ClusterRow, int] | None:
    """Lock a cluster until this transaction ends, and count its practices. None if there is no such cluster.

    Nobody else can change or remove it meanwhile, or reserve a practice on it.
    """
    lock = f"UPDATE clusters SET updated_at = updated_at WHERE name = $1 RETURNING {_CLUSTERS.columns}"  # noqa: S608
    row = await tx.one(lock, name)
    if row is None:
        return None
    found = _CLUSTERS.read(row)
    return found, int(await tx.value("SELECT COUNT(*) FROM practices WHERE cluster = $1", name))


def remove(tx: Writes, name: str) -> None:
    """Remove a cluster that holds no practice."""
    tx.add("DELETE FROM clusters WHERE name = $1", name, expect=1)


async def sealed_urls(owner: OwnerDb) -> dict[str, str]:
    """The sealed addresses of the clusters by name, without the default one."""
    return {row.name: row.sealed_url for row in await listed(owner) if row.sealed_url is not None}


def reseal(unit: Writes, name: str, before: str, sealed_url: str, now: datetime) -> None:
    """Replace a sealed address by the same one, sealed again."""
    unit.add(
        "UPDATE clusters SET sealed_url = $3, updated_at = $4 WHERE name = $1 AND sealed_url = $2",
        name,
        before,
        sealed_url,
        now,
        expect=1,
    )
