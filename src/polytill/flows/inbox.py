"""What becomes of a stored delivery: applied, ignored, left to be taken up again, or parked for a person."""

from __future__ import annotations

from collections.abc import Callable

from polytill.domain.ids import new_id
from polytill.domain.states import EventState
from polytill.flows.desk import Desk
from polytill.flows.notify import tell_practice
from polytill.providers.contract import DisputeFact, RefundFact
from polytill.storage import webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
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
    also: Callable[[Unit], None] | None = None,
) -> None:
    """Write what became of it; the platform hears of one that is parked. ``also`` adds steps to the same unit."""
    unit = Unit()
    if also is not None:
        also(unit)
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


async def in_other_currency(
    desk: Desk, db: PracticeDb, event: WebhookEvent, payment: Payment, fact: RefundFact | DisputeFact
) -> bool:
    """Whether news is in another currency than its payment. It is parked then, for a person; nothing is booked."""
    if isinstance(fact, RefundFact):
        told, name = fact.amount or fact.total, fact.provider_refund_id or fact.reference or "total"
    else:
        told, name = fact.amount, fact.provider_dispute_id
    if told is None or told.currency == payment.currency:
        return False

    def also(unit: Unit) -> None:
        detail = {
            "event": event.id, "type": event.event_type, "id": name, "expected": payment.currency,
            "provider": {"amount": told.minor, "currency": told.currency, "state": fact.state},
        }  # fmt: skip
        webhook_events.open_case(
            unit, new_id(desk.world), db.practice_id, event.environment, "currency_mismatch",
            f"{payment.id}:{name}:{told.currency}", payment.id, detail, desk.world.now(),
        )  # fmt: skip

    await finish(desk, db, event, EventState.parked, "currency_mismatch", payment.id, also)
    return True
