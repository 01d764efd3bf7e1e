"""Exports of a practice: its complete data as JSON lines and CSV, of one moment, with a manifest.

The format is in ``docs/export.md``, and what is in it in ``storage/export_tables.py``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound, OperatorError
from polytill.domain.spreadsheets import cell
from polytill.flows.context import Context
from polytill.storage import api_keys, audit
from polytill.storage.databases import PracticeDb
from polytill.storage.export_columns import Part, camel
from polytill.storage.export_rows import Record, Snapshot, snapshot
from polytill.storage.export_tables import FORMAT, FORMAT_VERSION, PARTS
from polytill.storage.practices import PracticeEntry
from polytill.storage.units import Unit

MANIFEST = "manifest.json"
AT_ONCE = 500
# What the owner database has of a practice: read beside the snapshot, and small.
API_KEYS = ("id", "kind", "name", "scopes", "last4", "created_at", "revoked_at")
PLATFORM_AUDIT = ("id", "at", "actor", "action", "subject", "detail")


@dataclass(frozen=True, slots=True)
class Export:
    """An export that was written.

    Args:
        folder: The directory with its files.
        records: How many records each kind has.
        size: Bytes of all files.
        manifest_hash: SHA-256 of the manifest, which has the hashes of all other files.
    """

    folder: Path
    records: dict[str, int]
    size: int
    manifest_hash: str


class _File:
    """A file that is being written, with its hash."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, text: str) -> None:
        """Append text. A CSV writer calls it as well."""
        data = text.encode()
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Write everything to disk, and return the SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file, finished or not."""
        with suppress(OSError):
            self._file.close()


class _Writer:
    """The two files of one kind of record."""

    def __init__(self, folder: Path, name: str, columns: Sequence[str]) -> None:
        self._names = {column: camel(column) for column in columns}
        self._lines, self._table = _File(folder / f"{name}.jsonl"), _File(folder / f"{name}.csv")
        self._csv: Any = csv.writer(self._table)
        self._csv.writerow(self._names.values())
        self._name, self.records = name, 0

    def write(self, records: Sequence[Record]) -> None:
        """Append records."""
        for record in records:
            self._lines.write(_text({self._names[column]: record[column] for column in self._names}) + "\n")
            self._csv.writerow([_csv_cell(record[column]) for column in self._names])
        self.records += len(records)

    def finish(self) -> Iterator[dict[str, Any]]:
        """Finish both files, and return what the manifest says of them."""
        for file in (self._lines, self._table):
            digest = file.finish()
            yield {"name": file.name, "kind": self._name, "records": self.records, "bytes": file.size, "sha256": digest}

    def close(self) -> None:
        """Close both files, finished or not."""
        self._lines.close()
        self._table.close()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _csv_cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(_text(value) if isinstance(value, dict | list) else value)


def new_name(context: Context, practice_id: int) -> str:
    """A name for the directory of a new export."""
    return f"practice-{practice_id}-{context.world.now():%Y%m%dT%H%M%SZ}-{context.world.random_bytes(4).hex()}"


async def export(context: Context, practice_id: int, place: Path, actor: str, name: str | None = None) -> Export:
    """Export a practice into a new directory below ``place``. The practice goes on being used.

    ``name``: of the directory; what a process that was killed has left under this name is replaced.
    ``NotFound`` if there is no such practice, ``NotNow`` if its database cannot be reached, ``OperatorError`` if the files
    cannot be written. Then nothing of it is left; what a process that was killed leaves is named ``….partial``.
    """
    entry = await context.opening.entry(practice_id)
    db = await context.opening.practice(practice_id)  # whose database it is has been checked
    now = context.world.now()
    name = name or new_name(context, practice_id)
    partial = place / f".{name}.partial"
    with _told(place):
        shutil.rmtree(partial, ignore_errors=True)
        _make(partial)
        try:
            files, records = await _written(context, entry, db, partial)
            manifest = _text(_manifest(entry, wire_time(now), files)) + "\n"
            file = _File(partial / MANIFEST)
            file.write(manifest)
            digest = file.finish()
            await _record(context, practice_id, actor, sum(records.values()), digest)
            partial.rename(place / name)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    size = sum(one["bytes"] for one in files) + len(manifest.encode())
    return Export(place / name, records, size, digest)


def _make(folder: Path) -> None:
    """Make a directory that only this user can read."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)


@contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperatorError(f"The export cannot be written to {place}: {error.strerror}.") from error


async def _written(
    context: Context, entry: PracticeEntry, db: PracticeDb, folder: Path
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Write the files of every kind, and return what the manifest says of them, and the number of records by kind."""
    files: list[dict[str, Any]] = []
    records: dict[str, int] = {}

    async def write(name: str, columns: Sequence[str], rows: AsyncIterator[list[Record]]) -> None:
        with closing(_Writer(folder, name, columns)) as writer:
            async for some in rows:
                writer.write(some)
            files.extend(writer.finish())
        records[name] = writer.records

    cluster = await context.opening.cluster(entry.cluster)
    async with snapshot(cluster, entry.database_name) as found:
        for part in PARTS:
            await write(part.name, [column.name for column in part.columns], _rows(found, part, db.practice_id))
    await write("api_keys", API_KEYS, _api_keys(context, entry.id))
    await write("platform_audit_log", PLATFORM_AUDIT, _platform_audit(context, entry.id))
    return files, records


async def _rows(found: Snapshot, part: Part, practice_id: int) -> AsyncIterator[list[Record]]:
    async for rows in found.rows(part):
        if part.name == "practice" and any(row["id"] != practice_id for row in rows):
            raise NotFound("There is no such practice.")  # its database was replaced just now
        yield rows


async def _api_keys(context: Context, practice_id: int) -> AsyncIterator[list[Record]]:
    keys = await api_keys.listed(context.owner, practice_id)
    yield [
        {
            **{column: getattr(key, column) for column in API_KEYS},
            "kind": key.kind.value,
            "scopes": list(key.scopes),
            "created_at": wire_time(key.created_at),
            "revoked_at": wire_time(key.revoked_at),
        }
        for key in keys
    ]


async def _platform_audit(context: Context, practice_id: int) -> AsyncIterator[list[Record]]:
    before = None
    while entries := await audit.listed(context.owner, f"practice:{practice_id}", before, AT_ONCE):
        yield [{**{column: one[column] for column in PLATFORM_AUDIT}, "at": wire_time(one["at"])} for one in entries]
        before = entries[-1]["id"]


def _manifest(entry: PracticeEntry, at: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "formatVersion": FORMAT_VERSION,
        "schemaVersion": entry.schema_version,
        "snapshotAt": at,
        "practice": {
            "id": entry.id,
            "name": entry.name,
            "externalId": entry.external_id,
            "defaultCurrency": entry.default_currency,
            "country": entry.country,
            "timeZone": entry.time_zone,
        },
        "files": files,
    }


async def _record(context: Context, practice_id: int, actor: str, records: int, digest: str) -> None:
    unit = Unit()
    detail = {"records": records, "manifest": digest}
    audit.append(unit, context.world.now(), actor, AuditAction.practice_exported, f"practice:{practice_id}", detail)
    await context.owner.commit(unit)
