"""Jobs by the clock: launched beside an installation, done by it, and gone with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from polytill import worker
from polytill.app import Polytill
from polytill.storage import leases, migrating
from tests import calls

# DBOS's own ways with SQLAlchemy and threads are not ours to answer for.
pytestmark = pytest.mark.filterwarnings("default")


async def test_jobs_run_where_they_are_launched(till: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    compared: asyncio.Queue[int] = asyncio.Queue()

    async def compare(context: object, practice_id: int) -> int:
        assert context is till.context
        compared.put_nowait(practice_id)
        return 0

    monkeypatch.setattr(worker, "reconcile", compare)
    async with worker.jobs(till):
        from dbos import DBOS

        for name in ("sweep_everyone", "reconcile_all"):
            handle = await asyncio.to_thread(DBOS.trigger_schedule, name)
            await asyncio.to_thread(handle.get_result)
        assert list(await leases.all_held(till.context.owner)) == [entry.id]
        assert await asyncio.wait_for(compared.get(), 60) == entry.id
        noted = await asyncio.to_thread(DBOS.list_workflows)
        assert {w.name for w in noted} >= {"sweep_everyone", "reconcile_all", "reconcile_practice"}
    # Its tables stand beside ours and in nobody's way, and it may be launched again.
    assert await migrating.migrate(till.context.owner, "owner") == []
    async with worker.jobs(till):
        pass
    assert (await till.context.opening.entry(entry.id)).id == entry.id


def test_a_service_without_a_worker_does_not_load_dbos() -> None:
    code = "import sys, polytill.cli, polytill.app, polytill.web.app; sys.exit('dbos' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
