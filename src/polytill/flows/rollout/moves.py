"""Steps of the rollout: checked, made in the practice's own database, and recorded in the owner's.

Begin (owner database, so that no other step begins), make (the practice's transaction, in which no configuration
changes), end (owner database). A process that dies in between leaves a step that has begun; whoever finds it reads in
the practice's own database whether it was made, and ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import CallerError, Conflict, Duplicate, NotFound, PolytillError, Stale, invalid
from polytill.domain.rollout import BACK, FORWARD, FieldState, RolloutPhase, is_within
from polytill.flows.context import Context, Practice, log
from polytill.flows.rollout import host, keeping, steps
from polytill.flows.rollout.basis import basis_of, state_now
from polytill.flows.rollout.field import ours
from polytill.flows.rollout.keeping import NO_EXTERNAL_ID, Sides, row_of, sides
from polytill.flows.rollout.settling import StepUnderWay, field_is_due, read, settle, settled
from polytill.storage import audit, practice_profile, practice_rollouts, provider_configs
from polytill.storage.databases import Tx
from polytill.storage.host_columns import HostError
from polytill.storage.practice_rollouts import FieldFound, Rollout
from polytill.storage.units import Unit

AT_ONCE = 8
WRITES = "polytill is writing the practice's field at this moment. Try again in a minute."


class StepRefused(Conflict):
    """The practice cannot make this step."""

    code = "step_refused"


class _Overtaken(StepRefused):
    """Somebody else has made a step, or has taken this one for dead."""

    def __init__(self) -> None:
        super().__init__("Another step was made at the same time. Look at the practice's phase, then try again.")


@dataclass(frozen=True, slots=True)
class Moved:
    """One practice after a step. ``changed`` False: it was in this phase already. ``refused``: why it was not moved."""

    rollout: Rollout
    changed: bool
    refused: str | None = None


async def move(context: Context, practice_id: int, to: RolloutPhase, actor: str) -> Moved:
    """Make one step. ``StepRefused`` says in one sentence what has to be done first."""
    known = await settled(context, practice_id)
    if known.phase is to:
        return Moved(known, changed=False)
    if (said := steps.why_not(known.phase, to)) is not None:
        raise StepRefused(said)
    if known.phase is None and known.external_id is None and host.of(context).host is not None:
        raise StepRefused(NO_EXTERNAL_ID)  # it would follow no row
    both = await _both(context, known, to)
    await _begin(context, known, to)
    try:
        await _make(context, known, to, both, actor)
    except _Overtaken:
        await settle(context, practice_id)
        raise
    except (StepRefused, NotFound):
        await _abandon(context, known, to)
        raise
    await _end(context, known, to, actor)
    await _after(context, known, to, both, actor)
    return Moved(await read(context, practice_id), changed=True)


async def _both(context: Context, known: Rollout, to: RolloutPhase) -> Sides | None:
    """Read the field for a step that needs it. None if it is not needed, or the host's database cannot be reached from
    here: then the last report of the host counts."""
    if not steps.needs_equal(known.phase, to) or host.of(context).host is None:
        return None
    return await sides(context, known.practice_id, (await row_of(context, known)).value)


async def _begin(context: Context, known: Rollout, to: RolloutPhase) -> None:
    unit = Unit()
    practice_rollouts.begin(unit, known.practice_id, known.phase, to, context.shared_after(0))
    try:
        await context.owner.commit(unit)
    except (Stale, Duplicate):
        raise StepUnderWay from None


async def _make(context: Context, known: Rollout, to: RolloutPhase, both: Sides | None, actor: str) -> None:
    practice = await context.practice(known.practice_id)
    async with practice.db.transaction() as tx:
        phase = await practice_profile.lock_rollout_phase(tx, practice.id)
        # Under the lock: from here on, nobody takes this step for dead, and a change or a report that came since the
        # step was asked for is known.
        begun = await read(context, practice.id)
        if phase is not known.phase or begun.moving_to is not to:
            raise _Overtaken
        if known.phase is RolloutPhase.live and begun.writing_until and begun.writing_until > context.shared_after(0):
            raise StepRefused(WRITES)
        if steps.needs_equal(known.phase, to):
            said = await _why_not_equal(practice, tx, begun, to, both)
            if said is not None:
                raise StepRefused(said)
        practice_profile.set_rollout_phase(tx, practice.id, to)
        detail = {"from": known.phase, "to": to}
        audit.append(tx, practice.now(), actor, AuditAction.rollout_moved, str(practice.id), detail)
    context.forget(practice.id)


async def _why_not_equal(
    practice: Practice, tx: Tx, known: Rollout, to: RolloutPhase, both: Sides | None
) -> str | None:
    if both is None:
        basis = await basis_of(tx, practice.id, await host.reading_of(practice.context))
        return steps.why_not_known(to, state_now(known, basis))
    now = replace(both, mine=ours(practice.db.data_key, await provider_configs.all_of(tx)))
    return steps.why_not_equal(to, now.differ(both_ways=known.phase is RolloutPhase.live))


async def _abandon(context: Context, known: Rollout, to: RolloutPhase) -> None:
    unit = Unit()
    if known.phase is None:
        practice_rollouts.forget(unit, known.practice_id)
    else:
        practice_rollouts.abandon(unit, known.practice_id, to)
    await context.owner.commit(unit)


async def _end(context: Context, known: Rollout, to: RolloutPhase, actor: str) -> None:
    now, unit = context.world.now(), Unit()
    practice_rollouts.end(unit, known.practice_id, to, now)
    detail = {"from": known.phase, "to": to}
    audit.append(unit, now, actor, AuditAction.rollout_moved, f"practice:{known.practice_id}", detail)
    try:
        await context.owner.commit(unit)
    except Stale:  # it took longer than ABANDONED_S, and another process finished it
        await settle(context, known.practice_id)


async def _after(context: Context, known: Rollout, to: RolloutPhase, both: Sides | None, actor: str) -> None:
    """What follows a step, and may fail without undoing it: the worker repeats it."""
    try:
        if to is RolloutPhase.closed:
            await field_is_due(context, known.practice_id)
            if host.of(context).host is not None:
                await keeping.check(context, known.practice_id, actor)
        elif to is RolloutPhase.live and both is not None:
            await keeping.check(context, known.practice_id, actor)
        elif both is not None:
            unit = Unit()
            now = await read(context, known.practice_id)
            practice_rollouts.field_found(
                unit, now, FieldFound(FieldState.in_sync, both.basis, both.hash), context.world.now()
            )
            await context.owner.commit(unit)
    except PolytillError as error:
        log.warning("rollout_field_waits", practice=known.practice_id, error=type(error).__name__)


# ── Many practices ──


@dataclass(frozen=True, slots=True)
class Selection:
    """Practices to move: by our ids, by the host's, or a percentage of all (None: no such condition)."""

    practice_ids: Sequence[int] = ()
    external_ids: Sequence[str] = ()
    percent: int | None = None


async def chosen(context: Context, selection: Selection, to: RolloutPhase) -> list[Rollout]:
    """The selected practices. ``Invalid`` names those that do not exist.

    A percentage selects among the practices that can make this step, and leaves out those that are further.
    """
    if not selection.practice_ids and not selection.external_ids and selection.percent is None:
        raise invalid("/practiceIds", "Name practices by practiceIds or externalIds, or give a percent.")
    everyone = await practice_rollouts.everyone(context.owner)
    if selection.percent is not None:
        if selection.practice_ids or selection.external_ids:
            raise invalid("/percent", "Give either a percent, or the ids of practices.")
        if not 1 <= selection.percent <= 100:
            raise invalid("/percent", "A percentage is from 1 to 100.")
        return [
            one
            for one in everyone
            if FORWARD.get(one.phase) is to and is_within(one.practice_id, one.external_id, selection.percent)
        ]
    by_id = {one.practice_id: one for one in everyone}
    by_external = {one.external_id: one for one in everyone if one.external_id is not None}
    missing = [str(one) for one in selection.practice_ids if one not in by_id]
    missing += [repr(one) for one in selection.external_ids if one not in by_external]
    if missing:
        named = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        pointer = "/practiceIds" if selection.practice_ids else "/externalIds"
        raise invalid(pointer, f"There is no practice {named}. Nothing was moved.")
    found = [by_id[one] for one in selection.practice_ids] + [by_external[one] for one in selection.external_ids]
    return list({one.practice_id: one for one in found}.values())


async def move_all(context: Context, rollouts: Sequence[Rollout], to: RolloutPhase, actor: str) -> AsyncIterator[Moved]:
    """Move practices one by one, several at once. One that cannot be moved does not stop the others."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(known: Rollout) -> Moved:
        async with gate:
            try:
                return await move(context, known.practice_id, to, actor)
            except PolytillError as error:
                log.warning("rollout_step_refused", practice=known.practice_id, error=type(error).__name__)
                said = error.detail if isinstance(error, CallerError | HostError) else error.public or error.detail
                return Moved(known, changed=False, refused=said)

    for done in asyncio.as_completed([one(known) for known in rollouts]):
        yield await done


def back_from(known: Rollout) -> RolloutPhase:
    """The phase to which one step back leads. ``StepRefused`` if there is none."""
    to = BACK.get(known.phase)
    if to is None:
        said = steps.why_not(known.phase, RolloutPhase.legacy)
        raise StepRefused(
            said or "The practice is in legacy, where the old code decides. There is no step further back."
        )
    return to
