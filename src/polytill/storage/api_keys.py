"""API keys in the owner database, found by the hash of the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from polytill.domain.states import ApiKeyKind
from polytill.storage.columns import Condition, Table
from polytill.storage.databases import OwnerDb, PracticeDb, Writes


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key. ``practice_id`` is None for owner keys."""

    id: int
    kind: ApiKeyKind
    practice_id: int | None
    name: str
    scopes: tuple[str, ...]
    last4: str
    created_at: datetime | None = None
    revoked_at: datetime | None = None


_KEYS = Table("api_keys", ApiKey)
_NEW = "kind, practice_id, name, last4, scopes, created_at"


def insert(unit: Writes, key: ApiKey, key_hash: str) -> None:
    """A new key; the database gives it its id. Only the hash of its text is stored."""
    _KEYS.insert(unit, key, _NEW, key_hash=key_hash)


def revoke(unit: Writes, key_id: int, practice_id: int | None, now: datetime) -> None:
    """Revoke a key. With a practice id, only a key of that practice."""
    key = Condition(now)
    key.compare("id =", key_id)
    key.compare("practice_id =", practice_id)
    unit.add(f"UPDATE api_keys SET revoked_at = $1 WHERE {key} AND revoked_at IS NULL", *key.args, expect=1)  # noqa: S608


async def practice_of(owner: OwnerDb, key_id: int) -> tuple[int, str] | None:
    """The practice of a practice's key, and the key's hash. None if it is another key, or none."""
    row = await owner.one("SELECT practice_id, key_hash FROM api_keys WHERE id = $1", key_id)
    return None if row is None or row["practice_id"] is None else (row["practice_id"], row["key_hash"])


def note_revoked(unit: Writes, key_hash: str, now: datetime) -> None:
    """Write into a practice's database that one of its keys is revoked."""
    unit.add(
        "INSERT INTO revoked_keys (key_hash, revoked_at) VALUES ($1, $2) ON CONFLICT (key_hash) DO NOTHING",
        key_hash,
        now,
    )


async def revoked_in(db: PracticeDb) -> list[str]:
    """The hashes of the keys that a practice's database knows as revoked."""
    return await db.column("SELECT key_hash FROM revoked_keys ORDER BY revoked_at, key_hash")


async def in_use_of(owner: OwnerDb, hashes: Sequence[str]) -> list[ApiKey]:
    """The keys with these hashes that are not revoked."""
    found = [await by_hash(owner, one) for one in hashes]
    return [key for key in found if key is not None]


async def by_hash(owner: OwnerDb, key_hash: str) -> ApiKey | None:
    """The key with this hash, unless it was revoked."""
    return await _KEYS.one(owner, "WHERE key_hash = $1 AND revoked_at IS NULL", key_hash)


async def in_use(owner: OwnerDb, after_id: int, limit: int) -> list[tuple[str, ApiKey]]:
    """Keys that were not revoked, each with its hash, in the order of their ids."""
    rows = await owner.fetch(
        f"SELECT {_KEYS.columns}, key_hash FROM api_keys"  # noqa: S608
        " WHERE revoked_at IS NULL AND id > $1 ORDER BY id LIMIT $2",
        after_id,
        limit,
    )
    return [(row["key_hash"], _KEYS.read(row)) for row in rows]


async def listed(owner: OwnerDb, practice_id: int | None) -> list[ApiKey]:
    """Keys, newest first: of one practice, or the owner's."""
    if practice_id is None:
        return await _KEYS.all(owner, "WHERE practice_id IS NULL ORDER BY id DESC")
    return await _KEYS.all(owner, "WHERE practice_id = $1 ORDER BY id DESC", practice_id)
