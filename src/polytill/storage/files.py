"""The limit of open files, and whether the disk of SQLite files is full."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path

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
