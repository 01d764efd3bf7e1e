"""Methods that payers let us charge again: what they are known by, and the token, which opens only at its own row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.sealing import DataKey, Place
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.domain.text import normal
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class KeptMethod:
    """One saved method. It belongs to the provider's account that it was saved with, and to the payer's e-mail."""

    id: str
    practice_id: int
    environment: Environment
    payment_id: str  # with which it was saved
    config_id: int
    provider_code: str
    customer_email: str | None
    kind: str
    brand: str | None
    last4: str | None
    expires: str | None  # YYYY-MM
    fingerprint: str | None
    provider_customer_id: str | None
    sealed_token: str | None  # None once it is removed
    created_at: datetime
    removed_at: datetime | None = None


_COLUMNS = (
    "id, practice_id, environment, payment_id, config_id, provider_code, customer_email, kind, brand, last4, expires,"
    " fingerprint, provider_customer_id, sealed_token, created_at, removed_at"
)


def token_place(method_id: str, environment: Environment) -> Place:
    """Where a token is sealed to."""
    return Place("saved_methods", method_id, "token", environment.value)


def open_token(data_key: DataKey, kept: KeptMethod) -> Secret | None:
    """The token; None where the method was removed."""
    if kept.sealed_token is None:
        return None
    return data_key.open(kept.sealed_token, token_place(kept.id, kept.environment))


def _kept(row: Any) -> KeptMethod:
    values = dict(row)
    values["environment"] = Environment(values["environment"])
    for name in ("created_at", "removed_at"):
        values[name] = moment(values[name])
    return KeptMethod(**values)


def insert_once(unit: Writes, kept: KeptMethod) -> None:
    """A method of a payment. The first that was told stays: a payment saves one."""
    unit.add(
        f"INSERT INTO saved_methods ({_COLUMNS}, email_key)"  # noqa: S608
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        " ON CONFLICT (payment_id) DO NOTHING",
        kept.id, kept.practice_id, kept.environment.value, kept.payment_id, kept.config_id, kept.provider_code,
        kept.customer_email, kept.kind, kept.brand, kept.last4, kept.expires, kept.fingerprint,
        kept.provider_customer_id, kept.sealed_token, kept.created_at, kept.removed_at,
        normal(kept.customer_email) if kept.customer_email else None,
    )  # fmt: skip


def remove(unit: Writes, method_id: str, now: datetime) -> None:
    """Forget the token for good. ``Stale`` where that was done already."""
    unit.add(
        "UPDATE saved_methods SET sealed_token = NULL, removed_at = $2 WHERE id = $1 AND removed_at IS NULL",
        method_id, now, expect=1,
    )  # fmt: skip


def set_email_key(unit: Writes, method_id: str, email: str) -> None:
    """The compared form of an e-mail that an earlier version has written."""
    unit.add("UPDATE saved_methods SET email_key = $2 WHERE id = $1", method_id, normal(email))


async def without_email_key(db: PracticeDb, limit: int) -> list[tuple[str, str]]:
    """Methods that an earlier version has written: their ids and e-mails."""
    rows = await db.fetch(
        "SELECT id, customer_email FROM saved_methods WHERE email_key IS NULL AND customer_email IS NOT NULL LIMIT $1",
        limit,
    )
    return [(row["id"], row["customer_email"]) for row in rows]


async def by_id(db: PracticeDb, method_id: str) -> KeptMethod | None:
    """One method, removed or not."""
    row = await db.one(f"SELECT {_COLUMNS} FROM saved_methods WHERE id = $1", method_id)  # noqa: S608
    return _kept(row) if row else None


async def of_payment(db: PracticeDb, payment_id: str) -> KeptMethod | None:
    """The method that was saved with a payment."""
    row = await db.one(f"SELECT {_COLUMNS} FROM saved_methods WHERE payment_id = $1", payment_id)  # noqa: S608
    return _kept(row) if row else None


async def listed(
    db: PracticeDb, environment: Environment, email: str | None, before: str | None, limit: int
) -> list[KeptMethod]:
    """Methods of one environment that can be charged, newest first: ids are ordered by time."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM saved_methods WHERE environment = $1 AND removed_at IS NULL AND id < $2"  # noqa: S608
        " AND (CAST($3 AS TEXT) IS NULL OR email_key = $3 OR (email_key IS NULL AND customer_email = $5))"
        " ORDER BY id DESC LIMIT $4",
        environment.value, before or "~", None if email is None else normal(email), limit, email,
    )  # fmt: skip
    return [_kept(row) for row in rows]
