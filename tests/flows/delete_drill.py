"""The kill -9 drill of deleting a practice, as a program: processes that run one deletion are killed inside every step, one
after the other, and the last one finishes it. It prints one line of JSON for each process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from polytill.app import Polytill
from polytill.flows import presence
from polytill.flows.context import Context
from polytill.flows.jobs import delete
from polytill.flows.lifecycle import export
from polytill.job_run import run_here
from polytill.settings import Settings
from polytill.storage import jobs, moving, practice_life, practice_remains
from polytill.storage.jobs import Job
from tests.flows.job_drill import LIVE_S, dies_after, dies_after_record, dies_before

BOUNDARIES: dict[str, Callable[[], None]] = {
    "check, before the last events": lambda: dies_before(delete, "forward"),
    "check, after the last events": lambda: dies_after(delete, "forward"),
    "export, before it has its name": lambda: dies_before(export, "_record"),
    "export, before its record": lambda: dies_after(delete, "export"),
    "key, in the transaction": lambda: dies_before(practice_life, "destroy_key"),
    "key, after the transaction": lambda: dies_after(delete, "_write_tombstone"),
    "key, before its record": lambda: dies_after(practice_life, "scrub"),
    "databases, before the first": lambda: dies_before(moving, "drop"),
    "databases, after the first": lambda: dies_after(moving, "drop"),
    "databases, before their record": lambda: dies_after(practice_remains, "drop_all"),
    "tombstone, before it": lambda: dies_before(practice_life, "forget_database"),
    "after all steps, before the end": dies_after_record,
}


async def _begin(context: Context, practice_id: int, place: Path, node: str | None) -> Job:
    if found := await jobs.listed(context.owner, limit=1):
        return found[0]
    wanted = delete.Wanted(practice_id, "Clinic", is_now=True, reason="A drill", export_to=place)
    return await delete.begin(context, wanted, "drill", node)


async def work(practice_id: int, place: Path) -> str:
    """Run the deletion in the foreground, as `polytill practices delete` does."""
    async with Polytill.open(Settings()) as till:
        begin = lambda node: _begin(till.context, practice_id, place, node)  # noqa: E731
        job = await run_here(till.context, begin, "drill")
        return "nothing" if job is None else job.state.value


def main(practice_id: int, place: Path) -> None:
    """Fork a process for each boundary, and one that finishes."""
    presence.LIVE_S, presence.ANNOUNCED_S = LIVE_S, 0.3
    for name, arm in [*BOUNDARIES.items(), ("finishes", lambda: None)]:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            arm()
            os.write(writing, asyncio.run(work(practice_id, place)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            state = said.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"boundary": name, "signal": status & 0x7F, "state": state}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
