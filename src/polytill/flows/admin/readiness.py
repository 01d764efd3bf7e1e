"""Readiness of this process: green while it can serve known practices, with a list of faults; red if it can serve none.

A load balancer removes a red node. An unreachable owner database must not cause that: practices that are known here
take payments as long as their leases hold, or this process's announcement does (``flows/lease.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from polytill.domain.errors import DiskFull, KeyRingDiffers, NotNow
from polytill.flows import key_ring, lease
from polytill.flows.context import Context
from polytill.storage import nodes
from polytill.storage.files import is_full

OWNER_AWAY, NO_WORKER, DISK_FULL, KEY_RING = "owner_database_unavailable", "no_worker_seen", "disk_full", "key_ring"
LEASES_ENDED, COPIED, OWNER_OLDER = "leases_ended", "installation_copied", "owner_database_older"
REASONS = (OWNER_AWAY, LEASES_ENDED, NO_WORKER, DISK_FULL, KEY_RING, COPIED, OWNER_OLDER)


@dataclass(frozen=True, slots=True)
class Failing:
    """The reason why nothing can be served."""

    code: str
    sentence: str


@dataclass(slots=True)
class Readiness:
    """The result of the check."""

    degraded: list[str] = field(default_factory=list)
    red: Failing | None = None
    practices: int | None = None  # how many can take payments, while the owner database is unavailable

    @property
    def status(self) -> str:
        """``ready``, or ``degraded`` if there is a fault that does not stop serving."""
        return "degraded" if self.degraded else "ready"


async def check(context: Context) -> Readiness:
    """Check the owner database, the key ring and the disk of SQLite files."""
    found = Readiness()
    try:
        await key_ring.check(context.owner, context.ring)
        if not any(node.runs_worker for node in await nodes.live(context.owner, context.shared_after(0))):
            found.degraded.append(NO_WORKER)
    except KeyRingDiffers as error:
        found.degraded.append(KEY_RING)
        found.red = Failing("key_ring_differs", error.public or error.detail)
    except DiskFull:
        found.degraded.append(DISK_FULL)
    except NotNow:
        found.degraded.append(OWNER_AWAY)
        found.practices = lease.servable(context)
        if not found.practices and context.opening.directory.known():
            found.degraded.append(LEASES_ENDED)  # known practices can still be read
        elif not found.practices:
            found.red = Failing(
                "database_unavailable", "The owner database cannot be reached, and no practice is known here."
            )
    if context.installation.copied is not None:
        found.degraded.append(COPIED)
    if context.installation.older_since is not None:
        found.degraded.append(OWNER_OLDER)
    if context.ring.problem is not None and KEY_RING not in found.degraded:
        found.degraded.append(KEY_RING)
    if is_full(context.settings.practice_databases.get_secret_value()):
        if DISK_FULL not in found.degraded:
            found.degraded.append(DISK_FULL)
        found.red = found.red or Failing("disk_full", "The disk of the practices' SQLite files is full.")
    return found
