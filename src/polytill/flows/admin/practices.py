"""Onboarding of practices: a directory row, a database, a data key, an API key. A failure half-way leaves nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import EllipsisType

from polytill.domain.audit_actions import AuditAction
from polytill.domain.currencies import CURRENCIES
from polytill.domain.errors import Conflict, Duplicate, NotFound, NotNow, PolytillError, PracticeClosed, invalid
from polytill.domain.external_ids import read_external_id
from polytill.domain.ids import new_id
from polytill.domain.localities import COUNTRIES, Locality, locality, time_zones
from polytill.domain.names import read_name
from polytill.domain.secret import Secret
from polytill.domain.states import ApiKeyKind, PracticeState
from polytill.flows import key_ring
from polytill.flows.admin import placement
from polytill.flows.adoption.unknown import check_ids
from polytill.flows.context import Context, log
from polytill.flows.installation import must_be_adopted, must_be_current
from polytill.flows.practice_state import may_have_credentials
from polytill.storage import api_keys, audit, installations, migrating, practice_profile, practices
from polytill.storage.api_keys import ApiKey
from polytill.storage.clusters import Cluster
from polytill.storage.databases import PracticeDb
from polytill.storage.opening import NewIdentity, stamp_identity
from polytill.storage.practices import Made, PracticeEntry
from polytill.storage.units import Unit

KEY_PREFIXES = {ApiKeyKind.owner: "pt_owner_", ApiKeyKind.practice: "pt_practice_", ApiKeyKind.publishable: "pt_pub_"}
ONBOARDING_S = 60.0  # no onboarding takes longer
PRACTICE_SCOPES = ["read", "payments", "refunds", "configure"]


def new_key(context: Context, kind: ApiKeyKind) -> tuple[str, str]:
    """Return a new API key and its hash. 256 random bits need no slow hash."""
    key = KEY_PREFIXES[kind] + base64.b32encode(context.world.random_bytes(32)).decode().rstrip("=").lower()
    return key, key_hash(key)


def key_hash(key: str) -> str:
    """Return the hash under which a key is stored."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


async def create_key(
    context: Context, kind: ApiKeyKind, practice_id: int | None, name: str, scopes: list[str] | None, actor: str
) -> str:
    """Create an API key, which is shown only once."""
    must_be_adopted(context)
    if practice_id is not None:
        await may_have_credentials(context, practice_id)
    name = _name(name, "name of the key")
    key, hashed = new_key(context, kind)
    granted = (
        {ApiKeyKind.owner: ["owner"], ApiKeyKind.publishable: ["publishable"]}.get(kind) or scopes or PRACTICE_SCOPES
    )
    now = context.world.now()
    unit = Unit()
    api_keys.insert(unit, ApiKey(0, kind, practice_id, name, tuple(granted), key[-4:], now), hashed)
    audit.append(
        unit,
        now,
        actor,
        AuditAction.key_created,
        f"practice:{practice_id}" if practice_id else "owner",
        {"kind": kind, "name": name},
    )
    await context.owner.commit(unit)
    return key


def _check_settings(currency: str, country: str | None, time_zone: str | None) -> None:
    if currency not in CURRENCIES:
        raise invalid("/defaultCurrency", f"{currency} is not an ISO 4217 currency.", reason="no_currency")
    if country is not None and country not in COUNTRIES:
        raise invalid("/country", f"{country} is not a country code of ISO 3166-1, such as KE.", reason="no_country")
    if time_zone is not None and time_zone not in time_zones():
        detail = f"{time_zone} is not an IANA time zone, such as Africa/Lagos."
        raise invalid("/timeZone", detail, reason="no_time_zone")


def _name(value: str, what: str = "name") -> str:
    try:
        return read_name(value)
    except ValueError as error:
        raise invalid("/name", f"The {what} {error}.") from None


def _read_external_id(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return read_external_id(value)
    except ValueError as error:
        raise invalid("/externalId", f"The external id {error}.") from None


def _taken(external_id: str | None) -> Conflict:
    return Conflict(
        f"Another practice has the external id {external_id!r}.", code="duplicate_external_id", external_id=external_id
    )


@dataclass(frozen=True, slots=True)
class NewPractice:
    """A practice to create. Country and time zone default to those of the currency and the country; ``external_id`` is
    the host application's own identifier, unique if it is given. Without a ``cluster`` the practice goes to the open one
    with most room."""

    name: str
    currency: str
    cluster: str | None = None
    country: str | None = None
    time_zone: str | None = None
    external_id: str | None = None


async def create_practice(
    context: Context, new: NewPractice, actor: str, hand_over: Callable[[int, Secret], None] | None = None
) -> tuple[PracticeEntry, str]:
    """Onboard a practice: create, migrate, seal and register its database, and create its first key.

    ``hand_over`` gets id and first key before the practice becomes active; if it raises, nothing is created. So a
    caller can keep the key safely, whatever happens to this process. ``Conflict`` if another practice has the external
    id, or if no cluster has room, ``Invalid`` if the named one does not accept it; nothing is created then.
    """
    must_be_current(context)
    name, currency = _name(new.name), new.currency
    _check_settings(currency, new.country, new.time_zone)
    home = locality(currency, new.country, new.time_zone)
    external_id = _read_external_id(new.external_id)
    await key_ring.may_seal(context)
    await placement.check_named(context, new.cluster)
    await check_ids(context)
    now = context.world.now()
    database_name = f"{practices.DATABASE_PREFIX}{context.world.random_bytes(8).hex()}"
    entry = PracticeEntry(
        id=0,
        name=name,
        default_currency=currency,
        cluster="",
        database_name=database_name,
        schema_version="",
        state=PracticeState.provisioning,
        wrapped_data_key="",
        created_at=now,
        updated_at=now,
        country=home.country,
        time_zone=home.time_zone,
        external_id=external_id,
    )
    try:
        entry, cluster = await placement.reserve(context, entry, new.cluster)
    except Duplicate:
        raise _taken(external_id) from None
    practice_id = entry.id
    try:
        made = await _new_database(context, await context.opening.cluster_of(cluster), entry)
        key, hashed = new_key(context, ApiKeyKind.practice)
        unit = Unit()
        practices.activate(unit, practice_id, made, now)
        first = ApiKey(0, ApiKeyKind.practice, practice_id, "first key", tuple(PRACTICE_SCOPES), key[-4:], now)
        api_keys.insert(unit, first, hashed)
        detail = {"name": name, "cluster": entry.cluster} | ({"externalId": external_id} if external_id else {})
        audit.append(unit, now, actor, AuditAction.practice_created, f"practice:{practice_id}", detail)
        if hand_over is not None:
            hand_over(practice_id, Secret(key))
        await context.owner.commit(unit)
    except BaseException as error:
        if await _undone(context, entry) is not Undone.in_use or not isinstance(error, Exception):
            raise
        # Only the answer to the last commit was lost.
    context.opening.forget(practice_id)
    return await context.opening.entry(practice_id), key


async def _new_database(context: Context, place: Cluster, entry: PracticeEntry) -> Made:
    """Create a practice's database and stamp it as the practice's."""
    data_key, wrapped = context.opening.new_data_key(entry.id)
    await place.create(entry.database_name)
    db = PracticeDb(place.engine(entry.database_name), entry.id, data_key)
    stamp, epoch = Unit(), new_id(context.world)
    home = Locality(entry.country, entry.time_zone)
    try:
        born = await db.engine.place()
        uid = (await installations.read(context.owner)).uid
        identity = NewIdentity(entry.id, entry.name, entry.default_currency, home, epoch, born, uid)
        stamp_identity(stamp, identity, context.world.now())
        await db.commit(stamp)
    finally:
        await db.engine.close()
    return Made(migrating.head("practice"), wrapped, epoch)


class Undone(StrEnum):
    """The outcome of undoing an onboarding."""

    done = "done"
    in_use = "in_use"  # the practice was created completely, or is no longer there
    failed = "failed"  # the row stays, because the database could not be dropped


async def _undone(context: Context, entry: PracticeEntry, without_database: bool = False) -> Undone:
    """Undo an onboarding. Failures here are logged, so that the caller gets the first error."""
    try:
        async with context.owner.transaction() as tx:  # the row is deleted only after the database
            if not await practices.forget(tx, entry.id):
                return Undone.in_use
            if not without_database:
                await (await context.opening.cluster(entry.cluster)).drop(entry.database_name)
    except Exception as error:
        log.error("onboarding_left_over", practice=entry.id, database=entry.database_name, error=type(error).__name__)
        return Undone.failed
    return Undone.done


async def clear_half_made_one(context: Context, entry: PracticeEntry) -> bool:
    """Undo one onboarding whose process died half-way. False if that was not possible."""
    return await _undone(context, entry) is Undone.done


async def clear_half_made(context: Context, older_than_s: float = 600.0) -> int:
    """Undo onboardings whose process died half-way. Return their number."""
    must_be_adopted(context)
    before = context.world.after(-older_than_s)
    left = [entry for entry in await practices.half_made(context.owner) if not began_after(entry, before)]
    return sum([await clear_half_made_one(context, entry) for entry in left])


def began_after(entry: PracticeEntry, moment: datetime) -> bool:
    """Whether the creation of a practice began at this moment or later, so that it may still run."""
    return entry.created_at is None or entry.created_at >= moment


async def discard(context: Context, practice_id: int, actor: str, without_database: bool = False) -> PracticeEntry:
    """Remove what an onboarding left behind that failed and could not be undone. Return what the directory had of it.

    ``without_database``: its server is gone or does not answer, and a database that may be there stays. ``NotFound``,
    or ``Conflict`` if the practice was created completely, or if its onboarding may still run.
    """
    must_be_adopted(context)
    entry = await practices.by_id(context.owner, practice_id)
    if entry is None:
        raise NotFound(f"There is no practice {practice_id}.")
    created = f"Practice {practice_id} was created completely, so it cannot be discarded."
    if entry.state is not PracticeState.provisioning:
        raise Conflict(created, code="practice_created")
    if began_after(entry, context.world.after(-ONBOARDING_S)):
        raise Conflict(
            f"Practice {practice_id} may still be in creation. Try again in a minute.", code="practice_in_creation"
        )
    undone = await _undone(context, entry, without_database)
    if undone is Undone.failed:
        raise NotNow(
            f"The database {entry.database_name} could not be dropped, so nothing was discarded. If its server is gone,"
            " add --without-database."
        )
    if undone is Undone.in_use:
        raise Conflict(created, code="practice_created")
    unit = Unit()
    about = {"cluster": entry.cluster, "database": entry.database_name, "withoutDatabase": without_database}
    audit.append(unit, context.world.now(), actor, AuditAction.practice_discarded, f"practice:{practice_id}", about)
    await context.owner.commit(unit)
    return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeChanges:
    """What to change of a practice. None leaves a value as it is; for the external id ``...`` does, and None removes
    it."""

    name: str | None = None
    currency: str | None = None
    state: PracticeState | None = None
    country: str | None = None
    time_zone: str | None = None
    external_id: str | EllipsisType | None = ...


async def change_practice(
    context: Context, practice_id: int, changes: PracticeChanges, actor: str, by_own_staff: bool = False
) -> PracticeEntry:
    """Rename a practice, change its default currency, country or time zone, suspend or resume it.

    The practice's own row is written first. A changed time zone applies to all days, past ones included. ``Conflict``
    if another practice has the external id, ``PracticeClosed`` for a state if the practice is closed.
    """
    must_be_adopted(context)
    context.opening.forget(practice_id)
    before = await context.opening.entry(practice_id)
    if before.state is PracticeState.closed and changes.state is not None:
        raise PracticeClosed("This practice is closed. Reopen it before you change its state.")
    external_id = changes.external_id
    after = replace(
        before,
        name=before.name if changes.name is None else _name(changes.name),
        default_currency=before.default_currency if changes.currency is None else changes.currency,
        state=changes.state or before.state,
        country=changes.country or before.country,
        time_zone=changes.time_zone or before.time_zone,
        external_id=before.external_id if isinstance(external_id, EllipsisType) else _read_external_id(external_id),
    )
    _check_settings(after.default_currency, changes.country, changes.time_zone)
    if after.external_id is not None:  # before anything is written; the unique index decides between two at once
        other = await practices.by_external_id(context.owner, after.external_id)
        if other is not None and other.id != practice_id:
            raise _taken(after.external_id)
    now = context.world.now()
    detail = {"state": after.state, "country": after.country, "timeZone": after.time_zone}
    if after.external_id != before.external_id:
        detail["externalId"] = after.external_id
    if by_own_staff or replace(after, state=before.state, external_id=before.external_id) != before:
        practice = await context.practice(practice_id)
        own = Unit()
        home = Locality(after.country, after.time_zone)
        practice_profile.update(own, practice_id, after.name, CURRENCIES[after.default_currency].numeric, home, now)
        if by_own_staff:  # the number of a person is meaningful only in the log of their own practice
            audit.append(own, now, actor, AuditAction.practice_changed, str(practice_id), detail)
            actor = f"practice:{practice_id}"
        await practice.db.commit(own)
    unit = Unit()
    practices.update(unit, after, before.state, now)
    audit.append(unit, now, actor, AuditAction.practice_changed, f"practice:{practice_id}", detail)
    try:
        await context.owner.commit(unit)
    except Duplicate:
        raise _taken(after.external_id) from None
    context.forget(practice_id)
    return await context.opening.entry(practice_id)


async def migrate_practice(context: Context, practice_id: int, actor: str) -> list[str]:
    """Migrate one practice's database to the current schema. Return the applied revisions."""
    async with context.opening.at_any_schema(practice_id) as db:
        done = await migrating.migrate(db, "practice")
    entry = await practices.by_id(context.owner, practice_id)
    if not done and entry is not None and entry.schema_version == migrating.head("practice"):
        return done  # nothing was done: no audit entry, which would empty every node's caches
    unit = Unit()
    now = context.world.now()
    practices.set_schema_version(unit, practice_id, migrating.head("practice"), now)
    audit.append(unit, now, actor, AuditAction.practice_migrated, f"practice:{practice_id}", {"revisions": done})
    await context.owner.commit(unit)
    context.opening.forget(practice_id)
    return done


async def revoke_key(context: Context, key_id: int, practice_id: int | None, actor: str) -> None:
    """Revoke a key; ``Stale`` if there is no such key, or if it is not of this practice.

    The practice's database notes it, too, if it can be reached: a restored owner database would not know.
    """
    now = context.world.now()
    holder = await api_keys.practice_of(context.owner, key_id)
    if holder is not None and practice_id in (None, holder[0]):
        with suppress(PolytillError):
            practice, noted = await context.practice(holder[0]), Unit()
            api_keys.note_revoked(noted, holder[1], now)
            await practice.db.commit(noted)
    unit = Unit()
    api_keys.revoke(unit, key_id, practice_id, now)
    audit.append(
        unit, now, actor, AuditAction.key_revoked, f"practice:{practice_id}" if practice_id else "owner", {"id": key_id}
    )
    await context.owner.commit(unit)
    context.opening.directory.key_revoked(key_id)
