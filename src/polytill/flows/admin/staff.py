"""Staff accounts: invitations, passwords, sessions. The same code serves owner staff and practice staff.

A token is shown once and stored as its hash. Failures have the same answer and cost the same time, whether the account
exists or not: a stranger learns neither who has an account nor which practices exist.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import cache

import argon2

from polytill.domain.audit_actions import AuditAction
from polytill.domain.contacts import email_key
from polytill.domain.errors import Conflict, Duplicate, NotFound, Stale, TooMany, Unauthorized, invalid
from polytill.domain.names import read_name
from polytill.domain.secret import Secret
from polytill.domain.states import StaffRole
from polytill.flows.context import Context, Practice
from polytill.flows.installation import must_be_current
from polytill.storage import audit, staff
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.staff import Person, Presence, Session, StaffDb
from polytill.storage.units import Unit

IDLE_S = 2 * 3600
ABSOLUTE_S = 12 * 3600
LINK_S = 72 * 3600
SEEN_EVERY_S = 60
WINDOW_S = 15 * 60
TRIES_OF_PAIR, TRIES_OF_EMAIL, TRIES_OF_ADDRESS = 8, 40, 60
SHORTEST, LONGEST = 12, 200

# RFC 9106's second choice: three passes over 64 MiB.
PASSWORD_HASHER = argon2.PasswordHasher.from_parameters(argon2.profiles.RFC_9106_LOW_MEMORY)
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session: the token for the cookie, and the person."""

    token: Secret
    person: Person


def _token(context: Context) -> tuple[Secret, str]:
    text = base64.urlsafe_b64encode(context.world.random_bytes(32)).decode().rstrip("=")
    return Secret(text), token_hash(text)


def token_hash(token: str) -> str:
    """Return the hash of a session's or a link's token. 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def form_token(token: str) -> str:
    """Return the token in every form of a session, so that no other site can send one."""
    return hmac.new(token.encode("utf-8", "surrogatepass"), b"form", hashlib.sha256).hexdigest()


def normalized(email: str) -> str:
    """Return an e-mail address in the form in which it is compared and stored with a person."""
    return email_key(email)


def place_of(db: StaffDb) -> str:
    """Return the name of a database's staff area: the owner's, or a practice's."""
    return f"practice:{db.practice_id}" if isinstance(db, PracticeDb) else "owner"


def door_of(db: StaffDb) -> str:
    """Return the address of a database's staff pages."""
    return f"/practice/{db.practice_id}" if isinstance(db, PracticeDb) else "/owner"


# ── Inviting ──


async def invite(context: Context, db: StaffDb, email: str, name: str, role: str, actor: str) -> str:
    """Create a person. Return the address where they choose their password, valid for three days and once."""
    typed, email = email.strip(), normalized(email)
    if len(email) > 254 or not _EMAIL.fullmatch(typed):  # before the normal form removes invisible characters
        raise invalid("/email", "This is not an e-mail address.", reason="not_an_email")
    try:
        name = read_name(name, required=False)
    except ValueError as error:
        raise invalid("/name", f"The name {error}.") from None
    chosen, now = _role(role), context.world.now()
    unit = Unit()
    staff.insert(unit, email, name, chosen, now)
    audit.append(unit, now, actor, AuditAction.person_invited, email, {"role": chosen})
    try:
        await db.commit(unit)
    except Duplicate:
        raise Conflict(
            f"A person with the e-mail {email} already exists.", code="duplicate_email", email=email
        ) from None
    return await link(context, db, email, actor)


def _role(role: str) -> StaffRole:
    if role not in StaffRole.__members__:
        raise invalid("/role", "The role must be admin or viewer.", reason="no_role")
    return StaffRole(role)


async def invite_first(practice: Practice, email: str, name: str, actor: str) -> str:
    """Invite a practice's first admin as the owner. ``Conflict`` if the practice has people: then its admins invite."""
    if await staff.listed(practice.db):
        detail = "This practice already has staff. Its own admins invite the others."
        raise Conflict(detail, code="has_people")
    return await invite(practice.context, practice.db, email, name, StaffRole.admin, actor)


async def link(context: Context, db: StaffDb, email: str, actor: str) -> str:
    """Return the address where a person chooses a new password. Earlier links end; sessions last until it is used."""
    person = await existing(db, email)
    token, hashed = _token(context)
    now = context.world.now()
    unit = Unit()
    staff.end_links_of(unit, person.id)
    await db.commit(unit)
    staff.insert_link(unit, person.id, hashed, now, context.world.after(LINK_S))
    audit.append(unit, now, actor, AuditAction.person_link_made, person.email, None)
    await db.commit(unit)
    return f"{context.settings.public_url}{door_of(db)}/welcome/{token.reveal()}"


async def existing(db: StaffDb, email: str) -> Person:
    """Return a person by e-mail; ``NotFound`` if there is none."""
    found = await staff.by_email(db, normalized(email))
    if found is None:
        raise NotFound("There is no such person.")
    return found[0]


async def change(
    context: Context, db: StaffDb, email: str, role: str | None, is_active: bool | None, actor: str
) -> Person:
    """Change a person's role, or deactivate or activate them, and end their sessions. Nobody can do this to themselves,
    so an admin always remains."""
    before = await existing(db, email)
    after_role, after_active = _role(role or before.role), before.is_active if is_active is None else is_active
    if actor == f"user:{before.id}":
        raise Conflict("You cannot change your own role. Ask another admin.", code="own_role")
    now = context.world.now()
    unit = Unit()
    staff.change(unit, before.id, after_role, after_active, now)
    staff.end_sessions_of(unit, before.id)
    audit.append(
        unit, now, actor, AuditAction.person_changed, before.email, {"role": after_role, "active": after_active}
    )
    await db.commit(unit)
    return await existing(db, email)


async def end_sessions(context: Context, db: StaffDb, email: str, actor: str) -> None:
    """Sign a person out in every browser. Their password and their role stay."""
    person = await existing(db, email)
    unit = Unit()
    staff.end_sessions_of(unit, person.id)
    audit.append(unit, context.world.now(), actor, AuditAction.person_signed_out, person.email, None)
    await db.commit(unit)


async def present(context: Context, db: StaffDb) -> dict[int, Presence]:
    """Return who is signed in, by the person's id."""
    return await staff.present(db, context.world.after(-ABSOLUTE_S), context.world.after(-IDLE_S))


# ── Passwords ──


def _checked(password: str, person: Person) -> str:
    if len(password) < SHORTEST:
        raise invalid(
            "/password", f"A password must have at least {SHORTEST} characters.", reason="password_short", n=SHORTEST
        )
    if len(password) > LONGEST:
        raise invalid(
            "/password", f"A password must have at most {LONGEST} characters.", reason="password_long", n=LONGEST
        )
    if normalized(password) == person.email:
        raise invalid("/password", "The password must not be the e-mail address.", reason="password_is_email")
    return password


async def whose_link(context: Context, db: StaffDb, token: str) -> Person:
    """Return the person of a link; ``NotFound`` if it was used, has expired or never existed."""
    found = await staff.by_link(db, token_hash(token), context.world.now())
    if found is None:
        raise NotFound("This link was used or has expired. Request a new one.", reason="link_gone")
    return found


async def choose_password(context: Context, db: StaffDb, token: str, password: str) -> SignedIn:
    """Use a link: set a new password, end every older session, and sign this browser in."""
    person = await whose_link(context, db, token)
    hashed = await asyncio.to_thread(PASSWORD_HASHER.hash, _checked(password, person))
    unit = Unit()
    staff.use_link(unit, token_hash(token))
    staff.end_sessions_of(unit, person.id)
    staff.set_password(unit, person.id, hashed, context.world.now())
    audit.append(unit, context.world.now(), f"user:{person.id}", AuditAction.person_password_chosen, person.email, None)
    try:
        await db.commit(unit)
    except Stale:
        raise NotFound("This link was used or has expired. Request a new one.", reason="link_gone") from None
    return await _begin(context, db, person)


async def change_password(
    context: Context, db: StaffDb, session: Session, old: str, new: str, address: str
) -> SignedIn:
    """Change a password, with the old one as proof. Every session ends; this browser gets a new one."""
    person = await _proven(context, db, session.person.email, old, address)
    if person is None:
        raise invalid("/old", "This is not your current password.", reason="not_present_password")
    hashed = await asyncio.to_thread(PASSWORD_HASHER.hash, _checked(new, person))
    unit = Unit()
    staff.set_password(unit, person.id, hashed, context.world.now())
    staff.end_sessions_of(unit, person.id)
    staff.end_links_of(unit, person.id)
    audit.append(
        unit, context.world.now(), f"user:{person.id}", AuditAction.person_password_changed, person.email, None
    )
    await db.commit(unit)
    return await _begin(context, db, person)


# ── Signing in and out ──


def _who(context: Context, what: str) -> str:
    return hmac.new(
        context.ring.derived("sign-in")[0], what.encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()


async def _proven(context: Context, db: StaffDb | None, email: str, password: str, address: str) -> Person | None:
    """Return the person with this password. ``TooMany`` after too many failures, whether the person exists or not."""
    counted_in: StaffDb = db if db is not None else context.owner
    place = place_of(db) if db is not None else "nowhere"
    email_hash, address_hash = _who(context, f"{place} {normalized(email)}"), _who(context, address)
    since = context.world.after(-WINDOW_S)
    tried = await staff.failures(counted_in, email_hash, address_hash, since)
    if tried.pair >= TRIES_OF_PAIR or tried.email >= TRIES_OF_EMAIL or tried.address >= TRIES_OF_ADDRESS:
        raise TooMany("Too many failed sign-ins. Wait 15 minutes, then try again.")
    found = await staff.by_email(db, normalized(email)) if db is not None else None
    hashed = found[1] if found and found[1] and found[0].is_active else None
    if await asyncio.to_thread(_fits, hashed, password[:LONGEST]) and found and hashed:
        return found[0]
    unit = Unit()
    staff.forget_failures(unit, since)
    staff.insert_failure(unit, email_hash, address_hash, context.world.now())
    await counted_in.commit(unit)
    return None


@cache
def _nobodys() -> str:
    """Return a hash to check a stranger's password against: "no such person" takes as long as "wrong password"."""
    return PASSWORD_HASHER.hash("nobody has this password")


def _fits(hashed: str | None, password: str) -> bool:
    hashed = hashed or _nobodys()
    try:
        return PASSWORD_HASHER.verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False


async def sign_in(context: Context, db: StaffDb | None, email: str, password: str, address: str) -> SignedIn:
    """Create a session if the password is right. ``db`` is None for a practice that does not exist: it fails alike."""
    person = await _proven(context, db, email, password, address)
    if person is None or db is None:
        raise Unauthorized("The e-mail or the password is wrong.")
    return await _begin(context, db, person)


async def _begin(context: Context, db: StaffDb, person: Person) -> SignedIn:
    if isinstance(db, PracticeDb):
        db.anchor.must_be_current()  # whoever was deactivated since the copy was made must not come in again
    else:
        must_be_current(context)
    token, hashed = _token(context)
    unit = Unit()
    staff.forget_sessions(unit, context.world.after(-ABSOLUTE_S))
    staff.insert_session(unit, person.id, hashed, context.world.now())
    audit.append(unit, context.world.now(), f"user:{person.id}", AuditAction.person_signed_in, person.email, None)
    await db.commit(unit)
    return SignedIn(token, person)


async def session_of(context: Context, db: StaffDb, token: str) -> Session | None:
    """Return the session of a cookie while it is valid: two hours idle, twelve hours in all. None is valid while the
    practice's database is behind, or the owner's is older: an ended session would be open again."""
    ended = context.installation.older_since if isinstance(db, OwnerDb) else db.anchor.behind
    if ended is not None:
        return None
    found = await staff.session(db, token_hash(token))
    now = context.world.now()
    if found is None or (now - found.created_at).total_seconds() > ABSOLUTE_S:
        return None
    idle_s = (now - found.last_seen_at).total_seconds()
    if idle_s > IDLE_S:
        return None
    if idle_s > SEEN_EVERY_S:
        unit = Unit()
        staff.touch_session(unit, found.id, now)
        await db.commit(unit)
    return found


async def sign_out(context: Context, db: StaffDb, session: Session) -> None:
    """End this browser's session at the server."""
    unit = Unit()
    staff.end_session(unit, session.id)
    await db.commit(unit)
