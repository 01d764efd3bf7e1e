"""Saved methods, which customers allow us to charge again: their identity, and the token, which opens only at its own
row.

Each payment that saves a card inserts a row with its own token: a copy. Copies of one customer's same card share
``same_card`` and are one method, identified by the oldest copy that is not removed; they are removed together. The
copies are grouped when a method is read, so two copies saved at the same time are one method as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.sealing import DataKey, Place
from polytill.domain.secret import Secret
from polytill.domain.states import DetachmentState, Environment
from polytill.storage.columns import Reader, Table
from polytill.storage.databases import PracticeDb, Writes


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """One copy of a saved method. It belongs to one customer and to the provider account that it was saved with."""

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
    sealed_token: str | None  # None after removal
    created_at: datetime
    same_card: str  # the same for all copies of one customer's card at one account; the id if that is not known
    customer_key: str | None  # the customer's e-mail, else phone, in the form in which they are compared
    removed_at: datetime | None = None


_METHODS = Table("saved_methods", StoredMethod)


def token_place(method_id: str, environment: Environment) -> Place:
    """The place that a token is sealed to."""
    return Place("saved_methods", method_id, "token", environment.value)


def open_token(data_key: DataKey, method: StoredMethod) -> Secret | None:
    """The token. None if the method was removed."""
    if method.sealed_token is None:
        return None
    return data_key.open(method.sealed_token, token_place(method.id, method.environment))


def insert_once(unit: Writes, method: StoredMethod) -> None:
    """Insert a copy of a method for a payment. The first one reported stays: a payment saves one."""
    _METHODS.insert(unit, method, end=" ON CONFLICT (payment_id) DO NOTHING")


def remove(unit: Writes, method: StoredMethod, now: datetime, detach_at: datetime | None) -> None:
    """Delete every copy's token for good. ``Stale`` if that was done already. With ``detach_at`` the copies are
    detached at the provider from that time on, and each token is kept separately until then."""
    if detach_at is not None:
        unit.add(
            "INSERT INTO saved_method_detachments (id, practice_id, environment, config_id, sealed_token,"
            " provider_customer_id, next_try_at, created_at, updated_at) SELECT id, practice_id, environment, config_id,"
            " sealed_token, provider_customer_id, $3, $4, $4 FROM saved_methods"
            " WHERE same_card = $1 AND environment = $2 AND removed_at IS NULL",
            method.same_card,
            method.environment,
            detach_at,
            now,
        )
    unit.add(
        "UPDATE saved_methods SET sealed_token = NULL, removed_at = $2 WHERE id = $1 AND removed_at IS NULL",
        method.id,
        now,
        expect=1,
    )
    unit.add(
        "UPDATE saved_methods SET sealed_token = NULL, removed_at = $4"
        " WHERE same_card = $1 AND environment = $2 AND id <> $3 AND removed_at IS NULL",
        method.same_card,
        method.environment,
        method.id,
        now,
    )


# The oldest copy identifies the method. A later charge uses the newest one, which has the latest token and expiry date.
_OLDEST = (
    "NOT EXISTS (SELECT 1 FROM saved_methods o WHERE o.same_card = m.same_card AND o.environment = m.environment"
    " AND o.removed_at IS NULL AND o.id < m.id)"
)


async def by_id(db: PracticeDb, method_id: str) -> StoredMethod | None:
    """One copy, removed or not."""
    return await _METHODS.one(db, "WHERE id = $1", method_id)


async def copies(db: PracticeDb, method: StoredMethod) -> list[StoredMethod]:
    """All copies of a method that are not removed, oldest first."""
    of_card = "WHERE same_card = $1 AND environment = $2 AND removed_at IS NULL ORDER BY id"
    return await _METHODS.all(db, of_card, method.same_card, method.environment)


async def of_payment(db: PracticeDb, payment_id: str) -> StoredMethod | None:
    """The copy that was saved with a payment."""
    return await _METHODS.one(db, "WHERE payment_id = $1", payment_id)


async def listed(
    db: PracticeDb, environment: Environment, customer_key: str | None, before: str | None, limit: int
) -> list[StoredMethod]:
    """The oldest copy of each method of one environment that can be charged, newest first: ids are ordered by time."""
    return await _METHODS.all(
        db,
        "AS m WHERE m.environment = $1 AND m.removed_at IS NULL"
        f" AND (CAST($2 AS TEXT) IS NULL OR m.id < $2) AND (CAST($3 AS TEXT) IS NULL OR m.customer_key = $3) AND {_OLDEST}"
        " ORDER BY m.id DESC LIMIT $4",
        environment,
        before or None,
        customer_key,
        limit,
    )


# ── Detaching at the provider ──


@dataclass(frozen=True, slots=True)
class Detaching:
    """A removed copy that the provider may still have."""

    id: str
    payment_id: str
    practice_id: int
    environment: Environment
    config_id: int
    sealed_token: str
    provider_customer_id: str | None
    tries: int
    credential_version: int | None  # of the keys that it was saved with


_DETACHING = Reader(
    Detaching,
    "SELECT d.id, m.payment_id, d.practice_id, d.environment, d.config_id, d.sealed_token, d.provider_customer_id, d.tries,"
    " (SELECT MAX(a.credential_version) FROM payment_attempts a JOIN saved_methods s ON s.payment_id = a.payment_id"
    " WHERE s.id = d.id AND a.config_id = d.config_id) AS credential_version"
    " FROM saved_method_detachments d JOIN saved_methods m ON m.id = d.id",
)


async def to_detach(db: PracticeDb, now: datetime) -> list[Detaching]:
    """Copies whose next try is due."""
    due = "WHERE d.state = 'due' AND d.next_try_at <= $1 ORDER BY d.next_try_at LIMIT 20"
    return await _DETACHING.all(db, due, now)


async def anything_to_detach(db: PracticeDb) -> bool:
    """Whether any copy still has to be detached."""
    return await db.one("SELECT id FROM saved_method_detachments WHERE state = 'due' LIMIT 1") is not None


def try_detaching(unit: Writes, one: Detaching, next_try_at: datetime, now: datetime) -> None:
    """Record a try before it is made, and the time of the next one. ``Stale`` if another worker has started it."""
    unit.add(
        "UPDATE saved_method_detachments SET tries = tries + 1, next_try_at = $3, updated_at = $4"
        " WHERE id = $1 AND tries = $2 AND state = 'due'",
        one.id,
        one.tries,
        next_try_at,
        now,
        expect=1,
    )


def detached(unit: Writes, one: Detaching, state: DetachmentState, code: str | None, now: datetime) -> None:
    """Delete the token of a copy that the provider has detached, or refuses to detach."""
    unit.add(
        "UPDATE saved_method_detachments SET state = $2, last_code = $3, sealed_token = NULL, next_try_at = NULL,"
        " updated_at = $4 WHERE id = $1 AND state = 'due'",
        one.id,
        state,
        code,
        now,
    )
