"""The job that migrates practices to the schema of this version."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.domain.jobs import JobKind, JobState, PauseReason
from polytill.flows.admin.practices import migrate_practice
from polytill.flows.context import Context
from polytill.flows.jobs import control
from polytill.flows.jobs.control import Order
from polytill.flows.jobs.step import Kind, State
from polytill.storage import jobs, migrating, practices
from polytill.storage.jobs import Job


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which practices are migrated, and in which order.

    Args:
        practice_ids: Only these, also if the directory says that they are migrated. Empty: all that are not.
        everyone: All practices, also those that are migrated by the directory: each database is looked into.
        canary: So many practices come first, by their ids.
        canaries: These practices come first.
    """

    practice_ids: tuple[int, ...] = ()
    everyone: bool = False
    canary: int = 0
    canaries: tuple[int, ...] = ()


async def begin(context: Context, wanted: Wanted, actor: str, foreground: str | None = None) -> Job | None:
    """Start a migration to the schema of this version, or go on with the unfinished one. None if nothing is to do.

    An unfinished one that was paused because a canary failed starts with that canary again. An unfinished one to an
    older version is canceled. ``NotFound`` if a practice does not exist.
    """
    for practice_id in (*wanted.practice_ids, *wanted.canaries):
        await context.opening.entry(practice_id)
    chosen = await _chosen(context, wanted)
    canaries = {*wanted.canaries, *chosen[: wanted.canary]} & {*chosen}
    single = not wanted.practice_ids
    order = Order(JobKind.migrate, chosen, {"revision": migrating.head("practice")}, canaries, is_single=single)
    job = await jobs.unfinished(context.owner, JobKind.migrate) if single and not chosen else None
    job = job or await control.start(context, order, actor, foreground)
    if job is not None and not _is_ours(job):
        await control.cancel(context, job.id, actor)
        job = await control.start(context, order, actor, foreground)
    if job is None or (job.state is JobState.running and await control.runs_elsewhere(context, job, foreground)):
        return job
    if job.pause_reason is PauseReason.canary_failed:
        return await control.retry(context, job.id, actor, foreground=foreground)
    return await control.resume(context, job.id, actor, foreground)


async def _chosen(context: Context, wanted: Wanted) -> list[int]:
    if wanted.practice_ids:
        return sorted(set(wanted.practice_ids))
    if wanted.everyone:
        found = await practices.listed(context.owner)
        return [entry.id for entry in found if entry.state.has_database]
    return await practices.at_other_schema(context.owner, migrating.head("practice"))


async def migrate_database(context: Context, practice_id: int, state: State) -> State:
    """Migrate the practice's database, and record its schema in the directory."""
    await migrate_practice(context, practice_id, state["actor"])
    return state


def _is_ours(job: Job) -> bool:
    return job.arguments.get("revision") == migrating.head("practice")


KIND = Kind(steps=(migrate_database,), can_run=_is_ours)
