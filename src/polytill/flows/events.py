"""Events for the host: written together with their change, then forwarded from each practice's outbox to one feed.

Forwarding keeps a practice's order. Each step is idempotent, because an event keeps its id and the feed accepts each id
once. ``event_delivery.py`` sends the events from the feed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.clock import wire_time
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import Environment
from polytill.flows.context import Context, Practice, log
from polytill.flows.installation import note_older
from polytill.flows.payment_records import record_of
from polytill.providers.contract import DisputeFact, RefundFact
from polytill.storage import api_keys, audit, cases, event_deliveries, events, payment_records, practices
from polytill.storage.anchors import Mark
from polytill.storage.databases import Writes
from polytill.storage.events import Event
from polytill.storage.payments import Payment
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent


def record_event(
    context: Context,
    unit: Writes,
    payment: Payment,
    type_: EventType,
    data: dict[str, Any] | None = None,
    unless_case: tuple[CaseKind, str] | None = None,
) -> None:
    """Add an event about a payment to the unit that makes it true.

    ``unless_case``: kind and subject of the case that the same unit opens. No event is added if that case exists.
    """
    content = {
        "paymentId": payment.id,
        "number": payment.number,
        "reference": payment.reference,
        "currency": payment.currency,
        **(data or {}),
    }
    of, now = (payment.practice_id, payment.environment), context.world.now()
    events.append(unit, Event(new_id(context.world), *of, type_, payment.id, content, now), unless_case)


def record_practice_event(
    practice: Practice, unit: Writes, environment: Environment, type_: EventType, data: dict[str, Any]
) -> None:
    """Add an event of a practice that is about no payment to the unit that makes it true."""
    name = new_id(practice.context.world)
    events.append(unit, Event(name, practice.id, environment, type_, None, data, practice.now()))


def open_case(
    context: Context, unit: Writes, payment: Payment, kind: CaseKind, subject: str, detail: dict[str, Any]
) -> None:
    """Open a review case about a payment, once per kind and subject, in the unit that makes it true."""
    cases.open_case(
        unit,
        new_id(context.world),
        payment.practice_id,
        payment.environment,
        cases.NewCase(kind, subject, payment.id, detail),
        context.world.now(),
    )


def is_other_currency(payment: Payment, fact: RefundFact | DisputeFact) -> bool:
    """Whether a fact is in another currency than its payment: then nothing of it can be booked."""
    amount = _amount_of(fact)
    return amount is not None and amount.currency != payment.currency


def open_currency_case(
    context: Context,
    unit: Writes,
    payment: Payment,
    fact: RefundFact | DisputeFact,
    webhook: WebhookEvent | None = None,
) -> None:
    """Open a review case for a refund or dispute in a currency other than its payment's. ``webhook``: the one that
    reported it, if it is parked."""
    amount = _amount_of(fact)
    assert amount is not None
    match fact:
        case RefundFact():
            name = fact.provider_refund_id or fact.reference or "total"
        case DisputeFact():
            name = fact.provider_dispute_id
    provider = {"amount": amount.minor, "currency": amount.currency, "state": fact.state}
    of_webhook = {"event": webhook.id, "type": webhook.event_type} if webhook else {}
    detail = {**of_webhook, "id": name, "expected": payment.currency, "provider": provider}
    open_case(context, unit, payment, CaseKind.currency_mismatch, f"{payment.id}:{name}:{amount.currency}", detail)


def _amount_of(fact: RefundFact | DisputeFact) -> Money | None:
    return (fact.amount or fact.total) if isinstance(fact, RefundFact) else fact.amount


async def forward(practice: Practice) -> int:
    """Move a practice's events into the owner's feed, in order. Returns their number.

    The same owner transaction moves the practice's mark to the last of them, unless its database is behind: then the mark
    keeps saying what it lacks.
    """
    await _find_lost(practice)
    waiting = await events.unforwarded(practice.db)
    if not waiting:
        return 0
    await practice.context.opening.read_mark(practice.id)
    now, due = practice.now(), practice.context.shared_after(0)
    anchor, last, owner = practice.db.anchor, waiting[-1], practice.context.owner
    to = await event_deliveries.destination(owner, due)
    about = dict.fromkeys(event.payment_id for event in waiting if event.payment_id is not None)
    records = [] if anchor.behind is not None else [await record_of(practice, one) for one in about]
    mark = Mark(last.position, last.event_id)
    async with owner.transaction() as tx:
        newest = await events.open_feed(tx, owner, practice.context.feed_seen, due)
        for event in waiting:
            position = await events.feed(tx, event)
            newest = max(newest, position or 0)
            if position is not None and to is not None:
                event_deliveries.plan(tx, replace(event, position=position), due)
        if anchor.behind is None:
            practices.raise_mark(tx, practice.id, anchor.epoch, mark)
        for record in records:
            if record is not None:
                payment_records.keep(tx, record)
    practice.context.feed_seen.position = max(newest, practice.context.feed_seen.position)
    if anchor.behind is None:
        anchor.read(anchor.epoch, mark)
    unit = Unit()
    for event in waiting:
        events.mark_forwarded(unit, event, now)
    await practice.db.commit(unit)
    return len(waiting)


async def revoke_again(practice: Practice) -> int:
    """Revoke the API keys in the owner database that the practice's database knows as revoked. Returns their number."""
    hashes = await api_keys.revoked_in(practice.db)
    if not hashes:
        return 0
    found, unit = await api_keys.in_use_of(practice.context.owner, hashes), Unit()
    for key in found:
        api_keys.revoke(unit, key.id, practice.id, practice.now())
        audit.append(
            unit, practice.now(), "polytill", AuditAction.key_revoked, f"practice:{practice.id}", {"id": key.id}
        )
    if found:
        await practice.context.owner.commit(unit)
    return len(found)


def owner_may_lack(practice: Practice, last_forwarded: int) -> bool:
    """Whether the owner's feed may lack events that the practice's database has marked as forwarded: ``forward`` finds
    out. What is behind has events of another history."""
    anchor = practice.db.anchor
    return anchor.behind is None and last_forwarded > anchor.owners_position


async def _find_lost(practice: Practice) -> None:
    """Mark events as not forwarded that the owner database has lost: an older copy of it was restored.

    The mark of the directory is written with the events and before they are marked as forwarded. So it is read after
    them here, and is never smaller unless it was lost.
    """
    anchor, context = practice.db.anchor, practice.context
    forwarded = await events.last_forwarded(practice.db)
    if not owner_may_lack(practice, forwarded):
        return
    entry = await practices.by_id(context.owner, practice.id)
    if entry is None or entry.epoch != anchor.epoch:
        return  # what is behind is another question
    anchor.read(entry.epoch, entry.mark)
    if not owner_may_lack(practice, forwarded):
        return
    log.error("events_lost_by_owner", practice=practice.id, has=anchor.owners_position, forwarded=forwarded)
    await note_older(context, "events")
    context.recorded.pop(practice.id, None)  # the records of its payments were lost as well
    await revoke_again(practice)
    unit = Unit()
    events.forward_again(unit, anchor.owners_position)
    await practice.db.commit(unit)


def event_view(event: Event) -> dict[str, Any]:
    """An event as the platform reads it, the same in the feed and in an event delivery."""
    return {
        "id": event.event_id,
        "type": event.type,
        "timestamp": wire_time(event.created_at),
        "practiceId": event.practice_id,
        "environment": event.environment.value,
        "data": event.data,
    }
