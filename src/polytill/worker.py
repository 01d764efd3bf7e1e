"""The worker: sweeps by claims; jobs and scheduled work on DBOS. Embedded in ``serve`` if the databases are SQLite files; on
PostgreSQL any number of ``polytill worker`` processes.

A sweep is found by its practice's lease and held by a claim (``flows/worker/claims.py``). Claims are taken and released
for many practices at once, while a durable workflow costs about ten milliseconds for each. DBOS runs jobs
(``job_engine.py``), and what is scheduled: once for all workers together, distributed over the practices. Scheduled
workflows get ids only, and each is repeatable, so the next one does the work of one that died with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import Context as ContextOfTask
from datetime import UTC, datetime, timedelta
from typing import Any

from polytill.app import Polytill
from polytill.background import adopted, beside, renew_for_ever, sweep, sweep_for_ever
from polytill.flows.context import Context, log
from polytill.flows.erasure import finish_erasures
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.retention import retain_feed, retain_in_background
from polytill.flows.rollout.decisions import forget_old
from polytill.flows.rollout.sync import sync_in_background
from polytill.flows.worker import claims
from polytill.job_engine import Beside, Loop, forget_queues, launched
from polytill.storage import leases, practices
from polytill.storage.practices import PracticeEntry

LISTINGS, SCHEDULES = "listings", "schedules"
KEPT = timedelta(days=3)
CLEANED_AT_ONCE = 500


class Worker:
    """What only a worker process calls. It looks up unknown outcomes, applies webhooks that had to wait, expires unpaid
    payments, delivers events, and compares our records with the providers' listings.

    Any number of workers can run at once; they share the practices by claims. On SQLite exactly one process runs one.
    """

    def __init__(self, till: Polytill) -> None:
        self._till = till

    async def run(self) -> None:
        """Work until canceled. Errors are logged and do not end it."""
        async with working(self._till):
            await asyncio.Event().wait()

    async def turn(self, everyone: bool = False) -> int:
        """Sweep the practices that are in use, or every practice, once, and deliver events. Return the number of
        processed items. For tests and cron jobs; the comparison with listings is not part of it."""
        return await sweep(self._till.context, everyone)


@contextlib.asynccontextmanager
async def working(till: Polytill) -> AsyncIterator[None]:
    """Run all background work beside the block."""
    async with (
        # First, because it ends last: a process that finishes its jobs is still one of the nodes.
        beside(renew_for_ever(till.context, "worker", runs_worker=True)),
        jobs(till),
        beside(sweep_for_ever(till.context)),
    ):
        yield


@contextlib.asynccontextmanager
async def jobs(till: Polytill) -> AsyncIterator[None]:
    """Run jobs and scheduled work beside the block, in a copy of an installation as soon as it is adopted. What is
    scheduled runs once for all workers together."""
    if till.context.installation.copied is not None:
        async with beside(_jobs_later(till)):
            yield
        return
    scheduled = Scheduled(till.context)
    both = Beside(scheduled.register, scheduled.begin, (LISTINGS, SCHEDULES))
    async with launched(till.context, both) as runner, beside(runner.run()):
        log.info("jobs_started", node=till.context.node_id)
        yield


async def _jobs_later(till: Polytill) -> None:
    await adopted(till.context)
    async with jobs(till):
        await asyncio.Event().wait()


class Scheduled:
    """The work that runs by the clock."""

    def __init__(self, context: Context) -> None:
        self._desk = context
        self._due: dict[Any, str] = {}

    def register(self, loop: Loop) -> None:
        """Register its workflows at DBOS."""
        from dbos import DBOS, SetWorkflowID

        context, do = self._desk, loop.run

        @DBOS.workflow(name="reconcile_practice")
        def reconcile_practice(practice_id: int) -> int:
            return do(reconcile(context, practice_id))

        def enqueue(practice_ids: list[int], at: Any, work: Any = reconcile_practice, name: str = "reconcile") -> None:
            for practice_id in practice_ids:
                with SetWorkflowID(f"{name}-{practice_id}-{_moment(at):%Y%m%d%H}"):
                    DBOS.enqueue_workflow(LISTINGS, work, practice_id)

        @DBOS.workflow(name="reconcile_busy")
        def reconcile_busy(at: Any, _: Any) -> None:
            enqueue(list(do(leases.all_held(context.owner))), at)

        @DBOS.workflow(name="reconcile_all")
        def reconcile_all(at: Any, _: Any) -> None:
            enqueue([one.id for one in do(practices.listed(context.owner)) if _goes_on(context, one)], at)

        @DBOS.workflow(name="sweep_everyone")
        def sweep_everyone(_: Any, __: Any) -> None:
            do(claims.lease_all(context))

        @DBOS.workflow(name="erase_rest")
        def erase_rest(_: Any, __: Any) -> None:
            do(finish_erasures(context))

        @DBOS.workflow(name="retain_practice")
        def retain_practice(practice_id: int) -> None:
            do(retain_in_background(context, practice_id))

        @DBOS.workflow(name="retain_all")
        def retain_all(at: Any, _: Any) -> None:
            do(retain_feed(context))
            found = do(practices.listed(context.owner))
            enqueue([one.id for one in found if one.state.has_database], at, retain_practice, "retain")

        @DBOS.workflow(name="sync_rollout")
        def sync_rollout(_: Any, __: Any) -> None:
            do(sync_in_background(context))

        @DBOS.workflow(name="clean_up")
        def clean_up(at: Any, _: Any) -> None:
            do(forget_old(context))
            # Outside of the workflow's own context, or DBOS would record the list as a step of it.
            ContextOfTask().run(_clean_up, _moment(at))

        self._due = {
            reconcile_busy: "0 17 * * * *",
            reconcile_all: "0 47 2 * * *",
            sweep_everyone: "0 37 * * * *",
            erase_rest: "0 27 * * * *",
            retain_all: "0 12 3 * * *",
            sync_rollout: "30 * * * * *",
            clean_up: "0 7 * * * *",
        }

    def begin(self) -> None:
        """Set the schedules, and read the queues."""
        from dbos import DBOS

        DBOS.register_queue(LISTINGS, worker_concurrency=2, polling_interval_sec=5.0)
        # A queue of its own: every process reads DBOS's internal one, also those without these workflows.
        DBOS.register_queue(SCHEDULES, worker_concurrency=2)
        DBOS.apply_schedules(
            [
                {
                    "schedule_name": work.__name__,
                    "workflow_fn": work,
                    "schedule": cron,
                    "context": None,
                    "queue_name": SCHEDULES,
                }
                for work, cron in self._due.items()
            ]
        )


def _goes_on(context: Context, entry: PracticeEntry) -> bool:
    """Whether anything of a practice goes on."""
    return entry.state.has_database and not entry.is_over(context.world.now())


def _moment(at: Any) -> datetime:
    """Return a time that the portable serializer may pass as text."""
    return at if isinstance(at, datetime) else datetime.fromisoformat(str(at)).astimezone(UTC)


def _clean_up(at: datetime) -> None:
    """Delete DBOS's records of workflows that ended long ago, or that died with their process."""
    from dbos import DBOS

    forget_queues(at - KEPT)
    while True:
        old = DBOS.list_workflows(
            end_time=(at - KEPT).isoformat(), limit=CLEANED_AT_ONCE, load_input=False, load_output=False
        )
        if not old:
            return
        DBOS.delete_workflows([workflow.workflow_id for workflow in old])
