"""Our configurations follow the field, in the phases legacy and shadow."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import CallerError, Conflict, Invalid, PolytillError, Stale
from polytill.domain.rollout import FIELD_DECIDES, FieldState, RolloutPhase
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice, log
from polytill.flows.legacy.model import LegacyField
from polytill.flows.rollout import host, keeping, settling
from polytill.flows.rollout.basis import basis_of, counts, phase_and_basis
from polytill.flows.rollout.field import Change, Kind, Reading, changes, differences, hash_of, ours
from polytill.flows.rollout.host import FieldRow
from polytill.flows.rollout.keeping import MOST_SAID, FieldResult
from polytill.flows.rollout_phase import FieldDecides, Guard, OursDecide, announce_following
from polytill.storage import audit, practice_rollouts, provider_configs
from polytill.storage.practice_rollouts import FieldFound, Rollout
from polytill.storage.units import Unit

AT_ONCE = 8
# A field that changes while it is read: after these readings, the next run continues.
READINGS = 3
FEW = 20
# How long the worker trusts that nothing has changed. Then it compares both again, whatever is recorded: what no record
# knows of (a corrected hook, another version of polytill) is found within this time.
TRUSTED_S = 3600.0


async def follow(context: Context, practice_id: int, value: Any, actor: str) -> FieldResult:
    """Make a practice's configurations equal to a value of the field, and record how far they are.

    ``OursDecide`` outside of the phases legacy and shadow. A field that cannot be understood changes nothing. If another
    comparison is recorded meanwhile, both are compared again: of two at once, the one that is recorded has seen both.
    """
    changed: list[str] = []

    async def decide() -> FieldResult:
        return await _followed(context, practice_id, value, actor, changed)

    return await until_committed(decide, (Stale,), tries=4)


async def _followed(context: Context, practice_id: int, value: Any, actor: str, changed: list[str]) -> FieldResult:
    practice = await context.practice(practice_id)
    known = await rollout_of(context, practice_id)
    await announce_following(practice)
    reading = await host.reading_of(context)
    basis = await basis_of(practice.db, practice_id, reading)
    field = await host.read_field(value, reading)
    problems = [f"{one.pointer or 'the field'}: {one.detail}" for one in field.findings if one.severity != "note"]
    if not problems:
        made, problems = await make_equal(practice, field, reading, actor)
        changed += [code for code in made if code not in changed]
        if not problems:
            basis = await basis_of(practice.db, practice_id, reading)
            problems = differences(field, await own(practice), reading, both_ways=False)
    state = FieldState.blocked if problems else FieldState.in_sync
    hashed = None if problems else hash_of(practice.db.data_key, value)
    now, unit = context.world.now(), Unit()
    found = FieldFound(state, basis, hashed, "; ".join(problems)[:MOST_SAID] or None)
    practice_rollouts.field_found(unit, known, found, now)
    if changed:
        about = {"providers": list(changed)}
        audit.append(unit, now, actor, AuditAction.rollout_field_followed, f"practice:{practice_id}", about)
    await context.owner.commit(unit)
    return FieldResult(state, tuple(changed), tuple(problems))


async def own(practice: Practice) -> LegacyField:
    """Our configurations now, from the database."""
    return ours(practice.db.data_key, await provider_configs.all_of(practice.db))


async def rollout_of(context: Context, practice_id: int) -> Rollout:
    """A practice's rollout. ``NotFound`` if there is no such practice; ``OursDecide`` if it is not in one."""
    known = await settling.agreed(context, practice_id)
    if known.phase is None:
        raise OursDecide(None)
    return known


async def make_equal(
    practice: Practice, field: LegacyField, reading: Reading, actor: str, guard: Guard = announce_following
) -> tuple[tuple[str, ...], list[str]]:
    """Make polytill's configurations equal to a field. Return the providers that were changed, and what was refused: one
    change that is refused does not stop the others. If a person has decided for the field (another ``guard``), prepared
    keys that it does not have are given up."""
    changed, problems = [], []
    for change in changes(field, await own(practice), reading, both_ways=guard is not announce_following):
        code = change.wish.provider_code
        try:
            await _make(practice, change, actor, guard)
            changed.append(code)
        except (FieldDecides, OursDecide):  # a step was made meanwhile
            raise
        except Invalid as error:
            problems += [f"{code}: {one.detail}" for one in error.errors]
        except CallerError as error:
            problems.append(f"{code}: {error.detail}")
    return tuple(dict.fromkeys(changed)), problems


async def _make(practice: Practice, change: Change, actor: str, guard: Guard) -> None:
    context, wish = practice.context, change.wish
    match change.kind:
        case Kind.remove:
            await configuring.remove(context, practice.id, wish.provider_code, actor, guard)
        case Kind.prepare:
            await configuring.prepare(context, practice.id, wish, actor, guard)
        case Kind.drop:
            await configuring.drop_prepared(context, practice.id, wish, actor, guard)
        case _:
            is_patch = change.kind is Kind.change
            await configuring.configure(context, practice.id, wish, actor, is_patch, guard)


async def unchanged(context: Context, known: Rollout, value: Any) -> bool:
    """Whether a comparison found both equal not long ago, and nothing has changed since on either side. One query, since
    the worker asks for every practice each minute; ``known`` may be some seconds old."""
    if known.checked_at is None or known.checked_at < context.world.now() - timedelta(seconds=TRUSTED_S):
        return False
    practice = await context.practice(known.practice_id)
    phase, basis = await phase_and_basis(practice.db, practice.id, await host.reading_of(context))
    is_known = phase is known.phase and counts(known, basis)
    return is_known and known.field_hash == hash_of(practice.db.data_key, value)


async def sync(context: Context, practice_id: int, actor: str, row: FieldRow | None = None) -> FieldResult:
    """Compare a practice's field in the host's database with polytill's configurations, and follow it or write it, as its phase
    says. ``row``: the field as it was just read.

    What was followed is read again afterwards: a write that came through meanwhile is newer than what was read before.
    """
    known = await rollout_of(context, practice_id)
    if known.phase not in FIELD_DECIDES:
        return await keeping.check(context, practice_id, actor, row=row)
    row = row or await keeping.row_of(context, known)
    for _ in range(READINGS):
        found = await follow(context, practice_id, row.value, actor)
        again = await keeping.row_of(context, known)
        if again == row:
            break
        row = again
    return found


@dataclass(frozen=True, slots=True)
class Synced:
    """One practice of a run. ``error``: why its field could not be compared, in one sentence."""

    practice_id: int
    name: str
    phase: RolloutPhase | None
    result: FieldResult | None
    error: str | None = None


async def sync_all(
    context: Context, rollouts: list[Rollout], actor: str, trusts: bool = False
) -> AsyncIterator[Synced]:
    """Sync practices, several at once. One that fails does not stop the others. ``trusts``: those that are
    ``unchanged`` are not compared again."""
    table = host.of(context).host
    if table is None:
        raise Conflict(NO_HOST, code="no_host_database")
    rows: dict[str, FieldRow | None] = {}
    if len(rollouts) > FEW:  # in pages, instead of a query for each
        async for page in table.pages():
            for row in page:  # None: two rows have this external id, which is an error of this practice
                if row.external_id is not None:
                    rows[row.external_id] = None if row.external_id in rows else row
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(known: Rollout) -> Synced:
        async with gate:
            try:
                row = None if known.external_id is None else rows.get(known.external_id)
                if trusts and row is not None and await unchanged(context, known, row.value):
                    found = FieldResult(FieldState.in_sync)  # most practices, each minute
                else:
                    found = await sync(context, known.practice_id, actor, row)
                return Synced(known.practice_id, known.name, known.phase, found)
            except PolytillError as error:
                return Synced(known.practice_id, known.name, known.phase, None, error.detail)

    for done in asyncio.as_completed([one(known) for known in rollouts]):
        yield await done


NO_HOST = (
    "The host application's database is not configured. Set POLYTILL_HOST_DATABASE_URL, or send each field to"
    " PUT /api/practices/{practiceId}/rollout/field."
)


async def sync_in_background(context: Context, limit: int = 100_000) -> Counter[str]:
    """Sync every practice whose field is not blanked. For the worker; it logs what it finds."""
    counts: Counter[str] = Counter()
    if host.of(context).host is None:
        return counts
    everyone = await practice_rollouts.listed(context.owner, limit=limit)
    async for done in sync_all(context, [one for one in everyone if keeping.has_field(one)], "worker", trusts=True):
        state = done.result.state if done.result else "error"
        counts[state] += 1
        if state != FieldState.in_sync and state != FieldState.pending:
            log.warning("rollout_field_differs", practice=done.practice_id, state=str(state))
    return counts
