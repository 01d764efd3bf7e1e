"""The directory of practices and API keys as this process knows it. With it, a process serves every practice while the
owner database is unavailable, and not only those that it has served before.

A row is read again within a second after its practice or key has changed, and a minute after it was read, except while
the owner database cannot be reached. After a change there, the whole directory is read again, page by page. A row that
is known to have changed since it was read is never used: the practice may be suspended or moved, or the key revoked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from polytill.domain.clock import World
from polytill.domain.errors import NotFound, NotNow, PracticeDeleted
from polytill.domain.states import PracticeState
from polytill.storage import api_keys, practices
from polytill.storage.api_keys import ApiKey
from polytill.storage.databases import OwnerDb
from polytill.storage.practices import PracticeEntry
from polytill.storage.watch import OwnerWatch

# About a kilobyte each. Beyond these limits, a process knows only the practices and keys that it has served.
MOST_PRACTICES, MOST_KEYS = 20_000, 60_000
PAGE = 1_000
READ_EVERY_S = 10.0
SHARE = 0.02  # the largest part of the time for reads: a directory that takes long to read is read less often


_intern = lru_cache(maxsize=10_000)(lambda value: value)  # equal values of many rows are kept once


def compact(entry: PracticeEntry) -> PracticeEntry:
    """The entry in less memory: most values of two practices are equal."""
    for name in ("default_currency", "cluster", "schema_version", "country", "time_zone"):
        object.__setattr__(entry, name, _intern(getattr(entry, name)))
    return entry


def compact_key(key: ApiKey) -> ApiKey:
    """The key in less memory."""
    for name in ("name", "scopes"):
        object.__setattr__(key, name, _intern(getattr(key, name)))
    return key


def deleted_sentence(entry: PracticeEntry) -> str:
    """What is said of a deleted practice."""
    on = f" on {entry.deleted_at:%Y-%m-%d}" if entry.deleted_at else ""
    return f"Practice {entry.id} was deleted{on}. Its data key was destroyed, so no backup of it can be opened."


class Directory:
    """One process's copy of the directory."""

    def __init__(self, owner: OwnerDb, world: World) -> None:
        self._owner = owner
        self._world = world
        self.watch = OwnerWatch(owner, world)
        self._entries: dict[int, tuple[PracticeEntry, int]] = {}
        self._keys: dict[str, tuple[ApiKey, int]] = {}
        self._revoked: set[int] = set()
        self._changed_here = 0
        self._forgotten: set[int] = set()  # the practices that changed here while the directory was being read
        self._read_generation = -1
        self._read_again_at_s = float("-inf")

    async def entry(self, practice_id: int) -> PracticeEntry:
        """Return one practice. ``NotFound`` if there is none, ``PracticeDeleted`` if it was deleted, ``NotNow`` if the owner
        database is unavailable and no copy is usable."""
        found = await self.any_entry(practice_id)
        if found.state is PracticeState.deleted:
            raise PracticeDeleted(deleted_sentence(found))
        return found

    async def any_entry(self, practice_id: int) -> PracticeEntry:
        """Return one practice, also a deleted one, of which only its row is left. Raises what ``entry`` raises otherwise."""
        generation, changes = await self.watch.generation(), self._changed_here
        cached = self._entries.get(practice_id)
        if cached and self.watch.is_current("practice", str(practice_id), cached[1]):
            return cached[0]
        usable = cached is not None and not self.watch.changed_since("practice", str(practice_id), cached[1])
        if cached and usable and self.watch.away:
            return cached[0]  # a query might wait as long as a connection attempt
        try:
            entry = await practices.by_id(self._owner, practice_id)
        except NotNow:
            if cached and usable:
                return cached[0]
            raise
        if entry is None or entry.state is PracticeState.provisioning:
            if practice_id in self._entries:  # an id that never existed is no change: anybody can ask for one
                self.forget(practice_id)
            raise NotFound("There is no such practice.")
        if changes == self._changed_here:  # else it was changed here during the read
            self._entries[practice_id] = (entry, generation)
        return entry

    def is_deleted(self, practice_id: int) -> bool:
        """Whether a practice is deleted, as this process knows it."""
        cached = self._entries.get(practice_id)
        return cached is not None and cached[0].state is PracticeState.deleted

    def forget(self, practice_id: int) -> None:
        """Read this practice again next time, because it was changed here."""
        self._changed_here += 1
        self._forgotten.add(practice_id)
        self._entries.pop(practice_id, None)

    def key(self, key_hash: str) -> tuple[ApiKey, int] | None:
        """Return a key with the generation under which it was read, for use while the owner database is unavailable."""
        found = self._keys.get(key_hash)
        return None if found is None or found[0].id in self._revoked else found

    def key_revoked(self, key_id: int) -> None:
        """End a key at once, because it was revoked here."""
        self._revoked.add(key_id)

    def entries(self) -> list[PracticeEntry]:
        """Every practice that is known here."""
        return [entry for entry, _ in self._entries.values()]

    def keys(self) -> dict[str, ApiKey]:
        """Every key that is known here and not revoked, by its hash."""
        return {key_hash: key for key_hash, (key, _) in self._keys.items() if key.id not in self._revoked}

    def fill(self, entries: Iterable[PracticeEntry], keys: Mapping[str, ApiKey]) -> None:
        """Use what was read earlier, until the owner database can be reached."""
        self._entries = {entry.id: (entry, 0) for entry in entries}
        self._keys = {key_hash: (key, 0) for key_hash, key in keys.items()}

    def known(self) -> list[PracticeEntry]:
        """Return the practices that can be served without the owner database."""
        changed = self.watch.changed_since
        return [
            entry
            for entry, generation in self._entries.values()
            if entry.state is PracticeState.active and not changed("practice", str(entry.id), generation)
        ]

    def counts(self) -> Counter[str]:
        """Return how many practices are known here on each cluster."""
        return Counter(entry.cluster for entry, _ in list(self._entries.values()))

    async def read(self) -> bool:
        """Read everything if the owner database has changed and the read is due. Return whether it was read."""
        generation, began_s = await self.watch.generation(), self._world.elapsed_s()
        if generation == self._read_generation or began_s < self._read_again_at_s or self.watch.away:
            return False
        self._forgotten.clear()
        entries, keys = await self._practices(generation), await self._api_keys(generation)
        for practice_id, found in entries.items():
            newer = self._entries.get(practice_id)
            if practice_id not in self._forgotten and (newer is None or newer[1] <= generation):
                self._entries[practice_id] = found
        if len(entries) < MOST_PRACTICES:
            for practice_id in [
                one for one, (_, at) in self._entries.items() if at <= generation and one not in entries
            ]:
                del self._entries[practice_id]  # removed from the owner database
        self._keys, self._read_generation = keys, generation
        ended_s = self._world.elapsed_s()
        self._read_again_at_s = ended_s + max(READ_EVERY_S, (ended_s - began_s) / SHARE)
        return True

    async def _practices(self, generation: int) -> dict[int, tuple[PracticeEntry, int]]:
        found: dict[int, tuple[PracticeEntry, int]] = {}
        after = 0
        while len(found) < MOST_PRACTICES:
            page = await practices.listed(self._owner, after, PAGE)
            found |= {
                entry.id: (compact(entry), generation)
                for entry in page
                if entry.state is not PracticeState.provisioning
            }
            if len(page) < PAGE:
                break
            after = page[-1].id
        return found

    async def _api_keys(self, generation: int) -> dict[str, tuple[ApiKey, int]]:
        found: dict[str, tuple[ApiKey, int]] = {}
        after = 0
        while len(found) < MOST_KEYS:
            page = await api_keys.in_use(self._owner, after, PAGE)
            found |= {key_hash: (compact_key(key), generation) for key_hash, key in page}
            if len(page) < PAGE:
                break
            after = page[-1][1].id
        return found
