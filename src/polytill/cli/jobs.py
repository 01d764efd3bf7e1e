"""Jobs: what is done to practices, how far it is, and pause, resume, retry and cancel."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from polytill.app import Polytill
from polytill.cli.opened import console, opened
from polytill.domain.clock import wire_time
from polytill.domain.jobs import JobState, PartState, PauseReason
from polytill.flows.context import Context
from polytill.flows.jobs import control
from polytill.flows.jobs.runner import AT_ONCE
from polytill.job_run import Show, run_here
from polytill.storage import jobs, nodes, practices
from polytill.storage.jobs import Counts, Job, Part

Result = TypeVar("Result")

jobs_app = typer.Typer(no_args_is_help=True, help="Jobs: operations on practices, such as a migration.")

ACTOR = "cli"
SHOWN = 50  # failed practices that are listed; --json has all

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
JobId = Annotated[int, typer.Argument(help="The job's id")]
Detach = Annotated[bool, typer.Option("--detach", help="Let the workers run it, and return at once")]
AtOnce = Annotated[int, typer.Option(min=1, max=64, help="How many practices are worked on at the same time")]


# ── Output ──


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    typer.echo(json.dumps(value, default=wire_time, indent=1))


def job_json(job: Job, counts: Counts) -> dict[str, Any]:
    """A job as JSON."""
    return {
        "id": job.id,
        "kind": job.kind.value,
        "state": job.state.value,
        "pauseReason": job.pause_reason and job.pause_reason.value,
        "arguments": job.arguments,
        "actor": job.actor,
        "createdAt": wire_time(job.created_at),
        "endedAt": wire_time(job.ended_at),
        "practices": {"total": counts.total, **{state.value: getattr(counts, state.value) for state in PartState}},
    }


def part_json(part: Part) -> dict[str, Any]:
    """The part of one practice as JSON."""
    return {
        "practice": part.practice_id,
        "name": part.name,
        "state": part.state.value,
        "step": part.step,
        "tries": part.tries,
        "isCanary": part.is_canary,
        "code": part.code,
        "detail": part.detail,
        "startedAt": wire_time(part.started_at),
        "endedAt": wire_time(part.ended_at),
        "durationMs": part.duration_ms,
    }


def print_outcome(job: Job, counts: Counts, failed: list[Part]) -> None:
    """Say how a job ended or why it is paused, and name the failed practices."""
    for part in failed[:SHOWN]:
        console.print(f"Practice {part.practice_id}: {part.detail}", style="red", soft_wrap=True)
    if len(failed) > SHOWN:
        console.print(f"{len(failed) - SHOWN} more failed. `polytill jobs show {job.id} --json` lists all.")
    console.print(f"Job {job.id} ({job.kind.value}): {_state(job)}. {_progress(counts)}.")


def _state(job: Job) -> str:
    why = {
        PauseReason.requested: "paused",
        PauseReason.interrupted: "paused, because its command was stopped",
        PauseReason.canary_failed: "paused, because a canary failed",
    }
    return why[job.pause_reason] if job.pause_reason else job.state.value


def _progress(counts: Counts) -> str:
    return f"Practices: {counts.total}, succeeded: {counts.succeeded}, failed: {counts.failed}"


@contextmanager
def progress_bar(is_shown: bool) -> Iterator[Show]:
    """A progress bar on standard error, as the callback that ``run_here`` needs."""
    is_shown = is_shown and sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not is_shown) as bar:
        task = bar.add_task("Practices", total=None)

        def show(job: Job, counts: Counts) -> None:
            failed = f", {counts.failed} failed" if counts.failed else ""
            bar.update(
                task, description=f"Job {job.id}: {job.kind.value}{failed}", total=counts.total, completed=counts.ended
            )

        yield show


# ── Running ──


def run_until_stopped(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine. Ctrl-C and SIGTERM cancel it, so that a job is paused; then exit with 130 or 143."""
    stopped_by: list[signal.Signals] = []

    async def run() -> Result:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if not stopped_by:
                print("Stopping, as soon as the practices that are being worked on are done.", file=sys.stderr)
            stopped_by.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise SystemExit(128 + (stopped_by or [signal.SIGINT])[0]) from None


# By job: what it made, as JSON.
Details = Callable[[Context, Job], Awaitable[list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Run:
    """How a command runs its job, and what it prints of it.

    Args:
        detach: Leave the job to the workers.
        as_json: Print JSON.
        at_once: How many practices are worked on at the same time.
        details: The member of the JSON with what the job made, and what reads it.
        sentence: One of these in a sentence.
    """

    detach: bool
    as_json: bool
    at_once: int = AT_ONCE
    details: tuple[str, Details] | None = None
    sentence: Callable[[dict[str, Any]], str] = str


def run_job(begin: Callable[[Context, str | None], Awaitable[Job]], how: Run) -> None:
    """Begin a job, run it in this process or leave it to the workers, and print how it ended. Exits with 1 if a practice
    has failed or the job is paused."""

    async def work(show: Show) -> tuple[Job, Counts, list[Part], list[dict[str, Any]]]:
        async with Polytill.open() as till:
            context = till.context
            if how.detach:
                job = await begin(context, None)
            else:
                found = await run_here(context, lambda node: begin(context, node), ACTOR, show, how.at_once)
                assert found is not None
                job = found
            counts = await control.counts(context, job.id)
            made = [] if how.detach or how.details is None else await how.details[1](context, job)
            return job, counts, await _failed(context, job.id, counts), made

    with progress_bar(not (how.as_json or how.detach)) as show:
        job, counts, failed, made = run_until_stopped(work(show))
    if how.as_json:
        more = {how.details[0]: made} if how.details is not None and not how.detach else {}
        print_json({**job_json(job, counts), **more, "failures": [part_json(one) for one in failed]})
    elif how.detach:
        console.print(f"Job {job.id} ({job.kind.value}) is left to the workers. See `polytill jobs show {job.id}`.")
    else:
        for one in made:
            console.print(how.sentence(one), soft_wrap=True)
        print_outcome(job, counts, failed)
    if not how.detach and job.state is not JobState.succeeded:
        raise SystemExit(1)


async def _failed(context: Context, job_id: int, counts: Counts) -> list[Part]:
    if not counts.failed:
        return []
    return await jobs.parts(context.owner, job_id, PartState.failed, limit=practices.MOST_ID)


# ── Commands ──


@jobs_app.command("list")
def jobs_list(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first")] = 20, as_json: AsJson = False
) -> None:
    """List jobs, newest first."""

    async def read(context: Context) -> list[tuple[Job, Counts]]:
        found = await jobs.listed(context.owner, limit=limit)
        counts = await jobs.counts(context.owner, [job.id for job in found])
        return [(job, counts[job.id]) for job in found]

    found = opened(read)
    if as_json:
        print_json([job_json(*one) for one in found])
        return
    table = Table("id", "kind", "state", "practices", "succeeded", "failed", "started", "ended", "by")
    for job, counts in found:
        numbers = (str(counts.total), str(counts.succeeded), str(counts.failed))
        times = (wire_time(job.created_at) or "", wire_time(job.ended_at) or "")
        table.add_row(str(job.id), job.kind.value, _state(job), *numbers, *times, job.actor)
    console.print(table)


@jobs_app.command("show")
def jobs_show(
    job_id: JobId,
    state: Annotated[PartState | None, typer.Option(help="Only practices in this state")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a job with its practices: state, step, duration and error of each."""

    async def read(context: Context) -> tuple[Job, Counts, list[Part], dict[str, str]]:
        job = await control.find(context, job_id)
        found = await jobs.parts(context.owner, job_id, state, limit=practices.MOST_ID)
        live = {one.id: one.name for one in await nodes.live(context.owner, context.shared_after(0))}
        return job, await control.counts(context, job_id), found, live

    job, counts, found, live = opened(read)
    if as_json:
        print_json({**job_json(job, counts), "parts": [part_json(one) for one in found]})
        return
    table = Table("id", "name", "state", "step", "seconds", "tries", "error")
    for part in found:
        took = "" if part.duration_ms is None else f"{part.duration_ms / 1000:.2f}"
        where = f" by {live[part.node]}" if part.state is PartState.running and part.node in live else ""
        about = (part.step or "", took, str(part.tries), part.detail or "")
        table.add_row(str(part.practice_id), part.name or "", f"{part.state.value}{where}", *about)
    console.print(table)
    print_outcome(job, counts, [])


def _changed(job_id: int, change: Callable[[Context], Awaitable[Job]], as_json: bool) -> None:
    async def work(context: Context) -> tuple[Job, Counts]:
        return await change(context), await control.counts(context, job_id)

    job, counts = opened(work)
    if as_json:
        print_json(job_json(job, counts))
    else:
        print_outcome(job, counts, [])


@jobs_app.command("pause")
def jobs_pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job. Practices that are being worked on are finished, and no other one is started."""
    _changed(job_id, lambda context: control.pause(context, job_id, ACTOR), as_json)


@jobs_app.command("cancel")
def jobs_cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job for ever. Practices that are being worked on are finished, and no other one is started."""
    _changed(job_id, lambda context: control.cancel(context, job_id, ACTOR), as_json)


@jobs_app.command("resume")
def jobs_resume(job_id: JobId, detach: Detach = False, at_once: AtOnce = AT_ONCE, as_json: AsJson = False) -> None:
    """Resume a paused job, or one whose command was killed, in this process.

    If it was paused because a canary failed, the other practices are started nevertheless.
    """

    async def begin(context: Context, node: str | None) -> Job:
        return await control.resume(context, job_id, ACTOR, node)

    run_job(begin, Run(detach, as_json, at_once))


@jobs_app.command("retry")
def jobs_retry(
    job_id: JobId,
    practice: Annotated[int | None, typer.Option(help="Only this practice; default: all that failed")] = None,
    detach: Detach = False,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Retry the failed practices of a job, from the step that failed, in this process."""

    async def begin(context: Context, node: str | None) -> Job:
        return await control.retry(context, job_id, ACTOR, practice, node)

    run_job(begin, Run(detach, as_json, at_once))
