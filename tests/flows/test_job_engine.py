"""Jobs on DBOS: finished steps are not run again, a killed process loses nothing, and a stopped one can be resumed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polytill import job_engine
from polytill.app import Polytill
from polytill.domain.jobs import JobState, PartState, PauseReason
from polytill.flows.jobs import control, migrate
from polytill.flows.jobs.step import StepFailed
from polytill.job_run import run_here
from polytill.storage import jobs
from polytill.storage.jobs import Counts, Job
from tests import calls
from tests.fleets import NEWER, a_counted_schema
from tests.flows.job_drill import BOUNDARIES
from tests.flows.test_jobs import Steps, order
from tests.installation import fresh_settings, opened
from tests.jobs import steps
from tests.storage.making import plain

# DBOS's own ways with SQLAlchemy and threads are not ours to answer for.
pytestmark = pytest.mark.filterwarnings("default")

PRACTICES = 10


async def begin(till: Polytill, node: str | None) -> Job | None:
    return await control.start(till.context, order(1, 2, 3), "test", node)


async def run(till: Polytill) -> Job:
    job = await run_here(till.context, lambda node: begin(till, node), "test")
    assert job is not None
    return job


async def test_a_retry_continues_at_the_failed_step(till: Polytill) -> None:
    work = Steps()
    work.fails = {("second", 2): StepFailed("No.")}
    with steps(work.first, work.second):
        job = await run(till)
        assert job.state is JobState.failed
        assert await control.counts(till.context, job.id) == Counts(succeeded=2, failed=1)
        work.fails.clear()
        retried = await run_here(
            till.context, lambda node: control.retry(till.context, job.id, "test", 2, node), "test"
        )
    assert retried is not None
    assert retried.state is JobState.succeeded
    assert (work.calls["first", 2], work.calls["second", 2]) == (1, 2)
    assert work.states[-1] == {"to": "there", "actor": "test", "first": 2}  # what the recorded step returned


async def test_a_canceled_command_pauses_its_job(till: Polytill) -> None:
    work = Steps()
    held = work.holds["first", 1] = asyncio.Event()
    with steps(work.first, work.second):
        running = asyncio.create_task(run_here(till.context, lambda node: begin(till, node), "test", at_once=1))
        while not work.calls["first", 1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        running.cancel()  # as Ctrl-C does
        await asyncio.sleep(0.2)
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        [job] = await jobs.listed(till.context.owner)
        assert (job.state, job.pause_reason) == (JobState.paused, PauseReason.interrupted)
        assert await control.counts(till.context, job.id) == Counts(succeeded=1, waiting=2)
        resumed = await run_here(till.context, lambda node: control.resume(till.context, job.id, "test", node), "test")
    assert resumed is not None
    assert resumed.state is JobState.succeeded
    assert set(work.calls.values()) == {1}


async def test_a_step_that_does_not_end_in_time_is_left_to_another_process(
    till: Polytill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_engine, "DRAINED_S", 0.2)
    work = Steps()
    work.holds["second", 1] = asyncio.Event()
    with steps(work.first, work.second):
        running = asyncio.create_task(run_here(till.context, lambda node: begin(till, node), "test", at_once=1))
        while not work.calls["second", 1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        [job] = await jobs.listed(till.context.owner)
        assert (await jobs.parts(till.context.owner, job.id))[0].state is PartState.running
        work.holds.clear()
        resumed = await run_here(till.context, lambda node: control.resume(till.context, job.id, "test", node), "test")
    assert resumed is not None
    assert resumed.state is JobState.succeeded
    assert (work.calls["first", 1], work.calls["second", 1]) == (1, 2)


async def test_nothing_to_do_launches_nothing(till: Polytill) -> None:
    await calls.create_practice(till, "Clinic", "NGN")

    async def nothing(node: str | None) -> Job | None:
        return await migrate.begin(till.context, migrate.Wanted(), "test", node)

    assert await run_here(till.context, nothing, "test") is None
    assert await jobs.listed(till.context.owner) == []


async def test_kill_9_at_every_boundary(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["paystack"]) as till:
        ids = [(await calls.create_practice(till, f"Clinic {n}", "NGN"))[0].id for n in range(PRACTICES)]
        told = {
            "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
            "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
            "POLYTILL_KEYRING": str(settings.keyring),
        }
        drill = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.flows.job_drill"],
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        lines = [json.loads(line) for line in drill.stdout.splitlines() if line.startswith('{"boundary"')]
        assert [one["boundary"] for one in lines] == [*BOUNDARIES, "finishes"], drill.stderr[-3000:]
        assert [one["signal"] for one in lines] == [9] * len(BOUNDARIES) + [0], drill.stderr[-3000:]
        assert lines[-1]["state"] == "succeeded"
        [job] = await jobs.listed(till.context.owner)
        assert (job.state, await control.counts(till.context, job.id)) == (
            JobState.succeeded,
            Counts(succeeded=PRACTICES),
        )
        migrated = "SELECT subject, count(*) FROM audit_log WHERE action = 'practice.migrated' GROUP BY subject"
        assert dict(await plain(till.context.owner, migrated)) == {f"practice:{one}": 1 for one in ids}  # type: ignore[arg-type]
        with a_counted_schema():
            for one in ids:
                assert (await till.context.opening.entry(one)).schema_version == NEWER
                db = await till.context.opening.practice(one)
                assert await plain(db, "SELECT count(*) FROM added") == [(1,)], "migrated exactly once"
