"""Webhooks: found by token, verified over raw bytes, stored once, then applied through ``settle``.

An unverified webhook writes nothing and triggers no call. One that cannot be applied is parked with a reason and can be
replayed. If a provider does not sign, the webhook only triggers a lookup, and only the provider's answer is applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from polytill.domain.errors import Conflict, NotFound, Stale
from polytill.domain.ids import address
from polytill.domain.personal_data import is_removed
from polytill.domain.sources import Source
from polytill.domain.states import ATTEMPT_CLOSED, AttemptState, DisputeState, EventState
from polytill.flows.commits import TRIES
from polytill.flows.context import Context, Practice, log
from polytill.flows.finding import AddSteps, ExtraSteps, Finding, FindingKind, is_authorization
from polytill.flows.handlers import handler_for
from polytill.flows.identifiers import named_by_fact, with_unsigned_identifiers
from polytill.flows.lease import ensure as ensure_lease
from polytill.flows.next_action import unless_stale
from polytill.flows.payments import contradictions, second_transactions
from polytill.flows.payments.partial_captures import has_money
from polytill.flows.payments.settle import settle
from polytill.flows.practice_state import may_go_on
from polytill.flows.provider_calls import build, configuration_of, fetched
from polytill.flows.refunds.disputes import DisputeFinding, apply_dispute_fact, attempt_disputed
from polytill.flows.unresolved import MAY_BE_UNCLEAR, is_unclear
from polytill.flows.webhooks import relay, unsigned
from polytill.flows.webhooks.apply import (
    attempt_of_unsigned,
    finish,
    ignore,
    in_other_currency,
    mark_applied,
    mark_parked,
    may_continue,
    notice,
    park,
    park_unknown,
    wait,
)
from polytill.flows.webhooks.read import event_of, facts_of, naming, sent_again, why_unreadable
from polytill.flows.webhooks.refunds import apply_refund
from polytill.flows.webhooks.relay import Incoming
from polytill.flows.webhooks.verify import verified
from polytill.providers.contained import ends_only_itself
from polytill.providers.contract import Fact, PaymentFact, RefundFact, WebhookProof, WebhookResult
from polytill.providers.outcomes import JsonObject, NotSent, Outcome, Succeeded, Unknown
from polytill.storage import payments, provider_configs, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Configuration
from polytill.storage.units import Counted, Unit
from polytill.storage.webhook_events import NOT_CAPTURED, WebhookEvent

MAX_BODY_BYTES = 1024 * 1024
HOOK = b"hook"
# The states in which a webhook can be applied once more, besides ``received``.
REPLAYED = frozenset({EventState.parked, EventState.relaying, EventState.relayed, EventState.dismissed})


def new_hook_token(context: Context, practice_id: int) -> str:
    """The address part of one configuration's webhooks."""
    return address(HOOK, practice_id, context.world.random_bytes(12), context.ring.derived("addresses")[0])


async def receive(
    context: Context, token: str, headers: Mapping[str, str], body: bytes, reference: str | None = None
) -> WebhookEvent | None:
    """Store and apply one webhook. ``NotFound`` for an unknown token, ``Unauthorized`` if verification fails,
    ``PracticeEnded`` or ``PracticeDeleted`` if the practice takes none any more.

    ``reference``: from the address, if a call asked the provider to add it. Only used if the provider does not sign.
    """
    found = context.ring.read_address(HOOK, token)
    if found is None:
        raise NotFound("There is no such webhook address.")
    await may_go_on(context, found[0])
    for _ in range(TRIES):
        try:
            return await _receive(await context.practice(found[0]), token, headers, body, reference)
        except _ConfigurationsChanged:
            context.forget(found[0])
    raise Stale


class _ConfigurationsChanged(Exception):
    """The snapshot that verified the webhook is out of date; nothing was written."""


async def _receive(
    practice: Practice, token: str, headers: Mapping[str, str], body: bytes, reference: str | None
) -> WebhookEvent | None:
    proof = await verified(practice, token, headers, body)
    incoming = Incoming(headers, body)
    if reference and proof.handler.webhook_proof is WebhookProof.address:
        body = naming(body, reference)
    configuration = proof.configuration
    event, result = event_of(practice, configuration, proof.environment, proof.handler, body)
    await ensure_lease(practice.context, practice.id)
    stored: WebhookEvent | None
    try:
        if (relayed := await relay.keep(practice, proof, event, result, incoming)) is not None:
            return relayed
        if event.must_fetch:
            attempt = await attempt_of_unsigned(practice.db, configuration.id, event.environment, result.facts)
            stored, is_due = await unsigned.store(practice.db, event, result.facts, attempt, proof.revision)
        else:
            stored, is_due = await _store(practice, event, proof.revision)
    except Stale:
        raise _ConfigurationsChanged from None
    if stored is None or not is_due or stored.state is not EventState.received:
        return stored
    before = replace(stored)
    try:
        await asyncio.shield(_apply(practice, configuration, stored, result))
    except Exception as error:
        # The webhook is stored, so the provider gets a 200; the sweep applies it again.
        log.error("webhook_not_applied", practice=practice.id, webhook=stored.id, error=type(error).__name__)
        return before
    return stored


async def _store(practice: Practice, event: WebhookEvent, revision: int) -> tuple[WebhookEvent | None, bool]:
    """Store a signed webhook once. Returns it as stored, and whether to apply it: one that was stored before and not
    applied is applied now, because its process crashed, or it had to wait. ``Stale`` if the configurations changed."""
    unit = Unit()
    provider_configs.unchanged(unit, revision)
    webhook_events.insert_once(unit, event)
    if (await practice.db.commit(unit))[1]:
        return event, True
    return await webhook_events.by_dedupe_key(practice.db, event.config_id, event.environment, event.dedupe_key), True


async def response_body(context: Context, event: WebhookEvent) -> JsonObject:
    """The body that the provider of a webhook expects in the response."""
    handler = await handler_for(context, event.provider_code)
    return handler.webhook_answer if handler else {}


async def apply_stored(practice: Practice, event: WebhookEvent) -> None:
    """Apply a stored webhook: read its stored body again. One whose body was removed stays as it is."""
    if is_removed(event.body):
        return
    configuration = await configuration_of(practice, event.config_id)
    entry = (await practice.context.catalog()).get(event.provider_code)
    account = configuration.account(event.environment) if configuration else None
    handler = build(practice, entry, account) if entry and account else None
    if configuration is None or handler is None or isinstance(handler, NotSent) or event.body is None:
        await park(practice, event, event.reason or "handler_missing")
        return
    try:
        result = facts_of(handler, sent_again(event.body))
    except BaseException as error:
        if not ends_only_itself(error):
            raise
        await park(practice, event, why_unreadable(handler, error))
        return
    await _apply(practice, configuration, event, replace(result, must_fetch=result.must_fetch or event.must_fetch))


async def apply_due(practice: Practice, event: WebhookEvent) -> None:
    """Apply a stored webhook that is due. A failure counts as a try, too: the next one is later, the last one parks it."""
    try:
        await apply_stored(practice, event)
    except Exception as error:
        log.error("webhook_not_applied", practice=practice.id, webhook=event.id, error=type(error).__name__)
        event.state = EventState.received  # nothing of what was applied in memory is stored
        await wait(practice, event, event.payment_id, "failed_here")


async def replay(context: Context, practice_id: int, event_id: str) -> WebhookEvent:
    """Apply a stored webhook once more. One of another environment, or that cannot be read, stays parked. ``Conflict`` if
    its body was removed."""
    practice = await context.practice(practice_id)
    event = await webhook_events.by_id(practice.db, event_id)
    if event is None:
        raise NotFound("There is no such webhook.")
    if is_removed(event.body):
        raise Conflict(
            "The body of this webhook was removed, so that it cannot be applied again.", code="webhook_body_removed"
        )
    if event.state is EventState.received or (event.state in REPLAYED and event.reason != "environment_mismatch"):
        await apply_stored(practice, event)
    fresh = await webhook_events.by_id(practice.db, event_id)
    assert fresh is not None
    return fresh


# ── Applying ──


async def _apply(practice: Practice, configuration: Configuration, event: WebhookEvent, result: WebhookResult) -> None:
    if result.environment is not None and result.environment is not event.environment:
        await finish(practice, event, EventState.parked, "environment_mismatch")
        return
    if result.action == "park":
        await park(practice, event, result.reason)
        return
    if result.action == "notify":
        await notice(practice, event, result)
        return
    if not result.facts:
        await ignore(practice, event, result.reason)
        return
    for fact in result.facts:
        found = await named_by_fact(practice.db, configuration.id, event.environment, fact)
        if found is None:
            await park_unknown(practice, event, result.facts)
            return
        attempt, payment = found.attempt, found.payment
        if attempt.config_id != configuration.id or (
            attempt.environment is not event.environment and not result.must_fetch
        ):
            await finish(practice, event, EventState.parked, "environment_mismatch")
            return
        if not result.must_fetch:
            attempt = await contradictions.adopted(practice, attempt, fact)
        if attempt is not found.attempt:
            payment = await _fresh(practice.db, payment.id)
        if isinstance(fact, PaymentFact) and await _names_another_attempt(practice, attempt, found.owner, fact):
            await finish(practice, event, EventState.parked, "reference_mismatch")
            return
        event.has_more = fact is not result.facts[-1]
        await _apply_fact(practice, event, result, fact, payment, attempt)
        if event.has_more and not await may_continue(practice.db, event):
            return  # it is applied again as a whole


async def _fresh(db: PracticeDb, payment_id: str) -> Payment:
    payment = await payments.by_id(db, payment_id)
    assert payment is not None
    return payment


async def _names_another_attempt(
    practice: Practice, attempt: Attempt, owner: Attempt | None, fact: PaymentFact
) -> bool:
    """Whether a webhook names one attempt by our reference and another by the provider's id (``owner``): then it is
    about neither.

    If only the address authenticates it (M-Pesa), it must also fit everything known of the attempt: a lookup by the
    provider's id from the webhook could otherwise return somebody else's payment.
    """
    named = fact.provider_transaction_id
    if named is None or named == attempt.provider_transaction_id:
        return False
    if owner is not None and owner.id != attempt.id:
        # A second success under one reference has its own attempt, beside the one that the reference names.
        return owner.payment_id != attempt.payment_id or attempt.state is not AttemptState.succeeded
    handler = await handler_for(practice.context, attempt.provider_code)
    if handler is None or handler.webhook_proof is not WebhookProof.address:
        return False
    told = fact.outcome.amount if isinstance(fact.outcome, Succeeded) else None
    other_amount = told is not None and (told.minor, told.currency) != (attempt.amount, attempt.currency)
    return other_amount or not await contradictions.may_have_another_id(practice.db, attempt)


async def _apply_fact(
    practice: Practice, event: WebhookEvent, result: WebhookResult, fact: Fact, payment: Payment, attempt: Attempt
) -> None:
    if isinstance(fact, PaymentFact):
        await _apply_payment_fact(practice, event, result, fact, payment, attempt)
        return
    if not result.must_fetch and await in_other_currency(practice, event, payment, fact):
        return
    if isinstance(fact, RefundFact):
        payment, attempt = await _look_up_payment(practice, payment, attempt, event)
        if has_money(payment, attempt):
            await apply_refund(practice, event, result, fact, payment, attempt)
        else:
            await wait(practice, event, payment.id, NOT_CAPTURED)
    elif result.must_fetch:
        # A dispute cannot be looked up, and anybody who knows the address may have sent this.
        await finish(practice, event, EventState.parked, "not_proven", payment.id)
    else:
        finding, also = DisputeFinding(fact, Source.webhook), mark_applied(practice.context, event, payment.id)
        if not await apply_dispute(practice, payment, attempt, finding, also, event):
            await wait(practice, event, payment.id, NOT_CAPTURED)


async def _apply_payment_fact(
    practice: Practice,
    event: WebhookEvent,
    result: WebhookResult,
    fact: PaymentFact,
    payment: Payment,
    attempt: Attempt,
) -> None:
    if second_transactions.is_another(payment, attempt, fact):
        await _book_another(practice, event, payment, attempt, fact)
        return
    outcome: Outcome = fact.outcome
    if result.must_fetch or is_unclear(outcome) or (is_authorization(outcome) and attempt.state in ATTEMPT_CLOSED):
        # A fact about an authorization may arrive long after its end, and does not prove that it is still held. For
        # an answer that cannot be understood, a lookup may return known terms.
        outcome = await fetched(practice, attempt, fact.provider_transaction_id)
        outcome = unless_stale(practice.db, payment, attempt, outcome)
    if isinstance(outcome, Unknown | NotSent):
        if is_unclear(outcome) and attempt.state in MAY_BE_UNCLEAR:
            # Its message is stored, and a case may open.
            await settle(practice, payment, attempt, Finding(outcome, Source.lookup))
        await wait(practice, event, payment.id, outcome.reason.value)
        return
    also = mark_applied(practice.context, event, payment.id)
    if result.must_fetch:
        also = await with_unsigned_identifiers(practice.context, attempt, fact, outcome, also)
    held_back = _HeldBack(event, attempt, getattr(outcome, "provider_transaction_id", None))
    park = mark_parked(practice, event, "amount_mismatch", payment.id)
    finding = Finding(
        outcome, Source.webhook, FindingKind.authorization if is_authorization(outcome) else FindingKind.fact
    )
    steps = ExtraSteps(held_back.counted_after(also), if_other_amount=park)
    payment, settled = await settle(practice, payment, attempt, finding, steps)
    if finding.is_void(attempt, settled):  # the attempt was closed while this was applied
        await _apply_payment_fact(practice, event, result, fact, payment, settled)
        return
    if held_back.may_be_any(settled):
        await apply_after(practice, attempt, settled, event)
    asked = replace(fact, outcome=outcome, provider_transaction_id=getattr(outcome, "provider_transaction_id", None))
    is_open = settled.state not in (AttemptState.succeeded, AttemptState.authorized)
    if event.state is EventState.parked:
        return  # another amount than requested
    if isinstance(outcome, Succeeded) and is_open:
        await finish(practice, event, EventState.parked, "amount_mismatch", payment.id)
    elif second_transactions.is_another(payment, settled, asked):  # another transaction has paid it during the lookup
        told = replace(fact, provider_transaction_id=asked.provider_transaction_id)
        await _book_another(practice, event, payment, settled, told)


async def apply_dispute(
    practice: Practice,
    payment: Payment,
    attempt: Attempt,
    finding: DisputeFinding,
    also: AddSteps,
    event: WebhookEvent | None = None,
) -> bool:
    """Apply a fact about a dispute, from a webhook (``event``, which ``also`` finishes) or a listing.

    False if the dispute is lost but its payment's money is not booked yet: until then it is recorded as open.
    """
    fact = finding.fact
    attempt = await attempt_disputed(practice.db, attempt, fact)
    if fact.state == DisputeState.lost:
        payment, attempt = await _look_up_payment(practice, payment, attempt, event)
    if fact.state != DisputeState.lost or has_money(payment, attempt):
        await apply_dispute_fact(practice, payment, attempt, finding, also)
        return True
    still_open = replace(finding, fact=replace(fact, state=DisputeState.open.value))
    await apply_dispute_fact(practice, payment, attempt, still_open, lambda _: None)
    return False


async def _look_up_payment(
    practice: Practice, payment: Payment, attempt: Attempt, event: WebhookEvent | None
) -> tuple[Payment, Attempt]:
    """Look up the payment first: a fact about a refund or dispute may arrive before the one about its payment."""
    if has_money(payment, attempt):
        return payment, attempt
    outcome = unless_stale(practice.db, payment, attempt, await fetched(practice, attempt, None))
    if isinstance(outcome, Unknown | NotSent):
        return payment, attempt
    payment, settled = await settle(practice, payment, attempt, Finding(outcome, Source.lookup))
    await apply_after(practice, attempt, settled, event)
    return payment, settled


async def _book_another(
    practice: Practice, event: WebhookEvent, payment: Payment, attempt: Attempt, fact: PaymentFact
) -> None:
    unanswered = await second_transactions.book(practice, payment, attempt, fact, Source.webhook)
    if unanswered is not None:
        await wait(practice, event, payment.id, unanswered.reason.value)
    else:
        await finish(practice, event, EventState.applied, "looked_up", payment.id)


@dataclass(slots=True)
class _HeldBack:
    """Whether other webhooks may wait for what this one brings. Counted by the unit that applies it, so that most
    webhooks need no query for it.

    ``learns``: the provider's id that the outcome names.
    """

    event: WebhookEvent
    before: Attempt
    learns: str | None
    of_payment: Counted | None = None
    by_name: Counted | None = None

    def counted_after(self, also: AddSteps) -> AddSteps:
        """``also``, and the steps that count them."""
        name = unsigned.short_key(self.learns) if self.learns else None

        def with_count(unit: Unit) -> None:
            also(unit)
            self.of_payment, self.by_name = webhook_events.count_held_back(
                unit, self.before.payment_id, self.before.config_id, name, self.event.id
            )

        return with_count

    def may_be_any(self, after: Attempt) -> bool:
        """Whether there may be any; also if they were not counted, or for another id."""
        if self.of_payment is None or self.by_name is None:
            return True
        learnt_other = after.provider_transaction_id not in (self.before.provider_transaction_id, self.learns)
        return learnt_other or self.of_payment.rows != 0 or self.by_name.rows != 0


async def apply_after(practice: Practice, before: Attempt, after: Attempt, but: WebhookEvent | None = None) -> None:
    """Apply the webhooks that can be applied after an attempt's change. ``but``: the current one."""
    is_paid = after.state is AttemptState.succeeded and before.state is not AttemptState.succeeded
    learnt = after.provider_transaction_id if after.provider_transaction_id != before.provider_transaction_id else None
    if not is_paid and learnt is None:
        return
    name, this = unsigned.short_key(learnt) if learnt else None, but.id if but else ""
    of_payment, by_name = await webhook_events.held_back(
        practice.db, after.payment_id if is_paid else None, after.config_id if learnt else None, name, this
    )
    if of_payment:
        # Those that waited, were parked or were dismissed because the payment's money was not booked yet.
        await _apply_each(practice, await webhook_events.for_payment(practice.db, after.payment_id, this))
    if by_name and name is not None:
        # Those that name only the provider's id of the attempt, which is known now.
        await _apply_each(practice, await webhook_events.naming(practice.db, after.config_id, name, this))


async def _apply_each(practice: Practice, event_ids: Sequence[str]) -> None:
    for event_id in event_ids:
        if (waiting := await webhook_events.by_id(practice.db, event_id)) is not None:
            await apply_stored(practice, waiting)
