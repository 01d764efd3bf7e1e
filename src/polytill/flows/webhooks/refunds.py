"""Webhooks about refunds: finds the refund that one is about, and looks it up at the provider if in doubt."""

from __future__ import annotations

from dataclasses import replace

from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import REFUND_DONE, REFUND_VOID, EventState, RefundState
from polytill.flows.context import Practice
from polytill.flows.finding import AddSteps, Finding
from polytill.flows.handlers import handler_for
from polytill.flows.listing import EntryReader
from polytill.flows.provider_calls import configuration_of
from polytill.flows.refunds import create as refunding
from polytill.flows.refunds.listed import lists_refunds, reconcile_refunds
from polytill.flows.refunds.past import known_as_of, past_sum
from polytill.flows.refunds.settle import apply_refund_fact, apply_to_the_end, settle_refund, undecided
from polytill.flows.unresolved import is_unclear
from polytill.flows.webhooks.apply import CLOCKS_DIFFER, finish, in_other_currency, mark_applied, wait
from polytill.providers.contract import RefundFact, WebhookResult
from polytill.providers.outcomes import Declined, NotSent, Outcome, Reason, Unknown
from polytill.storage import cases, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent


async def apply_refund(
    practice: Practice, event: WebhookEvent, result: WebhookResult, fact: RefundFact, payment: Payment, attempt: Attempt
) -> None:
    """Apply a webhook about a refund of ``payment``, whose money is booked."""
    also = mark_applied(practice.context, event, payment.id)
    if result.must_fetch or fact.state == "unknown" or (fact.amount is None and fact.total is None):
        about = await _refunds_about(practice, payment, fact)
        if about or fact.provider_refund_id is None:
            if not await _look_up(practice, event, payment.id, about, fact):
                return
            if fact.provider_refund_id is None:
                await _apply_other_refund(practice, event, replace(fact, total=None), payment, attempt, also)
                return
        told = await refunding.fetched_refund(practice, payment, attempt, fact)
        if isinstance(told, Unknown | NotSent):
            await wait(practice, event, payment.id, told.reason.value)
            return
        if await in_other_currency(practice, event, payment, told):
            return
        fact = told
    known = await refunds.of_payment(practice.db, payment.id)
    is_unnamed = fact.amount is None or undecided(known, attempt, fact) is not None
    if is_unnamed and await lists_refunds(practice.context, attempt):
        await _apply_listed(practice, event, fact, payment, attempt)
        return
    several = await apply_refund_fact(practice, payment, attempt, fact, Source.webhook, also)
    if several and await _look_up(practice, event, payment.id, several, fact):
        await _apply_other_refund(practice, event, fact, payment, attempt, also)


async def _apply_listed(
    practice: Practice, event: WebhookEvent, fact: RefundFact, payment: Payment, attempt: Attempt
) -> None:
    """Apply a fact that does not tell which refunds it is about: a total of refunds at some time, or a refund without
    a name beside the sum of earlier ones. The provider's list names each with its time."""
    past = past_sum(await refunds.of_payment(practice.db, payment.id), attempt)
    # What was refunded before the host's record of the payment is in that sum, unless the total says otherwise.
    starts = [attempt.created_at] if past is None else [known_as_of(past), attempt.created_at]
    for number, start in enumerate(starts):
        if not await _is_more(practice, payment, attempt, fact, is_first=number == 0):
            break
        configuration = await configuration_of(practice, attempt.config_id)
        since, until = start - CLOCKS_DIFFER, practice.now() + CLOCKS_DIFFER
        looks = EntryReader()
        account = configuration.account(attempt.environment) if configuration else None
        looked = await reconcile_refunds(practice, account, since, until, looks) if account else None
        if looked is None or looked or looks.unread:
            await wait(practice, event, payment.id, "not_borne_out")
            return
    await finish(practice, event, EventState.applied, "looked_up", payment.id)


async def _is_more(practice: Practice, payment: Payment, attempt: Attempt, fact: RefundFact, is_first: bool) -> bool:
    """Whether a fact may say more than is known: a total does if it is higher, an unnamed refund until it is listed."""
    if fact.total is None:
        return fact.amount is not None and is_first
    known = [r for r in await refunds.of_payment(practice.db, payment.id) if r.attempt_id == attempt.id]
    sure = sum(r.amount for r in known if r.state in REFUND_DONE or r.state is RefundState.pending)
    return fact.total.minor > sure


async def _refunds_about(practice: Practice, payment: Payment, fact: RefundFact) -> list[Refund]:
    """Our refunds that an unsigned webhook is about. First looks up those whose answer was lost: they may be it."""
    for refund in await refunds.of_payment(practice.db, payment.id):
        if refund.state is RefundState.unknown and refund.provider_refund_id is None:
            await refunding.refresh(practice, refund, Source.webhook)
    ids = {fact.reference, fact.provider_refund_id} - {None}
    return [r for r in await refunds.of_payment(practice.db, payment.id) if r.id in ids or r.provider_refund_id in ids]


async def _look_up(
    practice: Practice, event: WebhookEvent, payment_id: str, about: list[Refund], fact: RefundFact
) -> bool:
    """Look up refunds one by one. A webhook that no answer confirms yet is applied again later.

    Returns True, with the webhook unfinished, if its success is not news about any of them: it is about a refund that
    is unknown here; or it has no id, and is a repeat or older than a refund's end.
    """
    answers = []
    for refund in about:
        called = fact.provider_refund_id if fact.reference == refund.id else None
        answers.append(await refunding.look_up(practice, refund, Source.webhook, called))
    settled = [await settle_refund(practice, refund, Finding(answer, _source(answer))) for refund, answer in answers]
    borne_out = {"succeeded": REFUND_DONE, "failed": REFUND_VOID}.get(fact.state)
    if fact.state == "succeeded" and not fact.named:
        certain = not any(isinstance(answer, Unknown) for _, answer in answers)
        found = zip(about, settled, strict=True)
        done = any(before.state not in REFUND_DONE and after.state in REFUND_DONE for before, after in found)
        if certain and (fact.total is not None or not done):
            return True
        done = certain
    else:
        named = fact.provider_refund_id
        its = [r for r in settled if named is None or r.provider_refund_id in (None, named)]
        if about and not its and fact.state == "succeeded":
            return True  # it is about none of them
        outdated = all(isinstance(answer, Declined) for _, answer in answers)  # the provider itself reports this by now
        done = borne_out is None or outdated or not its or any(r.state in borne_out for r in its)
        if fact.state == "unknown":
            done = bool(answers) and not any(isinstance(answer, Unknown) for _, answer in answers)
    if done:
        await finish(practice, event, EventState.applied, "looked_up", payment_id)
    else:
        await wait(practice, event, payment_id, "not_borne_out")
    return False


def _source(answer: Outcome) -> Source:
    """Count an answer that cannot be understood as a lookup, so that its message is stored with the refund."""
    return Source.lookup if is_unclear(answer) else Source.webhook


async def _apply_other_refund(
    practice: Practice, event: WebhookEvent, fact: RefundFact, payment: Payment, attempt: Attempt, also: AddSteps
) -> None:
    """Adopt the provider's own refund, if there is one, for a success that is certainly about no refund made here.

    If the provider cannot be asked, a review case opens.
    """
    tells_all = fact.total is not None or fact.provider_refund_id is not None
    if tells_all and not await apply_refund_fact(practice, payment, attempt, fact, Source.webhook, also):
        return
    handler = await handler_for(practice.context, attempt)
    if fact.amount is None or handler is None or handler.idempotency == "key":
        # A lookup without the refund's id would repeat a request that was never made.
        unit = Unit()
        total = fact.total or fact.amount
        detail = {"event": event.id, "type": event.event_type, "refunded": total.minor if total else None}
        cases.open_case(
            unit,
            new_id(practice.context.world),
            practice.id,
            event.environment,
            cases.NewCase(CaseKind.refund_unclear, event.id, payment.id, detail),
            practice.now(),
        )
        also(unit)
        await practice.db.commit(unit)
        return
    found = await refunding.fetched_refund(practice, payment, attempt, fact)
    if isinstance(found, NotSent) and found.reason is Reason.not_found:
        await finish(practice, event, EventState.applied, "looked_up", payment.id)
    elif isinstance(found, Unknown | NotSent):
        await wait(practice, event, payment.id, found.reason.value)
    elif not await in_other_currency(practice, event, payment, found):
        await apply_to_the_end(practice, payment, attempt, found, Source.webhook, also)
