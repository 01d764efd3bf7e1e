"""Creates payments: choose a provider, store the attempt, call, settle. Two short transactions and one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Duplicate, FieldError, InstallationCopied, Invalid, PracticeBehind, Stale, invalid
from polytill.domain.identifiers import new_number
from polytill.domain.ids import address, new_id
from polytill.domain.metadata import read_metadata
from polytill.domain.money import Money
from polytill.domain.sources import Source
from polytill.domain.states import AttemptState, CaptureMode, Environment, PaymentStatus
from polytill.domain.values import with_changes
from polytill.flows import pool_exchange
from polytill.flows.command import Command
from polytill.flows.commits import until_committed
from polytill.flows.context import CHECKED_TTL_S, Context, Practice, Snapshot
from polytill.flows.finding import ExtraSteps, Finding
from polytill.flows.identifiers import named_by_outcome
from polytill.flows.lease import may_begin
from polytill.flows.payments import customers, decisions, saved_methods
from polytill.flows.payments.choose import ForPayment, choose, traits_for
from polytill.flows.payments.decide import CLOSED_FOR_CERTAIN, closed_state
from polytill.flows.payments.reading import PaymentDetails, details_of
from polytill.flows.payments.request import PaymentRequest, meaning
from polytill.flows.payments.settle import settle
from polytill.flows.practice_state import why_nothing_new
from polytill.flows.provider_calls import build, call
from polytill.flows.provider_health import Holder
from polytill.flows.routing.decision import Decision
from polytill.flows.routing.eligibility import Wanted
from polytill.flows.routing.facts import draw_of
from polytill.flows.routing.health import technical
from polytill.flows.schedule import after_sent
from polytill.providers.contract import CreatePaymentParams, Customer
from polytill.providers.outcomes import Declined, NotSent, Outcome
from polytill.storage import anchors, audit, payment_search, payments, provider_configs
from polytill.storage import attempts as storage_attempts
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Account, Configuration
from polytill.storage.units import Unit

MAX_ATTEMPTS = 10
TRIES = 4
# The version of the create call, stored with the attempt, so that a later version repeats the call byte for byte. From
# 1 on, the call sends the provider the merchant's reference, or else the payment's number.
WIRE_FORMAT = 1
CLIENT_TOKEN = b"client token"


Also = Callable[[Unit, Payment], None]  # further steps of the unit that creates a payment


def refused(found: Decision, currency: str) -> Invalid:
    """A 422 that gives the reason why each provider is excluded."""
    errors = [out.error for out in found.excluded]
    return Invalid(
        errors or [FieldError("/currency", "This practice has no payment provider configured.")],
        found.reason,
        code="no_provider_for_currency",
    )


# ── Create ──


async def create_payment(
    context: Context, practice_id: int, request: PaymentRequest, command: Command, also: Also | None = None
) -> PaymentDetails:
    """Create a payment. A repeat under the same key always returns the same payment; another request is a conflict."""
    # Of what was given, not of its normal form: the practice's country decides that one, and can change before a repeat.
    command = command.about("payment", meaning(request))
    with context.provider_health.holding(practice_id, command.key) as holder:
        decide = partial(_create, context, holder, request, command, also)
        return await until_committed(decide, (_NotWritten,), TRIES)


async def _of_saved_method(db: PracticeDb, request: PaymentRequest, key: str) -> PaymentRequest:
    """Bind a payment that charges a saved method to the method's provider, environment and e-mail."""
    if request.saved_method is None:
        return request
    known = await payments.by_key(db, key)
    if known is not None:  # a repeat returns the same payment, even if its method was removed meanwhile
        return request
    if request.capture is CaptureMode.manual:
        raise invalid("/capture", "A saved method is charged at once; nothing can be held.")
    kept = await saved_methods.wanted(db, request.saved_method, request.customer.email)
    if request.environment not in (None, kept.environment) or request.provider_code not in (None, kept.provider_code):
        raise invalid("/savedMethod", f"This method was saved at {kept.provider_code}, in {kept.environment}.")
    return replace(
        request,
        customer=replace(request.customer, email=kept.customer_email),
        environment=kept.environment,
        provider_code=kept.provider_code,
    )


def _wanted(request: PaymentRequest) -> Wanted:
    saves = "/savedMethod" if request.saved_method else "/saveMethod" if request.save_method else None
    return Wanted(
        request.amount.currency,
        request.amount.minor,
        request.payment_method,
        request.capture,
        customers.given(request.customer, request.method_details),
        request.environment,
        request.provider_code,
        saves,
        request.method_details,
        customers.charged_phone(request.customer, request.method_details, request.amount.currency),
    )


async def _read(practice: Practice, snapshot: Snapshot, request: PaymentRequest, key: str) -> PaymentRequest:
    """The request in normal form. ``Invalid`` with a pointer for every invalid field."""
    countries = customers.countries_of(snapshot.place, request.amount.currency)
    request = with_changes(
        request,
        customer=customers.read_customer(request.customer, countries),
        description=customers.unless_blank(request.description),
        reference=customers.unless_blank(request.reference),
        metadata=read_metadata(request.metadata),
        method_details=customers.read_details(request.method_details, countries),
    )
    return await _of_saved_method(practice.db, request, key)


class _NotWritten(Exception):
    """The snapshot that decided the route is out of date, or another payment has the generated number."""


async def _create(
    context: Context, holder: Holder, request: PaymentRequest, command: Command, also: Also | None
) -> PaymentDetails:
    practice_id = holder[0]
    entry = await context.opening.entry(practice_id)
    practice = await context.practice(practice_id)
    snapshot = await context.configured(practice.db, CHECKED_TTL_S)
    try:
        request = await _read(practice, snapshot, request, command.key)
    except Invalid:
        if (repeated := await _repeated(practice, command)) is not None:  # it always gets the same answer
            return repeated
        raise
    wanted = _wanted(request)
    traits = await traits_for(practice, snapshot, wanted, request.customer, request.metadata)
    this = ForPayment(draw_of(practice_id, command.key), traits, holder)
    found = await choose(context, snapshot, wanted, this)
    if not found.ranked:
        snapshot = await context.configured(practice.db)  # no request is rejected because of an old snapshot
        found = await choose(context, snapshot, wanted, this)
    refusal = why_nothing_new(entry)
    if not found.ranked or refusal is not None:
        if (repeated := await _repeated(practice, command)) is not None:
            return repeated
        if refusal is not None:
            raise refusal
        raise refused(found, request.amount.currency)
    if (repeated := await _unless_current(practice, found.candidates[0].environment, command)) is not None:
        return repeated
    now = context.world.now()
    by_code = snapshot.configurations
    payment = _new_payment(context, practice_id, request, found.candidates[0].environment, now, command)
    attempt = new_attempt(context, payment, by_code[found.ranked[0].code], 1, now)
    payment.provider_code = attempt.provider_code
    unit = Unit()
    anchors.hold(unit, practice.db.anchor)
    provider_configs.unchanged(unit, snapshot.revision)
    payments.insert(unit, payment)
    storage_attempts.insert(unit, attempt)
    payment_search.insert(unit, payment_search.row_of(payment))
    if context.use_is_news(practice_id, attempt.config_id):
        provider_configs.touch(unit, attempt.config_id, now)
    audit.append(unit, now, command.actor, AuditAction.payment_created, payment.id, decisions.stored(found))
    if also is not None:
        also(unit, payment)
    try:
        await practice.db.commit(unit)
    except Stale:  # the configurations have changed, or the database was replaced by an older one
        context.forget(practice_id)
        raise _NotWritten from None
    except Duplicate:
        if (repeated := await _repeated(practice, command)) is None:
            context.numbers.taken(practice_id)
            raise _NotWritten from None
        return repeated
    # The payment now exists: the rest runs to its end even if the caller disconnects.
    ranked = [by_code[one.code] for one in found.ranked]
    return await asyncio.shield(attempt_in_turn(practice, entry.name, payment, attempt, ranked))


async def attempt_in_turn(
    practice: Practice, merchant: str, payment: Payment, attempt: Attempt, ranked: list[Configuration]
) -> PaymentDetails:
    """Call for a stored attempt at the first of ``ranked``; continue with the next if the attempt is closed for certain
    and its successor is stored."""
    attempts, named = [attempt], {}
    for number, configuration in enumerate(ranked, 1):
        outcome = await _observed(
            practice, payment, attempt, start(practice, merchant, payment, attempt, configuration)
        )
        named[attempt.id] = names = await named_by_outcome(practice.context, attempt, outcome)
        successor = None
        if number < len(ranked) and _may_fail_over(outcome):
            successor = new_attempt(practice.context, payment, ranked[number], attempt.number + 1, practice.now())
        steps = ExtraSteps(successor=successor)
        finding = Finding(outcome, Source.answer, named=names)
        payment, attempts[-1] = await settle(practice, payment, attempt, finding, steps)
        if successor is None:
            break
        if await storage_attempts.by_id(practice.db, successor.id) is None:
            # Another task has moved this attempt during its call. No provider is called for a successor that is not
            # stored.
            return await details_of(practice.db, payment)
        attempt = successor
        attempts.append(attempt)
    return PaymentDetails(payment, attempts, identifiers=named)


async def _observed(practice: Practice, payment: Payment, attempt: Attempt, call: Awaitable[Outcome]) -> Outcome:
    """The outcome of a call, which counts for the health of its provider."""
    health, holder = practice.context.provider_health, (practice.id, payment.idempotency_key)
    key = attempt.provider_code, attempt.environment.value
    health.call(key, holder)
    failed = None
    try:
        outcome = await call
        failed = technical(outcome)
        return outcome
    finally:
        if failed is None:
            health.unobserved(key, holder)
        else:
            by = pool_exchange.witness_of(practice.context, practice.id)
            health.observe(key, holder, failed, practice.context.shared_after(0), by)


def _may_fail_over(outcome: Outcome) -> bool:
    # Only if the earlier attempt is closed for certain: no payer can have a link to it.
    match outcome:
        case NotSent() | Declined(final=True):
            return closed_state(outcome) in CLOSED_FOR_CERTAIN
        case _:
            return False


async def start(
    practice: Practice, merchant: str, payment: Payment, attempt: Attempt, configuration: Configuration
) -> Outcome:
    """Call the provider for a stored attempt."""
    catalog = await practice.context.catalog()
    credentials = configuration.credentials(attempt.credential_version)
    assert credentials is not None
    handler = build(practice, catalog[attempt.provider_code], Account(configuration, credentials))
    if isinstance(handler, NotSent):
        return handler
    if payment.saved_method_id is None:
        params_of_create = create_params(practice.context, merchant, payment, attempt)
        return await call(practice, handler, "create_payment_intent", params_of_create)
    params = await saved_methods.charge_params(practice.db, payment, attempt)
    if isinstance(params, NotSent):
        return params
    return await call(
        practice, handler, "charge_saved_method", replace(params, return_url=return_address(practice.context, payment))
    )


def create_params(context: Context, merchant: str, payment: Payment, attempt: Attempt) -> CreatePaymentParams:
    """The create call of an attempt. Built from rows alone, so that a lookup can repeat it byte for byte."""
    return CreatePaymentParams(
        reference=attempt.id,
        payment_id=payment.id,
        amount=Money(attempt.amount, attempt.currency),
        customer=Customer(payment.customer_email, payment.customer_name, payment.customer_phone),
        return_url=return_address(context, payment),
        method=payment.payment_method,
        capture=payment.capture_mode,
        description=payment.description,
        metadata=payment.metadata or {},
        merchant_name=merchant,
        expires_in_s=int((payment.expires_at - attempt.created_at).total_seconds()) if payment.expires_at else None,
        method_details=payment.method_details,
        save_method=payment.save_method,
        merchant_reference=saved_methods.merchant_reference(payment, attempt),
        number=payment.number if attempt.wire_format else None,
    )


def client_token(context: Context, payment: Payment) -> str:
    """The payer's token for one payment. A key authenticates it, so nothing needs to be stored."""
    return _client_token(payment.practice_id, payment.id, context.ring.derived("addresses")[0])


@lru_cache(maxsize=1024)  # a payment needs its token for the return address and again for the response
def _client_token(practice_id: int, payment_id: str, key: bytes) -> str:
    return address(CLIENT_TOKEN, practice_id, payment_id.encode(), key)


def return_address(context: Context, payment: Payment) -> str:
    """Where the provider sends the payer afterwards: our own page, which triggers a lookup at once."""
    return f"{context.settings.public_url}/pay/{client_token(context, payment)}/return"


async def _unless_current(practice: Practice, environment: Environment, command: Command) -> PaymentDetails | None:
    """The payment that was made under this key, if no new one may begin: ``PracticeBehind`` or ``InstallationCopied`` if the
    database knows none."""
    try:
        await may_begin(practice.context, practice.id, environment)
    except (PracticeBehind, InstallationCopied):
        if (repeated := await _repeated(practice, command)) is None:
            raise
        return repeated
    return None


async def _repeated(practice: Practice, command: Command) -> PaymentDetails | None:
    """The payment that was made under this idempotency key; None if there is none."""
    payment = await payments.by_key(practice.db, command.key)
    if payment is None:
        return None
    command.check_repeat(payment.fingerprint, practice.db.data_key.keyed_hash)
    return PaymentDetails(payment, await storage_attempts.of_payment(practice.db, payment.id), replayed=True)


def _new_payment(
    context: Context,
    practice_id: int,
    request: PaymentRequest,
    environment: Environment,
    now: datetime,
    command: Command,
) -> Payment:
    return Payment(
        id=new_id(context.world),
        practice_id=practice_id,
        environment=environment,
        status=PaymentStatus.processing,
        amount=request.amount.minor,
        currency=request.amount.currency,
        payment_method=request.payment_method,
        capture_mode=request.capture,
        customer_email=request.customer.email,
        customer_name=request.customer.name,
        customer_phone=request.customer.phone,
        description=request.description,
        reference=request.reference,
        metadata=request.metadata,
        return_url=request.return_url,
        pinned_provider=request.provider_code is not None,
        idempotency_key=command.key,
        fingerprint=command.fingerprint,
        created_by=command.actor,
        expires_at=request.expires_at or now + timedelta(seconds=context.settings.payment_expires_s),
        created_at=now,
        updated_at=now,
        save_method=request.save_method,
        saved_method_id=request.saved_method,
        method_details=request.method_details,
        number=new_number(context.world, context.numbers.digits(practice_id)),
    )


def new_attempt(
    context: Context, payment: Payment, configuration: Configuration, number: int, now: datetime
) -> Attempt:
    """A new attempt, not stored yet."""
    return Attempt(
        id=new_id(context.world),
        payment_id=payment.id,
        practice_id=payment.practice_id,
        environment=payment.environment,
        number=number,
        provider_code=configuration.provider_code,
        config_id=configuration.id,
        credential_version=configuration.active.version,
        state=AttemptState.sent,
        amount=payment.amount,
        currency=payment.currency,
        created_at=now,
        updated_at=now,
        next_lookup_at=after_sent(now, context.settings.provider_timeout_s),
        wire_format=WIRE_FORMAT,
    )


def successor_of(context: Context, payment: Payment, attempt: Attempt, attempts: int) -> Attempt | None:
    """A further attempt at the same provider under a new reference; None after too many, or after the expiry."""
    now = context.world.now()
    if attempts >= MAX_ATTEMPTS or (payment.expires_at is not None and now >= payment.expires_at):
        return None
    return replace(
        attempt,
        id=new_id(context.world),
        number=attempts + 1,
        state=AttemptState.sent,
        created_at=now,
        updated_at=now,
        provider_transaction_id=None,
        reason=None,
        raw_code=None,
        detail=None,
        next_action=None,
        lookups=0,
        next_lookup_at=after_sent(now, context.settings.provider_timeout_s),
        wire_format=WIRE_FORMAT,
    )
