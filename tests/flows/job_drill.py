"""The kill -9 drill of jobs, as a program: processes that run one migration are killed at every boundary of a part, one
after the other, and the last one finishes it. It prints one line of JSON for each process.

Its parent loads everything once and forks, so that a process costs no seconds. It has no loop and no threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from polytill import job_engine
from polytill.app import Polytill
from polytill.flows import presence
from polytill.flows.jobs import migrate, parts
from polytill.flows.jobs.migrate import Wanted
from polytill.flows.jobs.runner import Runner
from polytill.job_run import run_here
from polytill.settings import Settings
from polytill.storage import migrating
from tests.fleets import a_counted_schema

LIVE_S = 1.5


def kill() -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies_before(owner: Any, name: str) -> None:
    """Die when a function is called."""
    setattr(owner, name, lambda *_, **__: kill())


def dies_after(owner: Any, name: str) -> None:
    """Die when an asynchronous function has done its work."""
    work: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @wraps(work)
    async def done(*args: Any, **kwargs: Any) -> Any:
        await work(*args, **kwargs)
        kill()

    setattr(owner, name, done)


def dies_after_record() -> None:
    """Die when DBOS has recorded the step, and before the part ends."""
    dies_before(parts, "finish")


BOUNDARIES: dict[str, Callable[[], None]] = {
    "taken, not started": lambda: dies_before(job_engine.DbosEngine, "_start"),
    "started, before the step": lambda: dies_before(parts, "opened"),
    "inside the step, before the database": lambda: dies_before(migrating, "migrate"),
    "inside the step, after the database": lambda: dies_after(migrating, "migrate"),
    "after the step, before its record": lambda: dies_after(migrate, "migrate_practice"),
    "after its record, before the end": dies_after_record,
    "after the end of the part": lambda: dies_after(parts, "finish"),
    "before the end of the job": lambda: dies_before(Runner, "_settle"),
}


async def work() -> str:
    """Run the migration in the foreground, as `polytill migrate` does."""
    async with Polytill.open(Settings()) as till:
        job = await run_here(till.context, lambda node: migrate.begin(till.context, Wanted(), "drill", node), "drill")
        return "nothing" if job is None else job.state.value


def main() -> None:
    """Fork a process for each boundary, and one that finishes."""
    presence.LIVE_S, presence.ANNOUNCED_S = LIVE_S, 0.3
    for name, arm in [*BOUNDARIES.items(), ("finishes", lambda: None)]:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            arm()
            with a_counted_schema():
                os.write(writing, asyncio.run(work()).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            state = said.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"boundary": name, "signal": status & 0x7F, "state": state}), flush=True)


if __name__ == "__main__":
    main()
