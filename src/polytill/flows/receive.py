"""Deliveries from providers: found by token, verified over raw bytes, stored once, then applied through ``settle``.

An unverified delivery writes nothing and calls nobody. What cannot be applied is parked with a reason and can be
replayed. Where a provider signs nothing, the delivery is a hint: the provider is asked, and only its answer is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from polytill.domain.errors import NotFound, Unauthorized
from polytill.domain.ids import address, new_id, read_address
from polytill.domain.money import Money
from polytill.domain.states import REFUND_DONE, REFUND_VOID, Environment, EventState, RefundState
from polytill.flows import refund as refunding
from polytill.flows.calling import admits, build, call_for
from polytill.flows.desk import Desk, log
from polytill.flows.lease import ensure as ensure_lease
from polytill.flows.notify import tell_practice
from polytill.flows.settle import settle
from polytill.flows.settle_refunds import apply_dispute_fact, apply_refund_fact
from polytill.providers.contract import (
    ADDRESS_REFERENCE,
    ConfirmPaymentParams,
    DisputeFact,
    Fact,
    Handler,
    PaymentFact,
    RefundFact,
    RefundLookupParams,
    WebhookProof,
    WebhookResult,
)
from polytill.providers.http import parse_json, to_json
from polytill.providers.outcomes import Declined, JsonObject, NeedsAction, NotSent, Outcome, Pending, Succeeded, Unknown
from polytill.storage import payments, refunds, webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.provider_configs import Configuration
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent

MAX_BODY_BYTES = 1024 * 1024
MAX_KEY_LENGTH = 300
HOOK = b"hook"
# How often a delivery that had to wait is taken up again before a person has to look at it.
MAX_TRIES = 12


def new_hook_token(desk: Desk, practice_id: int) -> str:
    """The address part under which one configuration's deliveries arrive."""
    return address(HOOK, practice_id, desk.world.random_bytes(12), desk.ring.derived("addresses")[0])


async def receive(
    desk: Desk, token: str, headers: Mapping[str, str], body: bytes, reference: str | None = None
) -> WebhookEvent | None:
    """Store and apply one delivery. ``NotFound`` for an unknown token, ``Unauthorized`` where nothing verifies.

    ``reference`` stands in the address where a call asked for that; it is heard only where nothing is signed.
    """
    found = read_address(HOOK, token, desk.ring.derived("addresses"))
    if found is None:
        raise NotFound("There is no such hook.")
    db = await desk.opening.practice(found[0])
    snapshot = await desk.configured(db)
    configuration = next((c for c in snapshot.configurations.values() if c.hook_token == token), None)
    if configuration is None:
        raise NotFound("There is no such hook.")
    environment, handler = await _verified(desk, db, configuration, headers, body)
    if reference and handler.webhook_proof is WebhookProof.address:
        body = _naming(body, reference)
    event, result = _read(desk, db, configuration, environment, handler, body)
    await ensure_lease(desk, db.practice_id)
    unit = Unit()
    webhook_events.insert_once(unit, event)
    if not (await db.commit(unit))[0]:
        known = await webhook_events.by_dedupe_key(db, configuration.id, environment, event.dedupe_key)
        if known is None or not _worth_another_try(known):
            return known
        event = known
    if event.state in (EventState.received, EventState.applied):
        try:
            await asyncio.shield(_apply(desk, db, configuration, event, result))
        except Exception as error:
            # It is stored, so the provider is told "200"; the sweep takes it up again.
            log.error("delivery_not_applied", practice=db.practice_id, delivery=event.id, error=type(error).__name__)
    return event


def wanted_answer(desk: Desk, event: WebhookEvent) -> JsonObject:
    """What the provider of a delivery wants to read in return."""
    handler = desk.registry.installed().get(event.provider_code)
    return handler.webhook_answer if handler else {}


def _naming(body: bytes, reference: str) -> bytes:
    """A delivery's body with the reference that stood in its address; one that is no JSON object stays as it is."""
    try:
        event = parse_json(body)
    except ValueError:
        return body
    return to_json({**event, ADDRESS_REFERENCE: reference}) if isinstance(event, dict) else body


def _worth_another_try(known: WebhookEvent) -> bool:
    """Whether a repeated delivery is taken up again: one that was never applied, or one that proves nothing by itself.

    A hint under the right words may come from anybody and before its time; the real one must not be lost as its repeat.
    """
    if known.state is EventState.received:
        return True
    return known.must_fetch and known.state is EventState.applied and known.tries < MAX_TRIES


async def _verified(
    desk: Desk, db: PracticeDb, configuration: Configuration, headers: Mapping[str, str], body: bytes
) -> tuple[Environment, Handler]:
    """The environment whose secrets admit this delivery, the active one first, and its handler."""
    entry = (await desk.catalog()).get(configuration.provider_code)
    active = configuration.environment
    other = Environment.production if active is Environment.sandbox else Environment.sandbox
    for environment in (active, other):
        credentials = configuration.newest(environment)
        if entry is None or credentials is None:
            continue
        handler = build(desk, db, entry, configuration, credentials)
        if not isinstance(handler, NotSent) and await admits(handler, headers, body):
            return environment, handler
    raise Unauthorized("The delivery's signature is missing or wrong.", code="bad_signature")


def _read(
    desk: Desk, db: PracticeDb, configuration: Configuration, environment: Environment, handler: Handler, body: bytes
) -> tuple[WebhookEvent, WebhookResult]:
    try:
        result = handler.process_webhook(body)
    except ValueError as error:
        digest = hashlib.sha256(body).hexdigest()
        result = WebhookResult("unreadable", f"unreadable:{digest}", "park", reason=f"unreadable: {error}"[:200])
    mismatch = result.environment is not None and result.environment is not environment
    state = EventState.ignored if result.action == "ignore" and not mismatch else EventState.received
    key = result.dedupe_key
    if len(key) > MAX_KEY_LENGTH:
        key = "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    event = WebhookEvent(
        id=new_id(desk.world),
        practice_id=db.practice_id,
        environment=environment,
        config_id=configuration.id,
        provider_code=configuration.provider_code,
        dedupe_key=key,
        event_type=result.event_type[:200],
        state=state,
        body=result.body,
        must_fetch=result.must_fetch,
        received_at=desk.world.now(),
        reason=result.reason,
    )
    return event, result


async def apply_stored(desk: Desk, db: PracticeDb, event: WebhookEvent) -> None:
    """Apply a delivery that is stored already: read again from what was kept."""
    snapshot = await desk.configured(db)
    configuration = next(c for c in snapshot.configurations.values() if c.id == event.config_id)
    entry = (await desk.catalog()).get(configuration.provider_code)
    credentials = configuration.newest(event.environment)
    handler = build(desk, db, entry, configuration, credentials) if entry and credentials else None
    if handler is None or isinstance(handler, NotSent) or event.body is None:
        await _finish(desk, db, event, EventState.parked, event.reason or "handler_missing")
        return
    try:
        result = handler.process_webhook(to_json(event.body))
    except ValueError:
        await _finish(desk, db, event, EventState.parked, "unreadable")
        return
    await _apply(desk, db, configuration, event, replace(result, must_fetch=result.must_fetch or event.must_fetch))


async def replay(desk: Desk, practice_id: int, event_id: str) -> WebhookEvent:
    """Take up a stored delivery once more. One of another environment or that cannot be read stays parked."""
    db = await desk.opening.practice(practice_id)
    event = await webhook_events.by_id(db, event_id)
    if event is None:
        raise NotFound("There is no such delivery.")
    if event.state is EventState.received or (
        event.state is EventState.parked and event.reason != "environment_mismatch"
    ):
        await apply_stored(desk, db, event)
    fresh = await webhook_events.by_id(db, event_id)
    assert fresh is not None
    return fresh


# ── Applying ──


async def _finish(
    desk: Desk,
    db: PracticeDb,
    event: WebhookEvent,
    state: EventState,
    reason: str | None,
    payment_id: str | None = None,
) -> None:
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


def _finishing(desk: Desk, event: WebhookEvent, payment_id: str) -> Callable[[Unit], None]:
    def also(unit: Unit) -> None:
        webhook_events.finish(unit, event, EventState.applied, None, payment_id, desk.world.now())

    return also


async def _apply(
    desk: Desk, db: PracticeDb, configuration: Configuration, event: WebhookEvent, result: WebhookResult
) -> None:
    if result.environment is not None and result.environment is not event.environment:
        await _finish(desk, db, event, EventState.parked, "environment_mismatch")
        return
    if result.action == "park":
        await _finish(desk, db, event, EventState.parked, result.reason)
        return
    if result.action == "notify":
        await _notify(desk, db, event, result)
        return
    if not result.facts:
        await _finish(desk, db, event, EventState.ignored, result.reason)
        return
    for fact in result.facts:
        attempt = await _attempt_of(db, configuration, event, fact)
        if attempt is None:
            await _finish(desk, db, event, EventState.parked, "unknown_reference")
            return
        if attempt.config_id != configuration.id or (
            attempt.environment is not event.environment and not result.must_fetch
        ):
            await _finish(desk, db, event, EventState.parked, "environment_mismatch")
            return
        payment = await payments.by_id(db, attempt.payment_id)
        assert payment is not None
        await _apply_fact(desk, db, configuration, event, result, fact, payment, attempt)


async def _notify(desk: Desk, db: PracticeDb, event: WebhookEvent, result: WebhookResult) -> None:
    unit = Unit()
    now = desk.world.now()
    detail = {"event": event.id, "type": event.event_type, "reason": result.reason}
    webhook_events.open_case(
        unit, new_id(desk.world), db.practice_id, event.environment, "notice", event.id, None, detail, now
    )
    webhook_events.finish(unit, event, EventState.applied, result.reason, None, now)
    await db.commit(unit)


async def _attempt_of(db: PracticeDb, configuration: Configuration, event: WebhookEvent, fact: Fact) -> Attempt | None:
    reference = fact.reference if isinstance(fact, PaymentFact) else fact.payment_reference
    if reference:
        found = await payments.attempt_by_id(db, str(reference))
        if found is not None:
            return found
    if isinstance(fact, RefundFact) and fact.reference:
        refund = await refunds.by_id(db, fact.reference)
        if refund is not None:
            return await payments.attempt_by_id(db, refund.attempt_id)
    if fact.provider_transaction_id:
        return await payments.attempt_of_provider(db, configuration.id, event.environment, fact.provider_transaction_id)
    return None


async def _apply_fact(
    desk: Desk, db: PracticeDb, configuration: Configuration, event: WebhookEvent, result: WebhookResult,
    fact: Fact, payment: Payment, attempt: Attempt,
) -> None:  # fmt: skip
    also = _finishing(desk, event, payment.id)
    if isinstance(fact, PaymentFact):
        outcome: Outcome = fact.outcome
        if result.must_fetch:
            outcome = await _fetched(desk, db, configuration, attempt, fact.provider_transaction_id)
        if isinstance(outcome, Unknown | NotSent):
            await _wait(desk, db, event, payment.id, outcome.reason.value)
            return
        before = payment.amount_captured
        payment, attempt = await settle(desk, db, payment, attempt, outcome, "webhook", None, also)
        if payment.amount_captured > before:
            await _take_up_waiting(desk, db, event, payment.id)
        return
    if isinstance(fact, RefundFact):
        await _apply_refund(desk, db, configuration, event, result, fact, payment, attempt, also)
        return
    assert isinstance(fact, DisputeFact)
    await apply_dispute_fact(desk, db, payment, fact, also)


async def _fetched(
    desk: Desk, db: PracticeDb, configuration: Configuration, attempt: Attempt, hinted_id: str | None
) -> Outcome:
    params = ConfirmPaymentParams(
        attempt.id, attempt.provider_transaction_id or hinted_id, Money(attempt.amount, attempt.currency)
    )
    return await call_for(
        desk, db, configuration, attempt.credential_version, attempt.environment, "confirm_payment", params
    )


async def _apply_refund(
    desk: Desk, db: PracticeDb, configuration: Configuration, event: WebhookEvent, result: WebhookResult,
    fact: RefundFact, payment: Payment, attempt: Attempt, also: Callable[[Unit], None],
) -> None:  # fmt: skip
    if payment.amount_captured == 0:
        # The refund's news came before the payment's: learn of the payment first.
        outcome = await _fetched(desk, db, configuration, attempt, None)
        if not isinstance(outcome, Unknown | NotSent):
            payment, attempt = await settle(desk, db, payment, attempt, outcome, "lookup")
        if payment.amount_captured == 0:
            await _wait(desk, db, event, payment.id, "payment_not_captured")
            return
    if result.must_fetch:
        about = await _refunds_about(desk, db, payment, fact)
        if about or fact.provider_refund_id is None:
            await _look_up(desk, db, event, payment.id, about, fact.state)
            return
        fetched = await _fetched_refund(desk, db, configuration, payment, attempt, fact)
        if isinstance(fetched, Unknown | NotSent):
            await _wait(desk, db, event, payment.id, fetched.reason.value)
            return
        fact = fetched
    several = await apply_refund_fact(desk, db, payment, attempt, fact, also)
    if several:
        await _look_up(desk, db, event, payment.id, several, fact.state)


async def _refunds_about(desk: Desk, db: PracticeDb, payment: Payment, fact: RefundFact) -> list[Refund]:
    """Our refunds that a hint is about; those whose answer was lost are looked up first, for they may be it."""
    for refund in await refunds.of_payment(db, payment.id):
        if refund.state is RefundState.unknown and refund.provider_refund_id is None:
            await refunding.refresh(desk, db, refund, "webhook")
    ids = {fact.reference, fact.provider_refund_id} - {None}
    return [r for r in await refunds.of_payment(db, payment.id) if r.id in ids or r.provider_refund_id in ids]


async def _fetched_refund(
    desk: Desk, db: PracticeDb, configuration: Configuration, payment: Payment, attempt: Attempt, hint: RefundFact
) -> RefundFact | Unknown | NotSent:
    """What the provider itself says of a refund that a hint names and that is none of ours."""
    params = RefundLookupParams(
        f"hint-{hint.provider_refund_id}", attempt.id, attempt.provider_transaction_id, hint.provider_refund_id,
        hint.amount or Money(0, payment.currency), False,
    )  # fmt: skip
    outcome = await call_for(
        desk, db, configuration, attempt.credential_version, attempt.environment, "lookup_refund", params
    )
    if isinstance(outcome, Unknown | NotSent):
        return outcome
    state = "succeeded" if isinstance(outcome, Succeeded) else "failed" if isinstance(outcome, Declined) else "pending"
    amount = outcome.amount if isinstance(outcome, Succeeded | Pending | NeedsAction) else hint.amount
    return replace(hint, state=state, amount=amount, response=outcome.response)


async def _look_up(
    desk: Desk, db: PracticeDb, event: WebhookEvent, payment_id: str, about: list[Refund], told: str
) -> None:
    """Ask about refunds one by one. A delivery whose news none of them bears out yet is taken up again later."""
    states = [(await refunding.refresh(desk, db, refund, "webhook")).state for refund in about]
    borne_out = {"succeeded": REFUND_DONE, "failed": REFUND_VOID}.get(told)
    if borne_out is not None and about and not any(state in borne_out for state in states):
        await _wait(desk, db, event, payment_id, "not_borne_out")
        return
    await _finish(desk, db, event, EventState.applied, "looked_up", payment_id)


async def _wait(desk: Desk, db: PracticeDb, event: WebhookEvent, payment_id: str, reason: str) -> None:
    """Leave a delivery to be taken up again; after many tries it is parked."""
    state = EventState.received if event.tries + 1 < MAX_TRIES else EventState.parked
    await _finish(desk, db, event, state, reason, payment_id)


async def _take_up_waiting(desk: Desk, db: PracticeDb, event: WebhookEvent, payment_id: str) -> None:
    """The payment's money is there now: deliveries that waited for it can be applied."""
    for waiting in await webhook_events.listed(db, EventState.received.value, payment_id):
        if waiting.id != event.id:
            await apply_stored(desk, db, waiting)
