"""One part of a job: its steps, as the process that runs it calls them, and its end.

Nothing here raises because a step failed: the engine stores an exception with its text, which may quote a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from polytill.domain.errors import NotNow, PolytillError, Stale
from polytill.domain.jobs import PartState
from polytill.domain.places import places
from polytill.flows.context import Context, log
from polytill.flows.jobs.kinds import KINDS
from polytill.flows.jobs.step import State, Step
from polytill.storage import jobs, refusals
from polytill.storage.databases import Writes
from polytill.storage.jobs import Job, Taken
from polytill.storage.units import Unit

# A part whose database was away is tried again after these seconds, one after the other; then it has failed.
AGAIN_AFTER_S = (2, 5, 10, 20)
# What a step returns to the engine: {"state": …}, or {"failed": [code, sentence], "again": …}.
Result = dict[str, Any]


class PartLost(BaseException):
    """Another process has taken the part over, so this one stops without writing anything.

    No ``Exception``, because the engine would record it as the end of the workflow.
    """


@dataclass(slots=True)
class Running:
    """A part that this process runs."""

    context: Context
    job: Job
    taken: Taken
    node: str
    at: str | None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps in order."""
        return KINDS[self.job.kind].steps

    @property
    def beginning(self) -> Result:
        """What the first step gets: the arguments of the job, and who ordered it."""
        return {"state": {**self.job.arguments, "actor": self.job.actor}}


async def opened(context: Context, job_id: int, practice_id: int) -> Running:
    """The part as this process runs it. ``PartLost`` if it is not this process's."""
    job = await jobs.find(context.owner, job_id)
    part = await jobs.part(context.owner, job_id, practice_id)
    if job is None or part is None or part.state is not PartState.running:
        raise PartLost
    if part.node is None or part.node != context.node_id:
        raise PartLost
    return Running(context, job, Taken(job_id, practice_id, part.tries, part.step), part.node, part.step)


async def perform(running: Running, step: Step, before: Result) -> Result:
    """Run one step. Return the state after it, or why it failed. ``PartLost`` if another process has the part."""
    context, name = running.context, step.__name__
    state: State = before["state"]
    try:
        if running.at != name:
            await _write(running, lambda unit: jobs.at_step(unit, running.taken, running.node, name))
            running.at = name
        return {"state": await step(context, running.taken.practice_id, state)}
    except PolytillError as error:
        code, detail = error.code, error.detail
        again = isinstance(error, NotNow)
    except Exception as error:
        code, detail, again = "unexpected", f"The step failed: {refusals.reason(error)}.", False
        log.error("job_step_failed", **_about(running), step=name, error=type(error).__name__, places=places(error))
    return {"failed": [code, detail], "again": again}


async def finish(running: Running, result: Result) -> None:
    """End the part, or let it wait for another try."""
    context, taken, node = running.context, running.taken, running.node
    failed = result.get("failed")
    if failed is None:
        await _write(running, lambda unit: jobs.succeeded(unit, taken, node, context.shared_after(0)))
        return
    why = (failed[0], failed[1])
    if result["again"] and taken.tries <= len(AGAIN_AFTER_S):
        due_at = context.shared_after(AGAIN_AFTER_S[taken.tries - 1])
        log.warning("job_part_waits", **_about(running), code=why[0], tries=taken.tries)
        await _write(running, lambda unit: jobs.put_off(unit, taken, node, why, due_at))
    else:
        log.error("job_part_failed", **_about(running), code=why[0], reason=why[1])
        await _write(running, lambda unit: jobs.failed(unit, taken, node, why, context.shared_after(0)))


def _about(running: Running) -> dict[str, Any]:
    return {"job": running.job.id, "kind": running.job.kind.value, "practice": running.taken.practice_id}


async def _write(running: Running, fill: Callable[[Writes], None]) -> None:
    unit = Unit()
    fill(unit)
    try:
        await running.context.owner.commit(unit)
    except Stale:
        raise PartLost from None
