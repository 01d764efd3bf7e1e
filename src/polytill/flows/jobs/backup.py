"""The job that backs up practices: each backup is written, verified, and recorded as the last good one of its practice."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from polytill.domain.errors import Conflict
from polytill.domain.jobs import JobKind, JobState
from polytill.flows import backups
from polytill.flows.backups import Retention
from polytill.flows.context import Context
from polytill.flows.jobs import control
from polytill.flows.jobs.control import Order
from polytill.flows.jobs.step import Kind, State, StepFailed
from polytill.storage import jobs, practice_backups, practices
from polytill.storage.backup_stores import backup_store
from polytill.storage.jobs import Job
from polytill.storage.practice_backups import PracticeBackup
from polytill.storage.units import Unit

SCHEDULE = "schedule"  # who starts the job of ``POLYTILL_BACKUP_SCHEDULE``
SCHEDULED_EVERY_S = 30.0  # interval between two looks at the schedule


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which practices are backed up, and how.

    Args:
        practice_ids: Only these. Empty: all.
        place: Where to; empty: the setting ``POLYTILL_BACKUPS``. Old backups are deleted only there.
        is_restored: Each backup is restored and compared, and not only read back.
    """

    practice_ids: Collection[int] = ()
    place: str = ""
    is_restored: bool = False


async def begin(
    context: Context, wanted: Wanted, actor: str, foreground: str | None = None, since: datetime | None = None
) -> Job | None:
    """Start a job that backs up practices. None if there is no practice, or if this actor has started such a job since
    ``since``.

    ``NotFound`` if a practice does not exist, ``Conflict`` if no place is known, ``OperatorError`` if the place cannot be
    one.
    """
    settings = context.settings
    place = _absolute(wanted.place or settings.backups)
    if not place:
        raise Conflict("Say where backups are kept: POLYTILL_BACKUPS.", code="no_backup_place")
    backup_store(place)
    for practice_id in wanted.practice_ids:
        await context.opening.entry(practice_id)
    chosen = wanted.practice_ids or await _everyone(context)
    has_retention = place == _absolute(settings.backups)
    arguments: State = {
        "place": place,
        "isRestored": wanted.is_restored,
        "keptNumber": settings.backups_kept if has_retention else 0,
        "keptDays": settings.backups_kept_days if has_retention else 0,
    }
    order = Order(JobKind.backup, tuple(chosen), arguments, not_since=since)
    return await control.start(context, order, actor, foreground)


def _absolute(place: str) -> str:
    """The job may run in a process with another working directory."""
    return place if not place or "://" in place else os.path.abspath(Path(place).expanduser())


async def _everyone(context: Context) -> list[int]:
    found = await practices.listed(context.owner)
    return [entry.id for entry in found if entry.state.has_database]


async def start_scheduled(context: Context) -> Job | None:
    """Start the job of the schedule if it is due and nobody has started it: of all workers one does. One that was missed
    because no worker ran is started late. None if it is not due, or if the one before still runs."""
    if not context.settings.backup_schedule:
        return None
    due = last_due(context.settings.backup_schedule, context.shared_after(0))
    newest = await jobs.newest(context.owner, JobKind.backup, SCHEDULE)
    if newest is not None and (newest.created_at >= due or newest.state is JobState.running):
        return None
    return await begin(context, Wanted(), SCHEDULE, since=due)


def last_due(time_of_day: str, now: datetime) -> datetime:
    """When a daily schedule (``HH:MM`` in UTC) was due last."""
    hour, minute = map(int, time_of_day.split(":"))
    due = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return due if due <= now else due - timedelta(days=1)


async def write_backup(context: Context, practice_id: int, state: State) -> State:
    """Write a backup of the practice's database as it is now. A repetition writes another one."""
    made = await backups.back_up(context, practice_id, backup_store(state["place"]))
    about = {"name": made.name, "size": made.size, "rows": made.rows, "madeAt": made.made_at.isoformat()}
    return {**state, **about}


async def verify_backup(context: Context, practice_id: int, state: State) -> State:
    """Read the backup back and open all of it, or restore it beside the database and compare each table."""
    store, name = backup_store(state["place"]), state["name"]
    if not state["isRestored"]:
        await backups.verify(context, practice_id, store, name)
        return state
    if different := await backups.check(context, practice_id, store, name):
        raise StepFailed(f"The backup {name} is not what was backed up: {' '.join(different)}")
    return state


async def record_backup(context: Context, practice_id: int, state: State) -> State:
    """Record the backup as the last good one, and then delete those that need not be kept any longer."""
    made_at, name = datetime.fromisoformat(state["madeAt"]), state["name"]
    made = (practice_id, name, state["place"], state["size"], state["rows"], made_at, state["isRestored"])
    unit = Unit()
    practice_backups.record(unit, PracticeBackup(*made))
    await context.owner.commit(unit)
    kept = Retention(state["keptNumber"], state["keptDays"])
    await backups.delete_superseded(backup_store(state["place"]), practice_id, kept, name, context.shared_after(0))
    return state


KIND = Kind(steps=(write_backup, verify_backup, record_backup))
