"""What a restore does with the database that it replaces: it is closed to new payments, and then all of it that the backup
cannot know is recorded in the owner database, so that ``polytill practices adopt`` brings it back."""

from __future__ import annotations

from datetime import datetime, timedelta

from polytill.domain.errors import NotNow, PracticeMissing, Stale, WrongPractice
from polytill.flows.context import Context, Practice
from polytill.flows.payment_records import record_of
from polytill.flows.schedule import CLOCKS_APART_S
from polytill.storage import anchors, payment_records, practices
from polytill.storage.units import Unit

AT_ONCE = 100


async def close_and_record(context: Context, practice_id: int, since: datetime) -> int | None:
    """Close a practice's database, and record every payment of it that has changed since a moment. Repeated, it goes on.

    From the first commit on nothing that moves money begins in the database. Returns the number of payments, or None if
    the database cannot be read or is behind, so that what only it knows is found at the providers alone.
    """
    try:
        practice = await context.practice(practice_id)
        if not await _close(practice):
            return None
        return await _record(practice, since - timedelta(seconds=CLOCKS_APART_S))
    except (PracticeMissing, WrongPractice, NotNow):
        return None


async def _close(practice: Practice) -> bool:
    """Whether the database was current when it was closed, now or by an earlier try."""
    unit = Unit()
    anchors.close(unit, practice.db.anchor.epoch)
    if practice.db.anchor.behind is None:
        try:
            await practice.db.commit(unit)
            return True
        except Stale:
            pass  # another process did
    return await practice.db.is_closed()


async def _record(practice: Practice, since: datetime) -> int:
    changed = await payment_records.changed_since(practice.db, since)
    for first in range(0, len(changed), AT_ONCE):
        unit = Unit()
        for payment_id in changed[first : first + AT_ONCE]:
            if (record := await record_of(practice, payment_id)) is not None:
                payment_records.keep(unit, record)
        await practice.context.owner.commit(unit)
    if changed:
        unit = Unit()
        practices.raise_payment_mark(unit, practice.id, practice.db.anchor.epoch, changed[-1])
        await practice.context.owner.commit(unit)
    return len(changed)
