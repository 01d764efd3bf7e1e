"""Backups of a practice's database: made while it is used, encrypted under the practice's data key, checked by restoring.

A backup holds no key. The data key is in the owner database, wrapped by the key ring, so a backup is of use only together
with both, and of none after the data key is destroyed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any, BinaryIO

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import OperatorError, SealBroken
from polytill.domain.ids import new_id
from polytill.domain.sealed_stream import Sealing, header_of, opened
from polytill.domain.sealing import DataKey
from polytill.flows.adoption.last_records import close_and_record
from polytill.flows.context import Context
from polytill.storage import audit, copies, dumps, files, migrating, practices
from polytill.storage.backup_stores import BackupStore
from polytill.storage.clusters import Cluster
from polytill.storage.databases import Database
from polytill.storage.practices import PracticeEntry
from polytill.storage.units import Unit

SUFFIX = ".backup"
_NAME = re.compile(r"practice-(\d+)-(\d{8}T\d{6}Z)-[0-9a-f]{8}\.backup")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup of one practice.

    Args:
        name: Its name in the store.
        practice_id: The practice.
        made_at: Of which moment it is.
        size: Bytes.
        rows: Rows in all its tables.
    """

    name: str
    practice_id: int
    made_at: datetime
    size: int
    rows: int


def prefix_of(practice_id: int) -> str:
    """How the names of a practice's backups begin."""
    return f"practice-{practice_id}-"


def made_at(name: str) -> datetime | None:
    """Of which moment a backup is, by its name. None if this is not a backup's name."""
    found = _NAME.fullmatch(name)
    return datetime.strptime(found[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if found else None


async def names(store: BackupStore, practice_id: int) -> list[str]:
    """The names of a practice's backups, the oldest first."""
    found = await asyncio.to_thread(store.names, prefix_of(practice_id))
    return [name for name in found if made_at(name) is not None]


@contextmanager
def _folder(cluster: Cluster) -> Iterator[Path]:
    """A folder for a sealed file. Files of SQLite practices are as large as their own disk has room for."""
    place = Path(cluster.location if cluster.budget is None else gettempdir())
    with files.working_folder(place, ".polytill-backup-") as folder:
        yield folder


async def _key_and_place(context: Context, practice_id: int) -> tuple[PracticeEntry, DataKey, Cluster]:
    entry = await context.opening.entry(practice_id)
    return entry, context.opening.data_key(entry), await context.opening.cluster(entry.cluster)


async def back_up(context: Context, practice_id: int, store: BackupStore) -> Backup:
    """Back up a practice's database as it is now. It goes on being used.

    ``NotNow`` if the database cannot be reached, ``OperatorError`` if the store cannot keep the backup.
    """
    entry, key, cluster = await _key_and_place(context, practice_id)
    now = context.world.now()
    name = f"{prefix_of(practice_id)}{now:%Y%m%dT%H%M%SZ}-{context.world.random_bytes(4).hex()}{SUFFIX}"
    with _folder(cluster) as folder:
        file = folder / name
        async with copies.dumped(cluster, entry.database_name) as (fingerprint, pieces):
            header = {
                "practiceId": practice_id,
                "engine": "sqlite" if cluster.budget is None else "postgresql",
                "schemaVersion": entry.schema_version,
                "madeAt": now.isoformat(),
                "tables": fingerprint,
            }
            with file.open("wb") as to:
                sealing = Sealing(to, key, header, context.world)
                async for piece in pieces:
                    sealing.write(piece)
                sealing.close()
        size = file.stat().st_size
        await asyncio.to_thread(store.put, name, file)
    return Backup(name, practice_id, now, size, sum(rows for rows, _ in fingerprint.values()))


@contextmanager
def _read(file: Path, key: DataKey) -> Iterator[tuple[dict[str, Any], Iterator[bytes]]]:
    with file.open("rb") as sealed:
        header, bound = header_of(sealed)
        if header.get("practiceId") != key.practice_id:
            raise OperatorError("This is the backup of another practice.")
        yield header, _content(sealed, key, bound)


def _content(sealed: BinaryIO, key: DataKey, bound: bytes) -> Iterator[bytes]:
    try:
        yield from opened(sealed, key, bound)
    except SealBroken as error:
        raise OperatorError(
            "This backup does not open: it was changed or cut off, or the practice has another data key now."
        ) from error


async def verify(context: Context, practice_id: int, store: BackupStore, name: str) -> None:
    """Read a backup back from its store, and open all of it. ``OperatorError`` if it is not as it was written.

    Each piece of it is authenticated, so that no byte can differ. Unlike ``check``, nothing is restored.
    """
    _, key, cluster = await _key_and_place(context, practice_id)
    with _folder(cluster) as folder:
        file = folder / "verified"
        await asyncio.to_thread(store.get, name, file)
        await asyncio.to_thread(_open_all, file, key)


def _open_all(file: Path, key: DataKey) -> None:
    with _read(file, key) as (_, pieces):
        for _ in pieces:
            pass


@dataclass(frozen=True, slots=True)
class Retention:
    """Which backups of a practice are kept: the newest ``number``, and those of the last ``days``. 0: no limit."""

    number: int = 0
    days: int = 0

    def superseded(self, found: Sequence[str], last_good: str, now: datetime) -> list[str]:
        """The names of a practice's backups that may be deleted. Never the last good one, nor one made after it.

        Args:
            found: The names in the store, the oldest first.
            last_good: The newest backup that was verified.
            now: The time from which days are counted.
        """
        if (not self.number and not self.days) or last_good not in found:
            return []
        newest = {*found[-self.number :]} if self.number else set()
        since = now - timedelta(days=self.days)
        older = found[: found.index(last_good)]
        return [
            name
            for name in older
            if name not in newest and not (self.days and (at := made_at(name)) is not None and at >= since)
        ]


async def delete_superseded(
    store: BackupStore, practice_id: int, kept: Retention, last_good: str, now: datetime
) -> int:
    """Delete the backups of a practice that need not be kept any longer. Returns their number."""
    old = kept.superseded(await names(store, practice_id), last_good, now)
    for name in old:
        await asyncio.to_thread(store.delete, name)
    return len(old)


async def check(context: Context, practice_id: int, store: BackupStore, name: str) -> list[str]:
    """Restore a backup beside the practice's database, compare it with what was backed up, and drop it again. Returns a
    sentence for each difference."""
    entry, key, cluster = await _key_and_place(context, practice_id)
    beside = f"{entry.database_name}_checking"
    await cluster.drop(beside)
    try:
        return await _load_beside(context, store, name, key, cluster, beside)
    finally:
        await cluster.drop(beside)


async def _load_beside(
    context: Context, store: BackupStore, name: str, key: DataKey, cluster: Cluster, beside: str
) -> list[str]:
    with _folder(cluster) as folder:
        file = folder / "restored"
        await asyncio.to_thread(store.get, name, file)
        with _read(file, key) as (header, pieces):
            engine = "sqlite" if cluster.budget is None else "postgresql"
            if header.get("engine") != engine:
                raise OperatorError(
                    f"This backup is of {header.get('engine')}, and the practice's cluster is {engine}."
                )
            found = await copies.load(cluster, beside, pieces)
    expected = {table: (rows, total) for table, (rows, total) in header["tables"].items()}
    return dumps.differences(expected, found)


async def restore(context: Context, practice_id: int, store: BackupStore, name: str, actor: str) -> str:
    """Put a backup in the place of the practice's database, and return the name under which the database of before is kept.

    The practice takes no payments from then on until it is adopted (``flows/adoption``). What the backup cannot know is
    recorded before, if the database of before can be read. Killed at any step, it may be called again: the database is
    replaced in the last step.

    ``OperatorError`` if the backup does not open or is not whole. Then nothing was changed.
    """
    entry, key, cluster = await _key_and_place(context, practice_id)
    beside = f"{entry.database_name}_restoring"
    await cluster.drop(beside)
    if different := await _load_beside(context, store, name, key, cluster, beside):
        await cluster.drop(beside)
        raise OperatorError(f"The backup {name} is not what was backed up: {' '.join(different)}")
    restored = Database(cluster.engine(beside))
    try:
        await migrating.migrate(restored, "practice")
    except BaseException:
        await cluster.drop(beside)
        raise
    finally:
        await restored.engine.close()
    since = made_at(name)
    assert since is not None, "a name that the store lists"
    recorded = await close_and_record(context, practice_id, since)
    now = context.world.now()
    kept = f"{entry.database_name}_{now:%Y%m%d}_{context.world.random_bytes(3).hex()}"
    unit = Unit()
    # Before the database is replaced: from here on every process holds money back, whichever database it finds.
    practices.replace_database(unit, practice_id, new_id(context.world), migrating.head("practice"), now)
    about = {"backup": name, "kept": kept, "recorded": recorded}
    audit.append(unit, now, actor, AuditAction.practice_restored, f"practice:{practice_id}", about)
    await context.owner.commit(unit)
    await copies.put_in_place(cluster, beside, entry.database_name, kept)
    context.forget(practice_id)
    return kept
