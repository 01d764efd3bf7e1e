"""Moving a practice's SQLite file to another directory.

The copy is of one moment, while the file is used. Then the file is closed: it is renamed while nobody else can write, and
whoever gets the right to write afterwards looks whether its path still leads to it (``SqliteEngine``). What has changed
since the copy was made is found by comparing both files block by block.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from polytill.domain.errors import DatabaseUnavailable, NotNow, OperatorError
from polytill.storage import dumps, files
from polytill.storage.clusters import Cluster
from polytill.storage.dumps import Fingerprint

BLOCK = 1024 * 1024
BUSY_MS, TRIES = 1000, 20  # how often a busy file is tried to be closed, and how long each time


def partial(new: Path) -> Path:
    """The name of a copy until it is finished."""
    return new.with_suffix(".moving")


def copy(old: Path, new: Path) -> Fingerprint:
    """Copy a file while it is used, and compare rows and checksums of each table. ``OperatorError`` if the copy differs."""
    if not old.exists():
        raise DatabaseUnavailable(f"The database file {old} does not exist.")
    target = partial(new)
    _delete(target)
    target.touch(mode=0o600)
    with closing(sqlite3.connect(f"file:{old}?mode=ro", uri=True, isolation_level=None)) as source:
        source.execute("PRAGMA busy_timeout = 10000")
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM identity").fetchall()  # from here on: copy and fingerprint are of the same moment
        with closing(sqlite3.connect(target)) as made:
            source.backup(made)
            made.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a log beside it
            found = dumps.sound_sqlite(made)
        expected = dumps.fingerprint_sqlite(source)
    if different := dumps.differences(expected, found):
        raise OperatorError(f"The copy is not what was copied: {' '.join(different)}")
    return expected


# ── Closing ──


class SqliteGuard:
    """The right to move one practice's file from a directory."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def exists(self, database: str) -> bool:
        """Whether a file of this name is there."""
        return self._cluster.file(database).exists()

    def close(self, database: str, name: str) -> None:
        """Rename a file that is in use. From then on nobody writes to it, and its log is empty. ``NotNow`` if it is too
        busy; then it has its name as before."""
        file = self._cluster.file(database)
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            for _ in range(TRIES):
                with suppress(sqlite3.OperationalError):  # others write
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                    connection.execute("BEGIN IMMEDIATE")
                    if _log_is_empty(file):
                        file.rename(self._cluster.file(name))
                        _sync_folder(file.parent)
                        connection.execute("ROLLBACK")
                        return
                    connection.execute("ROLLBACK")
        raise NotNow(f"The database file {file} could not be closed: others use it.")

    def reopen(self, name: str, database: str) -> None:
        """Give a closed file its name back."""
        file = self._cluster.file(database)
        self._cluster.file(name).rename(file)
        _sync_folder(file.parent)


def _log_is_empty(file: Path) -> bool:
    try:
        return Path(f"{file}-wal").stat().st_size == 0
    except FileNotFoundError:
        return True


@contextmanager
def guarded(cluster: Cluster, practice_id: int) -> Iterator[SqliteGuard]:
    """Hold the right to move a practice from this directory. ``NotNow`` if another process holds it; that of a killed
    process ends with it."""
    path = Path(cluster.location) / f".move-{practice_id}.lock"
    path.touch(mode=0o600)
    with files.locked(path) as is_ours:
        if not is_ours:
            raise NotNow("Another process is moving this practice.")
        yield SqliteGuard(cluster)


# ── Finishing ──


def finish(old: Path, new: Path, epochs: tuple[str, str]) -> int:
    """Bring the copy of a closed file up to date, compare both, and give the copy its own epoch. Done before, nothing is
    changed. Returns the number of blocks that had changed.

    ``OperatorError`` if the file has another epoch than the first of ``epochs``.
    """
    if new.exists():  # which it does only under its own epoch
        return 0
    target = partial(new)
    delete_log(target)  # of an attempt that was killed
    with closing(sqlite3.connect(f"file:{old}?immutable=1", uri=True)) as source:
        [(epoch,)] = source.execute("SELECT epoch FROM identity").fetchall()
    if epoch != epochs[0]:
        raise OperatorError("The practice's database was restored or adopted while it was being moved.")
    changed = _made_equal(old, target)
    if _blocks(old, target) != []:
        raise OperatorError("The copy of the database file is not equal to it.")
    with closing(sqlite3.connect(target, isolation_level=None)) as made:
        made.execute("PRAGMA synchronous = FULL")
        made.execute("UPDATE identity SET epoch = ?", (epochs[1],))
        made.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    target.rename(new)
    _sync_folder(new.parent)
    return changed


def _blocks(one: Path, other: Path) -> list[int]:
    """The blocks in which two files differ."""
    found: list[int] = []
    with one.open("rb") as first, other.open("rb") as second:
        number = 0
        while True:
            left, right = first.read(BLOCK), second.read(BLOCK)
            if not left and not right:
                return found
            if left != right:
                found.append(number)
            number += 1


def _made_equal(source: Path, target: Path) -> int:
    different = _blocks(source, target)
    with source.open("rb") as first, target.open("r+b") as second:
        for number in different:
            first.seek(number * BLOCK)
            second.seek(number * BLOCK)
            second.write(first.read(BLOCK))
        second.truncate(source.stat().st_size)
        second.flush()
        os.fsync(second.fileno())
    return len(different)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_log(file: Path) -> None:
    """Delete the log of a file, and what else SQLite keeps beside it."""
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def _delete(file: Path) -> None:
    file.unlink(missing_ok=True)
    delete_log(file)


def drop_partial(new: Path) -> None:
    """Delete a copy that is not finished."""
    _delete(partial(new))
