"""What the library returns: values of its own, which no later call changes. No secret is in their repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import AttemptState, Environment, EventState, PaymentStatus, RefundState
from polytill.providers.contract import Customer
from polytill.providers.outcomes import NextKind, PayOffline, Wants


@dataclass(frozen=True, slots=True)
class Practice:
    """A practice in the directory."""

    id: int  # What every other call names it by.
    name: str
    currency: str  # Its default currency.
    country: str | None  # ISO 3166-1 alpha-2; None if its currency has no single country.
    time_zone: str  # IANA; its days and months follow it.
    external_id: str | None  # Your own identifier of it.
    state: str  # ``active``, or ``suspended``: it takes no new payments.


@dataclass(frozen=True, slots=True)
class NewPractice:
    """A practice that was just created. ``key`` is its first API key; it cannot be read again."""

    practice: Practice
    key: Secret


@dataclass(frozen=True, slots=True)
class ProviderConfiguration:
    """A practice's set-up of one provider. Its credentials are sealed and not part of it."""

    provider_code: str
    provider_name: str
    environment: Environment  # What new payments use.
    is_enabled: bool
    currencies: tuple[str, ...]  # The currencies that the practice takes with it.
    default_for: tuple[str, ...]  # Those for which it is the practice's default.
    priority: int  # The higher one is preferred.
    webhook_url: str  # Register this address at the provider. Who knows it can send webhooks, so it is no secret.


@dataclass(frozen=True, slots=True)
class AvailableProvider:
    """A provider of the catalog that supports a currency, and whether the practice has configured it."""

    code: str
    name: str
    currency: str
    payment_methods: tuple[str, ...]
    features: tuple[str, ...]
    is_recommended: bool
    min_amount: Money | None
    max_amount: Money | None
    is_configured: bool
    is_enabled: bool
    is_default: bool
    environment: Environment | None  # None unless it is configured.


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the customer must do to continue."""

    kind: NextKind  # How the customer continues.
    url: str | None = field(default=None, repr=False)  # With ``redirect``: the provider's page.
    provider_token: Secret | None = None  # With ``client_token``: for the customer's browser only.
    public_key: str | None = None  # With ``client_token``: the provider's client-safe key that belongs to it.
    instructions: str | None = None  # With ``instructions``: what to do, in English.
    offline: PayOffline | None = None  # With ``instructions``: the same, for programs.
    wants: Wants | None = None  # With ``input``: what the provider wants from the customer.


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to collect a payment at one provider."""

    id: str  # Our reference at the provider.
    provider_code: str
    state: AttemptState
    reason: str | None  # Why it did not succeed, from a closed list.
    provider_transaction_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it was when the call returned.

    ``authorized`` to ``disputed`` are amounts in the payment's currency, zero if there is nothing. In a list ``attempts``
    is empty and ``next_action`` is None.
    """

    id: str
    number: str | None  # Six to nine digits that people can say on the phone.
    practice_id: int
    environment: Environment
    status: PaymentStatus
    amount: Money
    authorized: Money
    captured: Money
    refunded: Money
    refund_pending: Money
    disputed: Money
    fees: tuple[Money, ...]  # The provider's fees, one amount for each currency.
    customer: Customer
    description: str | None
    reference: str | None
    metadata: Mapping[str, str]
    provider_code: str | None
    provider_transaction_id: str | None
    failure_reason: str | None
    cancel_reason: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    checkout_url: str = field(repr=False)  # The customer can pay here, whatever the provider needs.
    next_action: NextAction | None = None
    attempts: tuple[Attempt, ...] = ()
    is_repeat: bool = False  # The idempotency key was known: this is what the first request created.


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """Payments, newest first. Pass ``next_cursor`` to read on; it is None on the last page."""

    payments: tuple[Payment, ...]
    next_cursor: str | None
    environment: Environment


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as it was when the call returned. It is made once ``state`` is ``succeeded``."""

    id: str
    payment_id: str
    environment: Environment
    state: RefundState
    amount: Money
    reason: str | None
    failure_reason: str | None
    provider_refund_id: str | None
    created_at: datetime
    is_repeat: bool = False  # The idempotency key was known: this is what the first request created.


@dataclass(frozen=True, slots=True)
class WebhookReceipt:
    """A webhook that was stored. Answer the provider with status 200 and ``response`` as JSON."""

    state: EventState
    response: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a practice. ``docs/events.md`` lists the types and their data."""

    id: str  # Stays the same however often it is read.
    cursor: int  # Its place in the feed.
    type: str
    practice_id: int
    environment: Environment
    created_at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order. Pass ``next_cursor`` as ``after`` to read on."""

    events: tuple[Event, ...]
    next_cursor: int
