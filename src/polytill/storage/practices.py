"""The directory of practices in the owner database: their names, the location of their databases, and their state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from polytill.domain.behind import BehindReason
from polytill.domain.currencies import CURRENCIES
from polytill.domain.localities import zone_of
from polytill.domain.states import PracticeState
from polytill.storage.anchors import Mark
from polytill.storage.columns import Reader
from polytill.storage.databases import OwnerDb, Tx, Writes
from polytill.storage.installations import NEXT_PRACTICE_ID

DATABASE_PREFIX = "practice_"  # of the names of practice databases
MOST_ID = 2**31 - 1
_CODES = {currency.numeric: currency.code for currency in CURRENCIES.values()}


@dataclass(frozen=True, slots=True)
class PracticeEntry:
    """One practice in the directory. ``wrapped_data_key`` opens only with the installation's key ring."""

    id: int
    name: str
    default_currency: str
    cluster: str
    database_name: str
    schema_version: str
    state: PracticeState
    wrapped_data_key: str
    created_at: datetime | None
    updated_at: datetime | None
    country: str | None = None
    time_zone: str = "UTC"
    external_id: str | None = None  # the host application's own identifier; unique if set
    epoch: str = ""
    mark_position: int = 0
    mark_event_id: str | None = None
    mark_payment_id: str | None = None
    behind: BehindReason | None = None  # why its database is older than what is known of it, as a process noticed
    closed_at: datetime | None = None
    runs_out_at: datetime | None = None  # until when refunds, webhooks and lookups of a closed practice go on
    deleted_at: datetime | None = None
    deleted_by: str | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether the run-out of a closed practice has ended."""
        return self.state is PracticeState.closed and self.runs_out_at is not None and self.runs_out_at <= now

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone, which its days, months and the times on its pages follow."""
        return zone_of(self.time_zone)

    @property
    def mark(self) -> Mark:
        """What its database must have: the last event that was forwarded, and the newest payment that was recorded."""
        return Mark(self.mark_position, self.mark_event_id, self.mark_payment_id)


_PRACTICES = Reader(
    PracticeEntry,
    "SELECT id, name, default_currency_id AS default_currency, cluster, database_name, schema_version, state,"
    " wrapped_data_key, created_at, updated_at, country, time_zone, external_id, epoch, mark_position, mark_event_id,"
    " mark_payment_id, behind, closed_at, runs_out_at, deleted_at, deleted_by FROM practices",
    default_currency=_CODES.__getitem__,
)


async def reserve(tx: Tx, entry: PracticeEntry) -> int:
    """Insert a row in state ``provisioning`` and return its id, which ``entry`` does not have yet and no practice had
    before. ``Duplicate`` if another practice has the external id."""
    practice_id = int(await tx.value(NEXT_PRACTICE_ID))
    await tx.fetch(
        "INSERT INTO practices (name, default_currency_id, cluster, database_name, state, created_at, updated_at,"
        " country, time_zone, external_id, id) VALUES ($1, $2, $3, $4, 'provisioning', $5, $5, $6, $7, $8, $9)"
        " RETURNING id",
        entry.name,
        CURRENCIES[entry.default_currency].numeric,
        entry.cluster,
        entry.database_name,
        entry.created_at,
        entry.country,
        entry.time_zone,
        entry.external_id,
        practice_id,
    )
    return practice_id


class Place(NamedTuple):
    """Where a practice's database is, and its epoch."""

    cluster: str
    database: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of a practice's new database."""

    schema_version: str
    wrapped_data_key: str
    epoch: str


def activate(unit: Writes, practice_id: int, made: Made, now: datetime) -> None:
    """Set the practice to active."""
    unit.add(
        "UPDATE practices SET state = 'active', schema_version = $2, wrapped_data_key = $3, updated_at = $4, epoch = $5"
        " WHERE id = $1 AND state = 'provisioning'",
        practice_id,
        made.schema_version,
        made.wrapped_data_key,
        now,
        made.epoch,
        expect=1,
    )


async def forget(tx: Tx, practice_id: int) -> bool:
    """Delete a reservation. False if the practice is in use by now and must stay."""
    reserved = "DELETE FROM practices WHERE id = $1 AND state = 'provisioning' RETURNING id"
    return await tx.one(reserved, practice_id) is not None


def update(unit: Writes, entry: PracticeEntry, before: PracticeState, now: datetime) -> None:
    """Name, default currency, state, country, time zone and external id. ``Duplicate`` if another practice has that,
    ``Stale`` if the practice is not in the state ``before``."""
    unit.add(
        "UPDATE practices SET name = $2, default_currency_id = $3, state = $4, updated_at = $5, country = $6,"
        " time_zone = $7, external_id = $8 WHERE id = $1 AND state = $9",
        entry.id,
        entry.name,
        CURRENCIES[entry.default_currency].numeric,
        entry.state,
        now,
        entry.country,
        entry.time_zone,
        entry.external_id,
        before,
        expect=1,
    )


def set_behind(unit: Writes, practice_id: int, reason: BehindReason | None, now: datetime) -> None:
    """Record whether the practice's database is behind, for everybody to see. Each process finds it out itself."""
    unit.add("UPDATE practices SET behind = $2, updated_at = $3 WHERE id = $1", practice_id, reason, now)


def adopt(unit: Writes, practice_id: int, epoch: str, mark: Mark, now: datetime) -> None:
    """Record that the practice's database was adopted: its new epoch, and the newest event and payment that it has."""
    unit.add(
        "UPDATE practices SET epoch = $2, mark_position = $3, mark_event_id = $4, mark_payment_id = $5, behind = NULL,"
        " updated_at = $6 WHERE id = $1",
        practice_id,
        epoch,
        *mark,
        now,
        expect=1,
    )


def replace_database(unit: Writes, practice_id: int, epoch: str, version: str, now: datetime) -> None:
    """Record the revision of a database that takes the place of the practice's own, and require another epoch than either
    has: whichever is found is behind until it is adopted."""
    unit.add(
        "UPDATE practices SET epoch = $2, schema_version = $3, updated_at = $4 WHERE id = $1 AND state <> 'deleted'",
        practice_id,
        epoch,
        version,
        now,
        expect=1,
    )


def move(unit: Writes, practice_id: int, before: Place, after: Place, now: datetime) -> None:
    """Record that a practice's database is at another place, under another epoch. ``Stale`` if it is not at the place of
    before, or not under its epoch."""
    unit.add(
        "UPDATE practices SET cluster = $5, database_name = $6, epoch = $7, updated_at = $8"
        " WHERE id = $1 AND cluster = $2 AND database_name = $3 AND epoch = $4",
        practice_id,
        *before,
        *after,
        now,
        expect=1,
    )


def raise_mark(unit: Writes, practice_id: int, epoch: str, mark: Mark) -> None:
    """Record the last event that was forwarded from a practice's database; the payment of ``mark`` is not used. An
    earlier one changes nothing, and neither does one of another epoch."""
    unit.add(
        "UPDATE practices SET mark_position = $3, mark_event_id = $4 WHERE id = $1 AND epoch = $2 AND mark_position < $3",
        practice_id,
        epoch,
        mark.position,
        mark.event_id,
    )


def raise_payment_mark(unit: Writes, practice_id: int, epoch: str, payment_id: str) -> None:
    """Record the newest payment of a practice's database. An earlier one changes nothing, and neither does one of another
    epoch."""
    unit.add(
        "UPDATE practices SET mark_payment_id = $3 WHERE id = $1 AND epoch = $2 AND COALESCE(mark_payment_id, '') < $3",
        practice_id,
        epoch,
        payment_id,
    )


def set_schema_version(unit: Writes, practice_id: int, version: str, now: datetime) -> None:
    """Record the revision of the practice's database."""
    unit.add("UPDATE practices SET schema_version = $2, updated_at = $3 WHERE id = $1", practice_id, version, now)


async def by_id(owner: OwnerDb, practice_id: int) -> PracticeEntry | None:
    """One practice."""
    if not 0 < practice_id <= MOST_ID:  # beyond what either engine takes for a number
        return None
    return await _PRACTICES.one(owner, "WHERE id = $1", practice_id)


async def listed(owner: OwnerDb, after_id: int = 0, limit: int = MOST_ID) -> list[PracticeEntry]:
    """Practices by id, after ``after_id``."""
    return await _PRACTICES.all(owner, "WHERE id > $1 ORDER BY id LIMIT $2", after_id, limit)


async def at_other_schema(owner: OwnerDb, version: str) -> list[int]:
    """The practices whose databases are at another schema version, by id."""
    return await owner.column(
        "SELECT id FROM practices WHERE state NOT IN ('provisioning', 'deleted') AND schema_version <> $1 ORDER BY id",
        version,
    )


async def count_by_schema(owner: OwnerDb) -> dict[str, int]:
    """The number of practices at each schema version."""
    rows = await owner.fetch(
        "SELECT schema_version, count(*) AS n FROM practices WHERE state NOT IN ('provisioning', 'deleted') GROUP BY schema_version"
    )
    return {row["schema_version"]: row["n"] for row in rows}


async def by_external_id(owner: OwnerDb, external_id: str) -> PracticeEntry | None:
    """The practice with this external id."""
    return await _PRACTICES.one(owner, "WHERE external_id = $1", external_id)


def rewrap(unit: Writes, practice_id: int, before: str, wrapped_data_key: str, now: datetime) -> None:
    """Replace a wrapped data key by the same one, wrapped again."""
    unit.add(
        "UPDATE practices SET wrapped_data_key = $3, updated_at = $4 WHERE id = $1 AND wrapped_data_key = $2",
        practice_id,
        before,
        wrapped_data_key,
        now,
        expect=1,
    )


async def homes(owner: OwnerDb | Tx, cluster: str) -> list[tuple[int, str]]:
    """The practices on a cluster: id and name of the database. Without those that are being created, and with deleted ones
    until their databases are dropped."""
    rows = await owner.fetch(
        "SELECT id, database_name FROM practices WHERE cluster = $1 AND state <> 'provisioning' ORDER BY id", cluster
    )
    return [(int(row["id"]), row["database_name"]) for row in rows]


async def half_made(owner: OwnerDb | Tx) -> list[PracticeEntry]:
    """The practices that are being created, or whose creation ended half-way."""
    return await _PRACTICES.all(owner, "WHERE state = 'provisioning' ORDER BY id")
