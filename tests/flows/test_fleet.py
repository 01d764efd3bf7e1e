"""The migration of all practices as a job: a broken practice stops none of the others, and nothing is done for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polytill.app import Polytill
from polytill.domain.errors import NotFound
from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.flows.admin.practices import migrate_practice
from polytill.flows.jobs import control, migrate
from polytill.flows.jobs.migrate import Wanted
from polytill.storage import audit, jobs
from polytill.storage.jobs import Counts, Part
from tests import calls
from tests.fleets import NEWER, a_newer_schema, anyhow, break_it, mend
from tests.installation import fresh_settings, opened
from tests.jobs import node

PRACTICES = 4


@pytest.fixture
async def till(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Polytill]:
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"]) as found:
        for number in range(PRACTICES):
            await calls.create_practice(found, f"Practice {number + 1}", "NGN")
        with a_newer_schema():
            yield found


async def failed(till: Polytill, job_id: int) -> dict[int, Part]:
    return {part.practice_id: part for part in await jobs.parts(till.context.owner, job_id, PartState.failed)}


async def test_a_broken_practice_stops_none_of_the_others(till: Polytill) -> None:
    context = till.context
    await break_it(till, 2)
    await anyhow(till, 3, "UPDATE alembic_version SET version_num = 'practice_4711'")
    assert await till.migrate_fleet("test")
    assert not await till.migrate_fleet("another")
    job = await jobs.unfinished(context.owner, JobKind.migrate)
    assert job is not None
    async with node(context) as worker:
        job = await worker.drive(job.id)
    assert job.state is JobState.failed
    found = await failed(till, job.id)
    assert list(found) == [2, 3]
    assert found[2].code == "migration_refused"
    assert f"The database rejected the migration to {NEWER}: " in (found[2].detail or "")
    assert "already exists" in (found[2].detail or "")
    assert "practice_4711, which this version of polytill does not know" in (found[3].detail or "")
    for practice_id in (1, 4):
        assert (await context.opening.entry(practice_id)).schema_version == NEWER
        assert await (await context.opening.practice(practice_id)).fetch("SELECT id FROM added") == []
    ended = (await audit.listed(context.owner))[0]
    assert (ended["action"], ended["detail"]) == ("job.ended", {"kind": "migrate", "practices": 4, "failed": 2})
    await mend(till, 2)
    again = await migrate.begin(context, Wanted(), "test")
    assert again is not None
    assert [one.practice_id for one in await jobs.parts(context.owner, again.id)] == [2, 3]


async def test_one_practice_alone(till: Polytill) -> None:
    context = till.context
    async with node(context) as worker:
        job = await migrate.begin(context, Wanted(practice_ids=(3,)), "test")
        assert job is not None
        assert (await worker.drive(job.id)).state is JobState.succeeded
    assert (await context.opening.entry(3)).schema_version == NEWER
    assert (await context.opening.entry(1)).schema_version != NEWER
    with pytest.raises(NotFound):
        await migrate.begin(context, Wanted(practice_ids=(99,)), "test")


async def test_nothing_is_done_for_nothing(till: Polytill) -> None:
    context = till.context
    for practice_id in range(1, PRACTICES + 1):
        await migrate_practice(context, practice_id, "test")
    before = await audit.listed(context.owner)
    assert await migrate.begin(context, Wanted(), "test") is None
    assert not await till.migrate_fleet("test")
    assert await audit.listed(context.owner) == before
    assert await jobs.listed(context.owner) == []


async def test_the_same_command_again_tries_the_canary_again(till: Polytill) -> None:
    context = till.context
    await break_it(till, 1)
    async with node(context) as worker:
        job = await migrate.begin(context, Wanted(canary=1), "test")
        assert job is not None
        job = await worker.drive(job.id)
        assert job.pause_reason is PauseReason.canary_failed
        assert await control.counts(context, job.id) == Counts(waiting=3, failed=1)
        await mend(till, 1)
        again = await migrate.begin(context, Wanted(), "test")
        assert again is not None
        assert again.id == job.id
        assert (await worker.drive(job.id)).state is JobState.succeeded


async def test_one_to_an_older_version_is_given_up(till: Polytill) -> None:
    context = till.context
    old = await control.start(context, control.Order(JobKind.migrate, [1], {"revision": "practice_0001"}), "test")
    assert old is not None
    async with node(context) as worker:
        await worker.runner.turn()
        assert not worker.runner.under_way, "this version cannot migrate to another one's schema"
        job = await migrate.begin(context, Wanted(), "test")
        assert job is not None
        assert job.id != old.id
        assert (await control.find(context, old.id)).state is JobState.canceled
        assert (await worker.drive(job.id)).state is JobState.succeeded
