"""Deliberate bugs, each one that a payment system has really had: the simulation must find every one of them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from polytill.domain.errors import Duplicate
from polytill.domain.ids import new_id
from polytill.domain.states import ATTEMPT_NEXT, REFUND_NEXT, AttemptState, PaymentStatus, RefundState
from polytill.flows import provider_calls
from polytill.flows.context import Practice
from polytill.flows.payments import create as create_payments
from polytill.flows.payments import decide as payments_decide
from polytill.flows.payments import settle
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.reconciliation import payments as compare_payments
from polytill.flows.recovery import lookup
from polytill.flows.refunds import create as create_refunds
from polytill.flows.refunds import settle as settle_refunds
from polytill.flows.refunds import write as refunds_write
from polytill.flows.webhooks import read, receive
from polytill.flows.webhooks import refunds as webhook_refunds
from polytill.providers.contract import PaymentFact
from polytill.providers.outcomes import Declined, NeedsAction, Outcome, Reason, Succeeded, Unknown
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.stripe.handler import StripeProvider
from polytill.storage import attempts, ledger, operations, payments, refunds, webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.units import Unit
from simulation import planted_at_edges, planted_at_providers, planted_by_staff
from simulation.planting import BUGS, Swap, bug

__all__ = [
    "BUGS",
    "planted_at_edges",
    "planted_at_providers",
    "planted_by_staff",
]  # all of them, once this module is imported

# ── Around the call ──

_late: ContextVar[list[Any] | None] = ContextVar("late", default=None)


@bug
def attempt_written_after_the_call() -> list[Swap]:
    """The row is written after the call: a crash in between leaves money without a row."""
    commit, start, create = PracticeDb.commit, create_payments.start, create_payments.create_payment

    async def keep_back(self: PracticeDb, unit: Any) -> list[int]:
        if any(step.sql.startswith("INSERT INTO payments ") for step in unit.steps):
            _late.set(unit.take())
            return []
        return await commit(self, unit)

    async def call_first(practice: Practice, *rest: Any) -> Outcome:
        outcome = await start(practice, *rest)
        if steps := _late.get():
            write = practice.db.engine.commit
            await write(steps)
            _late.set(None)
        return outcome

    async def one_payment(context: Any, practice_id: int, request: Any, command: Any) -> Any:
        try:
            return await create(context, practice_id, request, command)
        except Duplicate:  # found only after the call
            practice = await context.practice(practice_id)
            known = await payments.by_key(practice.db, command.key)
            assert known is not None
            return PaymentDetails(known, await attempts.of_payment(practice.db, known.id), replayed=True)

    return [
        (PracticeDb, "commit", keep_back),
        (create_payments, "start", call_first),
        (create_payments, "create_payment", one_payment),
    ]


@bug
def payment_repeated_after_unknown() -> list[Swap]:
    """A lost answer causes another attempt under a new reference at once."""
    start = create_payments.start

    async def again(practice: Practice, merchant: Any, payment: Any, attempt: Any, configuration: Any) -> Outcome:
        outcome = await start(practice, merchant, payment, attempt, configuration)
        if isinstance(outcome, Unknown):
            fresh = replace(attempt, id=new_id(practice.context.world))
            outcome = await start(practice, merchant, payment, fresh, configuration)
        return outcome

    return [(create_payments, "start", again)]


@bug
def failed_without_proof() -> list[Swap]:
    """A lost answer counts as a decline."""
    start = create_payments.start

    async def gives_up(*args: Any) -> Outcome:
        outcome = await start(*args)
        return Declined(Reason.declined, True, "gave_up") if isinstance(outcome, Unknown) else outcome

    return [(create_payments, "start", gives_up)]


@bug
def failover_while_a_link_lives() -> list[Swap]:
    """The next provider is called although the customer can still pay at the first."""
    may, decide = create_payments._may_fail_over, payments_decide.decide

    def goes_on(payment: Any, attempt: Any, outcome: Outcome, successor: Any = None) -> Any:
        verdict = decide(payment, attempt, outcome, successor)
        verdict.uses_successor |= successor is not None and isinstance(outcome, NeedsAction)
        return verdict

    return [
        (create_payments, "_may_fail_over", lambda outcome: may(outcome) or isinstance(outcome, NeedsAction)),
        (settle, "decide", goes_on),
    ]


@bug
def idempotency_key_ignored() -> list[Swap]:
    """Every request creates a payment."""
    create = create_payments.create_payment

    async def always_new(context: Any, practice_id: int, request: Any, command: Any) -> Any:
        key = f"{command.key}-{context.world.random_bytes(4).hex()}"
        return await create(context, practice_id, request, replace(command, key=key))

    return [(create_payments, "create_payment", always_new)]


@bug
def lease_not_written() -> list[Swap]:
    """A payment in a practice that no worker will ever visit."""

    async def nothing(*args: Any) -> None:
        return None

    return [(create_payments, "may_begin", nothing)]


# ── Refunds ──


@bug
def refund_without_reservation() -> list[Swap]:
    """Nothing reserves the amount while the refund is pending."""
    return [(payments, "reserve_refund", lambda *args: None)]


@bug
def refund_repeated_after_unknown() -> list[Swap]:
    """A lost answer to a refund causes another refund."""
    call_for = provider_calls.call_for

    async def again(practice: Practice, attempt: Any, verb: str, params: Any) -> Outcome:
        outcome = await call_for(practice, attempt, verb, params)
        if verb == "refund_payment" and isinstance(outcome, Unknown):
            fresh = replace(params, reference=new_id(practice.context.world))
            outcome = await call_for(practice, attempt, verb, fresh)
        return outcome

    return [(create_refunds, "call_for", again)]


@bug
def early_not_found_believed() -> list[Swap]:
    """A refund that is not found at once counts as not sent, although the call may still be running."""
    return [(create_refunds, "_interpreted", lambda outcome, is_late, repeated: outcome)]


@bug
def refund_failure_not_given_back() -> list[Swap]:
    """A refund that fails after its success stays a success."""
    decide = refunds_write.decide_refund

    def final(held: Any, outcome: Outcome) -> Any:
        return None if held.state is RefundState.succeeded else decide(held, outcome)

    return [(settle_refunds, "decide_refund", final)]


@bug
def refund_lookups_forgotten() -> list[Swap]:
    """No lookup resolves a refund with an unknown outcome."""
    return [(refunds, "overdue", _nothing_due)]


async def _nothing_due(*args: Any, **named: Any) -> list[Any]:
    return []


# ── Settling ──


@bug
def out_of_order_regress() -> list[Swap]:
    """An older webhook reverses a success."""
    attempt = frozenset({AttemptState.needs_action, AttemptState.pending})
    return [
        (ATTEMPT_NEXT, AttemptState.succeeded, attempt),
        (REFUND_NEXT, RefundState.succeeded, REFUND_NEXT[RefundState.succeeded] | {RefundState.pending}),
    ]


@bug
def other_amount_booked() -> list[Swap]:
    """Any paid amount counts as the payment."""
    return [(payments_decide, "_fits", lambda *args: True)]


@bug
def second_success_dropped() -> list[Swap]:
    """The customer paid twice, and nobody learns of it."""
    succeeded = payments_decide._succeeded

    def only_first(payment: Any, attempt: Any, outcome: Any) -> Any:
        verdict = succeeded(payment, attempt, outcome)
        return payments_decide.Verdict() if any(case.kind == "duplicate_payment" for case in verdict.cases) else verdict

    return [(payments_decide, "_succeeded", only_first)]


@bug
def late_success_ignored() -> list[Swap]:
    """A canceled payment stays canceled, even if it was paid."""
    decide = payments_decide.decide

    def final(payment: Any, attempt: Any, outcome: Outcome, *rest: Any) -> Any:
        if payment.status is PaymentStatus.canceled and isinstance(outcome, Succeeded):
            return payments_decide.Verdict()
        return decide(payment, attempt, outcome, *rest)

    return [(settle, "decide", final)]


@bug
def no_compare_and_set() -> list[Swap]:
    """The last writer wins, whatever it read."""

    def blind(write: Any, condition: str) -> Any:
        def written(unit: Any, *rest: Any, **named: Any) -> None:
            write(unit, *rest, **named)
            step = unit.steps[-1]
            unit.steps[-1] = step._replace(sql=step.sql.replace(condition, ""), expect=None)

        return written

    return [
        (payments, "change", blind(payments.change, " AND status = $2")),
        (attempts, "change", blind(attempts.change, " AND state = $2")),
    ]


@bug
def fee_not_booked() -> list[Swap]:
    """The ledger lacks the provider's fee."""
    book = ledger.book

    def without_fees(unit: Any, *rest: Any) -> None:
        if not any(getattr(part, "fact", None) == "fee" for part in rest):
            book(unit, *rest)

    return [(ledger, "book", without_fees)]


# ── Webhooks ──


@bug
def dedupe_by_object() -> list[Swap]:
    """One webhook per object: its later state is dropped as a duplicate."""
    read_event = read.event_of

    def by_object(*args: Any) -> Any:
        event, result = read_event(*args)
        for fact in result.facts:
            names = ("provider_refund_id", "provider_dispute_id", "provider_transaction_id")
            event.dedupe_key = next((str(v) for name in names if (v := getattr(fact, name, None))), event.dedupe_key)
        return event, result

    return [(receive, "event_of", by_object)]


@bug
def sandbox_counted_as_live() -> list[Swap]:
    """A test card pays a production payment."""
    apply = receive._apply

    async def blind(practice: Practice, configuration: Any, event: Any, result: Any) -> None:
        event.environment = configuration.environment
        await apply(practice, configuration, event, replace(result, environment=None))

    return [(receive, "_apply", blind)]


@bug
def hints_believed() -> list[Swap]:
    """The content of an unsigned webhook is booked without a lookup."""
    apply = receive._apply

    async def trusting(practice: Practice, configuration: Any, event: Any, result: Any) -> None:
        of_payments = all(isinstance(fact, PaymentFact) for fact in result.facts)
        await apply(practice, configuration, event, replace(result, must_fetch=result.must_fetch and not of_payments))

    return [(receive, "_apply", trusting)]


@bug
def deliveries_of_others_applied() -> list[Swap]:
    """Signatures are not checked: strangers and other practices can send any content."""
    return [(cls, "validate_webhook", lambda self, headers, body: True) for cls in (PaystackProvider, StripeProvider)]


@bug
def settled_in_another_practice() -> list[Swap]:
    """A webhook is verified for one practice, and applied in the open database of another."""
    apply = receive._apply

    async def elsewhere(practice: Practice, *rest: Any) -> None:
        others = [number for number in practice.context.opening.opened() if number != practice.id]
        await apply(await practice.context.practice(others[0]) if others else practice, *rest)

    return [(receive, "_apply", elsewhere)]


@bug
def stored_deliveries_forgotten() -> list[Swap]:
    """A webhook whose process crashed before it was applied is never processed."""
    return [(webhook_events, "waiting", _nothing_due), (webhook_events, "by_dedupe_key", _no_row)]


async def _no_row(*args: Any) -> None:
    return None


@bug
def dashboard_refund_ignored() -> list[Swap]:
    """A refund from the provider's dashboard is ignored."""
    apply = settle_refunds.apply_refund_fact

    async def only_ours(practice: Practice, payment: Any, attempt: Any, fact: Any, source: Any, also: Any) -> Any:
        known = await refunds.of_payment(practice.db, payment.id)
        if fact.amount is None or not settle_refunds._matching(known, attempt, fact):
            unit = Unit()
            also(unit)
            await practice.db.commit(unit)
            return []
        return await apply(practice, payment, attempt, fact, source, also)

    return [(webhook_refunds, "apply_refund_fact", only_ours)]


# ── Lookups ──


@bug
def provider_key_for_every_call() -> list[Swap]:
    """A lookup that repeats the call uses another key: the provider makes a second payment."""
    params = create_payments.create_params

    def under_another(context: Any, *rest: Any) -> Any:
        return replace(params(context, *rest), reference=new_id(context.world))

    return [(lookup, "create_params", under_another)]


@bug
def crash_loses_the_attempt() -> list[Swap]:
    """An attempt whose process crashed during its call is never looked up."""
    overdue = attempts.overdue

    async def without_sent(*args: Any) -> list[Any]:
        return [attempt for attempt in await overdue(*args) if attempt.state is not AttemptState.sent]

    return [(attempts, "overdue", without_sent), (lookup, "_worth_looking_up", _not_sent(lookup._worth_looking_up))]


def _not_sent(worth: Any) -> Any:
    return lambda context, payment, attempt: attempt.state is not AttemptState.sent and worth(context, payment, attempt)


@bug
def operation_lookups_forgotten() -> list[Swap]:
    """No lookup resolves a capture or a cancel with an unknown outcome."""
    return [(operations, "overdue", _nothing_due)]


@bug
def old_keys_only() -> list[Swap]:
    """After a rotation, lookups of older payments use keys that have ended."""
    call_with = provider_calls.call_with

    async def with_its_own(practice: Practice, configuration: Any, attempt: Any, *rest: Any) -> Outcome:
        only = configuration.credentials(attempt.credential_version) or configuration.active
        return await call_with(practice, replace(configuration, active=only, others=[]), attempt, *rest)

    return [(provider_calls, "call_with", with_its_own)]


@bug
def newest_keys_only() -> list[Swap]:
    """Lookups of payments in an account that the practice has left use its new account."""
    call_with = provider_calls.call_with

    async def with_the_newest(practice: Practice, configuration: Any, attempt: Any, *rest: Any) -> Outcome:
        newest = configuration.newest(attempt.environment)
        attempt = replace(attempt, credential_version=newest.version)
        return await call_with(practice, replace(configuration, active=newest, others=[]), attempt, *rest)

    return [(provider_calls, "call_with", with_the_newest)]


@bug
def comparison_without_disputes() -> list[Swap]:
    """A dispute whose webhook was lost is never found."""

    async def compared(*_: Any) -> bool:
        return True

    return [(compare_payments, "reconcile_disputes", compared)]


@bug
def refunds_never_asked_again() -> list[Swap]:
    """A refund reversal without a webhook, after its window was reconciled, is never found."""

    async def asked(*_: Any) -> None:
        return None

    return [(compare_payments, "look_up_missing", asked)]
