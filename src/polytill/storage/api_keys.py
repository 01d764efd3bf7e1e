"""API keys in the owner database, found by the hash of the key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import ApiKeyKind
from polytill.storage.columns import columns_of
from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import json_text, json_value, moment


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


_COLUMNS = columns_of(ApiKey)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row["id"],
        ApiKeyKind(row["kind"]),
        row["practice_id"],
        row["name"],
        tuple(json_value(row["scopes"]) or ()),
        row["last4"],
        moment(row["created_at"]),
        moment(row["revoked_at"]),
    )


def insert(unit: Writes, key: ApiKey, key_hash: str) -> None:
    """A new key; the database gives it its id. Only the hash of its text is stored."""
    unit.add(
        "INSERT INTO api_keys (kind, practice_id, name, key_hash, last4, scopes, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        key.kind,
        key.practice_id,
        key.name,
        key_hash,
        key.last4,
        json_text(list(key.scopes)),
        key.created_at,
    )


def revoke(unit: Writes, key_id: int, practice_id: int | None, now: datetime) -> None:
    """Revoke a key. With a practice id, only a key of that practice."""
    if practice_id is None:
        unit.add("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", key_id, now, expect=1)
    else:
        unit.add(
            "UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND practice_id = $2 AND revoked_at IS NULL",
            key_id,
            practice_id,
            now,
            expect=1,
        )


async def by_hash(owner: OwnerDb, key_hash: str) -> ApiKey | None:
    """The key with this hash, unless it was revoked."""
    row = await owner.one(
        f"SELECT {_COLUMNS} FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL",  # noqa: S608
        key_hash,
    )
    return _key(row) if row else None


async def in_use(owner: OwnerDb, after_id: int, limit: int) -> list[tuple[str, ApiKey]]:
    """Keys that were not revoked, each with its hash, in the order of their ids."""
    rows = await owner.fetch(
        f"SELECT {_COLUMNS}, key_hash FROM api_keys WHERE revoked_at IS NULL AND id > $1 ORDER BY id LIMIT $2",  # noqa: S608
        after_id,
        limit,
    )
    return [(row["key_hash"], _key(row)) for row in rows]


async def listed(owner: OwnerDb, practice_id: int | None) -> list[ApiKey]:
    """Keys, newest first: of one practice, or the owner's."""
    if practice_id is None:
        rows = await owner.fetch(f"SELECT {_COLUMNS} FROM api_keys WHERE practice_id IS NULL ORDER BY id DESC")  # noqa: S608
    else:
        rows = await owner.fetch(
            f"SELECT {_COLUMNS} FROM api_keys WHERE practice_id = $1 ORDER BY id DESC",  # noqa: S608
            practice_id,
        )
    return [_key(row) for row in rows]
