"""Jobs in tests: an engine without DBOS, and kinds with steps of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from polytill.domain.jobs import JobKind, JobState
from polytill.flows.context import Context
from polytill.flows.jobs import control, parts
from polytill.flows.jobs.kinds import KINDS
from polytill.flows.jobs.runner import Runner
from polytill.flows.jobs.step import Kind, Step
from polytill.flows.presence import Presence
from polytill.storage.jobs import Job, Taken


class PlainEngine:
    """Runs parts on the loop of the test. It records the steps that succeeded, as DBOS does."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.runner = Runner(context, self)
        self.records: dict[tuple[int, int], list[parts.Result]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self, job: Job, taken: Taken) -> None:
        """See ``Engine``."""
        task = asyncio.create_task(self._run(taken))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def take_over(self, job: Job, taken: Taken) -> None:
        """See ``Engine``."""
        await self.start(job, taken)

    async def _run(self, taken: Taken) -> None:
        records = self.records.setdefault((taken.job_id, taken.practice_id), [])
        with suppress(parts.PartLost):
            running = await parts.opened(self.context, taken.job_id, taken.practice_id)
            found = records[-1] if records else running.beginning
            for step in running.steps[len(records) :]:
                found = await parts.perform(running, step, found)
                if "failed" in found:
                    break
                records.append(found)
            await parts.finish(running, found)
        self.runner.left(taken.job_id, taken.practice_id)

    async def drive(self, job_id: int) -> Job:
        """Work on jobs until this one does not run any more."""
        while True:
            await self.runner.turn()
            job = await control.find(self.context, job_id)
            if job.state is not JobState.running and not self.runner.under_way:
                return job
            await self.runner.pause(0.05)


@asynccontextmanager
async def node(context: Context) -> AsyncIterator[PlainEngine]:
    """This process among the nodes, with an engine."""
    here = Presence(context, "test", runs_worker=True)
    await here.beat()
    engine = PlainEngine(context)
    try:
        yield engine
    finally:
        await asyncio.gather(*engine.tasks, return_exceptions=True)
        await here.leave()


@contextmanager
def steps(*made: Step) -> Iterator[None]:
    """As if a job of the kind ``migrate`` had these steps."""
    before = KINDS[JobKind.migrate]
    KINDS[JobKind.migrate] = Kind(made)
    try:
        yield
    finally:
        KINDS[JobKind.migrate] = before
