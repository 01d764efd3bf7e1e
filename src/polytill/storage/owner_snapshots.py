"""A local copy of what a process needs from the owner database, as one sealed file, and its announcement, as another.

Both are sealed with the key ring and bound to the address of the owner database, to their own path and to the machine: an
altered file, one of another installation, and one that was copied do not open.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from polytill.domain.clock import World
from polytill.domain.errors import OperatorError, SealBroken
from polytill.domain.sealed_stream import Sealing, header_of, opened
from polytill.domain.sealing import DataKey
from polytill.storage import directory
from polytill.storage.api_keys import ApiKey
from polytill.storage.catalog import ProviderEntry
from polytill.storage.cluster_rows import ClusterRow
from polytill.storage.installations import Installation, machine
from polytill.storage.migrating import head
from polytill.storage.practices import PracticeEntry

FORMAT = 1


@dataclass(frozen=True, slots=True)
class OwnerSnapshot:
    """What a process needs from the owner database to serve any practice.

    Args:
        version: ``version_now()`` of the process that wrote it.
        written_at: When it was written, by that machine's clock.
        installation: What the owner database said of its installation.
        key_ring: The check values of the keys that are in use.
        practices: The directory.
        keys: The API keys that are not revoked, by their hashes.
        clusters: The registered clusters.
        catalog: The catalog.
    """

    version: str
    written_at: datetime
    installation: Installation
    key_ring: dict[str, str]
    practices: list[PracticeEntry]
    keys: dict[str, ApiKey]
    clusters: list[ClusterRow]
    catalog: list[ProviderEntry]


def version_now() -> str:
    """What a snapshot must have been written for: another version of polytill may read its rows otherwise."""
    return f"{FORMAT} {head('owner')} {head('practice')}"


def bound_to(path: Path, owner_url: str) -> str:
    """What a file at this path is bound to. The address is hashed without a password, which may change."""
    parts = owner_url.partition("://")
    place = parts[2].rpartition("@")[2] or owner_url
    return hashlib.sha256("\0".join((place, str(path.resolve()), machine())).encode()).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file of mode 0600 that takes the place of the one at ``path`` when the block ends: at once or not at all.
    ``OSError`` if that is impossible."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write(path: Path, snapshot: OwnerSnapshot, key: DataKey, bound: str, world: World) -> None:
    """Write a snapshot, sealed. It is encoded row by row: thousands of practices at once would take a lot of memory."""
    with replacing(path) as file:
        sealing = Sealing(file, key, {"bound": bound}, world)
        rest = replace(snapshot, practices=[], keys={})
        for one in (rest, *snapshot.practices, *snapshot.keys.items()):
            sealing.write(msgspec.json.encode(one) + b"\n")
        sealing.close()


def read(path: Path, keys: Iterable[DataKey], bound: str) -> OwnerSnapshot | str | None:
    """The snapshot in a file, or why it does not count. None if there is none, or if it cannot be read."""
    for key in keys:
        try:
            with path.open("rb") as file:
                header, signed = header_of(file)
                if header.get("bound") != bound:
                    return "another installation"
                return _decoded(_lines(opened(file, key, signed)))
        except OSError:
            return None
        except (SealBroken, OperatorError, msgspec.MsgspecError):
            continue  # perhaps an older key opens it
    return "altered"


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        yield from whole


def _decoded(lines: Iterator[bytes]) -> OwnerSnapshot | str:
    first = next(lines, b"")
    if msgspec.json.decode(first).get("version") != version_now():
        return "another version"
    found = msgspec.json.decode(first, type=OwnerSnapshot)
    practice, key = msgspec.json.Decoder(PracticeEntry), msgspec.json.Decoder(tuple[str, ApiKey])
    for line in lines:
        if line.startswith(b"{"):
            found.practices.append(directory.compact(practice.decode(line)))
        else:
            key_hash, held = key.decode(line)
            found.keys[key_hash] = directory.compact_key(held)
    return found


# ── The announcement of a process ──


class AnnouncementFile:
    """Until when one process may begin payments without the owner database. It is locked while the process runs, so that
    only the announcement of a dead process is taken over."""

    def __init__(self, path: Path, is_new: bool) -> None:
        """``OSError`` if the file cannot be made or opened, or is locked."""
        self._path = path
        self._file = os.open(path, os.O_RDWR | (os.O_CREAT if is_new else 0), 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._file)
            raise

    @classmethod
    def of_node(cls, snapshot: Path, node_id: str) -> AnnouncementFile:
        """The file of a process that is announced."""
        return cls(snapshot.with_name(f"{snapshot.name}.node-{node_id}"), is_new=True)

    def read(self) -> str:
        """The content."""
        return os.pread(self._file, 10_000, 0).decode("utf-8", "replace")

    def write(self, text: str) -> None:
        """Replace the content. One that was cut off does not open."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)

    def release(self) -> None:
        """Leave the file to the next process."""
        os.close(self._file)

    def remove(self) -> None:
        """Delete the file: nobody may rely on this announcement any more."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def take_over(snapshot: Path, is_valid: Callable[[str], bool]) -> AnnouncementFile | None:
    """Take the announcement of a dead process, if there is a valid one. Those that are not valid are deleted."""
    for path in sorted(snapshot.parent.glob(f"{snapshot.name}.node-*")):
        try:
            found = AnnouncementFile(path, is_new=False)
        except OSError:
            continue  # its process runs
        if is_valid(found.read()):
            return found
        found.remove()
    return None


def forget_dead(snapshot: Path) -> None:
    """Delete the announcements of dead processes: the owner database can be reached, and knows them."""
    take_over(snapshot, lambda _: False)
