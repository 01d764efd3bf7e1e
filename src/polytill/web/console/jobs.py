"""Jobs in the owner's console: what is done to practices, how far it is, and pause, resume, retry and cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response

from polytill.domain.errors import invalid
from polytill.domain.jobs import JobState, PartState
from polytill.flows.jobs import backup, control, move
from polytill.storage import jobs
from polytill.web.api.values import After, Before
from polytill.web.console.flashes import Done
from polytill.web.console.pages import EXPECTED, page_router
from polytill.web.console.sessions import OwnerAdmin, OwnerViewer

router = page_router("/owner/jobs")

PER_PAGE = 50
TONES = {
    JobState.running: "info",
    JobState.paused: "warn",
    JobState.succeeded: "good",
    JobState.failed: "bad",
    JobState.canceled: "",
}
PART_TONES = {PartState.running: "info", PartState.succeeded: "good", PartState.failed: "bad"}
JobId = Annotated[int, Path(ge=1, le=2**53)]
AnyState = Annotated[PartState | None, Query()]


@router.get("")
async def list_jobs(visitor: OwnerViewer, before: Before = None) -> Response:
    """List jobs, newest first."""
    return await _list(visitor, before)


@router.post("/backup")
async def back_up(visitor: OwnerAdmin) -> Response:
    """Let the workers back up one practice, or all."""
    practice = visitor.form.text("practice")
    is_one = practice.isdecimal() and len(practice) < 11
    wanted = backup.Wanted((int(practice),) if is_one else (), is_restored=visitor.form.has("check"))
    try:
        job = await backup.begin(visitor.context, wanted, visitor.actor)
    except EXPECTED as error:
        return await _list(visitor, error=error)
    return visitor.see("/jobs" if job is None else f"/jobs/{job.id}", Done.job_started)


@router.post("/move")
async def move_practice(visitor: OwnerAdmin) -> Response:
    """Let the workers move one practice to another cluster or back, or drop the old database of a moved one."""
    practice, cluster = visitor.form.text("practice"), visitor.form.text("cluster")
    practice_id = int(practice) if practice.isdecimal() and len(practice) < 11 else 0
    try:
        if visitor.form.text("action") == "confirm":
            await move.confirm(visitor.context, practice_id, visitor.actor)
            return visitor.see(f"/practices/{practice_id}", Done.removed)
        job = await move.begin(visitor.context, move.Wanted([practice_id], cluster or None), visitor.actor)
    except EXPECTED as error:
        return await _list(visitor, error=error)
    return visitor.see(f"/jobs/{job.id}", Done.job_started)


async def _list(visitor: OwnerViewer, before: int | None = None, **more: Any) -> Response:
    owner = visitor.context.owner
    found = await jobs.listed(owner, before, PER_PAGE + 1)
    shown = found[:PER_PAGE]
    return visitor.page(
        "owner/jobs.html",
        jobs=shown,
        counts=await jobs.counts(owner, [job.id for job in shown]),
        tones=TONES,
        following=shown[-1].id if len(found) > PER_PAGE else None,
        has_backups=bool(visitor.context.settings.backups),
        **more,
    )


async def _page(
    visitor: OwnerViewer, job_id: int, state: PartState | None = None, after: int = 0, **more: Any
) -> Response:
    context = visitor.context
    job = await control.find(context, job_id)
    found = await jobs.parts(context.owner, job_id, state, after, PER_PAGE + 1)
    return visitor.page(
        "owner/job.html",
        job=job,
        counts=await control.counts(context, job_id),
        parts=found[:PER_PAGE],
        following=found[PER_PAGE - 1].practice_id if len(found) > PER_PAGE else None,
        state=state,
        states=list(PartState),
        after=after,
        tones=TONES,
        part_tones=PART_TONES,
        **more,
    )


@router.get("/{job_id}")
async def show_job(visitor: OwnerViewer, job_id: JobId, state: AnyState = None, after: After = 0) -> Response:
    """Show a job with its practices. While it runs, the page shows its progress."""
    return await _page(visitor, job_id, state, after)


@router.post("/{job_id}")
async def change_job(visitor: OwnerAdmin, job_id: JobId) -> Response:
    """Pause, resume, retry or cancel a job."""
    context, actor = visitor.context, visitor.actor
    try:
        match visitor.form.text("action"):
            case "pause":
                await control.pause(context, job_id, actor)
                done = Done.job_paused
            case "resume":
                await control.resume(context, job_id, actor)
                done = Done.job_resumed
            case "retry":
                practice = visitor.form.text("practice")
                is_one = practice.isdecimal() and len(practice) < 11
                await control.retry(context, job_id, actor, int(practice) if is_one else None)
                done = Done.job_resumed
            case "cancel":
                await control.cancel(context, job_id, actor)
                done = Done.job_canceled
            case _:
                raise invalid("/action", "Choose an action.", reason="job_action")
    except EXPECTED as error:
        return await _page(visitor, job_id, error=error)
    return visitor.see(f"/jobs/{job_id}", done)
