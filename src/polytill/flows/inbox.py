"""What becomes of a stored delivery: applied, ignored, left to be taken up again, or parked for a person."""

from __future__ import annotations

from collections.abc import Callable

from polytill.domain.states import EventState
from polytill.flows.desk import Desk
from polytill.flows.notify import tell_practice
from polytill.storage import webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent

# How often a delivery that had to wait is taken up again before a person has to look at it.
MAX_TRIES = 12


async def finish(
    desk: Desk,
    db: PracticeDb,
    event: WebhookEvent,
    state: EventState,
    reason: str | None,
    payment_id: str | None = None,
) -> None:
    """Write what became of it; the platform hears of one that is parked."""
    unit = Unit()
    webhook_events.finish(unit, event, state, reason, payment_id, desk.world.now())
    if state is EventState.parked and event.state is not EventState.parked:
        told = {
            "eventId": event.id,
            "providerCode": event.provider_code,
            "eventType": event.event_type,
            "reason": reason,
        }
        tell_practice(desk, unit, db.practice_id, event.environment, "webhook.parked", told)
    await db.commit(unit)
    event.state, event.reason = state, reason


def finishing(desk: Desk, event: WebhookEvent, payment_id: str) -> Callable[[Unit], None]:
    """The step that marks it applied, for the unit that applies it."""

    def also(unit: Unit) -> None:
        webhook_events.finish(unit, event, EventState.applied, None, payment_id, desk.world.now())

    return also


async def wait(desk: Desk, db: PracticeDb, event: WebhookEvent, payment_id: str, reason: str) -> None:
    """Leave a delivery to be taken up again; after many tries it is parked."""
    state = EventState.received if event.tries + 1 < MAX_TRIES else EventState.parked
    await finish(desk, db, event, state, reason, payment_id)
