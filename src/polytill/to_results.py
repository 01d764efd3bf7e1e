"""Stored values as the results that the library returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from polytill.domain.money import Money
from polytill.flows.context import Context, Practice, Snapshot
from polytill.flows.next_action import open_action
from polytill.flows.payments.available import Available
from polytill.flows.payments.create import client_token
from polytill.flows.payments.public_keys import public_key_of
from polytill.flows.payments.reading import PaymentDetails, current_attempt
from polytill.flows.provider_calls import hook_url
from polytill.providers.contract import Customer
from polytill.results import Attempt, AvailableProvider, Event, NextAction, Payment, ProviderConfiguration, Refund
from polytill.results import Practice as PracticeResult
from polytill.storage import events, overview, payments, provider_configs, refunds
from polytill.storage.overview import Sums
from polytill.storage.practices import PracticeEntry


def practice_of(entry: PracticeEntry) -> PracticeResult:
    """A practice of the directory."""
    return PracticeResult(
        id=entry.id,
        name=entry.name,
        currency=entry.default_currency,
        country=entry.country,
        time_zone=entry.time_zone,
        external_id=entry.external_id,
        state=entry.state,
    )


def configuration_of(
    context: Context, snapshot: Snapshot, configuration: provider_configs.Configuration
) -> ProviderConfiguration:
    """A practice's configuration of a provider."""
    own = (configuration.environment, configuration.id)
    defaults = sorted(code for (environment, code), one in snapshot.defaults.items() if (environment, one) == own)
    return ProviderConfiguration(
        provider_code=configuration.provider_code,
        provider_name=configuration.provider_name,
        environment=configuration.environment,
        is_enabled=configuration.is_enabled,
        currencies=tuple(configuration.supported_currencies),
        default_for=tuple(defaults),
        priority=configuration.priority,
        webhook_url=hook_url(context, configuration.hook_token),
    )


def available_of(found: Available) -> AvailableProvider:
    """A provider that supports a currency."""
    entry, support, configuration = found.entry, found.support, found.configuration
    least, most = (None if n is None else Money(n, found.currency) for n in (support.min_amount, support.max_amount))
    return AvailableProvider(
        code=entry.code,
        name=entry.name,
        currency=found.currency,
        payment_methods=tuple(entry.supported_payment_methods or ()),
        features=tuple(entry.supported_features or ()),
        is_recommended=support.is_recommended,
        min_amount=least,
        max_amount=most,
        is_configured=configuration is not None,
        is_enabled=configuration is not None and configuration.is_enabled,
        is_default=found.is_default,
        environment=configuration.environment if configuration else None,
    )


async def payment_of(practice: Practice, found: PaymentDetails) -> Payment:
    """A payment with its attempts and what the customer must do now."""
    books = None
    if len(found.attempts) > 1:  # otherwise its row has the same amounts
        books = (await overview.of_payments(practice.db, [found.payment.id]))[found.payment.id]
    return _payment(
        practice,
        found.payment,
        books,
        await _next_action(practice, found),
        tuple(
            Attempt(one.id, one.provider_code, one.state, one.reason, one.provider_transaction_id, one.created_at)
            for one in found.attempts
        ),
        found.replayed,
    )


async def payments_of(practice: Practice, rows: Sequence[payments.Payment]) -> tuple[Payment, ...]:
    """Payments of a list."""
    books = await overview.of_payments(practice.db, [row.id for row in rows])
    return tuple(_payment(practice, row, books[row.id]) for row in rows)


def _payment(
    practice: Practice,
    row: payments.Payment,
    books: Mapping[str, Sums] | None,
    action: NextAction | None = None,
    attempts: tuple[Attempt, ...] = (),
    is_repeat: bool = False,
) -> Payment:
    def money(minor: int) -> Money:
        return Money(minor, row.currency)

    own = None if books is None else books.get(row.currency, Sums())
    return Payment(
        id=row.id,
        number=row.number,
        practice_id=row.practice_id,
        environment=row.environment,
        status=row.status,
        amount=money(row.amount),
        authorized=money(row.amount_authorized),
        captured=money(row.amount_captured),
        refunded=money(row.amount_refunded + row.duplicate_refunded if own is None else own.refunded),
        refund_pending=money(row.refund_reserved),
        disputed=money(row.amount_disputed),
        fees=_fees(row, books),
        customer=Customer(row.customer_email, row.customer_name, row.customer_phone),
        description=row.description,
        reference=row.reference,
        metadata=dict(row.metadata or {}),
        provider_code=row.provider_code,
        provider_transaction_id=row.provider_transaction_id,
        failure_reason=row.failure_reason,
        cancel_reason=row.cancel_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        checkout_url=f"{practice.context.settings.public_url}/pay/{client_token(practice.context, row)}",
        next_action=action,
        attempts=attempts,
        is_repeat=is_repeat,
    )


def _fees(row: payments.Payment, books: Mapping[str, Sums] | None) -> tuple[Money, ...]:
    if books is None:
        fees = {row.provider_fee_currency: row.provider_fee or 0}
    else:
        fees = {currency: sums.fees for currency, sums in sorted(books.items())}
    return tuple(Money(fee, currency) for currency, fee in fees.items() if currency and fee)


async def _next_action(practice: Practice, found: PaymentDetails) -> NextAction | None:
    if found.payment.status.value not in ("requires_action", "processing") or not found.attempts:
        return None
    action = open_action(practice.db, current_attempt(found.payment, found.attempts))
    if action is None:
        return None
    return NextAction(
        kind=action.kind,
        url=action.url,
        provider_token=action.provider_token,
        public_key=await public_key_of(practice, found) if action.provider_token else None,
        instructions=action.instructions,
        offline=action.offline,
        wants=action.wants,
    )


def refund_of(row: refunds.Refund, is_repeat: bool) -> Refund:
    """A refund."""
    return Refund(
        id=row.id,
        payment_id=row.payment_id,
        environment=row.environment,
        state=row.state,
        amount=Money(row.amount, row.currency),
        reason=row.reason,
        failure_reason=row.failure_reason,
        provider_refund_id=row.provider_refund_id,
        created_at=row.created_at,
        is_repeat=is_repeat,
    )


def event_of(row: events.Event) -> Event:
    """An event of the feed."""
    return Event(
        id=row.event_id,
        cursor=row.position,
        type=row.type,
        practice_id=row.practice_id,
        environment=row.environment,
        created_at=row.created_at,
        data=row.data,
    )
