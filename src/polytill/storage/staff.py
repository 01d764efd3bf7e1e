"""Staff accounts: owner staff in the owner database, practice staff in their practice's. Sessions, links, failed
sign-ins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import StaffRole
from polytill.storage.databases import OwnerDb, PracticeDb, Writes
from polytill.storage.units import moment

StaffDb = OwnerDb | PracticeDb


@dataclass(frozen=True, slots=True)
class Person:
    """A row of ``users``."""

    id: int
    email: str
    name: str
    role: StaffRole
    is_active: bool
    has_password: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser."""

    id: int
    person: Person
    created_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Presence:
    """In how many browsers a person is signed in, and when one of them was last used."""

    browsers: int
    last_seen_at: datetime


_PERSON = "u.id, u.email, u.name, u.role, u.is_active, u.password_hash, u.created_at"


def _person(row: Any) -> Person:
    created_at = moment(row["created_at"])
    assert created_at is not None
    return Person(
        row["id"],
        row["email"],
        row["name"],
        StaffRole(row["role"]),
        bool(row["is_active"]),
        row["password_hash"] is not None,
        created_at,
    )


# ── People ──


def insert(unit: Writes, email: str, name: str, role: StaffRole, now: datetime) -> None:
    """Insert a person without a password. ``Duplicate`` if the e-mail is taken."""
    unit.add(
        "INSERT INTO users (email, name, role, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)",
        email,
        name,
        role,
        now,
        expect=1,
    )


def change(unit: Writes, person_id: int, role: StaffRole, is_active: bool, now: datetime) -> None:
    """Change the role, or whether the person may sign in."""
    unit.add(
        "UPDATE users SET role = $2, is_active = $3, updated_at = $4 WHERE id = $1",
        person_id,
        role,
        is_active,
        now,
        expect=1,
    )


def set_password(unit: Writes, person_id: int, password_hash: str, now: datetime) -> None:
    """A new password."""
    unit.add(
        "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1", person_id, password_hash, now, expect=1
    )


async def by_email(db: StaffDb, email: str) -> tuple[Person, str | None] | None:
    """A person and the hash of their password."""
    row = await db.one(f"SELECT {_PERSON} FROM users u WHERE u.email = $1", email)  # noqa: S608
    return (_person(row), row["password_hash"]) if row else None


async def listed(db: StaffDb) -> list[Person]:
    """Everybody."""
    return [_person(row) for row in await db.fetch(f"SELECT {_PERSON} FROM users u ORDER BY u.id")]  # noqa: S608


# ── Sessions ──


def insert_session(unit: Writes, person_id: int, token_hash: str, now: datetime) -> None:
    """Record a session."""
    unit.add(
        "INSERT INTO sessions (user_id, token_hash, created_at, last_seen_at) VALUES ($1, $2, $3, $3)",
        person_id,
        token_hash,
        now,
    )


def touch_session(unit: Writes, session_id: int, now: datetime) -> None:
    """Record that the session was used."""
    unit.add("UPDATE sessions SET last_seen_at = $2 WHERE id = $1", session_id, now)


def end_session(unit: Writes, session_id: int) -> None:
    """End a session."""
    unit.add("DELETE FROM sessions WHERE id = $1", session_id)


def end_sessions_of(unit: Writes, person_id: int) -> None:
    """End all sessions of a person."""
    unit.add("DELETE FROM sessions WHERE user_id = $1", person_id)


def forget_sessions(unit: Writes, created_before: datetime) -> None:
    """Delete sessions past their absolute limit."""
    unit.add("DELETE FROM sessions WHERE created_at < $1", created_before)


async def present(db: StaffDb, created_after: datetime, seen_after: datetime) -> dict[int, Presence]:
    """The valid sessions, by the person's id."""
    rows = await db.fetch(
        "SELECT user_id, count(*) AS browsers, max(last_seen_at) AS last_seen_at FROM sessions"
        " WHERE created_at >= $1 AND last_seen_at >= $2 GROUP BY user_id",
        created_after,
        seen_after,
    )
    found = {}
    for row in rows:
        seen_at = moment(row["last_seen_at"])
        assert seen_at is not None
        found[row["user_id"]] = Presence(row["browsers"], seen_at)
    return found


async def session(db: StaffDb, token_hash: str) -> Session | None:
    """The session of a token, unless the person may no longer sign in. The caller checks its limits."""
    row = await db.one(
        f"SELECT s.id AS session_id, s.created_at AS signed_in_at, s.last_seen_at, {_PERSON}"  # noqa: S608
        " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = $1 AND u.is_active",
        token_hash,
    )
    if row is None:
        return None
    signed_in_at, seen_at = moment(row["signed_in_at"]), moment(row["last_seen_at"])
    assert signed_in_at is not None
    assert seen_at is not None
    return Session(row["session_id"], _person(row), signed_in_at, seen_at)


# ── Invitation and reset links ──


def insert_link(unit: Writes, person_id: int, token_hash: str, now: datetime, expires_at: datetime) -> None:
    """A link for choosing a password once."""
    unit.add(
        "INSERT INTO person_links (user_id, token_hash, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        person_id,
        token_hash,
        now,
        expires_at,
    )


def end_links_of(unit: Writes, person_id: int) -> None:
    """Use up every link of a person."""
    unit.add("DELETE FROM person_links WHERE user_id = $1", person_id)


def use_link(unit: Writes, token_hash: str) -> None:
    """Use up a link. ``Stale`` if it was used already."""
    unit.add("DELETE FROM person_links WHERE token_hash = $1", token_hash, expect=1)


async def by_link(db: StaffDb, token_hash: str, now: datetime) -> Person | None:
    """The person of a link, while it can be used."""
    row = await db.one(
        f"SELECT {_PERSON} FROM person_links l JOIN users u ON u.id = l.user_id"  # noqa: S608
        " WHERE l.token_hash = $1 AND l.expires_at > $2 AND u.is_active",
        token_hash,
        now,
    )
    return _person(row) if row else None


# ── Failed tries ──


@dataclass(frozen=True, slots=True)
class Failures:
    """Recent failed sign-ins: for this e-mail from this address, for the e-mail, from the address."""

    pair: int
    email: int
    address: int


def insert_failure(unit: Writes, email_hash: str, address_hash: str, now: datetime) -> None:
    """Record a failed sign-in."""
    unit.add(
        "INSERT INTO sign_in_failures (email_hash, address_hash, at) VALUES ($1, $2, $3)", email_hash, address_hash, now
    )


def forget_failures(unit: Writes, before: datetime) -> None:
    """Delete old ones."""
    unit.add("DELETE FROM sign_in_failures WHERE at < $1", before)


async def failures(db: StaffDb, email_hash: str, address_hash: str, since: datetime) -> Failures:
    """Failed sign-ins since a given time."""
    row = await db.one(
        "SELECT count(CASE WHEN email_hash = $1 AND address_hash = $2 THEN 1 END) AS pair,"
        " count(CASE WHEN email_hash = $1 THEN 1 END) AS email, count(CASE WHEN address_hash = $2 THEN 1 END) AS address"
        " FROM sign_in_failures WHERE at >= $3",
        email_hash,
        address_hash,
        since,
    )
    assert row is not None
    return Failures(row["pair"], row["email"], row["address"])
