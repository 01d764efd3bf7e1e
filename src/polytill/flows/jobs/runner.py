"""The loop of a process that runs jobs: it takes parts, hands them to the engine, and ends jobs.

Any number of processes share a job. A part belongs to the node that has taken it, and to another one once that node is
not live any more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Duplicate, NotNow, Stale
from polytill.domain.jobs import JobState, PauseReason
from polytill.domain.places import places
from polytill.flows.context import Context, log
from polytill.flows.jobs import control
from polytill.flows.jobs.kinds import KINDS
from polytill.storage import audit, jobs
from polytill.storage.jobs import Job, Taken
from polytill.storage.units import Unit

AT_ONCE = 4
POLL_S = 2.0
ACTOR = "worker"


class Engine(Protocol):
    """What runs a part durably."""

    async def start(self, job: Job, taken: Taken) -> None:
        """Start a part, or its next try from the step that failed. Returns once that is recorded."""

    async def take_over(self, job: Job, taken: Taken) -> None:
        """Go on with a part of a process that is gone, after its last finished step."""


class Runner:
    """The parts that this process runs.

    Args:
        context: The process's tools.
        engine: Runs the parts.
        only: The one job to work on; None: all that no other process has in its foreground.
        at_once: How many parts run at the same time.
    """

    def __init__(self, context: Context, engine: Engine, only: int | None = None, at_once: int = AT_ONCE) -> None:
        self._desk, self._engine, self._only = context, engine, only
        self._at_once = at_once
        self._running: set[tuple[int, int]] = set()
        self._unstarted: list[tuple[Job, Taken]] = []  # taken, but the engine could not be reached
        self._wake = asyncio.Event()
        self._stops = False

    @property
    def under_way(self) -> int:
        """The number of parts that this process runs."""
        return len(self._running)

    def left(self, job_id: int, practice_id: int) -> None:
        """Note that a part does not run here any more. The engine calls it, on the loop."""
        self._running.discard((job_id, practice_id))
        self._wake.set()

    async def run(self) -> None:
        """Work until canceled, whatever fails."""
        while True:
            try:
                await self.turn()
            except NotNow:
                log.warning("worker_waits", work="jobs", reason="database_unavailable")
            except Exception as error:
                log.error("worker_failed", work="jobs", error=type(error).__name__, places=places(error))
            await self.pause()

    async def pause(self, longest_s: float = POLL_S) -> None:
        """Wait until half of the places are free, or for this time."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + longest_s
        while (left_s := until_s - loop.time()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_s)
                if len(self._running) <= self._at_once // 2:
                    return

    async def drain(self, longest_s: float) -> None:
        """Take no further part, and wait for the running ones, at most this time."""
        self._stops = True
        loop = asyncio.get_running_loop()
        until_s = loop.time() + longest_s
        while self._running and (left_s := until_s - loop.time()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_s)

    async def turn(self) -> None:
        """Take what is free, and end or pause what is due."""
        node = self._desk.node_id
        if node is None or self._stops:
            return
        unstarted, self._unstarted = self._unstarted, []
        for one in unstarted:
            await self._begin(*one, is_orphan=True)  # nobody knows how far the first attempt came
        for job in await jobs.with_work(self._desk.owner, node, self._desk.shared_after(0)):
            if (self._only is None or job.id == self._only) and KINDS[job.kind].can_run(job):
                await self._work_on(job, node)

    async def _work_on(self, job: Job, node: str) -> None:
        free, now = self._at_once - len(self._running), self._desk.shared_after(0)
        if free <= 0:
            return
        async with self._desk.owner.transaction() as tx:
            orphans = await jobs.take_over(tx, job.id, node, now, free)
        for one in orphans:
            log.info("job_part_taken_over", job=job.id, kind=job.kind.value, practice=one.practice_id, step=one.step)
            await self._begin(job, one, is_orphan=True)
        free -= len(orphans)
        if job.state is not JobState.running or free <= 0:
            return
        taken = await self._take(job, node, free)
        for one in taken:
            await self._begin(job, one, is_orphan=False)
        if len(taken) < free:
            await self._settle(job)

    async def _take(self, job: Job, node: str, free: int) -> list[Taken]:
        first = KINDS[job.kind].names[0]
        try:
            async with self._desk.owner.transaction() as tx:
                return await jobs.take(tx, (job.id, first), node, self._desk.shared_after(0), free)
        except Duplicate:  # another job has taken one of these practices; the next turn takes the others
            return []

    async def _begin(self, job: Job, taken: Taken, is_orphan: bool) -> None:
        self._running.add((taken.job_id, taken.practice_id))
        try:
            await (self._engine.take_over(job, taken) if is_orphan else self._engine.start(job, taken))
        except Exception as error:
            log.error("job_part_not_started", job=taken.job_id, practice=taken.practice_id, error=type(error).__name__)
            self._unstarted.append((job, taken))

    async def _settle(self, job: Job) -> None:
        """End a job whose parts have all ended; pause one whose canary has failed."""
        if await jobs.canary_failed(self._desk.owner, job.id):
            with suppress(control.JobConflict):
                await control.pause(self._desk, job.id, ACTOR, PauseReason.canary_failed)
            return
        counts = await control.counts(self._desk, job.id)
        if counts.ended < counts.total:
            return
        state = JobState.failed if counts.failed else JobState.succeeded
        unit = Unit()
        jobs.end(unit, job.id, state, self._desk.shared_after(0))
        detail = {"kind": job.kind.value, "practices": counts.total, "failed": counts.failed}
        audit.append(unit, self._desk.world.now(), ACTOR, AuditAction.job_ended, f"job:{job.id}", detail)
        with suppress(Stale):  # another process was first
            await self._desk.owner.commit(unit)
            log.info("job_ended", job=job.id, state=state.value, **detail)
