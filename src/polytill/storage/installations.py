"""The installation that an owner database belongs to, and how a copy of it is told from the original.

A copy on PostgreSQL is another database, which has another number or is on another server; a standby that took over is not.
A copy of a SQLite file is another file (inode), at another path or on another machine. A file that was put back at its
path on its machine is no copy, and neither is a file on a disk that was moved, nor a container with another name: only
what differs in every respect that can be compared is taken for a copy, so that a restart never stops payments.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from polytill.storage.anchors import is_elsewhere as is_elsewhere_postgres
from polytill.storage.columns import Reader
from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.sqlite import SqliteEngine

MACHINE = Path("/etc/machine-id")  # absent or shared in most containers; it survives their restart


@dataclass(frozen=True, slots=True)
class Installation:
    """What an owner database says of its installation.

    Args:
        uid: What its practices' databases have as well, and those of no other installation.
        name: Its name; empty until a process with a name was there.
        place: Where the database was created or adopted. None before the first migration has ended.
        older_since: Since when it is known that it was restored from an older copy; None if it is not.
        last_practice_id: The highest id that a practice ever got.
        is_sandbox_only: Whether it was neutralized: production is never used here again.
    """

    uid: str
    name: str
    place: str | None
    older_since: datetime | None
    last_practice_id: int
    is_sandbox_only: bool


_INSTALLATIONS = Reader(
    Installation, "SELECT uid, name, place, older_since, last_practice_id, is_sandbox_only FROM installation"
)


async def read(owner: OwnerDb) -> Installation:
    """What the owner database says of its installation."""
    found = await _INSTALLATIONS.one(owner, "WHERE id = 1")
    assert found is not None, "the migration inserts the row"
    return found


async def place_of(owner: OwnerDb) -> str | None:
    """Where the owner database is now, in the form that ``is_elsewhere`` compares."""
    engine = owner.engine
    if not isinstance(engine, SqliteEngine):
        return await engine.place()
    path = engine.path.resolve()
    return json.dumps([machine(), str(path), path.stat().st_ino])


def machine() -> str:
    """What tells this machine from others; empty if nothing does, as in most containers."""
    try:
        return MACHINE.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def is_elsewhere(recorded: str | None, now: str | None) -> bool:
    """Whether an owner database is in another place than where it was recorded. What is not known is not compared."""
    if recorded is None or now is None:
        return False
    if not (recorded.startswith("[") and now.startswith("[")):
        return recorded.startswith("[") or now.startswith("[") or is_elsewhere_postgres(recorded, now)
    (machine, path, inode), (now_machine, now_path, now_inode) = json.loads(recorded), json.loads(now)
    is_other_machine = bool(machine and now_machine) and machine != now_machine
    return inode != now_inode and (path != now_path or is_other_machine)


def record_first(unit: Writes, uid: str, name: str, place: str | None) -> None:
    """Record a new installation. Changes nothing if one is recorded."""
    unit.add("UPDATE installation SET uid = $1, name = $2, place = $3 WHERE id = 1 AND place IS NULL", uid, name, place)


def give_name(unit: Writes, name: str) -> None:
    """Name an installation that has no name."""
    unit.add("UPDATE installation SET name = $1 WHERE id = 1 AND name = ''", name)


def note_older(unit: Writes, now: datetime) -> None:
    """Record that the owner database was restored from an older copy. ``Stale`` if that is recorded."""
    unit.add("UPDATE installation SET older_since = $1 WHERE id = 1 AND older_since IS NULL", now, expect=1)


def neutralize(unit: Writes, name: str, place: str | None) -> None:
    """Record that this is an installation of its own, here and under this name, which never uses production."""
    unit.add(
        "UPDATE installation SET name = $1, place = $2, older_since = NULL, is_sandbox_only = TRUE WHERE id = 1",
        name,
        place,
        expect=1,
    )


def adopt(unit: Writes, name: str, place: str | None, last_practice_id: int) -> None:
    """Record the owner database as the installation's own, here and under this name."""
    unit.add(
        "UPDATE installation SET name = $1, place = $2, older_since = NULL, last_practice_id ="
        " CASE WHEN last_practice_id < $3 THEN $3 ELSE last_practice_id END WHERE id = 1",
        name,
        place,
        last_practice_id,
        expect=1,
    )


# The highest id so far, plus one. In the transaction that inserts the practice, it locks the row.
NEXT_PRACTICE_ID = (
    "UPDATE installation SET last_practice_id = CASE WHEN last_practice_id < highest.id THEN highest.id"
    " ELSE last_practice_id END + 1 FROM (SELECT COALESCE(MAX(id), 0) AS id FROM practices) AS highest"
    " WHERE installation.id = 1 RETURNING last_practice_id"
)
