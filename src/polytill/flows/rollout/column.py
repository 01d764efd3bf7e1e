"""The contract migration of the host's table: the field's column is dropped once nobody needs it."""

from __future__ import annotations

from datetime import timedelta

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict
from polytill.domain.rollout import RolloutPhase
from polytill.flows.context import Context
from polytill.flows.rollout import host, readers
from polytill.flows.rollout.host import Host
from polytill.flows.rollout.sync import NO_HOST
from polytill.storage import audit, field_readers, practice_rollouts
from polytill.storage.units import Unit

MOST_NAMED = 5


class ColumnNeeded(Conflict):
    """The column of the field is still needed."""

    code = "column_needed"


def _table(context: Context) -> Host:
    found = host.of(context).host
    if found is None:
        raise Conflict(NO_HOST, code="no_host_database")
    return found


async def checked(context: Context) -> str:
    """Check that nobody needs the column, and return its name. ``ColumnNeeded`` says in one sentence who does."""
    table = _table(context)
    quiet = timedelta(days=context.settings.field_quiet_days)
    said = readers.why_not_quiet(await readers.readers(context), context.world.now(), quiet)
    if said is not None:
        raise ColumnNeeded(said)
    open_ones = [
        one
        for one in await practice_rollouts.listed(context.owner, limit=1_000_000)
        if one.phase is not RolloutPhase.closed
    ]
    if open_ones:
        named = ", ".join(str(one.practice_id) for one in open_ones[:MOST_NAMED])
        more = f" and {len(open_ones) - MOST_NAMED} more" if len(open_ones) > MOST_NAMED else ""
        raise ColumnNeeded(f"These practices are not closed: {named}{more}.")
    # A practice that was never imported is in no phase, and its keys are only here.
    if filled := await table.filled():
        raise _filled(filled)
    return table.place


def _filled(rows: int) -> ColumnNeeded:
    said = "1 row of the host's table still holds" if rows == 1 else f"{rows} rows of the host's table still hold"
    return ColumnNeeded(f"{said} something in the field. Import these practices, or empty their fields.")


async def drop(context: Context, actor: str) -> None:
    """Drop the column, after all checks. ``ColumnNeeded`` if somebody needs it."""
    place, table = await checked(context), _table(context)
    if filled := await table.drop_column():  # since the check
        raise _filled(filled)
    now, unit = context.world.now(), Unit()
    field_readers.forget(unit)
    audit.append(unit, now, actor, AuditAction.rollout_column_dropped, "owner", {"column": place})
    await context.owner.commit(unit)
