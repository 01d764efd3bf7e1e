"""The kill -9 drill of backups and moves, as a program. It reads one line of JSON for each process that it shall fork, with
the job to begin or to resume and the boundary at which the process kills itself, and prints one for how it ended.

Its parent loads everything once, so that a process costs no seconds. It has no loop and no threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from polytill.app import Polytill
from polytill.flows import backups, presence
from polytill.flows.context import Context
from polytill.flows.jobs import backup, control, move, parts
from polytill.job_run import run_here
from polytill.settings import Settings
from polytill.storage import dumps, jobs, moving, moving_postgres, moving_sqlite, practice_backups
from polytill.storage.backup_stores import DirectoryStore
from polytill.storage.jobs import Job
from tests.flows.job_drill import LIVE_S, dies_after, dies_before, kill


def dies_within(owner: Any, name: str, inner: tuple[Any, str]) -> None:
    """Die when an asynchronous function has called another one."""
    work: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @wraps(work)
    async def started(*args: Any, **kwargs: Any) -> Any:
        dies_before(*inner)
        return await work(*args, **kwargs)

    setattr(owner, name, started)


def dies_at_step(name: str) -> None:
    """Die when a step has done its work, before that is recorded."""
    work = parts.perform

    async def performed(running: Any, step: Any, before: Any) -> Any:
        found = await work(running, step, before)
        return kill() if step.__name__ == name else found

    parts.perform = performed


def each_guard(arm: Callable[[Any, str], None], name: str) -> None:
    """Arm the guards of both engines."""
    for guard in (moving._Sqlite, moving._Postgres):
        arm(guard, name)


def within_copy() -> None:
    """Die when the copy is begun, before it is compared."""
    dies_before(dumps, "sound_sqlite")
    dies_before(dumps, "piped_postgres")


def within_finish() -> None:
    """Die when the rest has been copied, before the copy gets its epoch."""
    dies_within(moving, "finish", (moving_sqlite, "_blocks"))
    dies_within(moving_postgres, "finish", (moving_postgres, "_catch_up"))


Boundaries = dict[str, Callable[[], None]]
MOVES: Boundaries = {
    "before the copy": lambda: dies_before(moving, "copy"),
    "within the copy": within_copy,
    "after the copy": lambda: dies_after(moving, "copy"),
    "before the record of the copy": lambda: dies_at_step("copy_database"),
    "before the database is closed": lambda: each_guard(dies_before, "close"),
    "after the database is closed": lambda: each_guard(dies_after, "close"),
    "within the last changes": within_finish,
    "before the directory": lambda: dies_before(move, "_write_switch"),
    "after the directory": lambda: dies_after(move, "_write_switch"),
    "before the record of the switch": lambda: dies_at_step("switch_database"),
    "before the record of the check": lambda: dies_at_step("check_moved"),
    "before the end": lambda: dies_before(parts, "finish"),
}
BACKUPS: Boundaries = {
    "before the backup": lambda: dies_before(backups, "back_up"),
    "before the store": lambda: dies_before(DirectoryStore, "put"),
    "within the store": lambda: dies_before(os, "fsync"),
    "before the record of the backup": lambda: dies_at_step("write_backup"),
    "before the verification": lambda: dies_before(backups, "verify"),
    "before the record of the verification": lambda: dies_at_step("verify_backup"),
    "before the last good one": lambda: dies_before(practice_backups, "record"),
    "before the deletion": lambda: dies_before(backups, "delete_superseded"),
    "before the record of all": lambda: dies_at_step("record_backup"),
}


async def _begin(context: Context, order: dict[str, Any], node: str | None) -> Job | None:
    if order["resumes"]:
        [newest, *_] = await jobs.listed(context.owner)
        try:
            return await control.resume(context, newest.id, "drill", node)
        except control.JobConflict:  # the killed process is still announced
            return newest
    if order["kind"] == "move":
        return await move.begin(context, move.Wanted([order["practice"]], order["to"]), "drill", node)
    return await backup.begin(context, backup.Wanted([order["practice"]]), "drill", node)


async def work(order: dict[str, Any]) -> str:
    """Run the job in the foreground, as a command does."""
    async with Polytill.open(Settings()) as till:
        job = await run_here(till.context, lambda node: _begin(till.context, order, node), "drill")
        return "nothing" if job is None else job.state.value


def main() -> None:
    """Fork a process for each line."""
    presence.LIVE_S, presence.ANNOUNCED_S = LIVE_S, 0.3
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            if order["boundary"] is not None:
                {**MOVES, **BACKUPS}[order["boundary"]]()
            os.write(writing, asyncio.run(work(order)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            state = said.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"signal": status & 0x7F, "state": state}), flush=True)


if __name__ == "__main__":
    main()
