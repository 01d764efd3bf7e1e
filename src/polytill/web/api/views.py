"""JSON of stored records: one function for each noun, camelCase names, money in minor units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from polytill.domain.clock import wire_time
from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.domain.money import ppm_to_percent
from polytill.flows.context import Practice
from polytill.flows.next_action import open_action
from polytill.flows.payments.create import PaymentDetails, client_token, current_attempt
from polytill.storage import overview
from polytill.storage.attempts import Attempt
from polytill.storage.catalog import CurrencySupport, ProviderEntry
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.overview import Sums
from polytill.storage.payments import Payment
from polytill.storage.practices import PracticeEntry
from polytill.storage.provider_configs import Configuration
from polytill.storage.refunds import Operation, Refund
from polytill.storage.saved_methods import StoredMethod
from polytill.web.api.dispute_shapes import dispute_view
from polytill.web.api.operation_shapes import operation_view
from polytill.web.api.saved_method_shapes import saved_method_view
from polytill.web.code_by import code_by

_encode = msgspec.json.Encoder().encode


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A finished JSON response, which skips the response model."""
    return Response(_encode(body), status, headers, "application/json")


def provider_view(entry: ProviderEntry) -> dict[str, Any]:
    """A catalog entry with all fields of the seed."""
    return {
        "id": entry.id, "code": entry.code, "name": entry.name, "description": entry.description,
        "logoUrl": entry.logo_url, "websiteUrl": entry.website_url, "documentationUrl": entry.documentation_url,
        "apiBaseUrl": entry.api_base_url, "sandboxApiBaseUrl": entry.sandbox_api_base_url,
        "supportedCurrencies": entry.supported_currencies,
        "supportedPaymentMethods": entry.supported_payment_methods or [],
        "supportedFeatures": entry.supported_features or [], "requiresPublicKey": entry.requires_public_key,
        "requiresSecretKey": entry.requires_secret_key, "requiresWebhookSecret": entry.requires_webhook_secret,
        "configSchema": entry.config_schema, "status": entry.status, "isDefault": entry.is_default,
        "priority": entry.priority, "integrationType": entry.integration_type, "handlerModule": entry.handler_module,
        "createdAt": wire_time(entry.created_at), "updatedAt": wire_time(entry.updated_at),
        "createdBy": entry.created_by,
    }  # fmt: skip


def currency_view(support: CurrencySupport) -> dict[str, Any]:
    """One currency's terms."""
    percent = support.transaction_fee_percent
    return {
        "currencyCode": support.currency_code,
        "isRecommended": support.is_recommended,
        "transactionFeePercent": None if percent is None else ppm_to_percent(percent),
        "transactionFeeFixed": support.transaction_fee_fixed,
        "minAmount": support.min_amount,
        "maxAmount": support.max_amount,
        "isActive": support.is_active,
    }


def practice_view(entry: PracticeEntry) -> dict[str, Any]:
    """A practice as the owner sees it."""
    return {
        "id": entry.id,
        "name": entry.name,
        "externalId": entry.external_id,
        "defaultCurrency": entry.default_currency,
        "cluster": entry.cluster,
        "state": entry.state,
        "schemaVersion": entry.schema_version,
        "createdAt": wire_time(entry.created_at),
        "updatedAt": wire_time(entry.updated_at),
        "country": entry.country,
        "timeZone": entry.time_zone,
    }


def identifiers_view(attempt: Attempt, kept: Identifiers) -> dict[str, list[str]]:
    """The external identifiers of an attempt, by kind."""
    found = {kind.value: list(values) for kind, values in kept.items()}
    if attempt.provider_transaction_id and IdentifierKind.transaction not in kept:
        found[IdentifierKind.transaction.value] = [attempt.provider_transaction_id]
    return found


def attempt_view(attempt: Attempt, kept: Identifiers | None = None) -> dict[str, Any]:
    """One attempt at one provider."""
    return {
        "id": attempt.id,
        "reference": attempt.id,
        "number": attempt.number,
        "providerCode": attempt.provider_code,
        "status": attempt.state.value,
        "reason": attempt.reason,
        "code": attempt.raw_code,
        "detail": attempt.detail,
        "codeBy": code_by(attempt.raw_code, attempt.detail),
        "providerTransactionId": attempt.provider_transaction_id,
        "identifiers": identifiers_view(attempt, kept or {}),
        "createdAt": wire_time(attempt.created_at),
        "updatedAt": wire_time(attempt.updated_at),
    }


def next_action_view(db: PracticeDb, taken: PaymentDetails, public_key: str | None) -> dict[str, Any] | None:
    """What the customer must do now; None if there is nothing to do."""
    action = open_action(db, current_attempt(taken.payment, taken.attempts)) if taken.attempts else None
    if action is None:
        return None
    token = action.provider_token.reveal() if action.provider_token else None
    told = {"url": action.url, "providerToken": token, "instructions": action.instructions, "wants": action.wants}
    view: dict[str, Any] = {"type": action.kind.value, **{name: value for name, value in told.items() if value}}
    if action.offline is not None:
        view["offline"] = {to_camel(name): value for name, value in asdict(action.offline).items() if value}
    if token is not None and public_key is not None:
        view["publicKey"] = public_key
    return view


def payment_view(
    practice: Practice,
    taken: PaymentDetails,
    public_key: str | None = None,
    kept: StoredMethod | None = None,
    books: Mapping[str, Sums] | None = None,
    disputed: Sequence[Dispute] = (),
    operations: Sequence[Operation] = (),
) -> dict[str, Any]:
    """A payment as its practice sees it. ``books``: its ledger sums by currency."""
    payment = taken.payment
    view = payment_summary(payment, books)
    view["clientToken"] = client_token(practice.context, payment)
    payable = payment.status.value in ("requires_action", "processing")
    view["nextAction"] = next_action_view(practice.db, taken, public_key) if payable else None
    view["savedMethod"] = saved_method_view(kept)
    view["attempts"] = [attempt_view(attempt, taken.identifiers.get(attempt.id)) for attempt in taken.attempts]
    view["operations"] = [operation_view(operation) for operation in operations]
    view["disputes"] = [dispute_view(dispute) for dispute in disputed]
    return view


async def books_of(db: PracticeDb, taken: PaymentDetails) -> dict[str, Sums] | None:
    """The ledger sums of a payment; None if it has at most one attempt, because its row then has the same amounts."""
    if len(taken.attempts) <= 1:
        return None
    return (await overview.of_payments(db, [taken.payment.id]))[taken.payment.id]


def _fees(payment: Payment, books: Mapping[str, Sums] | None) -> list[dict[str, Any]]:
    if books is None:
        fees = {payment.provider_fee_currency: payment.provider_fee or 0}
    else:
        fees = {currency: sums.fees for currency, sums in sorted(books.items())}
    return [{"amount": fee, "currency": currency} for currency, fee in fees.items() if currency and fee]


def payment_summary(payment: Payment, books: Mapping[str, Sums] | None = None) -> dict[str, Any]:
    """A payment in a list. ``books``: its ledger sums by currency; None if it has at most one attempt."""
    own = books.get(payment.currency, Sums()) if books is not None else Sums()
    return {
        "id": payment.id, "number": payment.number, "status": payment.status.value, "amount": payment.amount,
        "amountAuthorized": payment.amount_authorized, "amountCaptured": payment.amount_captured,
        # Without a duplicate payment, an amount refunded beyond the captured amount belongs to this payment, too.
        "amountRefunded": payment.amount_refunded + payment.duplicate_refunded if books is None else own.refunded,
        "amountRefundPending": payment.refund_reserved,
        "amountLost": payment.amount_lost, "amountDisputed": payment.amount_disputed, "amountDuplicate": own.duplicates_received,
        "amountDuplicateReturned": own.duplicates_returned, "fees": _fees(payment, books),
        "currency": payment.currency, "paymentMethod": payment.payment_method,
        "capture": payment.capture_mode, "providerCode": payment.provider_code,
        "providerTransactionId": payment.provider_transaction_id, "providerFee": payment.provider_fee,
        "providerFeeCurrency": payment.provider_fee_currency, "failureReason": payment.failure_reason,
        "cancelReason": payment.cancel_reason,
        "customer": {"email": payment.customer_email, "name": payment.customer_name, "phone": payment.customer_phone},
        "description": payment.description, "reference": payment.reference, "metadata": payment.metadata or {},
        "returnUrl": payment.return_url, "environment": payment.environment.value,
        "expiresAt": wire_time(payment.expires_at), "createdAt": wire_time(payment.created_at),
        "updatedAt": wire_time(payment.updated_at),
    }  # fmt: skip


def public_payment_view(practice: Practice, taken: PaymentDetails, public_key: str | None) -> dict[str, Any]:
    """A payment as its customer may see it, without the practice's own notes."""
    full = payment_view(practice, taken, public_key)
    names = (
        "id",
        "number",
        "status",
        "amount",
        "currency",
        "description",
        "nextAction",
        "environment",
        "expiresAt",
        "createdAt",
    )
    return {name: full[name] for name in names}


def refund_view(refund: Refund) -> dict[str, Any]:
    """One refund."""
    return {
        "id": refund.id,
        "paymentId": refund.payment_id,
        "status": refund.state.value,
        "amount": refund.amount,
        "currency": refund.currency,
        "reason": refund.reason,
        "origin": refund.origin,
        "failureReason": refund.failure_reason,
        "code": refund.raw_code,
        "detail": refund.detail,
        "codeBy": code_by(refund.raw_code, refund.detail),
        "providerRefundId": refund.provider_refund_id,
        "providerDisputeId": refund.provider_dispute_id,
        "environment": refund.environment.value,
        "createdAt": wire_time(refund.created_at),
        "updatedAt": wire_time(refund.updated_at),
    }


def configuration_view(
    configuration: Configuration, shown: dict[str, Any], default_for: list[str], webhook_url: str
) -> dict[str, Any]:
    """A configuration; for a secret only whether it is set."""
    for name in ("secretKey", "webhookSecret"):
        shown[name] = {**shown[name], "updatedAt": wire_time(shown[name]["updatedAt"])}
    others = sorted({s.environment.value for s in configuration.others if s.state == "prepared"})
    return {
        "id": configuration.id,
        "providerCode": configuration.provider_code,
        "providerName": configuration.provider_name,
        "isEnabled": configuration.is_enabled,
        "isDefault": configuration.is_default,
        "defaultFor": default_for,
        "environment": configuration.environment.value,
        **shown,
        "preparedEnvironments": others,
        "supportedCurrencies": configuration.supported_currencies,
        "priority": configuration.priority,
        "webhookUrl": webhook_url,
        "configuredBy": configuration.configured_by,
        "lastTestedAt": wire_time(configuration.last_tested_at),
        "lastUsedAt": wire_time(configuration.last_used_at),
        "createdAt": wire_time(configuration.created_at),
        "updatedAt": wire_time(configuration.updated_at),
    }
