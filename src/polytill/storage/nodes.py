"""The running processes, each with the keys of the ring that it has. The row of a crashed process expires."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.storage.columns import Table
from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Node:
    """One running process. ``key_checks`` are the check values of its key ring."""

    id: str
    name: str
    runs_worker: bool
    key_checks: dict[str, str]


_NODES = Table("nodes", Node)


def announce(unit: Writes, node: Node, now: datetime, until: datetime) -> None:
    """Record that a process is running, and which keys it has."""
    known = (
        " ON CONFLICT (id) DO UPDATE SET key_checks = excluded.key_checks, runs_worker = excluded.runs_worker,"
        " live_until = excluded.live_until"
    )
    _NODES.insert(unit, node, end=known, started_at=now, live_until=until)


async def live_until(owner: OwnerDb, node_id: str) -> datetime | None:
    """Until when a process is announced. None if it is not."""
    return moment(await owner.value("SELECT live_until FROM nodes WHERE id = $1", node_id))


def leave(unit: Writes, node_id: str, lapsed_before: datetime) -> None:
    """Record that a process stopped, and delete the rows of crashed processes."""
    unit.add("DELETE FROM nodes WHERE id = $1 OR live_until < $2", node_id, lapsed_before)


def forget_lapsed(unit: Writes, before: datetime) -> None:
    """Delete the rows of processes that crashed before a time."""
    unit.add("DELETE FROM nodes WHERE live_until < $1", before)


async def lapsed(owner: OwnerDb, before: datetime) -> dict[str, datetime]:
    """Return the processes whose announcement ended before a time without a clean stop, and when it ended."""
    rows = await owner.fetch("SELECT id, live_until FROM nodes WHERE live_until < $1 ORDER BY id", before)
    return {str(row["id"]): until for row in rows if (until := moment(row["live_until"])) is not None}


async def live(owner: OwnerDb, now: datetime) -> list[Node]:
    """The running processes."""
    return await _NODES.all(owner, "WHERE live_until >= $1 ORDER BY name, id", now)
