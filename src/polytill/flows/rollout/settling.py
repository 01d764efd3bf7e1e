"""A practice's rollout as it is now: steps whose process is gone are ended, and the practice's own database is right.

The phase is in two databases. They differ while a step is made; afterwards only if a process died in between, or if one
of the databases was restored from a backup. Whoever meets such a practice ends it here.
"""

from __future__ import annotations

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, NotFound, PolytillError
from polytill.domain.rollout import RolloutPhase
from polytill.flows.context import Context, log
from polytill.storage import audit, practice_profile, practice_rollouts
from polytill.storage.practice_rollouts import Rollout
from polytill.storage.units import Unit

ABANDONED_S = 30.0  # after this time, a step that has begun counts as abandoned


class StepUnderWay(Conflict):
    """Another step of this practice is under way. Try again in a minute."""

    code = "step_under_way"


async def read(context: Context, practice_id: int) -> Rollout:
    """A practice's rollout as the owner database has it. ``NotFound`` if there is no such practice."""
    known = await practice_rollouts.of_practice(context.owner, practice_id)
    if known is None:
        raise NotFound("There is no such practice.")
    return known


async def settled(context: Context, practice_id: int) -> Rollout:
    """The practice's rollout without an unfinished step. ``StepUnderWay`` if somebody may still be making one."""
    known = await agreed(context, practice_id)
    if known.moving_to is None:
        return known
    began = known.moving_since
    if began is not None and began > context.shared_after(-ABANDONED_S):
        raise StepUnderWay
    await settle(context, practice_id)
    return await read(context, practice_id)


async def agreed(context: Context, practice_id: int) -> Rollout:
    """The practice's rollout, in the phase of its own database unless a step is being made."""
    known = await read(context, practice_id)
    practice = await context.practice(practice_id)
    if known.moving_to is not None or await practice_profile.rollout_phase(practice.db) is known.phase:
        return known
    await settle(context, practice_id)
    return await read(context, practice_id)


async def settle(context: Context, practice_id: int) -> None:
    """Record the phase that the practice's own database has, and end a step that somebody has begun."""
    practice = await context.practice(practice_id)
    async with practice.db.transaction() as tx:  # nobody makes a step while this compares
        phase = await practice_profile.lock_rollout_phase(tx, practice_id)
        known = await read(context, practice_id)
        if known.phase is phase and known.moving_to is None:
            return
        now, unit = context.world.now(), Unit()
        if phase is None:
            practice_rollouts.leave(unit, practice_id)
        else:
            practice_rollouts.settle(unit, practice_id, phase, now)
        audit.append(unit, now, "rollout", AuditAction.rollout_moved, f"practice:{practice_id}", {"settled": phase})
        await context.owner.commit(unit)
    context.forget(practice_id)
    if phase is RolloutPhase.closed:
        await field_is_due(context, practice_id)


async def settle_abandoned(context: Context) -> int:
    """End the steps whose processes are gone. Return their number. For the worker."""
    found = await practice_rollouts.half_moved(context.owner, context.shared_after(-ABANDONED_S))
    for known in found:
        try:
            await settle(context, known.practice_id)
        except PolytillError as error:
            log.warning("rollout_step_not_ended", practice=known.practice_id, error=type(error).__name__)
    return len(found)


async def field_is_due(context: Context, practice_id: int) -> None:
    """Record that the field has to get what we have: our changes, or nothing in ``closed``."""
    unit = Unit()
    practice_rollouts.field_is_due(unit, practice_id, context.shared_after(0))
    await context.owner.commit(unit)
