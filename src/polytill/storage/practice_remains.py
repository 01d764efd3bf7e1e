"""What is left of a practice that is to be deleted: money whose outcome is not known yet, and databases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytill.storage import moving, unknown_databases
from polytill.storage.clusters import Cluster
from polytill.storage.databases import PracticeDb
from polytill.storage.moving import Home

_COUNTED = {
    "payments": (
        "payments AS p WHERE p.status IN ('requires_action', 'processing', 'authorized') OR EXISTS"
        " (SELECT 1 FROM payment_attempts AS a WHERE a.payment_id = p.id AND a.next_lookup_at IS NOT NULL)"
    ),
    "refunds": "refunds WHERE state IN ('sent', 'pending', 'unknown')",
    "operations": "payment_operations WHERE state IN ('sent', 'pending', 'unknown')",
    "disputes": "disputes WHERE state = 'open'",
    "cases": "operator_cases WHERE state = 'open'",
}
_READ = "SELECT " + ", ".join(f"(SELECT count(*) FROM {of}) AS {name}" for name, of in _COUNTED.items())  # noqa: S608


@dataclass(frozen=True, slots=True)
class Unresolved:
    """How much of a practice is not resolved.

    Args:
        payments: Payments that can still be paid, captured or released, or whose outcome is unknown.
        refunds: Refunds without a final outcome.
        operations: Captures and cancels without a final outcome.
        disputes: Open disputes and inquiries.
        cases: Open review cases.
    """

    payments: int
    refunds: int
    operations: int
    disputes: int
    cases: int

    @property
    def any(self) -> bool:
        """Whether anything is unresolved."""
        return any(getattr(self, name) for name in _COUNTED)

    def __str__(self) -> str:
        return ", ".join(f"{name}: {getattr(self, name)}" for name in _COUNTED if getattr(self, name))


async def unresolved(db: PracticeDb) -> Unresolved:
    """Count what is unresolved in a practice, in both environments."""
    row: Any = await db.one(_READ)
    return Unresolved(**{name: int(row[name]) for name in _COUNTED})


def is_of(name: str, databases: Iterable[str]) -> bool:
    """Whether a database of this name is one of these, or a copy of one: old, unfinished or kept by a restore."""
    return any(name == one or name.startswith(f"{one}_") for one in databases)


async def drop_all(cluster: Cluster, practice_id: int, databases: Iterable[str]) -> list[str]:
    """Drop the databases of these names and their copies on a cluster. Those that are gone already are left out of the
    returned names. An SQLite file goes with its log."""
    dropped = [name for name in await unknown_databases.names(cluster) if is_of(name, databases)]
    for name in dropped:
        await moving.drop(Home(cluster, name))
    if cluster.budget is None:
        _delete_beside(Path(cluster.location), practice_id, databases)
    return dropped


def _delete_beside(folder: Path, practice_id: int, databases: Iterable[str]) -> None:
    """Delete logs without their files, unfinished copies, and the lock of a move."""
    for name in databases:
        for pattern in (f"{name}.*", f"{name}_*"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
    (folder / f".move-{practice_id}.lock").unlink(missing_ok=True)
