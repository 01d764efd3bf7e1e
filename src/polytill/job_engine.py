"""DBOS in this process: it records each finished step of each part, so that another process goes on after the last one.

DBOS has no lease: a workflow of a dead process stays where it is until someone resumes it. Which process a part belongs
to is therefore decided in our own tables (``flows/jobs/runner.py``), and the process that takes a part over moves its
workflow to a queue of its own. From then on DBOS rejects every record of the first process, should it still be alive.

DBOS runs in threads of its own, and each workflow passes its work to our loop. If DBOS is launched inside a loop, it
takes over that loop's threads, which our databases need, and shuts them down with itself.
"""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from polytill.domain.errors import NotNow, OperatorError
from polytill.flows.context import Context, log
from polytill.flows.jobs import parts
from polytill.flows.jobs.kinds import KINDS
from polytill.flows.jobs.parts import Running
from polytill.flows.jobs.runner import AT_ONCE, Runner
from polytill.flows.jobs.step import Step
from polytill.storage import durable
from polytill.storage.jobs import Job, Taken

Result = TypeVar("Result")

# Pinned: workflows get names and ids only, so processes of different versions can run each other's workflows.
APPLICATION_VERSION = "1"
OTHER_THREADS = 4  # for workflows that are no parts
DRAINED_S = 20.0  # how long a process that ends waits for the steps that it runs
PICKED_UP_S = 0.2
OWNER_PAUSE_S = 1.0
JOB_QUEUES = "jobs-"
ENDED = frozenset({"SUCCESS", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})

# DBOS is one for a process.
_of_this_process = threading.Lock()


def is_launched() -> bool:
    """Whether this process runs the engine. There can be one in a process."""
    return _of_this_process.locked()


class StoppedError(BaseException):
    """This process ends. No ``Exception``, because DBOS would record it as the end of the workflow."""


class Loop:
    """Runs the work of workflow threads on the loop that our databases belong to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end, from a thread."""
        try:
            return asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop).result()
        except CancelledError:
            raise StoppedError from None

    def call(self, work: Callable[[], object]) -> None:
        """Call a function soon, from a thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    async def _tracked(self, work: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.current_task()
        if self._is_closed or task is None:
            work.close()
            raise asyncio.CancelledError
        self._tasks.add(task)
        try:
            return await work
        finally:
            self._tasks.discard(task)

    async def close(self) -> None:
        """Cancel what runs, and accept no more."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class DbosEngine:
    """Runs parts as workflows."""

    def __init__(self, context: Context, at_once: int) -> None:
        # The time is for the clean-up: ``forget_queues``.
        self.queue = f"{JOB_QUEUES}{context.world.now():%Y%m%d%H%M%S}-{context.world.random_bytes(4).hex()}"
        self.loop = Loop()
        self.runner: Runner | None = None
        self._desk, self.at_once = context, at_once
        self._run_part: Any = None
        self.has_listened = False

    def register(self) -> None:
        """Register the workflow at DBOS, before it is launched."""
        from dbos import DBOS

        @DBOS.workflow(name="run_part")
        def run_part(job_id: int, practice_id: int) -> None:
            self._part(job_id, practice_id)

        self._run_part = run_part

    def _part(self, job_id: int, practice_id: int) -> None:
        """Run the steps of one part, in a thread of DBOS."""
        from dbos import DBOS

        try:
            running = self._patiently(partial(parts.opened, self._desk, job_id, practice_id))
            found = running.beginning
            for step in running.steps:
                found = DBOS.run_step({"name": step.__name__}, self._perform, running, step, found)
                if "failed" in found:
                    break
            self._patiently(partial(parts.finish, running, found))
        finally:
            if self.runner is not None:
                self.loop.call(partial(self.runner.left, job_id, practice_id))

    def _perform(self, running: Running, step: Step, before: parts.Result) -> parts.Result:
        # Called only for a step without a record.
        return self.loop.run(parts.perform(running, step, before))

    def _patiently(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Wait for the owner database if it is away: a part that runs is not lost with it."""
        while True:
            try:
                return self.loop.run(work())
            except NotNow:
                log.warning("job_waits", reason="database_unavailable")
                time.sleep(OWNER_PAUSE_S)

    async def start(self, job: Job, taken: Taken) -> None:
        """Start a part, or its next try from the step that failed. Returns once that is recorded."""
        await asyncio.to_thread(self._start, job, taken)

    async def take_over(self, job: Job, taken: Taken) -> None:
        """Go on with a part of a process that is gone, after its last finished step."""
        await asyncio.to_thread(self._take_over, job, taken)

    def _start(self, job: Job, taken: Taken) -> None:
        from dbos import DBOS, SetWorkflowID

        names = KINDS[job.kind].names
        done = names.index(taken.step) if taken.step in names else 0
        before = _workflow_id(taken, taken.tries - 1)
        with SetWorkflowID(_workflow_id(taken, taken.tries)):
            if done and taken.tries > 1 and DBOS.get_workflow_status(before) is not None:
                self._listen()
                DBOS.fork_workflow(before, done + 1, application_version=APPLICATION_VERSION, queue_name=self.queue)
            else:
                DBOS.start_workflow(self._run_part, taken.job_id, taken.practice_id)

    def _take_over(self, job: Job, taken: Taken) -> None:
        from dbos import DBOS, SetWorkflowID

        known = _workflow_id(taken, taken.tries)
        status = DBOS.get_workflow_status(known)
        if status is None:
            self._start(job, taken)
        elif status.status in ENDED:  # its process died between this record and ours
            with SetWorkflowID(f"{known}-{uuid4().hex}"):
                DBOS.start_workflow(self._run_part, taken.job_id, taken.practice_id)
        else:
            self._listen()
            DBOS.resume_workflow(known, queue_name=self.queue)

    def _listen(self) -> None:
        from dbos import DBOS

        # Each time: the clean-up deletes old queues, because it cannot know whose process lives.
        self.has_listened = True
        DBOS.register_queue(self.queue, worker_concurrency=self.at_once, polling_interval_sec=PICKED_UP_S)


def _workflow_id(taken: Taken, tries: int) -> str:
    return f"job-{taken.job_id}-{taken.practice_id}-{tries}"


@dataclass(frozen=True, slots=True)
class Beside:
    """Other workflows of a process. ``register`` is called before DBOS is launched and ``begin`` after it, both in a
    thread; ``queues``: the names of the queues that they need."""

    register: Callable[[Loop], None]
    begin: Callable[[], None]
    queues: Sequence[str]


@asynccontextmanager
async def launched(
    context: Context, beside: Beside | None = None, only: int | None = None, at_once: int = AT_ONCE
) -> AsyncIterator[Runner]:
    """Launch DBOS beside the block. Return the runner of jobs, which the caller starts.

    At the end the running steps get some seconds to finish. What is left then is for another process.

    Args:
        context: The process's tools.
        beside: Other workflows that this process runs.
        only: The one job to work on; None: all that no other process has in its foreground.
        at_once: How many parts run at the same time.
    """
    if not _of_this_process.acquire(blocking=False):
        raise OperatorError("This process runs jobs already.")
    try:
        engine = DbosEngine(context, at_once)
        runner = engine.runner = Runner(context, engine, only, at_once)
        async with _dbos(context, engine, beside):
            try:
                yield runner
            finally:
                await runner.drain(DRAINED_S)
    finally:
        _of_this_process.release()


@asynccontextmanager
async def _dbos(context: Context, engine: DbosEngine, beside: Beside | None) -> AsyncIterator[None]:
    # Imported here: 37 MB and nine threads, which a service without an embedded worker saves.
    from dbos import DBOS, DBOSPortableJSONSerializer

    kept = durable.system_database(context.settings.owner_database_url.get_secret_value())
    DBOS(
        config={
            "name": "polytill",
            "executor_id": f"{platform.node()}-{os.getpid()}-{context.world.random_bytes(4).hex()}",
            "application_version": APPLICATION_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,
            "max_executor_threads": engine.at_once + OTHER_THREADS,
            "log_level": "ERROR",
            **kept,  # type: ignore[typeddict-item]
        }
    )
    try:
        with durable.reached():
            await asyncio.to_thread(_launch, engine, beside)
        yield
    finally:
        await engine.loop.close()
        await asyncio.to_thread(_destroy, engine)
        if kept_engine := kept.get("system_database_engine"):
            await asyncio.to_thread(kept_engine.dispose)


def _launch(engine: DbosEngine, beside: Beside | None) -> None:
    from dbos import DBOS

    engine.register()
    if beside is not None:
        beside.register(engine.loop)
    # Named, so that no process runs a workflow that it does not have, such as a schedule of the workers.
    DBOS.listen_queues([engine.queue, *(beside.queues if beside else ())])
    DBOS.launch()
    if beside is not None:
        beside.begin()


def _destroy(engine: DbosEngine) -> None:
    from dbos import DBOS

    if engine.has_listened:
        with suppress(Exception):  # the clean-up deletes it
            DBOS.delete_queue(engine.queue)
    DBOS.destroy(destroy_registry=True)


def forget_queues(before: datetime) -> None:
    """Delete the queues of processes that were started before a time, unless something waits in them. A process that
    still runs creates its queue again."""
    from dbos import DBOS

    for queue in DBOS.list_queues():
        is_old = queue.name.startswith(JOB_QUEUES) and queue.name < f"{JOB_QUEUES}{before:%Y%m%d%H%M%S}"
        if is_old and not DBOS.list_queued_workflows(queue_name=queue.name, limit=1):
            DBOS.delete_queue(queue.name)
