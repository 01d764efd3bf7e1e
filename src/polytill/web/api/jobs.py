"""Jobs, as the owner watches and controls them. Workers run them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response

from polytill.domain.errors import Conflict, invalid
from polytill.domain.jobs import PartState
from polytill.flows.context import Context
from polytill.flows.jobs import backup, control, delete, move
from polytill.storage import jobs, practice_backups, practice_moves
from polytill.web.api.auth import Owner
from polytill.web.api.bodies import strict_router
from polytill.web.api.models.jobs import (
    BackUpPractices,
    ConfirmMoves,
    DeletePractice,
    Job,
    JobPractice,
    LastBackup,
    Move,
    MovePractices,
    RetryJob,
)
from polytill.web.api.responses import respond
from polytill.web.api.values import After, Before, Limit

router = strict_router("jobs", "/api/owner/jobs")

JobId = Annotated[int, Path(alias="jobId", ge=1, le=2**53)]


async def _answer(context: Context, job: jobs.Job) -> Response:
    return respond(Job.of(job, await control.counts(context, job.id)))


@router.get("", response_model=list[Job])
async def list_jobs(caller: Owner, before: Before = None, limit: Limit = 100) -> Response:
    """List jobs, newest first."""
    found = await jobs.listed(caller.context.owner, before, limit)
    counts = await jobs.counts(caller.context.owner, [job.id for job in found])
    return respond([Job.of(job, counts[job.id]) for job in found])


@router.post("/backup", response_model=Job, status_code=201)
async def back_up_practices(caller: Owner, body: BackUpPractices) -> Response:
    """Back up practices.

    The workers do it as a job. Backups go to the place of the setting `POLYTILL_BACKUPS`; 409 if that is not set, or if there
    is no practice.
    """
    wanted = backup.Wanted(tuple(body.practice_ids or ()), is_restored=body.check)
    job = await backup.begin(caller.context, wanted, caller.actor)
    if job is None:
        raise Conflict("There is no practice to back up.", code="no_practice")
    return respond(Job.of(job, await control.counts(caller.context, job.id)), 201)


@router.get("/backup/latest", response_model=list[LastBackup])
async def list_last_backups(caller: Owner, after: After = 0, limit: Limit = 100) -> Response:
    """List the last good backup of each practice, by the practice's id.

    Starts after the id `after`. A practice without a good backup is left out.
    """
    found = await practice_backups.listed(caller.context.owner, after, limit)
    return respond([LastBackup.from_record(one) for one in found])


@router.post("/move", response_model=Job, status_code=201)
async def move_to_cluster(caller: Owner, body: MovePractices) -> Response:
    """Move practices to another cluster.

    The workers do it as a job. Each practice stays in use, and its requests are refused with 503 for a moment while it is
    switched. Its old database is kept until the move is confirmed. 409 if a practice cannot be moved there.
    """
    if (body.cluster is None) != body.back:
        raise invalid("/cluster", "Give either a cluster or back.", reason="move_target")
    wanted = move.Wanted(body.practice_ids, body.cluster)
    job = await move.begin(caller.context, wanted, caller.actor)
    return respond(Job.of(job, await control.counts(caller.context, job.id)), 201)


@router.get("/move/unconfirmed", response_model=list[Move])
async def list_unconfirmed_moves(caller: Owner, after: After = 0, limit: Limit = 100) -> Response:
    """List the moved practices whose old databases are kept, by the practice's id.

    Starts after the id `after`.
    """
    found = await practice_moves.unconfirmed(caller.context.owner, after, limit)
    return respond([Move.from_record(one) for one in found])


@router.post("/move/confirm", response_model=list[Move])
async def confirm_moves(caller: Owner, body: ConfirmMoves) -> Response:
    """Drop the old databases of practices that were moved.

    A practice must be current at its new place. 409 if no old database of it is kept; the ones before it in the list are
    dropped then.
    """
    done = [await move.confirm(caller.context, practice_id, caller.actor) for practice_id in body.practice_ids]
    return respond([Move.from_record(one) for one in done])


@router.post("/delete", response_model=Job, status_code=201)
async def delete_practice(caller: Owner, body: DeletePractice) -> Response:
    """Delete a practice for ever.

    The workers do it as a job: the data key is destroyed, so that no backup opens, and the databases are dropped. 422 at
    `/confirm` if that is not the practice's name. 409 `practice_not_closed`, `run_out_not_over` without `now`, and
    `money_unresolved` without `acceptUnresolved`. 410 `practice_deleted` if it is deleted already.
    """
    job = await delete.begin(caller.context, body.wanted(), caller.actor)
    return respond(Job.of(job, await control.counts(caller.context, job.id)), 201)


@router.get("/{jobId}", response_model=Job)
async def get_job(caller: Owner, job_id: JobId) -> Response:
    """Get a job."""
    return await _answer(caller.context, await control.find(caller.context, job_id))


@router.get("/{jobId}/practices", response_model=list[JobPractice])
async def list_job_practices(
    caller: Owner, job_id: JobId, state: PartState | None = None, after: After = 0, limit: Limit = 100
) -> Response:
    """List the practices of a job by id.

    Starts after the id `after`. Each has its state, step, duration and error.
    """
    await control.find(caller.context, job_id)
    found = await jobs.parts(caller.context.owner, job_id, state, after, limit)
    return respond([JobPractice.from_record(part) for part in found])


@router.post("/{jobId}/pause", response_model=Job)
async def pause_job(caller: Owner, job_id: JobId) -> Response:
    """Pause a job.

    Practices that are being worked on are finished, and no other one is started. 409 if it is not running.
    """
    return await _answer(caller.context, await control.pause(caller.context, job_id, caller.actor))


@router.post("/{jobId}/resume", response_model=Job)
async def resume_job(caller: Owner, job_id: JobId) -> Response:
    """Resume a paused job.

    The workers run it. If it was paused because a canary failed, the other practices are started nevertheless. 409 if
    it has ended, or a command runs it.
    """
    return await _answer(caller.context, await control.resume(caller.context, job_id, caller.actor))


@router.post("/{jobId}/retry", response_model=Job)
async def retry_job(caller: Owner, job_id: JobId, body: RetryJob) -> Response:
    """Retry the failed practices of a job.

    All of them, or one. Each continues at the step that failed. 409 if nothing has failed, or the job was canceled.
    """
    found = await control.retry(caller.context, job_id, caller.actor, body.practice_id)
    return await _answer(caller.context, found)


@router.post("/{jobId}/cancel", response_model=Job)
async def cancel_job(caller: Owner, job_id: JobId) -> Response:
    """Cancel a job.

    Practices that are being worked on are finished, and no other one is started. 409 if it has ended.
    """
    return await _answer(caller.context, await control.cancel(caller.context, job_id, caller.actor))
