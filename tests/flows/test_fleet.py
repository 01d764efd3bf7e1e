"""All practices are migrated by one process at a time; a broken one stops none of the others; it can be begun again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from polytill.app import Polytill
from polytill.flows.admin import fleet
from polytill.flows.admin.practices import migrate_practice
from polytill.storage import audit, migrating
from polytill.storage.fleet import Fleet
from polytill.storage.fleet import read as read_fleet
from tests import calls
from tests.fleets import NEWER, a_newer_schema, anyhow, break_it, mend
from tests.installation import fresh_settings, opened
from tests.web.support import Clock

PRACTICES = 4


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def till(tmp_path: Path, engine_url: str | None, clock: Clock) -> AsyncIterator[Polytill]:
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"], world=clock.world()) as found:
        for number in range(PRACTICES):
            await calls.create_practice(found, f"Practice {number + 1}", "NGN")
        yield found


@pytest.fixture
def newer(till: Polytill) -> Iterator[None]:
    with a_newer_schema():
        yield


async def seen(till: Polytill) -> Fleet:
    return await read_fleet(till.context.owner, migrating.head("practice"), till.context.world.now())


async def test_nothing_is_behind(till: Polytill) -> None:
    found = await seen(till)
    assert (found.practices, found.behind, found.running, found.stopped) == (PRACTICES, 0, False, False)


async def test_a_broken_practice_stops_none_of_the_others(till: Polytill, newer: None) -> None:
    context = till.context
    await break_it(till, 2)
    await anyhow(till, 3, "UPDATE alembic_version SET version_num = 'practice_4711'")
    assert (await seen(till)).behind == PRACTICES
    run = await fleet.begin(context, "test")
    assert run is not None
    assert (await seen(till)).running
    await fleet.run(context, run, "test")
    found = await seen(till)
    assert (found.behind, found.done, found.running, found.stopped) == (2, 2, False, False)
    assert [one.practice_id for one in found.failures] == [2, 3]
    refused, not_known = found.failures
    assert (refused.code, refused.name) == ("refused", "Practice 2")
    assert "the step after practice_0" in refused.detail
    assert "practice_4711, which this version of polytill does not know" in not_known.detail
    for practice_id in (1, 4):
        assert (await context.opening.entry(practice_id)).schema_version == NEWER
        assert await (await context.opening.practice(practice_id)).fetch("SELECT id FROM added") == []
    ended = (await audit.listed(context.owner))[0]
    assert (ended["action"], ended["detail"]) == ("fleet.migration_ended", {"practices": 4, "failed": 2})


async def test_it_runs_once_at_a_time_and_again_once_mended(till: Polytill, newer: None) -> None:
    context = till.context
    await break_it(till, 2)
    begun = await asyncio.gather(*(fleet.begin(context, f"owner {n}") for n in range(4)))
    runs = [run for run in begun if run is not None]
    assert len(runs) == 1  # four pressed the button
    await fleet.run(context, runs[0], "test")
    assert len((await seen(till)).failures) == 1
    await mend(till, 2)
    assert await till.migrate_fleet("test")
    assert till._migration is not None
    await till._migration
    found = await seen(till)
    assert (found.behind, found.failures, found.ended_at is not None) == (0, (), True)


async def test_a_process_that_died_is_followed_by_another(till: Polytill, newer: None, clock: Clock) -> None:
    context = till.context
    lost = await fleet.begin(context, "the first")
    assert lost is not None
    await migrate_practice(context, 1, "the first")  # and then its process dies
    assert await fleet.begin(context, "too early") is None
    clock.advance(fleet.CLAIM_S + 1)
    stopped = await seen(till)
    assert (stopped.stopped, stopped.running, stopped.done, stopped.behind) == (True, False, 1, 3)
    assert await till.migrate_fleet("the second")
    assert till._migration is not None
    await till._migration
    found = await seen(till)
    assert (found.behind, found.stopped, found.started_by) == (0, False, "the second")


async def test_one_that_is_stopped_gives_its_place_up(till: Polytill, newer: None) -> None:
    assert await till.migrate_fleet("test")
    await till._stop_migrating()  # as when the service ends
    found = await seen(till)
    assert found.stopped or found.behind == 0
    assert await till.migrate_fleet("again")
    assert till._migration is not None
    await till._migration
    assert (await seen(till)).behind == 0
