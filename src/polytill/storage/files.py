"""The limit of open files, whether the disk of SQLite files is full, and temporary files that a killed process leaves."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from polytill.domain.database_urls import is_postgres

HANDLES = 3  # of an open SQLite database: the file, its log, its index
ENOUGH_FILES = 200  # with fewer SQLite files open at once, many practices are slow
WANTED_LIMIT = 131_072
OPEN_FILE_BYTES = 400 * 1024  # of memory: the schema, some pages, prepared statements
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LEAST_ROOM = 1024 * 1024  # bytes; a payment writes some pages of a log


def raise_limit() -> int:
    """Raise this process's limit of open files as far as allowed. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_LIMIT if hard == resource.RLIM_INFINITY else min(hard, WANTED_LIMIT)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED_LIMIT if soft == resource.RLIM_INFINITY else soft


def sqlite_files() -> int:
    """How many SQLite files to keep open: at most a third of the limit of open files, and a quarter of the memory. The
    rest is for sockets, the owner database, jobs, and files that are open while others are being closed."""
    return max(4, min(limit() // 3 // HANDLES, memory_bytes() // 4 // OPEN_FILE_BYTES))


@cache
def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or less in a container."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # "max", or no control group
            found = min(found, int(Path(path).read_text()))
    return found


def connections() -> int:
    """How many HTTP connections to accept: a third of the limit."""
    return max(16, limit() // 3)


def is_full(place: str) -> bool:
    """Whether the disk of a directory of SQLite files is full. Never for a PostgreSQL server."""
    if is_postgres(place):
        return False
    try:
        found = os.statvfs(nearest(place))
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LEAST_ROOM


def nearest(place: str) -> Path:
    """A directory, or the nearest one above it that exists."""
    return next((one for one in (Path(place), *Path(place).parents) if one.exists()), Path())


# ── Temporary files ──


@contextmanager
def locked(path: Path, waits: bool = False) -> Iterator[bool]:
    """Hold the lock of an existing file or folder beside the block. The lock of a killed process ends with it.

    Yields False, without the lock, if another process has it; with ``waits`` it waits for that one.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def working_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder beside the block, which only this user can read. Those of killed processes are deleted."""
    with ExitStack() as held:
        with locked(place, waits=True):  # a folder without a lock is nobody's
            delete_left(place, f"{prefix}*")
            folder = Path(mkdtemp(prefix=prefix, dir=place))
            held.callback(shutil.rmtree, folder, ignore_errors=True)
            held.enter_context(locked(folder))
        yield folder


@contextmanager
def working_file(path: Path, pattern: str) -> Iterator[BinaryIO]:
    """A temporary file beside the block, opened to write, which only this user can read. Those of killed processes beside
    it, by the pattern of their names, are deleted."""
    with ExitStack() as held:
        with locked(path.parent, waits=True):
            delete_left(path.parent, pattern)
            held.callback(path.unlink, missing_ok=True)
            file = held.enter_context(path.open("wb"))
            os.fchmod(file.fileno(), 0o600)
            held.enter_context(locked(path))
        yield file


def delete_left(place: Path, pattern: str) -> None:
    """Delete temporary files and folders of these names that a killed process has left. The caller holds the lock of
    the folder."""
    for path in place.glob(pattern):
        with suppress(OSError), locked(path) as is_ours:  # another user's, perhaps
            if is_ours:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
