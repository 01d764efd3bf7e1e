"""Jobs: each part runs its steps once, a failure stops none of the others, and nothing is lost with a process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import DatabaseUnavailable, NotFound
from polytill.domain.jobs import JobKind, JobState, PartState, PauseReason
from polytill.flows.context import Context
from polytill.flows.jobs import control
from polytill.flows.jobs.control import JobConflict, Order
from polytill.flows.jobs.kinds import KINDS
from polytill.flows.jobs.parts import AGAIN_AFTER_S
from polytill.flows.jobs.step import State, StepFailed
from polytill.flows.presence import LIVE_S, Presence
from polytill.storage import audit, jobs
from polytill.storage.jobs import Counts, Job, Part
from polytill.web.words import LANGUAGES, words_for
from tests import calls
from tests.installation import fresh_settings, opened
from tests.jobs import PlainEngine, node, steps
from tests.web.support import Clock

PRACTICES = [1, 2, 3, 4, 5]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def till(tmp_path: Path, engine_url: str | None, clock: Clock) -> AsyncIterator[Polytill]:
    async with opened(fresh_settings(tmp_path, engine_url), ["paystack"], world=clock.world()) as found:
        await calls.create_practice(found, "Clinic", "NGN")  # the others are numbers to a job
        yield found


class Steps:
    """Two steps that count their calls. ``fails``: what a step raises, by its name and the practice."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()
        self.states: list[State] = []
        self.fails: dict[tuple[str, int], Exception] = {}
        self.holds: dict[tuple[str, int], asyncio.Event] = {}

    async def _step(self, name: str, practice_id: int, state: State) -> State:
        self.calls[name, practice_id] += 1
        self.states.append(state)
        if held := self.holds.get((name, practice_id)):
            await held.wait()
        if error := self.fails.get((name, practice_id)):
            raise error
        return {**state, name: practice_id}

    async def first(self, context: Context, practice_id: int, state: State) -> State:
        return await self._step("first", practice_id, state)

    async def second(self, context: Context, practice_id: int, state: State) -> State:
        return await self._step("second", practice_id, state)


@pytest.fixture
def work() -> Any:
    made = Steps()
    with steps(made.first, made.second):
        yield made


def order(*practice_ids: int, canaries: tuple[int, ...] = (), is_single: bool = False) -> Order:
    return Order(JobKind.migrate, practice_ids or PRACTICES, {"to": "there"}, canaries, is_single)


async def started(till: Polytill, wanted: Order | None = None) -> Job:
    job = await control.start(till.context, wanted or order(), "owner:1")
    assert job is not None
    return job


async def found(till: Polytill, job: Job) -> dict[int, Part]:
    return {part.practice_id: part for part in await jobs.parts(till.context.owner, job.id)}


async def said(till: Polytill) -> list[str]:
    return [line["action"] for line in reversed(await audit.listed(till.context.owner)) if "job." in line["action"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_step_has_a_text(language: str) -> None:
    words = words_for(language, "")
    assert [name for kind in KINDS.values() for name in kind.names if not words.has(f"job_step.{name}")] == []


async def test_every_step_of_every_practice_once(till: Polytill, work: Steps) -> None:
    async with node(till.context) as engine:
        job = await engine.drive((await started(till)).id)
    assert job.state is JobState.succeeded
    assert work.calls == {(name, one): 1 for name in ("first", "second") for one in PRACTICES}
    assert work.states[0] == {"to": "there", "actor": "owner:1"}
    assert any(state.get("first") for state in work.states), "the second step gets what the first one returned"
    assert await control.counts(till.context, job.id) == Counts(succeeded=5)
    for part in (await found(till, job)).values():
        assert (part.state, part.step, part.tries) == (PartState.succeeded, "second", 1)
        assert part.duration_ms is not None
    assert (await found(till, job))[1].name == "Clinic"
    assert await said(till) == ["job.started", "job.ended"]


async def test_a_failure_is_a_sentence_and_its_retry_continues_there(till: Polytill, work: Steps) -> None:
    work.fails = {("second", 2): StepFailed("The dog ate it."), ("first", 3): ValueError("row of Ada Lovelace")}
    async with node(till.context) as engine:
        job = await engine.drive((await started(till)).id)
        assert job.state is JobState.failed
        parts = await found(till, job)
        assert [one for one, part in parts.items() if part.state is PartState.failed] == [2, 3]
        assert (parts[2].step, parts[2].code, parts[2].detail) == ("second", "step_failed", "The dog ate it.")
        assert (parts[3].code, parts[3].detail) == ("unexpected", "The step failed: an unexpected error (ValueError).")
        with pytest.raises(JobConflict):
            await control.retry(till.context, job.id, "owner:1", 1)
        with pytest.raises(NotFound):
            await control.retry(till.context, job.id, "owner:1", 99)
        del work.fails["second", 2]
        await control.retry(till.context, job.id, "owner:1", 2)
        job = await engine.drive(job.id)
        assert job.state is JobState.failed  # the other one
        work.fails.clear()
        await control.retry(till.context, job.id, "owner:1")
        job = await engine.drive(job.id)
    assert job.state is JobState.succeeded
    assert (work.calls["first", 2], work.calls["second", 2]) == (1, 2)
    assert (await found(till, job))[2].tries == 2
    assert (await found(till, job))[2].detail is None
    with pytest.raises(JobConflict):
        await control.retry(till.context, job.id, "owner:1")


async def test_canaries_come_first_and_stop_the_others(till: Polytill, work: Steps) -> None:
    work.fails = {("first", 4): StepFailed("No.")}
    async with node(till.context) as engine:
        job = await engine.drive((await started(till, order(canaries=(4, 5)))).id)
        assert (job.state, job.pause_reason) == (JobState.paused, PauseReason.canary_failed)
        assert {one for _, one in work.calls} == {4, 5}
        await control.retry(till.context, job.id, "owner:1")
        job = await engine.drive(job.id)
        assert (job.state, {one for _, one in work.calls}) == (JobState.paused, {4, 5})
        work.fails.clear()
        await control.retry(till.context, job.id, "owner:1")
        assert (await engine.drive(job.id)).state is JobState.succeeded


async def test_a_resumed_job_goes_on_after_a_failed_canary(till: Polytill, work: Steps) -> None:
    work.fails = {("first", 4): StepFailed("No.")}
    async with node(till.context) as engine:
        job = await engine.drive((await started(till, order(canaries=(4,)))).id)
        await control.resume(till.context, job.id, "owner:1")
        assert (await engine.drive(job.id)).state is JobState.failed
    assert await control.counts(till.context, job.id) == Counts(succeeded=4, failed=1)


async def test_pause_finishes_what_runs_and_starts_nothing(till: Polytill, work: Steps) -> None:
    held = work.holds["first", 1] = asyncio.Event()
    async with node(till.context) as engine:
        engine.runner._at_once = 1
        job = await started(till)
        await engine.runner.turn()
        paused = await control.pause(till.context, job.id, "owner:1")
        assert (paused.state, paused.pause_reason) == (JobState.paused, PauseReason.requested)
        with pytest.raises(JobConflict):
            await control.pause(till.context, job.id, "owner:1")
        held.set()
        await engine.drive(job.id)
        assert await control.counts(till.context, job.id) == Counts(waiting=4, succeeded=1)
        await control.resume(till.context, job.id, "owner:1")
        assert (await engine.drive(job.id)).state is JobState.succeeded
    assert await said(till) == ["job.started", "job.paused", "job.resumed", "job.ended"]


async def test_cancel(till: Polytill, work: Steps) -> None:
    held = work.holds["first", 1] = asyncio.Event()
    async with node(till.context) as engine:
        engine.runner._at_once = 1
        job = await started(till)
        await engine.runner.turn()
        assert (await control.cancel(till.context, job.id, "owner:1")).state is JobState.canceled
        held.set()
        await engine.drive(job.id)
    assert await control.counts(till.context, job.id) == Counts(succeeded=1, canceled=4)
    for change in (control.cancel, control.resume, control.retry, control.pause):
        with pytest.raises(JobConflict):
            await change(till.context, job.id, "owner:1")


async def test_a_dead_process_is_followed_by_another(till: Polytill, work: Steps, clock: Clock) -> None:
    work.holds["second", 1] = asyncio.Event()
    dead = Presence(till.context, "test", runs_worker=True)
    await dead.beat()
    lost = PlainEngine(till.context)
    lost.runner._at_once = 1
    job = await started(till, order(1, 2))
    await lost.runner.turn()
    while not work.calls["second", 1]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    for task in lost.tasks:
        task.cancel()
    del work.holds["second", 1]
    async with node(till.context) as engine:
        engine.records = lost.records  # as DBOS keeps them
        engine.runner._at_once = 1
        clock.advance(LIVE_S - 1)
        await engine.runner.turn()
        assert (await found(till, job))[1].node == dead.id
    clock.advance(2)
    async with node(till.context) as engine:
        engine.records = lost.records
        assert (await engine.drive(job.id)).state is JobState.succeeded
    assert work.calls == {("first", 1): 1, ("second", 1): 2, ("first", 2): 1, ("second", 2): 1}
    assert await said(till) == ["job.started", "job.ended"]


async def test_a_database_that_was_away_is_tried_again(till: Polytill, work: Steps, clock: Clock) -> None:
    work.fails = {("second", 1): DatabaseUnavailable()}
    async with node(till.context) as engine:
        job = await started(till, order(1))
        for number, pause_s in enumerate(AGAIN_AFTER_S, 1):
            await engine.runner.turn()
            await asyncio.gather(*engine.tasks)
            part = (await found(till, job))[1]
            assert (part.state, part.tries, part.code) == (PartState.waiting, number, "database_unavailable")
            await engine.runner.turn()
            assert (await found(till, job))[1].state is PartState.waiting
            clock.advance(pause_s + 1)
            await Presence(till.context, "test", runs_worker=True).beat()
        await engine.drive(job.id)
        assert (await found(till, job))[1].state is PartState.failed
        assert work.calls["first", 1] == 1
        work.fails.clear()
        await control.retry(till.context, job.id, "owner:1")
        assert (await engine.drive(job.id)).state is JobState.succeeded


async def test_two_jobs_never_work_on_one_practice_at_once(till: Polytill, work: Steps) -> None:
    held = work.holds["first", 1] = asyncio.Event()
    async with node(till.context) as engine:
        one, other = await started(till, order(1)), await started(till, order(1, 2))
        await engine.runner.turn()
        await engine.runner.turn()
        assert (await found(till, one))[1].state is PartState.running
        assert (await found(till, other))[1].state is PartState.waiting
        assert work.calls["first", 1] == 1
        held.set()
        assert (await engine.drive(one.id)).state is JobState.succeeded
        assert (await engine.drive(other.id)).state is JobState.succeeded


async def test_only_one_unfinished_job_of_a_single_kind(till: Polytill, work: Steps) -> None:
    made = await asyncio.gather(*(control.start(till.context, order(is_single=True), f"owner:{n}") for n in range(4)))
    assert len({job.id for job in made if job}) == 1
    assert await control.start(till.context, Order(JobKind.migrate, [], {}), "owner:1") is None
    assert await said(till) == ["job.started"]


async def test_a_job_in_the_foreground_is_left_to_its_command(till: Polytill, work: Steps, clock: Clock) -> None:
    command = Presence(till.context, "job", runs_worker=False)
    await command.beat()
    job = await control.start(till.context, order(1), "cli", command.id)
    assert job is not None
    async with node(till.context) as engine:
        await engine.runner.turn()
        assert (await found(till, job))[1].state is PartState.waiting
        with pytest.raises(JobConflict) as refused:
            await control.resume(till.context, job.id, "owner:1")
        assert command.name in refused.value.detail
        clock.advance(LIVE_S + 1)
        await Presence(till.context, "test", runs_worker=True).beat()
        assert (await engine.drive(job.id)).state is JobState.succeeded


async def test_there_is_no_such_job(till: Polytill) -> None:
    for job_id in (7, 2**63):
        with pytest.raises(NotFound):
            await control.find(till.context, job_id)
