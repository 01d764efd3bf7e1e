"""The migration of all practices to the current schema, by one process at a time. A failure does not stop the others.

The process that runs it holds the one row of ``fleet_migration``. If the process dies, its claim expires, and the
migration is started again: each step of each practice is one transaction, and finished steps stay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import NotNow, PolytillError, Stale
from polytill.flows.admin.practices import migrate_practice
from polytill.flows.context import Context, log
from polytill.storage import audit, fleet, migrating
from polytill.storage.units import Unit

CLAIM_S = 20.0
PROLONG_S = 5.0
AT_ONCE = 4


async def migrate_each(
    context: Context, practice_ids: Iterable[int], actor: str
) -> AsyncGenerator[list[tuple[int, str | None]]]:
    """Migrate practices, a few at a time. Yield the practices that were finished since the last time, each with the
    sentence that explains its failure; at least every few seconds, also if there are none."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(practice_id: int) -> tuple[int, str | None]:
        async with gate:
            return practice_id, await _migrated(context, practice_id, actor)

    pending = {asyncio.create_task(one(practice_id)) for practice_id in practice_ids}
    try:
        while pending:
            done, pending = await asyncio.wait(pending, timeout=PROLONG_S, return_when=asyncio.FIRST_COMPLETED)
            yield [task.result() for task in done]
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _migrated(context: Context, practice_id: int, actor: str) -> str | None:
    """Migrate one practice. Return None on success, else the reason of the failure."""
    unit = Unit()
    try:
        await migrate_practice(context, practice_id, actor)
    except Exception as error:
        # A database's error message may quote a row; only our sentences are stored.
        ours = isinstance(error, PolytillError)
        code = error.code if ours else "refused"  # type: ignore[attr-defined]
        detail = error.detail if ours else await _refused(context, practice_id, error)  # type: ignore[attr-defined]
        log.error("practice_not_migrated", practice=practice_id, code=code, error=type(error).__name__)
        fleet.failed(unit, practice_id, code, detail, context.world.now())
    else:
        detail = None
        fleet.mended(unit, practice_id)
    await context.owner.commit(unit)
    return detail


async def _refused(context: Context, practice_id: int, error: Exception) -> str:
    at = None
    with contextlib.suppress(Exception):  # the database may not answer at all
        async with context.opening.at_any_schema(practice_id) as db:
            at = await migrating.current(db)
    step = f"the step after {at}" if at else "a step"
    return f"The database rejected {step} ({type(error).__name__})."


async def begin(context: Context, actor: str) -> str | None:
    """Claim the migration of all practices with an older schema. Return the run's name; None if another run is active."""
    run, now = context.world.random_bytes(8).hex(), context.world.now()
    waiting = await fleet.behind(context.owner, migrating.head("practice"))
    unit = Unit()
    fleet.begin(unit, run, actor, len(waiting), context.shared_after(0), context.shared_after(CLAIM_S))
    audit.append(unit, now, actor, AuditAction.fleet_migration_begun, "owner", {"practices": len(waiting)})
    try:
        await context.owner.commit(unit)
    except Stale:
        return None
    return run


async def run(context: Context, run: str, actor: str) -> None:
    """Migrate every practice with an older schema, until the end or until this is canceled; ``Stale`` if another run
    has taken over meanwhile."""
    unit = Unit()
    try:
        waiting = await fleet.behind(context.owner, migrating.head("practice"))
        failed, kept_at_s = 0, context.world.time_s()
        async with contextlib.aclosing(migrate_each(context, waiting, actor)) as rounds:
            async for done in rounds:
                failed += sum(why is not None for _, why in done)
                if not 0 <= context.world.time_s() - kept_at_s < PROLONG_S:
                    kept_at_s = context.world.time_s()
                    await _keep(context, run)
        now = context.world.now()
        fleet.end(unit, run, now)
        audit.append(
            unit, now, actor, AuditAction.fleet_migration_ended, "owner", {"practices": len(waiting), "failed": failed}
        )
    except BaseException:
        fleet.give_up(unit, run, context.shared_after(-1.0))
        raise
    finally:
        with contextlib.suppress(PolytillError):  # the claim expires
            await context.owner.commit(unit)


async def _keep(context: Context, run: str) -> None:
    unit = Unit()
    fleet.prolong(unit, run, context.shared_after(CLAIM_S))
    try:
        await context.owner.commit(unit)
    except NotNow:
        log.warning("fleet_claim_not_kept")
