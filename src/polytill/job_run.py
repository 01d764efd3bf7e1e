"""Runs one job in this process, as a command does, until it has ended or is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from polytill import job_engine
from polytill.background import announced
from polytill.domain.errors import NotNow, PolytillError
from polytill.domain.jobs import JobState, PauseReason
from polytill.flows.context import Context
from polytill.flows.jobs import control
from polytill.flows.jobs.runner import AT_ONCE, Runner
from polytill.storage.jobs import Counts, Job

SHOWN_EVERY_S = 0.5
# Creates or resumes the job, in the foreground of this node. None: there is nothing to do.
Begin = Callable[[str | None], Awaitable[Job | None]]
Show = Callable[[Job, Counts], None]


def _show_nothing(_: Job, __: Counts) -> None:
    pass


async def run_here(
    context: Context, begin: Begin, actor: str, show: Show = _show_nothing, at_once: int = AT_ONCE
) -> Job | None:
    """Begin a job and run it to its end. Return it as it is then; None if there was nothing to do.

    If this is canceled, the job is paused, and can be resumed. If the process is killed, the workers continue, or the
    next command that resumes the job.

    Args:
        context: The process's tools.
        begin: Creates or resumes the job.
        actor: Who does it, for the audit log.
        show: Called every half second with the job and the number of its parts by state.
        at_once: How many practices are worked on at the same time.
    """
    if job_engine.is_launched():  # a host application with its own worker: that runs the job
        job = await begin(None)
        return None if job is None else await _follow(context, job.id, show, None)
    async with announced(context, "job") as node:
        job = await begin(node)
        if job is None:
            return None
        is_ours = job.foreground == node  # else another command runs it, and this one goes on only if that one dies
        most = max(1, min(at_once, context.settings.database_connections // 2))
        async with job_engine.launched(context, only=job.id, at_once=most) as runner:
            try:
                return await _follow(context, job.id, show, runner)
            except asyncio.CancelledError:
                if is_ours:
                    with suppress(PolytillError):
                        await control.pause(context, job.id, actor, PauseReason.interrupted)
                raise


async def _follow(context: Context, job_id: int, show: Show, runner: Runner | None) -> Job:
    while True:
        with suppress(NotNow):  # the owner database is away for a while
            if runner is not None:
                await runner.turn()
            job, counts = await control.find(context, job_id), await control.counts(context, job_id)
            show(job, counts)
            if job.state is not JobState.running and (runner is None or not runner.under_way):
                return job
        await (asyncio.sleep(SHOWN_EVERY_S) if runner is None else runner.pause(SHOWN_EVERY_S))
