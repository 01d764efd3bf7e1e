"""What each running process may have of a PostgreSQL server's connections, as the processes agreed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from polytill.storage.columns import Table, places
from polytill.storage.databases import OwnerDb, Reads, Tx, Writes


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part of a server's connections.

    Args:
        server: The hosts of the server.
        node_id: The process.
        connections: How many it may have, or still has while it closes some.
        wanted: How many it could use.
        most: How many it may have at most by its own settings.
    """

    server: str
    node_id: str
    connections: int
    wanted: int
    most: int


_SHARES = Table("connection_shares", Share)
# A process without an announcement is gone, or has been cut off: its share is free.
_LIVE = "EXISTS (SELECT 1 FROM nodes n WHERE n.id = connection_shares.node_id AND n.live_until >= $1)"


async def live(reads: Reads, servers: Collection[str], now: datetime) -> list[Share]:
    """The shares of the running processes of these servers."""
    wanted = places(len(servers), 2)
    return await _SHARES.all(reads, f"WHERE {_LIVE} AND server IN ({wanted}) ORDER BY server, node_id", now, *servers)


async def lock(tx: Tx, owner: OwnerDb) -> None:
    """Let the processes agree one after the other, until this transaction ends."""
    if owner.engine.dialect == "postgresql":  # SQLite has one writer at a time
        await tx.fetch("SELECT pg_advisory_xact_lock(7041778)")  # any number works that nobody else uses


def write(unit: Writes, share: Share) -> None:
    """Write a process's share of a server."""
    known = (
        " ON CONFLICT (server, node_id) DO UPDATE SET connections = excluded.connections, wanted = excluded.wanted,"
        " most = excluded.most"
    )
    _SHARES.insert(unit, share, end=known)


def leave(unit: Writes, node_id: str) -> None:
    """Delete the shares of a process that ends, and of those that are gone."""
    unit.add("DELETE FROM connection_shares WHERE node_id = $1 OR node_id NOT IN (SELECT id FROM nodes)", node_id)
