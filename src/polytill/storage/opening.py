"""Creating, opening and closing databases: the owner's, and a practice's by its id.

The directory (``storage/directory.py``) says where a practice's database is, also while the owner database cannot be reached.
The first opening checks that the database belongs to the practice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from polytill.domain.behind import BehindReason
from polytill.domain.clock import World
from polytill.domain.currencies import CURRENCIES
from polytill.domain.database_urls import is_postgres as is_postgres
from polytill.domain.database_urls import wrong_with_owner
from polytill.domain.errors import (
    DatabaseUnavailable,
    NotFound,
    NotNow,
    OperatorError,
    PracticeDeleted,
    PracticeNotMigrated,
    SealBroken,
)
from polytill.domain.localities import Locality
from polytill.domain.sealing import DataKey, KeyRing, Place
from polytill.domain.secret import Secret
from polytill.storage import anchors, cluster_rows, migrating, practices, units
from polytill.storage.anchors import Anchor
from polytill.storage.api_keys import ApiKey
from polytill.storage.clusters import Cluster, create_postgres_database, new_sqlite_file
from polytill.storage.connection_budget import Budget
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.directory import Directory
from polytill.storage.files import sqlite_files
from polytill.storage.postgres import PostgresEngine
from polytill.storage.postgres_connect import DatabaseMissing, connect, database_of
from polytill.storage.practices import PracticeEntry
from polytill.storage.sqlite import Hop, SqliteEngine, thread_hop

IDLE_S = 300.0  # a SQLite file that was unused for this long is closed
OPEN_FILES: int | None = None  # SQLite files kept open at once; None: by the limit of the process
# Connections of one process to the owner database: its queries are short, and most results are cached for a second.
OWNER_CONNECTIONS = 10
OWNERS = "owner database"  # what its connections are called among those of the clusters

DEFAULT = "default"  # the cluster named in the settings
CLUSTER_KEY_OWNER = 0  # the "practice" whose data key seals addresses in the owner database


def sqlite_path(url: str) -> Path:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``."""
    if (wrong := wrong_with_owner(url)) is not None:
        raise OperatorError(wrong)
    return Path(url.removeprefix("sqlite:///"))


async def open_owner(url: str, connections: int, hop: Hop = thread_hop) -> OwnerDb:
    """The owner database, which must exist (``create_owner`` creates it)."""
    if is_postgres(url):
        return OwnerDb(PostgresEngine(Budget(url, min(connections, OWNER_CONNECTIONS)), database_of(url)))
    return OwnerDb(SqliteEngine(sqlite_path(url), hop))


async def create_owner(url: str) -> None:
    """Create the owner database if there is none yet. ``migrating.migrate`` creates its tables."""
    if not is_postgres(url):
        if not sqlite_path(url).exists():
            new_sqlite_file(sqlite_path(url))
        return
    if (wrong := wrong_with_owner(url)) is not None:
        raise OperatorError(wrong)
    try:
        await (await connect(url)).close()
    except DatabaseMissing:
        await create_postgres_database(url, database_of(url))


@dataclass(slots=True)
class _Open:
    """An opened database, and what decided that it is this one and may be used. If that changes, it is opened again."""

    entry: PracticeEntry
    version: str  # of the cluster's address
    db: PracticeDb

    def entry_fits(self, entry: PracticeEntry) -> bool:
        """Whether another row of the directory leads to the same database under the same conditions."""
        return _conditions(self.entry) == _conditions(entry)


_conditions = attrgetter("cluster", "database_name", "wrapped_data_key", "schema_version", "epoch")


class Opening:
    """Opens practice databases by id."""

    def __init__(
        self, owner: OwnerDb, ring: KeyRing, location: str, connections: int, world: World, hop: Hop = thread_hop
    ) -> None:
        self._owner = owner
        self._ring = ring
        self._connections = connections
        self._world = world
        self._hop = hop
        self._clusters: dict[str, Cluster] = {DEFAULT: Cluster(location, connections, hop)}
        self._sealed: dict[str, str] = {}
        self._rows: tuple[dict[str, cluster_rows.ClusterRow], tuple[int, int]] | None = None
        self.directory = Directory(owner, world)
        self.watch = self.directory.watch
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._forgotten = 0
        self._is_copied = False
        self._anchors: dict[int, Anchor] = {}  # kept while a database is closed: what was seen of it still counts

    async def entry(self, practice_id: int) -> PracticeEntry:
        """The directory row, at most a second old. ``NotFound`` if there is no such practice."""
        return await self.directory.entry(practice_id)

    async def any_entry(self, practice_id: int) -> PracticeEntry:
        """The directory row, also of a deleted practice. ``NotFound`` if there never was such a practice."""
        return await self.directory.any_entry(practice_id)

    async def learn(self) -> bool:
        """Read what is needed to serve any practice without the owner database: the directory and the clusters. Returns
        whether the directory was read again."""
        was_read = await self.directory.read()
        for practice_id in [one for one in self._open if self.directory.is_deleted(one)]:
            await self._discard(practice_id)
        await self._cluster_rows()
        return was_read

    def fill(
        self, entries: Iterable[PracticeEntry], keys: Mapping[str, ApiKey], clusters: Iterable[cluster_rows.ClusterRow]
    ) -> None:
        """Use what was read earlier, until the owner database can be reached."""
        self.directory.fill(entries, keys)
        self._rows = {row.name: row for row in clusters}, (0, 0)

    async def practice(self, practice_id: int) -> PracticeDb:
        """The practice's database as a value. ``NotFound``, or ``WrongPractice`` if the address leads to another one."""
        known = self._anchors.get(practice_id)
        if known is not None and known.is_missing and not self.watch.away:
            known.is_missing = False
            self.directory.forget(practice_id)
        try:
            entry = await self.entry(practice_id)
        except PracticeDeleted:
            await self._discard(practice_id)
            raise
        version = await self._location_version(entry.cluster)
        held = self._open.get(practice_id)
        if held is not None and (held.entry is entry or held.entry_fits(entry)) and held.version == version:
            self._open.move_to_end(practice_id)
            if held.entry is not entry:
                held.db.anchor.read(entry.epoch, entry.mark)
            held.entry = entry
            return held.db
        db = await self._unchecked(entry)
        try:
            at = await migrating.current(db)
            if not await migrating.readable(self._owner, "practice", at):
                raise PracticeNotMigrated(
                    f"The database of practice {entry.id} is at schema {at}, and this version of polytill needs"
                    f" {migrating.head('practice')}; run `polytill migrate --practice {entry.id}` of the newest"
                    " version."
                )
        except BaseException:
            self._open.pop(practice_id, None)
            await db.engine.close()
            raise
        held = self._open.get(practice_id)
        if held is not None and held.entry_fits(entry) and held.version == version:  # another task opened it meanwhile
            await db.engine.close()
            return held.db
        self._open[practice_id] = _Open(entry, version, db)
        await self._close_least_recent()
        return db

    async def _discard(self, practice_id: int) -> None:
        """Forget the database of a deleted practice, and its data key."""
        self._anchors.pop(practice_id, None)
        held = self._open.pop(practice_id, None)
        if held is not None:
            await held.db.engine.close()

    async def _unchecked(self, entry: PracticeEntry) -> PracticeDb:
        cluster = await self.cluster(entry.cluster)
        data_key = self.data_key(entry)
        anchor = self._anchors.setdefault(entry.id, Anchor(entry.id, entry.epoch, entry.mark))
        anchor.is_copied = self._is_copied
        anchor.read(entry.epoch, entry.mark)
        db = PracticeDb(cluster.engine(entry.database_name, anchor), entry.id, data_key, anchor)
        try:
            await db.engine.verify(anchor)
        except BaseException:
            await db.engine.close()
            raise
        return db

    async def must_be_current(self, practice_id: int) -> None:
        """``PracticeBehind`` if the practice's database is older than what the owner database knows of it. One that was
        behind is compared again: the newer one may be back."""
        anchor = self._anchors.get(practice_id)
        if anchor is None:
            anchor = (await self.practice(practice_id)).anchor
        if anchor.must_read or anchor.behind is not None:
            await self.read_mark(practice_id)
        anchor.must_be_current()

    async def read_mark(self, practice_id: int) -> None:
        """Read the practice's mark again, and compare its database with it. Without the owner database, what this process
        knows counts."""
        db = await self.practice(practice_id)
        is_known, anchor = False, db.anchor
        if not self.watch.away:  # a query might wait as long as a connection attempt
            with suppress(NotNow):
                entry = await practices.by_id(self._owner, practice_id)
                if entry is not None:
                    anchor.read(entry.epoch, entry.mark)
                    is_known = True
        anchor.must_read = False
        await db.engine.verify(anchor)
        anchor.must_read = anchor.must_read or not is_known

    def set_copied(self, is_copied: bool) -> None:
        """Compare each practice's database again, with or without regard to its place: those of a copy are elsewhere."""
        self._is_copied = is_copied
        for anchor in self._anchors.values():
            anchor.is_copied, anchor.must_read = is_copied, True

    def behind(self) -> dict[int, BehindReason]:
        """The practices that this process has opened and whose databases are behind."""
        return {one.practice_id: one.behind for one in self._anchors.values() if one.behind is not None}

    @asynccontextmanager
    async def at_any_schema(self, practice_id: int) -> AsyncIterator[PracticeDb]:
        """The practice's database at any schema version, for its migration. Nothing else may use it."""
        db = await self._unchecked(await self.entry(practice_id))
        try:
            yield db
        finally:
            await db.engine.close()

    async def _close_least_recent(self) -> None:
        most = sqlite_files() if OPEN_FILES is None else OPEN_FILES
        while len(self._open) > most:
            practice_id, held = next(iter(self._open.items()))
            if held.db.engine.dialect != "sqlite":
                return  # a PostgreSQL engine holds no connection; its server's budget closes them
            del self._open[practice_id]
            await held.db.engine.close()

    def opened(self) -> list[int]:
        """The practices that this process has opened."""
        return list(self._open)

    def forget(self, practice_id: int) -> None:
        """Read the directory row again next time."""
        self._forgotten += 1
        self.directory.forget(practice_id)

    async def cluster(self, name: str) -> Cluster:
        """A cluster by its name. ``NotFound`` if there is none."""
        if name == DEFAULT:
            return self._clusters[DEFAULT]
        row = await self._cluster_row(name)
        if row is None:
            self.forget_clusters()  # it may have been added a moment ago
            row = await self._cluster_row(name)
        if row is None:
            raise NotFound(f"There is no cluster named {name!r}.")
        return await self._reached(row)

    async def cluster_of(self, row: cluster_rows.ClusterRow) -> Cluster:
        """The cluster of a row that was read just now, and may be newer than what this process knows."""
        if row.name != DEFAULT and self._sealed.get(row.name) != row.sealed_url:
            self.forget_clusters()
        return await self.cluster(row.name)

    async def _reached(self, row: cluster_rows.ClusterRow) -> Cluster:
        """The cluster of a row. If its address has changed, the connections to the old one are closed."""
        name, sealed = row.name, row.sealed_url or ""
        held = self._clusters.get(name)
        if held is None or self._sealed.get(name) != sealed:
            url = self.open_owners(sealed, Place("clusters", name, "sealed_url")).reveal()
            if held is None or held.location != url:
                self._clusters[name] = Cluster(url, row.connection_limit or self._connections, self._hop, is_made=True)
                if held is not None:
                    await held.close()  # what is in use there finishes
            self._sealed[name] = sealed
        return self._clusters[name]

    async def _cluster_rows(self) -> tuple[dict[str, cluster_rows.ClusterRow], tuple[int, int]]:
        """The registered clusters, at most a second old, and what they were read under; older while the owner database
        cannot be reached."""
        known = (await self.watch.generation(), self._forgotten)
        if self._rows is None or (self._rows[1] != known and not self.watch.away):
            try:
                found = {row.name: row for row in await cluster_rows.listed(self._owner)}
            except NotNow:
                if self._rows is None:
                    raise
                return self._rows
            if self._rows is None or self._rows[1] <= known:  # another task may have read newer ones meanwhile
                self._rows = found, known
                await self._apply(found)
            return found, known
        return self._rows

    async def _apply(self, rows: dict[str, cluster_rows.ClusterRow]) -> None:
        """Bring the clusters that this process uses in line with their rows, also those that nobody asks for now."""
        for name, held in list(self._clusters.items()):
            row = rows.get(name)
            if held.budget is not None:
                held.budget.resize((row.connection_limit if row else None) or self._connections)
            if name == DEFAULT:
                continue
            if row is None:
                self._clusters.pop(name, None)
                self._sealed.pop(name, None)
                await held.close()
            elif self._sealed.get(name) != row.sealed_url:
                with suppress(SealBroken):  # whoever needs it is told
                    await self._reached(row)

    async def _cluster_row(self, name: str) -> cluster_rows.ClusterRow | None:
        """Return a cluster's row; ``NotNow`` if it has changed and cannot be read: its practices may have moved."""
        for _ in range(2):  # another task may have seen the change while this one read
            rows, known = await self._cluster_rows()
            if not self.watch.changed_since("cluster", name, known[0]):
                return rows.get(name)
        raise DatabaseUnavailable(
            f"The address of the cluster {name!r} has changed and cannot be read now. Try again later."
        )

    def known_clusters(self) -> list[cluster_rows.ClusterRow]:
        """The registered clusters as this process knows them."""
        return [] if self._rows is None else list(self._rows[0].values())

    def budgets_by_name(self) -> dict[str, Budget]:
        """The connections of this process: those to the owner database, and to each cluster by its name."""
        owners = self._owner.engine
        found = {OWNERS: owners.budget} if isinstance(owners, PostgresEngine) else {}
        return found | {name: one.budget for name, one in self._clusters.items() if one.budget is not None}

    def budgets(self) -> dict[str, list[Budget]]:
        """The connections of this process by server."""
        found = list(self.budgets_by_name().values())
        return {server: [one for one in found if one.server == server] for server in {one.server for one in found}}

    async def _location_version(self, cluster: str) -> str:
        if cluster == DEFAULT:
            return ""
        row = await self._cluster_row(cluster)
        return (row.sealed_url or "")[-24:] if row else ""

    def forget_clusters(self) -> None:
        """Read the registered clusters again next time."""
        self._forgotten += 1

    async def close_idle(self) -> None:
        """Close connections and files that were unused for a while."""
        await self._close_idle_files()
        for cluster in self._clusters.values():
            if cluster.budget is not None:
                cluster.budget.close_idle()

    async def _close_idle_files(self) -> None:
        since_s = asyncio.get_running_loop().time() - IDLE_S
        for practice_id, held in list(self._open.items()):
            engine = held.db.engine
            if not isinstance(engine, SqliteEngine):
                continue  # its server's budget closes its connections
            if engine.used_at_s > since_s:
                break  # the others were used later
            del self._open[practice_id]
            await engine.close()

    def seal_owners(self, secret: Secret, place: Place) -> str:
        """Seal a secret of the owner database (a server's address, the key that signs events)."""
        return self.owners_keys()[0].seal(secret, place, self._world)

    def open_owners(self, sealed: str, place: Place) -> Secret:
        """Open what ``seal_owners`` sealed, under any key of the ring. ``SealBroken`` otherwise."""
        while True:
            for key in self.owners_keys():
                with suppress(SealBroken):
                    return key.open(sealed, place)
            if not self._ring.refresh():
                raise SealBroken

    def owners_keys(self) -> list[DataKey]:
        """The keys of the ring as they seal what is the owner database's, the one in use first."""
        return [DataKey(CLUSTER_KEY_OWNER, key) for key in self._ring.derived("owner database")]

    def data_key(self, entry: PracticeEntry) -> DataKey:
        """A practice's data key."""
        return self._ring.unwrap(entry.id, entry.wrapped_data_key)

    def new_data_key(self, practice_id: int) -> tuple[DataKey, str]:
        """A new data key for a practice, and its wrapped form."""
        return self._ring.new_data_key(practice_id, self._world)

    async def close(self) -> None:
        """Close everything that is open."""
        for held in self._open.values():
            await held.db.engine.close()
        self._open.clear()
        for cluster in self._clusters.values():
            await cluster.close()


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """What is written into a practice's new database."""

    practice_id: int
    name: str
    currency: str
    home: Locality
    epoch: str
    birthplace: str | None
    installation: str = ""


def stamp_identity(unit: units.Unit, new: NewIdentity, now: Any) -> None:
    """Write the practice's identity into its new database."""
    anchors.stamp(unit, new.practice_id, new.epoch, new.birthplace, now, new.installation)
    unit.add(
        "INSERT INTO practices (id, name, default_currency_id, created_at, updated_at, country, time_zone)"
        " VALUES ($1, $2, $3, $4, $4, $5, $6)",
        new.practice_id,
        new.name,
        CURRENCIES[new.currency].numeric,
        now,
        new.home.country,
        new.home.time_zone,
        expect=1,
    )
