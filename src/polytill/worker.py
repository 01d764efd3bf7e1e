"""The worker: rounds of visits by claims, and jobs by the clock on DBOS. Embedded in ``serve`` where the databases are
SQLite files; on PostgreSQL any number of ``polytill worker`` processes.

A visit is found by its practice's lease and held by a claim (``flows/rounds.py``): it costs a third of a statement,
where a durable workflow costs about six milliseconds, and a claim of a dead worker ends by itself, where a workflow of
a dead executor waits until someone resumes it. DBOS does what it is good at: jobs that are due by the clock once for
all workers together, and their fan-out over the fleet. Its workflows are handed ids only, and each is a repeatable
sweep, so one that died with its process is done by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from polytill.app import Polytill, beside
from polytill.flows import compare, rounds
from polytill.flows.desk import log
from polytill.storage import durable, leases, practices

LISTINGS = "listings"
# Pinned: what is enqueued are names and ids, so workers of different versions do each other's jobs.
APPLICATION_VERSION = "1"
KEPT = timedelta(days=3)
CLEANED_AT_ONCE = 500


@contextlib.asynccontextmanager
async def working(till: Polytill) -> AsyncIterator[None]:
    """Do all background work beside the block."""
    async with jobs(till), beside(till.renew_for_ever()), beside(till.visit_for_ever()):
        yield


@contextlib.asynccontextmanager
async def jobs(till: Polytill) -> AsyncIterator[None]:
    """Run the jobs that are due by the clock beside the block. Each runs once for all workers together."""
    # Imported here: 37 MB and nine threads, which a service without an embedded worker does without.
    from dbos import DBOS, DBOSPortableJSONSerializer

    owner_url = till.desk.settings.owner_database_url.get_secret_value()
    DBOS(
        config={
            "name": "polytill",
            "executor_id": f"{platform.node()}-{os.getpid()}-{till.desk.world.random_bytes(4).hex()}",
            "application_version": APPLICATION_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "use_listen_notify": False,
            "max_executor_threads": 4,
            "log_level": "ERROR",
            **durable.system_database(owner_url),  # type: ignore[typeddict-item]
        }
    )
    scheduled = _registered(till)
    try:
        await asyncio.to_thread(DBOS.launch)
        await DBOS.register_queue_async(LISTINGS, worker_concurrency=2, polling_interval_sec=5.0)
        await DBOS.apply_schedules_async(scheduled)
        log.info("jobs_started", executor=DBOS.executor_id)
        yield
    finally:
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)


def _registered(till: Polytill) -> list[Any]:
    """The workflows, made known to DBOS, and when each is due."""
    from dbos import DBOS, SetWorkflowID

    desk = till.desk

    @DBOS.workflow(name="compare_practice")
    async def compare_practice(practice_id: int) -> int:
        return await compare.compare(desk, practice_id)

    async def enqueue(practice_ids: list[int], at: datetime) -> None:
        for practice_id in practice_ids:
            with SetWorkflowID(f"compare-{practice_id}-{at:%Y%m%d%H}"):
                await DBOS.enqueue_workflow_async(LISTINGS, compare_practice, practice_id)

    @DBOS.workflow(name="compare_busy")
    async def compare_busy(at: datetime, _: Any) -> None:
        await enqueue(list(await leases.all_held(desk.owner)), _moment(at))

    @DBOS.workflow(name="compare_all")
    async def compare_all(at: datetime, _: Any) -> None:
        await enqueue([entry.id for entry in await practices.listed(desk.owner, limit=1_000_000)], _moment(at))

    @DBOS.workflow(name="visit_everyone")
    async def visit_everyone(_: datetime, __: Any) -> None:
        await rounds.hold_everyone(desk)

    @DBOS.workflow(name="clean_up")
    async def clean_up(at: datetime, _: Any) -> None:
        await _clean_up(_moment(at))

    return [
        {"schedule_name": work.__name__, "workflow_fn": work, "schedule": cron, "context": None}
        for work, cron in (
            (compare_busy, "0 17 * * * *"), (compare_all, "0 47 2 * * *"), (visit_everyone, "0 37 * * * *"),
            (clean_up, "0 7 * * * *"),
        )
    ]  # fmt: skip


def _moment(at: Any) -> datetime:
    """The portable serializer hands a moment over as text."""
    return at if isinstance(at, datetime) else datetime.fromisoformat(str(at)).astimezone(UTC)


async def _clean_up(at: datetime) -> None:
    """Forget DBOS's notes of workflows that are long over, or that died with their process."""
    from dbos import DBOS

    while True:
        old = await DBOS.list_workflows_async(
            end_time=(at - KEPT).isoformat(), limit=CLEANED_AT_ONCE, load_input=False, load_output=False
        )
        if not old:
            return
        await DBOS.delete_workflows_async([workflow.workflow_id for workflow in old])
