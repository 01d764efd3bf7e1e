"""A worker's sweep of one practice: look up what is overdue, forward its events, and end a lease without open work."""

from __future__ import annotations

import itertools
from datetime import datetime

import structlog

from polytill.domain.errors import Gone, NotNow
from polytill.flows.context import Context, Practice, log
from polytill.flows.events import forward, owner_may_lack
from polytill.flows.lease import note_behind
from polytill.flows.payment_records import record_new, recorded_until
from polytill.flows.payments.saved_methods import detach_due
from polytill.flows.practice_state import may_go_on
from polytill.flows.recovery import lookup
from polytill.flows.schedule import never_after
from polytill.flows.webhooks.apply import TAKEN_UP_AT_S
from polytill.flows.webhooks.forward import begin as begin_relays
from polytill.flows.worker.search_blocks import close_blocks
from polytill.storage import due_work, leases, practice_life
from polytill.storage.due_work import DueWork, Times
from polytill.storage.units import Unit

# Another node's clock may be behind ours, and a payment that started under its lease may not be on disk yet.
GRACE_S = 60.0
_visits = itertools.count(1)  # of this process, to tell their log lines apart


async def sweep_practice(context: Context, practice_id: int, lease_until: datetime | None) -> int:
    """Do everything that is due in one practice. Return the number of processed items."""
    # Every log line of this sweep has its number, as those of a request have the request's id.
    structlog.contextvars.bind_contextvars(visit=next(_visits), practiceId=practice_id)
    if not await _goes_on(context, practice_id):
        return 0
    practice = await context.practice(practice_id)
    await note_behind(context, practice_id)
    due = await _due(practice)
    if due.new_payments:
        await record_new(practice)
    is_lacking = owner_may_lack(practice, due.last_forwarded)
    done = await _forward_first(practice) if due.events or is_lacking else 0  # before any wait for a provider
    context.relays.note(practice_id, due.relays)
    if due.relays.next_try_at is not None and due.relays.next_try_at <= context.shared_after(0):
        begin_relays(practice)
    if due.lookups:
        done += await lookup.sweep(context, practice_id, due)
    if due.search_rows:
        await close_blocks(practice.db)
    if due.detachments:
        done += await detach_due(practice)
    if due.lookups or due.detachments:
        done += await forward(practice)
    lapsed_before = context.surely_past(GRACE_S)
    if lease_until is None or lease_until >= lapsed_before:
        return done
    if due.open and await due_work.anything_open(practice.db):
        return done
    # A payment that starts meanwhile has renewed the lease first: then nothing is ended here.
    unit = Unit()
    leases.end(unit, practice_id, lapsed_before)
    await context.owner.commit(unit)
    return done


async def _goes_on(context: Context, practice_id: int) -> bool:
    """Whether the practice is visited. If it was deleted, or its run-out has ended, its lease ends."""
    try:
        await may_go_on(context, practice_id)
    except Gone:
        unit = Unit()
        practice_life.forget_lease(unit, practice_id)
        await context.owner.commit(unit)
        return False
    return True


async def _due(practice: Practice) -> DueWork:
    context, now = practice.context, practice.now()
    times = Times(
        lookups=now,
        beyond=never_after(now),
        webhooks=context.world.after(-TAKEN_UP_AT_S[0]),
        expiry=context.surely_past(0),
        detachments=context.shared_after(0),
    )
    return await due_work.read(practice.db, times, recorded_until(practice))


async def _forward_first(practice: Practice) -> int:
    try:
        return await forward(practice)
    except NotNow:
        raise
    except Exception as error:
        # A failure to forward events must not stop the lookups. It is tried again after the lookups, or by the next sweep.
        log.error("events_not_forwarded", practice=practice.id, error=type(error).__name__)
        return 0
