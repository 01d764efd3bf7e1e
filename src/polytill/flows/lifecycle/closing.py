"""Closing and reopening a practice, and the end of its run-out.

From the moment a practice is closed it takes no new payments, payment links and credentials. Refunds, webhooks, disputes,
lookups and the worker go on until its run-out ends, and until then it can be reopened. What state and time decide is in
``flows/practice_state.py``; the worker only ends its visits.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.clock import wire_time
from polytill.domain.errors import Conflict, Stale, invalid
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.states import Environment, PracticeState
from polytill.flows.context import Context, log
from polytill.flows.installation import must_be_adopted
from polytill.storage import audit, event_deliveries, events, practice_life
from polytill.storage.databases import Tx
from polytill.storage.event_deliveries import Destination
from polytill.storage.events import Event
from polytill.storage.practices import PracticeEntry
from polytill.storage.units import Unit

LONGEST_DAYS = 3650
ENDED_EVERY_S = 30.0  # interval between two looks for run-outs that have ended
ACTOR = "worker"


def _ended(entry: PracticeEntry) -> Conflict:
    on = f"{entry.runs_out_at:%Y-%m-%d}" if entry.runs_out_at else "before"
    return Conflict(
        f"The run-out of this practice ended on {on}, so it can only be deleted.", code="run_out_over", day=on
    )


async def close(context: Context, practice_id: int, run_out_days: int | None, actor: str) -> PracticeEntry:
    """Close a practice. One that is closed already gets another end of its run-out, if days are given.

    ``run_out_days`` count from now; None: the setting. ``Invalid`` for other numbers than 0 to 3650, ``Conflict`` if the
    run-out has ended.
    """
    must_be_adopted(context)
    days = context.settings.run_out_days if run_out_days is None else run_out_days
    if not 0 <= days <= LONGEST_DAYS:
        detail = f"The run-out must be 0 to {LONGEST_DAYS} days."
        raise invalid("/runOutDays", detail, reason="run_out_days")
    entry, now = await _fresh(context, practice_id), context.world.now()
    if entry.is_over(now):
        raise _ended(entry)
    if entry.state is PracticeState.closed and run_out_days is None:
        return entry
    after = replace(entry, runs_out_at=now + timedelta(days=days))
    about = {"runsOutAt": wire_time(after.runs_out_at)}
    to = await event_deliveries.destination(context.owner, context.shared_after(0))
    async with context.owner.transaction() as tx:
        assert after.runs_out_at is not None
        practice_life.close(tx, practice_id, after.runs_out_at, now)
        audit.append(tx, now, actor, AuditAction.practice_closed, f"practice:{practice_id}", about)
        await tell(context, tx, to, after, EventType.practice_closed, about)
    log.info("practice_closed", practice=practice_id)
    return await _fresh(context, practice_id)


async def reopen(context: Context, practice_id: int, actor: str) -> PracticeEntry:
    """Set a closed practice to active. ``Conflict`` if it is not closed, or its run-out has ended."""
    must_be_adopted(context)
    entry, now = await _fresh(context, practice_id), context.world.now()
    if entry.state is not PracticeState.closed:
        raise Conflict("This practice is not closed.", code="practice_not_closed")
    if entry.is_over(now):
        raise _ended(entry)
    to = await event_deliveries.destination(context.owner, context.shared_after(0))
    async with context.owner.transaction() as tx:
        practice_life.reopen(tx, practice_id, now)
        audit.append(tx, now, actor, AuditAction.practice_reopened, f"practice:{practice_id}")
        await tell(context, tx, to, entry, EventType.practice_reopened, {})
    log.info("practice_reopened", practice=practice_id)
    return await _fresh(context, practice_id)


async def _fresh(context: Context, practice_id: int) -> PracticeEntry:
    context.forget(practice_id)
    return await context.opening.entry(practice_id)


async def tell(
    context: Context, tx: Tx, to: Destination | None, entry: PracticeEntry, type_: EventType, about: dict[str, Any]
) -> None:
    """Add an event about a practice's state to the feed, in the transaction of the owner database that makes it true.

    It is not in the practice's own outbox: that database may be deleted. ``to``: the destination, read before.
    """
    due = context.shared_after(0)
    data = {"practiceId": entry.id, "externalId": entry.external_id, **about}
    newest = await events.open_feed(tx, context.owner, context.feed_seen, due)
    name, now = new_id(context.world), context.world.now()
    event = Event(name, entry.id, Environment.production, type_, None, data, now)
    position = await events.feed(tx, event)
    if position is not None and to is not None:
        event_deliveries.plan(tx, replace(event, position=position), due)
    context.feed_seen.position = max(newest, context.feed_seen.position)


async def end_run_outs(context: Context) -> int:
    """End the work for closed practices whose run-out has ended. Return their number."""
    ended = 0
    for practice_id in await practice_life.run_out(context.owner, context.surely_past(0)):
        unit, now = Unit(), context.world.now()
        practice_life.end_run_out(unit, practice_id, now)
        audit.append(unit, now, ACTOR, AuditAction.practice_run_out_ended, f"practice:{practice_id}")
        try:
            await context.owner.commit(unit)
        except Stale:
            continue  # another worker was first, or it was reopened
        context.forget(practice_id)
        log.info("practice_run_out_ended", practice=practice_id)
        ended += 1
    return ended
