"""The platform is told: from each practice's outbox to one feed, and from the feed to the platform, signed, in order.

Every step may run twice and changes nothing the second time: an event has one id for ever, the feed takes it once, and
who receives it tells repeats by the ``webhook-id``. Deliveries follow the Standard Webhooks specification.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

import msgspec
from standardwebhooks import Webhook

from polytill.domain.clock import wire_time
from polytill.domain.errors import NotFound, Stale, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.sealing import Place
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.desk import Desk, log
from polytill.providers.http import AnswerLost, ConnectionNotMade, origin_of
from polytill.storage import audit, events, webhook_events
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.events import Event
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

DESTINATION = Place("event_destinations", "1", "secret")

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
# Pauses between tries, as the specification suggests: five seconds to ten hours, about three days in all.
RETRY_S = (5, 300, 1800, 7200, 18000, 36000, 36000, 50400, 72000, 86400)
CLAIM_S = 60.0


def tell(
    desk: Desk, unit: Writes, payment: Payment, kind: str, data: dict[str, Any] | None = None,
    unless_case: tuple[str, str] | None = None,
) -> None:  # fmt: skip
    """Add an event about a payment to the unit that makes it true.

    ``unless_case``: kind and subject of the case that the same unit opens; where it is there already, nothing is news.
    """
    content = {"paymentId": payment.id, "reference": payment.reference, "currency": payment.currency, **(data or {})}
    tell_practice(desk, unit, payment.practice_id, payment.environment, kind, content, payment.id, unless_case)


def tell_practice(
    desk: Desk, unit: Writes, practice_id: int, environment: Environment, kind: str, data: dict[str, Any],
    payment_id: str | None = None, unless_case: tuple[str, str] | None = None,
) -> None:  # fmt: skip
    """Add an event of a practice to the unit that makes it true."""
    event = Event(new_id(desk.world), practice_id, environment, kind, payment_id, data, desk.world.now())
    events.append(unit, event, unless_case)


def open_case(desk: Desk, unit: Writes, payment: Payment, kind: str, subject: str, detail: dict[str, Any]) -> None:
    """Put something about a payment before a person, once for each kind and subject, by the unit that makes it true."""
    webhook_events.open_case(
        unit, new_id(desk.world), payment.practice_id, payment.environment, kind, subject, payment.id, detail,
        desk.world.now(),
    )  # fmt: skip


def open_currency_case(
    desk: Desk, unit: Writes, payment: Payment, name: str, told: Money, state: str, **more: Any
) -> None:
    """Put a refund or dispute in another currency than its payment before a person: nothing of it is booked."""
    provider = {"amount": told.minor, "currency": told.currency, "state": state}
    detail = {**more, "id": name, "expected": payment.currency, "provider": provider}
    open_case(desk, unit, payment, "currency_mismatch", f"{payment.id}:{name}:{told.currency}", detail)


async def forward(desk: Desk, db: PracticeDb) -> int:
    """Move a practice's events into the owner's feed, in order. How many there were."""
    waiting = await events.unforwarded(db)
    if not waiting:
        return 0
    to = await events.destination(desk.owner)
    now = desk.world.now()
    due = desk.shared_after(0)
    async with desk.owner.transaction() as tx:
        for event in waiting:
            position = await events.feed(tx, event, desk.owner.engine.dialect)
            if position is not None and to is not None:
                events.plan_delivery(tx, position, event.payment_id, due)
    unit = Unit()
    for event in waiting:
        events.mark_forwarded(unit, event, now)
    await db.commit(unit)
    return len(waiting)


# ── Deliveries ──


async def deliver(desk: Desk) -> int:
    """Send what is due, each payment's events in their order. How many tries were made."""
    to = await events.destination(desk.owner)
    if to is None:
        return 0
    url, sealed = to
    signer = Webhook(desk.opening.open_owners(sealed, DESTINATION).reveal())
    tried = 0
    for event, tries in await events.due_deliveries(desk.owner, desk.shared_after(0)):
        claim = Unit()
        events.claim_delivery(claim, event.position, tries, desk.shared_after(CLAIM_S))
        try:
            await desk.owner.commit(claim)
        except Stale:
            continue  # another worker has it
        await _send(desk, url, signer, event, tries + 1)
        tried += 1
    return tried


async def _send(desk: Desk, url: str, signer: Webhook, event: Event, tries: int) -> None:
    body = msgspec.json.encode(event_view(event))
    now = desk.world.now()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": event.event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(event.event_id, now, body.decode()),
    }
    status: int | None = None
    error: str | None = None
    try:
        status, _, _ = await desk.http.transport.send("POST", url, headers, body)
    except (ConnectionNotMade, AnswerLost) as failure:
        error = type(failure).__name__
    state, next_at = "delivered", None
    if status is None or not 200 <= status < 300:
        state = "pending" if tries <= len(RETRY_S) else "given_up"
        pause_s = RETRY_S[min(tries, len(RETRY_S)) - 1]
        next_at = desk.shared_after(pause_s)
        log.warning("event_not_delivered", event_id=event.event_id, status=status, error=error, tries=tries)
    unit = Unit()
    events.finish_delivery(unit, event.position, state, status, error, next_at, desk.world.now())
    await desk.owner.commit(unit)


def event_view(event: Event) -> dict[str, Any]:
    """An event as the platform reads it, the same in the feed and in a delivery."""
    return {
        "id": event.event_id,
        "type": event.type,
        "timestamp": wire_time(event.created_at),
        "practiceId": event.practice_id,
        "environment": event.environment.value,
        "data": event.data,
    }


# ── Where to ──


async def set_destination(desk: Desk, url: str, actor: str) -> str:
    """Set where events are delivered; the secret to verify them with, shown this once."""
    origin = origin_of(url)
    if origin is None or (origin.startswith("http://") and urlsplit(origin).hostname not in _THIS_MACHINE):
        raise invalid("/url", "The destination must be an https address (http only on this machine).")
    secret = "whsec_" + base64.b64encode(desk.world.random_bytes(32)).decode()
    sealed = desk.opening.seal_owners(Secret(secret), DESTINATION)
    now = desk.world.now()
    unit = Unit()
    events.put_destination(unit, url, sealed, now)
    audit.append(unit, now, actor, "events.destination_set", "owner", {"origin": origin})
    await desk.owner.commit(unit)
    return secret


async def replay(desk: Desk, position: int, actor: str) -> None:
    """Have one event of the feed delivered once more."""
    found = await events.read(desk.owner, position - 1, 1)
    if not found or found[0].position != position:
        raise NotFound("There is no such event.")
    now = desk.world.now()
    unit = Unit()
    events.plan_delivery(unit, position, found[0].payment_id, desk.shared_after(0))
    audit.append(unit, now, actor, "events.replayed", "owner", {"cursor": position})
    await desk.owner.commit(unit)
