"""API keys in the owner database, found by the hash of the key, and the one row that says whose database it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.localities import Locality
from polytill.storage.databases import OwnerDb, PracticeDb, Writes
from polytill.storage.units import json_text, json_value, moment


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key. ``practice_id`` is None for owner keys."""

    id: int
    kind: str
    practice_id: int | None
    name: str
    scopes: tuple[str, ...]
    last4: str
    created_at: datetime | None = None
    revoked_at: datetime | None = None


_COLUMNS = "id, kind, practice_id, name, scopes, last4, created_at, revoked_at"


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row["id"],
        row["kind"],
        row["practice_id"],
        row["name"],
        tuple(json_value(row["scopes"]) or ()),
        row["last4"],
        moment(row["created_at"]),
        moment(row["revoked_at"]),
    )


def insert_key(
    unit: Writes,
    kind: str,
    practice_id: int | None,
    name: str,
    key_hash: str,
    last4: str,
    scopes: list[str],
    now: datetime,
) -> None:
    """A new key. Only its hash is stored."""
    unit.add(
        "INSERT INTO api_keys (kind, practice_id, name, key_hash, last4, scopes, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        kind,
        practice_id,
        name,
        key_hash,
        last4,
        json_text(scopes),
        now,
    )


def revoke_key(unit: Writes, key_id: int, practice_id: int | None, now: datetime) -> None:
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


async def key_by_hash(owner: OwnerDb, key_hash: str) -> ApiKey | None:
    """The key with this hash, unless it was revoked."""
    row = await owner.one(
        f"SELECT {_COLUMNS} FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL",  # noqa: S608
        key_hash,
    )
    return _key(row) if row else None


async def keys_in_use(owner: OwnerDb, after_id: int, limit: int) -> list[tuple[str, ApiKey]]:
    """Keys that were not revoked, each with its hash, in the order of their ids."""
    rows = await owner.fetch(
        f"SELECT {_COLUMNS}, key_hash FROM api_keys WHERE revoked_at IS NULL AND id > $1 ORDER BY id LIMIT $2",  # noqa: S608
        after_id,
        limit,
    )
    return [(row["key_hash"], _key(row)) for row in rows]


async def keys(owner: OwnerDb, practice_id: int | None) -> list[ApiKey]:
    """Keys, newest first: of one practice, or the owner's."""
    if practice_id is None:
        rows = await owner.fetch(f"SELECT {_COLUMNS} FROM api_keys WHERE practice_id IS NULL ORDER BY id DESC")  # noqa: S608
    else:
        rows = await owner.fetch(
            f"SELECT {_COLUMNS} FROM api_keys WHERE practice_id = $1 ORDER BY id DESC",  # noqa: S608
            practice_id,
        )
    return [_key(row) for row in rows]


async def practice_settings(db: PracticeDb) -> tuple[int, Locality]:
    """The practice's ``default_currency_id``, country and time zone, from its own database."""
    row = await db.one("SELECT default_currency_id, country, time_zone FROM practices WHERE id = $1", db.practice_id)
    assert row is not None
    return int(row["default_currency_id"]), Locality(row["country"], row["time_zone"])


def update_practice(
    unit: Writes, practice_id: int, name: str, currency_id: int, place: Locality, now: datetime
) -> None:
    """Name, default currency, country and time zone in the practice's own database."""
    unit.add(
        "UPDATE practices SET name = $2, default_currency_id = $3, updated_at = $4, country = $5, time_zone = $6"
        " WHERE id = $1",
        practice_id,
        name,
        currency_id,
        now,
        place.country,
        place.time_zone,
        expect=1,
    )


async def checkout_color(db: PracticeDb) -> str | None:
    """The practice's color on the checkout, ``#rrggbb``. None if it has chosen none."""
    row = await db.one("SELECT checkout_color FROM practices WHERE id = $1", db.practice_id)
    assert row is not None
    return row["checkout_color"]  # type: ignore[no-any-return]


def set_checkout_color(unit: Writes, practice_id: int, color: str | None, now: datetime) -> None:
    """Set the color. None restores the default."""
    unit.add(
        "UPDATE practices SET checkout_color = $2, updated_at = $3 WHERE id = $1", practice_id, color, now, expect=1
    )


async def people(db: OwnerDb | PracticeDb) -> list[dict[str, Any]]:
    """The staff of a database."""
    rows = await db.fetch("SELECT id, email, name, role, is_active, created_at FROM users ORDER BY id")
    return [{**dict(row), "is_active": bool(row["is_active"]), "created_at": moment(row["created_at"])} for row in rows]
