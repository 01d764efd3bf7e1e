"""Detects changes of the owner database, and what has changed, with one small query per second for every cache.

Every change there adds an audit entry in its own transaction, so the newest entries are the database's version, and
they name what has changed. A hundred of them are read, because an entry with a lower number may become visible after
one with a higher number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polytill.domain.clock import World
from polytill.domain.errors import NotNow
from polytill.storage.databases import OwnerDb
from polytill.storage.units import json_value

INTERVAL_S = 1.0
RENEWED_S = 60.0  # a manual change without an audit entry is noticed after this time
LINES = 100
MOST_CHANGES = 10_000
_NEWEST = (
    "SELECT id, action, subject, CASE WHEN action = 'key.revoked' THEN detail END AS detail"
    " FROM audit_log ORDER BY id DESC LIMIT $1"
)


class OwnerWatch:
    """The version of the owner database: ``generation()`` increases with each change. It stays while the database is
    away.

    A row that was read under an earlier generation can still be current: ``is_current`` tells. Otherwise each change of
    one practice would make a process read all others again.
    """

    def __init__(self, owner: OwnerDb, world: World) -> None:
        self._owner = owner
        self._world = world
        self._generation = 0
        self._seen: frozenset[int] | None = None
        self._asked_at_s = float("-inf")
        # The generation under which everything was last counted as changed without an audit entry, and its time.
        self._renewed_generation, self._renewed_at_s = 0, float("-inf")
        # (kind, name) of a change, and the generation under which it was seen; also by the kind alone.
        self._changed: dict[tuple[str, str], int] = {}
        self._kinds: dict[str, int] = {}
        self._everything_at = 0  # the generation since which anything may have changed
        self.away = False  # whether the last query could not reach the owner database

    async def generation(self) -> int:
        """Return the current generation. Anything read under another generation is out of date."""
        now = self._world.time_s()
        if not 0 <= now - self._asked_at_s < INTERVAL_S:
            before, self._asked_at_s = self._asked_at_s, now  # other callers use the known value meanwhile
            try:
                rows = await self._owner.fetch(_NEWEST, LINES)
            except NotNow:
                self.away = True
                return self._generation
            except BaseException:
                self._asked_at_s = before
                raise
            self.away = False
            seen = frozenset(int(row["id"]) for row in rows)
            is_due = not 0 <= now - self._renewed_at_s < RENEWED_S
            if seen != self._seen or is_due:
                before_that, self._seen = self._seen, seen
                self._generation += 1
                if is_due:
                    self._renewed_generation, self._renewed_at_s = self._generation, now
                if before_that is not None:
                    self._note(before_that, seen, rows)
        return self._generation

    def changed_since(self, kind: str, name: str, generation: int) -> bool:
        """Return whether a ``practice``, ``key``, ``cluster`` or ``provider`` has changed, or may have, since it was
        read under this generation. A copy that may have changed must not be used, even while the owner database is
        away."""
        return max(self._everything_at, self._changed.get((kind, name), 0)) > generation

    def is_current(self, kind: str, name: str, generation: int) -> bool:
        """Return whether a row that was read under this generation needs no other read: it has not changed since, and
        was read within the last minute, so that a manual change is noticed, too. Call ``generation()`` before."""
        return generation >= self._renewed_generation and not self.changed_since(kind, name, generation)

    def is_kind_current(self, kind: str, generation: int) -> bool:
        """As ``is_current``, for all rows of a kind together."""
        changed_at = max(self._everything_at, self._kinds.get(kind, 0))
        return generation >= max(self._renewed_generation, changed_at)

    def _note(self, before: frozenset[int], seen: frozenset[int], rows: Iterable[Any]) -> None:
        missed = len(seen) == LINES and not seen & before
        went_back = max(seen, default=0) < max(before, default=0)  # another database, or an older copy of it
        if missed or went_back or len(self._changed) > MOST_CHANGES:
            self._changed.clear()
            self._everything_at = self._generation
            return
        for row in rows:
            if int(row["id"]) not in before:
                kind = str(row["action"]).partition(".")[0]
                name = str(row["subject"]).removeprefix("practice:")
                if kind == "key":
                    name = str((json_value(row["detail"]) or {}).get("id"))
                self._changed[kind, name] = self._kinds[kind] = self._generation
