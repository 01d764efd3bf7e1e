"""Who still reads the field, as the host application counts it, in the owner's database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from polytill.storage.columns import Table
from polytill.storage.databases import OwnerDb, Writes
from polytill.storage.units import moment

# Callers are named by the host. Beyond this number, reads are counted under one name.
MOST_CALLERS = 500
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class FieldReader:
    """One caller in the host's code: how often it has read the field, first and last."""

    caller: str
    reads: int
    first_at: datetime
    last_at: datetime


# The host reports every minute. A longer pause than this is not continuous reporting.
LONGEST_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reports:
    """Since when the host reports reads without a pause, and when it did so last, also with nothing to count."""

    first_at: datetime
    last_at: datetime


_READERS = Table("field_readers", FieldReader)


def count(unit: Writes, caller: str, reads: int, now: datetime) -> None:
    """Add reads of a caller."""
    unit.add(
        "INSERT INTO field_readers (caller, reads, first_at, last_at) VALUES ($1, $2, $3, $3)"
        " ON CONFLICT (caller) DO UPDATE SET reads = field_readers.reads + excluded.reads, last_at = excluded.last_at",
        caller,
        reads,
        now,
    )


def reported(unit: Writes, now: datetime) -> None:
    """Record that the host has reported. After a pause of more than ``LONGEST_PAUSE``, its reports begin again: nobody
    knows who read the field in between."""
    unit.add(
        "INSERT INTO field_read_reports (id, first_at, last_at) VALUES (1, $1, $1) ON CONFLICT (id) DO UPDATE SET"
        " first_at = CASE WHEN field_read_reports.last_at < $2 THEN excluded.first_at"
        " ELSE field_read_reports.first_at END, last_at = excluded.last_at",
        now,
        now - LONGEST_PAUSE,
    )


async def reports(owner: OwnerDb) -> Reports | None:
    """The host's reports. None if there was none yet."""
    row = await owner.one("SELECT first_at, last_at FROM field_read_reports WHERE id = 1")
    first, last = (moment(row["first_at"]), moment(row["last_at"])) if row is not None else (None, None)
    return None if first is None or last is None else Reports(first, last)


async def listed(owner: OwnerDb) -> list[FieldReader]:
    """Every caller, the most recent first."""
    return await _READERS.all(owner, "ORDER BY last_at DESC, caller")


async def names(owner: OwnerDb) -> set[str]:
    """The names of the callers."""
    return set(await owner.column("SELECT caller FROM field_readers"))


def forget(unit: Writes) -> None:
    """Delete all callers, because the field is gone."""
    unit.add("DELETE FROM field_readers")
