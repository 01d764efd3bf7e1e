"""The field follows polytill's configurations, in the phase live; in closed, it is emptied.

A field that somebody else has changed is never overwritten: it is a conflict, which a person decides.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, DatabaseUnavailable, NotNow, PolytillError, Stale
from polytill.domain.rollout import FIELD_DECIDES, FieldState, RolloutPhase
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice, log
from polytill.flows.legacy.model import LegacyField, Unwritable
from polytill.flows.rollout import host
from polytill.flows.rollout.basis import basis_of
from polytill.flows.rollout.field import Reading, differences, hash_of, is_blank, ours, wanted
from polytill.flows.rollout.host import FieldRow, Host
from polytill.flows.rollout_phase import StepMade
from polytill.storage import audit, practice_rollouts, provider_configs
from polytill.storage.practice_rollouts import FieldFound, Rollout, Writing
from polytill.storage.units import Unit

AT_ONCE = 20
CLAIM_S = 30.0
LONGEST_WAIT_S = 600.0
# A write of the field is given up after this time, and has certainly ended after the other one: the host's database may
# go on for some seconds. Until then, no step is made that lets the field decide or empties it.
WRITE_S, WRITTEN_S = 30.0, 90.0
MOST_SAID = 500
NO_EXTERNAL_ID = "The practice has no external id, so its row in the host's table is not known. Set its external id."
CONFLICT = (
    "Somebody changed the field while polytill decides. Keep one side: `polytill rollout resolve PRACTICE --keep field`"
    " or `--keep polytill`; without POLYTILL_HOST_DATABASE_URL, with `--field FILE`."
)


@dataclass(frozen=True, slots=True)
class FieldResult:
    """The state of a field after a comparison: the providers whose configuration was changed here, and what is still
    different, in sentences."""

    state: FieldState
    changed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def has_field(known: Rollout) -> bool:
    """Whether a practice's field may still hold something."""
    return known.phase is not RolloutPhase.closed or known.field_state is not FieldState.in_sync


async def row_of(context: Context, known: Rollout) -> FieldRow:
    """A practice's row in the host's table. ``Conflict`` if there is none, or the table cannot be reached from here."""
    table = host.of(context).host
    if table is None:
        raise Conflict("The host application's database is not configured.", code="no_host_database")
    if known.external_id is None:
        raise Conflict(NO_EXTERNAL_ID, code="no_external_id")
    row = await table.read(known.external_id)
    if row is None:
        raise Conflict(f"The host's table has no row for the external id {known.external_id!r}.", code="no_host_row")
    return row


@dataclass(frozen=True, slots=True)
class Sides:
    """A practice's field and its configurations, as they are now."""

    practice: Practice
    value: Any
    field: LegacyField
    mine: LegacyField
    reading: Reading
    basis: str

    @property
    def hash(self) -> str:
        """The keyed hash of the field."""
        return hash_of(self.practice.db.data_key, self.value)

    def differ(self, both_ways: bool = True) -> list[str]:
        """What is different."""
        if any(one.severity != "note" for one in self.field.findings):
            return [
                f"{one.pointer or 'the field'}: {one.detail}" for one in self.field.findings if one.severity != "note"
            ]
        return differences(self.field, self.mine, self.reading, both_ways)


async def sides(context: Context, practice_id: int, value: Any) -> Sides:
    """Read polytill's configurations and a value of the field."""
    practice = await context.practice(practice_id)
    reading = await host.reading_of(context)
    basis = await basis_of(practice.db, practice_id, reading)
    mine = ours(practice.db.data_key, await provider_configs.all_of(practice.db))
    return Sides(practice, value, await host.read_field(value, reading), mine, reading, basis)


async def check(
    context: Context, practice_id: int, actor: str, value: Any = ..., row: FieldRow | None = None
) -> FieldResult:
    """Compare the field with polytill's configurations, in live and closed. Write our changes, if some are pending.

    ``value``: the field as the host reports it, if its database cannot be reached from here. ``row``: the field as it
    was just read; it is read again if it has changed since.
    """
    rows = [] if row is None else [row]

    async def decide() -> FieldResult:
        return await _checked(context, practice_id, actor, value, rows.pop() if rows else None)

    return await until_committed(decide, (Stale,), tries=4)


async def _checked(context: Context, practice_id: int, actor: str, value: Any, row: FieldRow | None) -> FieldResult:
    known = await practice_rollouts.of_practice(context.owner, practice_id)
    assert known is not None
    if known.phase in FIELD_DECIDES:
        raise StepMade  # since the caller looked: the field is not ours to write any more
    reported = value is not ...
    if reported:
        row = FieldRow(known.external_id, value)
    elif row is None:
        row = await row_of(context, known)
    both = await sides(context, practice_id, row.value)
    is_closed = known.phase is RolloutPhase.closed
    differ = ([] if is_blank(row.value) else ["the field is not empty"]) if is_closed else both.differ()
    if not differ:
        return await _found(context, known, FieldFound(FieldState.in_sync, both.basis, both.hash), ())
    # What is in the field is what was there when both were equal, or what we have written: only our changes are missing.
    if both.hash in (known.field_hash, known.writing_hash):
        if reported:
            at = context.shared_after(0)
            pending = FieldFound(FieldState.pending, both.basis, both.hash, known.field_detail, at)
            return await _found(context, known, pending, differ)
        return await _write(context, known, both, row, actor)
    found = FieldFound(FieldState.conflict, both.basis, None, "; ".join(differ)[:MOST_SAID])
    return await _found(context, known, found, (CONFLICT, *differ))


async def _found(
    context: Context, known: Rollout, found: FieldFound, problems: tuple[str, ...] | list[str]
) -> FieldResult:
    unit = Unit()
    practice_rollouts.field_found(unit, known, found, context.world.now())
    await context.owner.commit(unit)
    return FieldResult(found.state, (), tuple(problems))


async def _write(context: Context, known: Rollout, both: Sides, row: FieldRow, actor: str) -> FieldResult:
    """Write polytill's configurations into the field, or empty it, unless somebody else has just changed it."""
    setup = host.of(context)
    assert setup.host is not None
    is_closed = known.phase is RolloutPhase.closed
    try:
        if is_closed:
            value = setup.blank
        else:
            value = await host.written_field(row.value, wanted(both.field, both.mine, both.reading), both.reading)
    except Unwritable as error:
        found = FieldFound(FieldState.blocked, both.basis, None, str(error)[:MOST_SAID])
        return await _found(context, known, found, (str(error),))
    write, before = Writing(both.hash, hash_of(both.practice.db.data_key, value), both.basis), Unit()
    practice_rollouts.writing(before, known, write, context.shared_after(WRITTEN_S))
    await context.owner.commit(before)
    if not await _put(setup.host, row, value):
        ended = Unit()
        practice_rollouts.not_written(ended, known, write)
        await context.owner.commit(ended)
        raise Stale  # read both again
    now, unit = context.world.now(), Unit()
    practice_rollouts.written(unit, known, write, now)
    action = AuditAction.rollout_field_blanked if is_closed else AuditAction.rollout_field_written
    audit.append(unit, now, actor, action, f"practice:{known.practice_id}")
    await context.owner.commit(unit)
    left = await practice_rollouts.of_practice(context.owner, known.practice_id)
    return FieldResult(left.field_state if left else FieldState.in_sync)


async def _put(table: Host, row: FieldRow, value: Any) -> bool:
    try:
        async with asyncio.timeout(WRITE_S):
            return await table.write(row, value)
    except TimeoutError:
        raise DatabaseUnavailable from None


# ── The worker ──


async def turn(context: Context) -> int:
    """Write our pending changes into the fields that are due. Return their number."""
    if host.of(context).host is None:
        return 0
    written = 0
    for known in await practice_rollouts.due(context.owner, context.shared_after(0), AT_ONCE):
        if known.phase in FIELD_DECIDES:
            continue
        unit = Unit()
        wait_s = min(CLAIM_S * 2**known.tries, LONGEST_WAIT_S)
        practice_rollouts.claim_write(unit, known, context.shared_after(wait_s))
        try:
            await context.owner.commit(unit)
        except Stale:
            continue  # another worker has it
        try:
            written += (await check(context, known.practice_id, "worker")).state is FieldState.in_sync
        except NotNow:
            log.warning("rollout_field_waits", practice=known.practice_id, tries=known.tries + 1)
        except PolytillError as error:
            log.error("rollout_field_not_written", practice=known.practice_id, error=type(error).__name__)
    return written
