"""Staff accounts: owner staff in the owner database, practice staff in their practice's. Sessions, links, failed
sign-ins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.states import StaffRole
from polytill.storage.columns import Reader
from polytill.storage.databases import OwnerDb, PracticeDb, Writes

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


_SESSIONS = Reader(Session, but="person")


@dataclass(frozen=True, slots=True)
class Presence:
    """In how many browsers a person is signed in, and when one of them was last used."""

    browsers: int
    last_seen_at: datetime


_PRESENCE = Reader(Presence)

_PERSON = "u.id, u.email, u.name, u.role, u.is_active, u.password_hash AS has_password, u.created_at"
_PEOPLE = Reader(Person, f"SELECT {_PERSON} FROM users u", has_password=lambda password_hash: password_hash is not None)  # noqa: S608


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
    row = await db.one(f"SELECT {_PERSON}, u.password_hash FROM users u WHERE u.email = $1", email)  # noqa: S608
    return (_PEOPLE.read(row), row["password_hash"]) if row else None


async def listed(db: StaffDb) -> list[Person]:
    """Everybody."""
    return await _PEOPLE.all(db, "ORDER BY u.id")


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


def end_all_access(unit: Writes, now: datetime) -> None:
    """End all sessions, passwords and links to set one: nobody signs in before a new link was made for them."""
    unit.add("DELETE FROM sessions")
    unit.add("DELETE FROM person_links")
    unit.add("UPDATE users SET password_hash = NULL, updated_at = $1", now)


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
    return {row["user_id"]: _PRESENCE.read(row) for row in rows}


async def session(db: StaffDb, token_hash: str) -> Session | None:
    """The session of a token, unless the person may no longer sign in. The caller checks its limits."""
    row = await db.one(
        f"SELECT s.id AS s_id, s.created_at AS s_created_at, s.last_seen_at AS s_last_seen_at, {_PERSON}"  # noqa: S608
        " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = $1 AND u.is_active",
        token_hash,
    )
    return _SESSIONS.read(row, "s_", person=_PEOPLE.read(row)) if row else None


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
    invited = "JOIN person_links l ON l.user_id = u.id WHERE l.token_hash = $1 AND l.expires_at > $2 AND u.is_active"
    return await _PEOPLE.one(db, invited, token_hash, now)


# ── Failed tries ──


@dataclass(frozen=True, slots=True)
class Failures:
    """Recent failed sign-ins: for this e-mail from this address, for the e-mail, from the address."""

    pair: int
    email: int
    address: int


_FAILURES = Reader(
    Failures,
    "SELECT count(CASE WHEN email_hash = $1 AND address_hash = $2 THEN 1 END) AS pair,"
    " count(CASE WHEN email_hash = $1 THEN 1 END) AS email, count(CASE WHEN address_hash = $2 THEN 1 END) AS address"
    " FROM sign_in_failures",
)


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
    found = await _FAILURES.one(db, "WHERE at >= $3", email_hash, address_hash, since)
    return found or Failures(0, 0, 0)
