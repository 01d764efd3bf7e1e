"""The worker: sweeps by claims, and scheduled jobs on DBOS. Embedded in ``serve`` if the databases are SQLite files; on
PostgreSQL any number of ``polytill worker`` processes.

A sweep is found by its practice's lease and held by a claim (``flows/worker/claims.py``). Claims are taken and released
for many practices at once, while a durable workflow costs about six milliseconds for each. A claim of a crashed worker
expires, while a workflow of a crashed executor waits until someone resumes it. DBOS runs the scheduled jobs, once for
all workers together, and distributes them over the practices. Its workflows get ids only, and each is repeatable, so
the next one does the work of one that died with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import AsyncIterator, Coroutine
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from polytill.app import Polytill
from polytill.background import beside, renew_for_ever, sweep, sweep_for_ever
from polytill.flows.context import log
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.rollout.decisions import forget_old
from polytill.flows.rollout.sync import sync_in_background
from polytill.flows.worker import claims
from polytill.storage import durable, leases, practices

Result = TypeVar("Result")

LISTINGS = "listings"
# Pinned: queued jobs contain names and ids only, so workers of different versions can run each other's jobs.
APPLICATION_VERSION = "1"
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
        jobs(till),
        beside(renew_for_ever(till.context, "worker", runs_worker=True)),
        beside(sweep_for_ever(till.context)),
    ):
        yield


@contextlib.asynccontextmanager
async def jobs(till: Polytill) -> AsyncIterator[None]:
    """Run the scheduled jobs beside the block. Each runs once for all workers together."""
    # Imported here: 37 MB and nine threads, which a service without an embedded worker saves.
    from dbos import DBOS, DBOSPortableJSONSerializer

    kept = durable.system_database(till.context.settings.owner_database_url.get_secret_value())
    DBOS(
        config={
            "name": "polytill",
            "executor_id": f"{platform.node()}-{os.getpid()}-{till.context.world.random_bytes(4).hex()}",
            "application_version": APPLICATION_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,
            "max_executor_threads": 4,
            "log_level": "ERROR",
            **kept,  # type: ignore[typeddict-item]
        }
    )
    try:
        with durable.reached():
            await asyncio.to_thread(_launch, till, asyncio.get_running_loop())
        yield
    finally:
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        if engine := kept.get("system_database_engine"):
            await asyncio.to_thread(engine.dispose)


def _launch(till: Polytill, loop: asyncio.AbstractEventLoop) -> None:
    """Register the workflows at DBOS, launch it, and set their schedules.

    DBOS runs in threads of its own, and each workflow passes its work to our loop. If DBOS is launched inside a loop,
    it takes over that loop's threads, which our databases need, and shuts them down with itself.
    """
    from dbos import DBOS, SetWorkflowID

    context = till.context

    def do(work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    @DBOS.workflow(name="reconcile_practice")
    def reconcile_practice(practice_id: int) -> int:
        return do(reconcile(context, practice_id))

    def enqueue(practice_ids: list[int], at: Any) -> None:
        for practice_id in practice_ids:
            with SetWorkflowID(f"reconcile-{practice_id}-{_moment(at):%Y%m%d%H}"):
                DBOS.enqueue_workflow(LISTINGS, reconcile_practice, practice_id)

    @DBOS.workflow(name="reconcile_busy")
    def reconcile_busy(at: Any, _: Any) -> None:
        enqueue(list(do(leases.all_held(context.owner))), at)

    @DBOS.workflow(name="reconcile_all")
    def reconcile_all(at: Any, _: Any) -> None:
        enqueue([entry.id for entry in do(practices.listed(context.owner))], at)

    @DBOS.workflow(name="sweep_everyone")
    def sweep_everyone(_: Any, __: Any) -> None:
        do(claims.lease_all(context))

    @DBOS.workflow(name="sync_rollout")
    def sync_rollout(_: Any, __: Any) -> None:
        do(sync_in_background(context))

    @DBOS.workflow(name="clean_up")
    def clean_up(at: Any, _: Any) -> None:
        do(forget_old(context))
        # Outside of the workflow's own context, or DBOS would record the list as a step of it.
        Context().run(_clean_up, _moment(at))

    DBOS.launch()
    DBOS.register_queue(LISTINGS, worker_concurrency=2, polling_interval_sec=5.0)
    due = {
        reconcile_busy: "0 17 * * * *",
        reconcile_all: "0 47 2 * * *",
        sweep_everyone: "0 37 * * * *",
        sync_rollout: "30 * * * * *",
        clean_up: "0 7 * * * *",
    }
    DBOS.apply_schedules(
        [
            {"schedule_name": work.__name__, "workflow_fn": work, "schedule": cron, "context": None}
            for work, cron in due.items()
        ]
    )
    log.info("jobs_started", executor=DBOS.executor_id)


def _moment(at: Any) -> datetime:
    """Return a time that the portable serializer may pass as text."""
    return at if isinstance(at, datetime) else datetime.fromisoformat(str(at)).astimezone(UTC)


def _clean_up(at: datetime) -> None:
    """Delete DBOS's records of workflows that ended long ago, or that died with their process."""
    from dbos import DBOS

    while True:
        old = DBOS.list_workflows(
            end_time=(at - KEPT).isoformat(), limit=CLEANED_AT_ONCE, load_input=False, load_output=False
        )
        if not old:
            return
        DBOS.delete_workflows([workflow.workflow_id for workflow in old])
