"""Who still reads the field: the host application counts it by caller and reports it in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from polytill.flows.context import Context
from polytill.storage import field_readers
from polytill.storage.field_readers import LONGEST_PAUSE, MOST_CALLERS, OTHERS, FieldReader, Reports
from polytill.storage.units import Unit


@dataclass(frozen=True, slots=True)
class Readers:
    """All callers with their reads, and since when they are counted (None: the host has never reported)."""

    callers: tuple[FieldReader, ...]
    reports: Reports | None

    def since(self, at: datetime) -> tuple[FieldReader, ...]:
        """The callers that have read the field after a time."""
        return tuple(one for one in self.callers if one.last_at > at)


async def readers(context: Context) -> Readers:
    """Read who reads the field."""
    return Readers(tuple(await field_readers.listed(context.owner)), await field_readers.reports(context.owner))


async def count(context: Context, reads: Mapping[str, int]) -> None:
    """Add reads by caller. An empty report says that the host counts, and that there was nothing.

    The number of callers is bounded: reads of further ones are counted together.
    """
    known = await field_readers.names(context.owner)
    room = MOST_CALLERS - len(known)
    counted: dict[str, int] = {}
    for caller, number in reads.items():
        if caller not in known and caller not in counted:
            caller, room = (caller, room - 1) if room > 0 else (OTHERS, room)
        if number:
            counted[caller] = counted.get(caller, 0) + number
    now, unit = context.world.now(), Unit()
    field_readers.reported(unit, now)
    for caller, number in sorted(counted.items()):  # in one order, so that two reports never wait for each other
        field_readers.count(unit, caller, number, now)
    await context.owner.commit(unit)


def why_not_quiet(found: Readers, now: datetime, quiet: timedelta) -> str | None:
    """Why the field is not known to be without readers for a time; None if it is."""
    days = quiet.days
    if found.reports is None:
        return "The host application has not reported yet who reads the field."
    if found.reports.first_at > now - quiet:
        return f"The host application has reported reads of the field without a pause for less than {days} days."
    if found.reports.last_at < now - LONGEST_PAUSE:
        return "The host application has stopped reporting reads of the field, so nobody knows who reads it."
    recent = found.since(now - quiet)
    if recent:
        names = ", ".join(one.caller for one in recent[:5]) + (" and others" if len(recent) > 5 else "")
        return f"In the last {days} days the field was read by {names}."
    return None
