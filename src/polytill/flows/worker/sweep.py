"""A worker's sweep of one practice: look up what is overdue, forward its events, and end a lease without open work."""

from __future__ import annotations

import itertools
from datetime import datetime

import structlog

from polytill.domain.errors import NotNow
from polytill.flows.context import Context, log
from polytill.flows.events import forward
from polytill.flows.lease import note_behind
from polytill.flows.payment_records import record_new
from polytill.flows.payments.saved_methods import detach_due
from polytill.flows.recovery.lookup import sweep
from polytill.flows.webhooks.forward import begin as begin_relays
from polytill.flows.worker.search_blocks import close_blocks
from polytill.storage import leases, payments, saved_methods, webhook_relays
from polytill.storage.units import Unit

# Another node's clock may be behind ours, and a payment that started under its lease may not be on disk yet.
GRACE_S = 60.0
_visits = itertools.count(1)  # of this process, to tell their log lines apart


async def sweep_practice(context: Context, practice_id: int, lease_until: datetime | None) -> int:
    """Do everything that is due in one practice. Return the number of processed items."""
    # Every log line of this sweep has its number, as those of a request have the request's id.
    structlog.contextvars.bind_contextvars(visit=next(_visits), practiceId=practice_id)
    practice = await context.practice(practice_id)
    await note_behind(context, practice_id)
    await record_new(practice)
    done = 0
    try:
        done += await forward(practice)  # before any wait for a provider
    except NotNow:
        raise
    except Exception as error:
        # A failure to forward events must not stop the lookups. It is tried again below.
        log.error("events_not_forwarded", practice=practice_id, error=type(error).__name__)
    relays = await webhook_relays.waiting(practice.db)
    context.relays.note(practice_id, relays)
    if relays.next_try_at is not None and relays.next_try_at <= context.shared_after(0):
        begin_relays(practice)
    done += await sweep(context, practice_id)
    await close_blocks(practice.db)
    done += await detach_due(practice)
    done += await forward(practice)
    lapsed_before = context.surely_past(GRACE_S)
    open_here = await payments.anything_open(practice.db) or await saved_methods.anything_to_detach(practice.db)
    if lease_until is not None and lease_until < lapsed_before and not open_here:
        # A payment that starts meanwhile has renewed the lease first: then nothing is ended here.
        unit = Unit()
        leases.end(unit, practice_id, lapsed_before)
        await context.owner.commit(unit)
    return done
