"""Databases of practices that the directory does not know: created after a backup of the owner database, or left over."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from polytill.domain.errors import PolytillError
from polytill.storage.clusters import Cluster
from polytill.storage.practices import DATABASE_PREFIX


class UnknownPractice(NamedTuple):
    """A practice that has a database and is not in the directory."""

    practice_id: int
    name: str
    cluster: str
    database_name: str


async def names(cluster: Cluster) -> list[str]:
    """The names of the practices' databases on a cluster."""
    if cluster.budget is None:
        return sorted(file.stem for file in Path(cluster.location).glob(f"{DATABASE_PREFIX}*.db"))  # noqa: ASYNC240
    async with cluster.budget.admin() as connection:
        rows = await connection.fetch(
            "SELECT datname::text AS name FROM pg_database WHERE starts_with(datname, $1) AND datallowconn ORDER BY 1",
            DATABASE_PREFIX,
        )
    return [row["name"] for row in rows]


async def of(cluster: Cluster, cluster_name: str, database_name: str, uid: str) -> UnknownPractice | None:
    """Whose database this is. None if it is of no practice of the installation with this uid, or does not say."""
    engine = cluster.engine(database_name)
    try:
        rows = await engine.fetch(
            "SELECT p.id, p.name FROM identity i JOIN practices p ON p.id = i.practice_id WHERE i.installation = $1",
            uid,
        )
    except PolytillError:
        return None
    except Exception:  # no such table: its creation never ended
        return None
    finally:
        await engine.close()
    return UnknownPractice(rows[0]["id"], rows[0]["name"], cluster_name, database_name) if rows else None
