"""What a customer can do with a payment: pay it, return from the provider, and try again if that is safe.

It is safe if nobody can still pay an earlier attempt: a payment never has two payable links. While a link stays payable
(declined, not final), a retry uses that same link. A new attempt is created only after every earlier one was finally
declined or never reached the provider. An expired or canceled attempt may still be payable at a provider that cannot
close links, so there the customer needs a new payment.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Duplicate, Stale
from polytill.domain.secret import Secret
from polytill.domain.sources import Source
from polytill.domain.states import PaymentStatus, PracticeState
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice
from polytill.flows.handler_guard import declared
from polytill.flows.handlers import handler_or_reason
from polytill.flows.lease import may_begin
from polytill.flows.next_action import open_action
from polytill.flows.payments import customers, decisions
from polytill.flows.payments.choose import ForPayment, choose, traits_for, wanted_of
from polytill.flows.payments.create import MAX_ATTEMPTS, TRIES, attempt_in_turn, new_attempt, refused
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find
from polytill.flows.payments.retries import may_try_again
from polytill.flows.payments.settle import reopen
from polytill.flows.provider_calls import build, public_config
from polytill.flows.provider_health import Holder
from polytill.flows.recovery import lookup
from polytill.flows.routing.eligibility import ways_of
from polytill.flows.routing.facts import draw_of
from polytill.providers.contract import Customer, CustomerFields
from polytill.providers.customer_fields import CUSTOMER_FIELDS, NOTHING
from polytill.providers.outcomes import JsonObject, NextKind, NotSent, Wants
from polytill.storage import anchors, attempts, audit, payment_search, payments, practice_profile, provider_configs
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Account, Configuration
from polytill.storage.units import Unit


@dataclass(frozen=True, slots=True)
class Step:
    """The customer's next step. ``token`` is for the paying browser only; ``public`` is the configuration that it
    needs."""

    kind: str  # a ``NextKind``
    url: str | None = None
    token: Secret | None = None
    instructions: str | None = None
    methods: tuple[str, ...] = ()
    public: JsonObject = field(default_factory=dict)
    wants: Wants | None = None  # the payment input that the customer must type


async def next_step(practice: Practice, found: PaymentDetails) -> Step | None:
    """Return the customer's next step; None if there is none, or if its link or token was lost."""
    if found.payment.status is not PaymentStatus.requires_action:
        return None
    attempt = current_attempt(found.payment, found.attempts)
    action = open_action(practice.db, attempt)
    if action is None:
        return None
    entry = (await practice.context.catalog()).get(attempt.provider_code)
    cls = handler_or_reason(practice.context, entry)[0] if entry else None
    needs_public = action.kind in (NextKind.client_token, NextKind.instructions)
    public = await _public_config(practice, attempt) if needs_public else {}
    methods: tuple[str, ...] = ()
    if cls is not None and entry is not None:
        narrowed = entry.supported_payment_methods
        methods = tuple(
            m for m in declared(cls, "methods_in", tuple, (), attempt.currency) if narrowed is None or m in narrowed
        )
    wanted = found.payment.payment_method
    return Step(
        action.kind.value,
        action.url,
        action.provider_token,
        action.instructions,
        (wanted,) if wanted else methods,
        public,
        action.wants,
    )


async def _public_config(practice: Practice, attempt: Attempt) -> JsonObject:
    """Return the public settings of the account with which the attempt was created, for the browser."""
    entry = (await practice.context.catalog()).get(attempt.provider_code)
    configuration = (await practice.context.configured(practice.db)).configurations.get(attempt.provider_code)
    credentials = configuration.credentials(attempt.credential_version) if configuration else None
    if entry is None or configuration is None or credentials is None:
        return {}
    handler = build(practice, entry, Account(configuration, credentials))
    return {} if isinstance(handler, NotSent) else public_config(handler)


async def customer_returned(context: Context, found: PaymentDetails) -> PaymentDetails:
    """Look up a payment when its customer returns. Above the rate limit, no lookup is made: ``unanswered`` is set."""
    if context.payer_may_ask(found.payment.id):
        return await lookup.confirm(context, found.payment.practice_id, found.payment.id)
    return replace(found, unanswered=True)


async def fields_to_correct(practice: Practice, payment: Payment) -> CustomerFields:
    """Return the fields of a failed payment that its customer may correct before a retry."""
    wanted = replace(wanted_of(payment), customer_fields=None, phone=None)
    found = await choose(
        practice.context, await practice.context.configured(practice.db), wanted, ForPayment(_draw(payment))
    )
    ways = ways_of(found.candidates, payment.payment_method, payment.method_details is not None)
    return ways[0].fields if ways else NOTHING


async def correct(context: Context, practice_id: int, payment_id: str, typed: Customer) -> PaymentDetails:
    """Retry a failed payment with the fields that its customer corrected; blank fields keep their value. ``Invalid`` if
    a field is not valid, or if the provider for the retry needs another one."""
    practice, payment = await find(context, practice_id, payment_id)
    if not may_try_again(context, payment, await attempts.of_payment(practice.db, payment.id)):
        return await details_of(practice.db, payment)
    snapshot = await context.configured(practice.db)
    read = customers.read_customer(typed, customers.countries_of(snapshot.place, payment.currency))
    found = await choose(context, snapshot, wanted_of(_as_corrected(payment, read)), ForPayment(_draw(payment)))
    if not found.ranked:
        raise refused(found, payment.currency)
    return await try_again(context, practice_id, payment_id, read)


async def try_again(
    context: Context, practice_id: int, payment_id: str, corrected: Customer | None = None
) -> PaymentDetails:
    """Start a new attempt at a failed payment, with the fields that the customer ``corrected``. If that is not safe, or
    if another request was first, nothing changes."""
    entry = await context.opening.entry(practice_id)
    if entry.state is not PracticeState.active:
        practice, payment = await find(context, practice_id, payment_id)
        return await details_of(practice.db, payment)
    _, asked = await find(context, practice_id, payment_id)
    with context.provider_health.holding(practice_id, asked.idempotency_key) as holder:
        decide = partial(_reopened, context, holder, payment_id, corrected)
        begun = await until_committed(decide, (Stale, Duplicate), TRIES)
        if isinstance(begun, PaymentDetails):
            return begun
        in_turn = attempt_in_turn(begun.practice, entry.name, begun.payment, begun.attempt, begun.in_turn)
        return await details_of(begun.practice.db, (await asyncio.shield(in_turn)).payment)


class _Reopened(NamedTuple):
    """A payment with its next attempt, which is stored and not sent yet, and the configurations to try in turn."""

    practice: Practice
    payment: Payment
    attempt: Attempt
    in_turn: list[Configuration]


async def _reopened(
    context: Context, holder: Holder, payment_id: str, corrected: Customer | None
) -> _Reopened | PaymentDetails:
    """Store the next attempt at a failed payment. Return the payment as it is if it cannot safely be tried again."""
    practice_id = holder[0]
    practice, payment = await find(context, practice_id, payment_id)
    found = await details_of(practice.db, payment)
    if not may_try_again(context, payment, found.attempts):
        return found
    snapshot = await context.configured(practice.db)
    right = _as_corrected(payment, corrected) if corrected else payment
    wanted = wanted_of(right)
    traits = await traits_for(practice, snapshot, wanted, _customer_of(right), payment.metadata)
    tried = frozenset(attempt.provider_code for attempt in found.attempts)
    if right != payment:
        tried = frozenset()  # a provider that declined the old data may accept the new data
    decided = await choose(context, snapshot, wanted, ForPayment(_draw(payment), traits, holder, tried))
    if not decided.ranked:
        return found
    in_turn = [snapshot.configurations[one.code] for one in decided.ranked]
    await may_begin(context, practice_id, payment.environment)
    attempt = new_attempt(context, payment, in_turn[0], found.attempts[-1].number + 1, context.world.now())
    try:
        await _write_corrected(practice, payment, right)

        def same_routes(unit: Unit) -> None:
            anchors.hold(unit, practice.db.anchor)
            provider_configs.unchanged(unit, snapshot.revision)

        payment = await reopen(practice, right, attempt, Source.customer, decisions.stored(decided), same_routes)
    except (Stale, Duplicate):  # another request was first, or the configurations have changed
        context.forget(practice_id)
        raise
    # The number of attempts is limited for the payment, however many providers are configured.
    return _Reopened(practice, payment, attempt, in_turn[: MAX_ATTEMPTS - len(found.attempts)])


def _draw(payment: Payment) -> int:
    return draw_of(payment.practice_id, payment.idempotency_key)


def _customer_of(payment: Payment) -> Customer:
    return Customer(payment.customer_email, payment.customer_name, payment.customer_phone)


def _as_corrected(payment: Payment, typed: Customer) -> Payment:
    """Return the payment with the fields that its customer typed; a blank field keeps its value. A typed phone number
    is the one that is charged: it replaces the phone in the details of a direct charge."""
    details = payment.method_details
    if details and typed.phone:
        details = {name: value for name, value in details.items() if name != "phone"}
    return replace(
        payment,
        customer_email=typed.email or payment.customer_email,
        customer_name=typed.name or payment.customer_name,
        customer_phone=typed.phone or payment.customer_phone,
        method_details=details,
    )


async def _write_corrected(practice: Practice, payment: Payment, right: Payment) -> None:
    """Write the fields that the customer of a failed payment corrected. This is a unit of its own, because one
    statement of PostgreSQL changes a row once. The audit log names the fields, not their values."""
    if right == payment:
        return
    unit = Unit()
    payments.set_customer(unit, right)
    payment_search.rewrite(unit, payment_search.row_of(right))
    before, after = _customer_of(payment), _customer_of(right)
    changed = [name for name in CUSTOMER_FIELDS if getattr(after, name) != getattr(before, name)]
    if right.method_details != payment.method_details and "phone" not in changed:
        changed.append("phone")
    audit.append(
        unit, practice.now(), Source.customer, AuditAction.payment_customer_corrected, payment.id, {"fields": changed}
    )
    await practice.db.commit(unit)


async def set_color(context: Context, practice_id: int, color: str | None, actor: str) -> None:
    """Set the practice's checkout color, ``#rrggbb``; None restores the default."""
    practice = await context.practice(practice_id)
    now = context.world.now()
    unit = Unit()
    practice_profile.set_checkout_color(unit, practice_id, color, now)
    audit.append(unit, now, actor, AuditAction.practice_checkout_color, str(practice_id), {"color": color})
    await practice.db.commit(unit)
