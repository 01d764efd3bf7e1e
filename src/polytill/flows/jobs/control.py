"""Starting, pausing, resuming, retrying and canceling jobs. Each is one transaction with its line in the audit log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, NotFound, Stale
from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.flows.context import Context
from polytill.flows.jobs.step import State
from polytill.storage import audit, jobs, nodes
from polytill.storage.jobs import Counts, Job
from polytill.storage.units import Unit

UNFINISHED = frozenset({JobState.running, JobState.paused})


class JobConflict(Conflict):
    """The job is in a state that does not allow this."""

    code = "job_state"


@dataclass(frozen=True, slots=True)
class Order:
    """A new job. ``arguments`` hold no secret: they are stored in plain text.

    Args:
        kind: What the job does.
        practice_ids: The practices that it is done to, in any order.
        arguments: What the first step gets.
        canaries: Practices that come first. The others start only after all of these have succeeded; if one fails,
            the job is paused.
        is_single: There is at most one unfinished job of this kind.
        not_since: None is started if the same actor has started one of this kind at this time or later.
    """

    kind: JobKind
    practice_ids: Sequence[int]
    arguments: State
    canaries: Collection[int] = ()
    is_single: bool = False
    not_since: datetime | None = None


async def start(context: Context, order: Order, actor: str, foreground: str | None = None) -> Job | None:
    """Create a job, which starts at once. None if it would have no practice, or by ``not_since``. If there is a single
    unfinished one already, that is returned as it is.

    ``foreground`` is the node that will run it. Without it, the workers do.
    """
    chosen = sorted({*order.practice_ids, *order.canaries})
    if not chosen:
        return None
    now = context.shared_after(0)
    new = Job(0, order.kind, JobState.running, actor, order.arguments, None, foreground, now, None)
    async with context.owner.transaction() as tx:
        if order.is_single or order.not_since is not None:
            await jobs.lock(tx, context.owner.engine.dialect)
        if order.not_since is not None:
            newest = await jobs.newest(tx, order.kind, actor)
            if newest is not None and newest.created_at >= order.not_since:
                return None
        if order.is_single and (known := await jobs.unfinished(tx, order.kind)) is not None:
            return known
        job_id = await jobs.create(tx, new, chosen, frozenset(order.canaries))
        detail = {"kind": order.kind.value, "practices": len(chosen)}
        audit.append(tx, context.world.now(), actor, AuditAction.job_started, f"job:{job_id}", detail)
    return await find(context, job_id)


async def find(context: Context, job_id: int) -> Job:
    """A job by its id. ``NotFound`` if there is none."""
    job = await jobs.find(context.owner, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


async def counts(context: Context, job_id: int) -> Counts:
    """The parts of a job by state."""
    return (await jobs.counts(context.owner, [job_id]))[job_id]


async def pause(context: Context, job_id: int, actor: str, reason: PauseReason = PauseReason.requested) -> Job:
    """Start no further part. Running parts go on to their end. ``JobConflict`` if the job is not running."""
    job = await find(context, job_id)
    unit = Unit()
    jobs.pause(unit, job_id, reason)
    await _commit(context, unit, job, actor, AuditAction.job_paused, {"reason": reason.value})
    return await find(context, job_id)


async def resume(context: Context, job_id: int, actor: str, foreground: str | None = None) -> Job:
    """Let a paused job go on, in the foreground of a node or by the workers.

    The other practices then start even if a canary has failed. A job whose foreground process is gone is resumed, too.
    ``JobConflict`` if it has ended, or another process has it in its foreground.
    """
    job = await find(context, job_id)
    if job.state is JobState.running:
        if job.foreground == foreground:
            return job
        await _check_foreground(context, job)
    unit = Unit()
    jobs.resume(unit, job_id, foreground)
    if job.pause_reason is PauseReason.canary_failed:
        jobs.release_canaries(unit, job_id)
    await _commit(context, unit, job, actor, AuditAction.job_resumed, {})
    return await find(context, job_id)


async def retry(
    context: Context, job_id: int, actor: str, practice_id: int | None = None, foreground: str | None = None
) -> Job:
    """Run the failed parts of a job again, or one of them, from the step that failed.

    ``NotFound`` if the practice has no part in the job, ``JobConflict`` if nothing has failed, if the job was canceled,
    or if another process has it in its foreground.
    """
    job = await find(context, job_id)
    if job.state is JobState.running:
        await _check_foreground(context, job)
    if practice_id is None:
        if not (await counts(context, job_id)).failed:
            raise JobConflict(f"No practice of job {job_id} has failed.")
    else:
        part = await jobs.part(context.owner, job_id, practice_id)
        if part is None:
            raise NotFound(f"Job {job_id} has no practice {practice_id}.")
        if part.state is not PartState.failed:
            raise JobConflict(f"Practice {practice_id} has not failed in job {job_id}. It is {part.state.value}.")
    unit = Unit()
    jobs.reopen(unit, job_id, foreground)
    jobs.retry(unit, job_id, practice_id)
    detail = {} if practice_id is None else {"practice": practice_id}
    await _commit(context, unit, job, actor, AuditAction.job_retried, detail)
    return await find(context, job_id)


async def cancel(context: Context, job_id: int, actor: str) -> Job:
    """Start no further part, for ever. Running parts go on to their end. ``JobConflict`` if the job has ended."""
    job = await find(context, job_id)
    unit = Unit()
    jobs.cancel(unit, job_id, context.shared_after(0))
    await _commit(context, unit, job, actor, AuditAction.job_canceled, {})
    return await find(context, job_id)


async def runs_elsewhere(context: Context, job: Job, node: str | None) -> bool:
    """Whether another live process has the job in its foreground."""
    if job.foreground in (None, node):
        return False
    return job.foreground in {one.id for one in await nodes.live(context.owner, context.shared_after(0))}


async def _check_foreground(context: Context, job: Job) -> None:
    if job.foreground is None:
        return
    live = {node.id: node.name for node in await nodes.live(context.owner, context.shared_after(0))}
    if job.foreground in live:
        raise JobConflict(f"Job {job.id} is run by {live[job.foreground]}. Pause it first.")


async def _commit(
    context: Context, unit: Unit, job: Job, actor: str, action: AuditAction, detail: dict[str, Any]
) -> None:
    audit.append(unit, context.world.now(), actor, action, f"job:{job.id}", {"kind": job.kind.value, **detail})
    try:
        await context.owner.commit(unit)
    except Stale:
        now = await find(context, job.id)
        has = "is" if now.state in UNFINISHED else "has ended and is"
        raise JobConflict(f"Nothing was changed: job {job.id} {has} {now.state.value}.") from None
