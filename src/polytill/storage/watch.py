"""Whether anything in the owner database has changed: one small query per second answers it for every cache.

Every change there adds an audit entry in its own transaction, so the newest entries are the database's version. Fifty
of them are read, because an entry with a lower number may become visible after one with a higher.
"""

from __future__ import annotations

from polytill.domain.clock import World
from polytill.domain.errors import NotNow
from polytill.storage.databases import OwnerDb

INTERVAL_S = 1.0
RENEWED_S = 60.0  # a manual change without an audit entry is noticed by then
_NEWEST = (
    "SELECT COALESCE(MAX(id), 0) AS last, COALESCE(SUM(id), 0) AS total"
    " FROM (SELECT id FROM audit_log ORDER BY id DESC LIMIT 50) AS newest"
)


class OwnerWatch:
    """``generation()`` increases when the owner database has changed. While it cannot be reached, it stays."""

    def __init__(self, owner: OwnerDb, world: World) -> None:
        self._owner = owner
        self._world = world
        self._generation = 0
        self._seen: tuple[int, int] | None = None
        self._asked_at_s = float("-inf")
        self._risen_at_s = float("-inf")

    async def generation(self) -> int:
        """Anything read under another generation is out of date."""
        now = self._world.time_s()
        if not 0 <= now - self._asked_at_s < INTERVAL_S:
            before, self._asked_at_s = self._asked_at_s, now  # other callers use the known value meanwhile
            try:
                row = await self._owner.one(_NEWEST)
            except NotNow:
                return self._generation
            except BaseException:
                self._asked_at_s = before
                raise
            assert row is not None
            seen = (int(row["last"]), int(row["total"]))
            if seen != self._seen or not 0 <= now - self._risen_at_s < RENEWED_S:
                self._seen, self._risen_at_s = seen, now
                self._generation += 1
        return self._generation
