"""Response models, only for the OpenAPI document: no response passes through them at run time.

A test validates real responses of every address against them, so that the document stays correct.
"""

from __future__ import annotations

from typing import Any, Literal

from polytill.domain.identifiers import IdentifierKind
from polytill.providers.contract import KeyFinding
from polytill.web.api.answering import Answer as Answer
from polytill.web.api.answering import Environment as Environment
from polytill.web.api.answering import Minor as Minor
from polytill.web.api.answering import Moment as Moment
from polytill.web.api.answers_next import NextAction
from polytill.web.api.dispute_shapes import Dispute
from polytill.web.api.ledger_answers import Fee as Fee
from polytill.web.api.ledger_answers import Ledger as Ledger
from polytill.web.api.operation_shapes import Operation
from polytill.web.api.saved_method_shapes import SavedMethod
from polytill.web.code_by import CodeBy


class Provider(Answer):
    """A provider in the catalog."""

    id: int
    code: str
    name: str
    description: str | None
    logo_url: str | None
    website_url: str | None
    documentation_url: str | None
    api_base_url: str | None
    sandbox_api_base_url: str | None
    supported_currencies: list[str]
    supported_payment_methods: list[str]
    supported_features: list[str]
    requires_public_key: bool
    requires_secret_key: bool
    requires_webhook_secret: bool
    config_schema: dict[str, Any] | None
    status: Literal["active", "inactive", "deprecated", "beta"]
    is_default: bool
    priority: int
    integration_type: Literal["built_in", "plugin", "custom"]
    handler_module: str | None
    created_at: Moment
    updated_at: Moment
    created_by: str | None


class CurrencyTerms(Answer):
    """A provider's terms for one currency."""

    currency_code: str
    is_recommended: bool
    transaction_fee_percent: str | None
    transaction_fee_fixed: Minor | None
    min_amount: Minor | None
    max_amount: Minor | None
    is_active: bool


class Practice(Answer):
    """A practice as the owner sees it."""

    id: int
    name: str
    external_id: str | None
    default_currency: str
    cluster: str
    state: Literal["active", "suspended", "provisioning"]
    schema_version: str | None
    created_at: Moment
    updated_at: Moment
    country: str | None
    time_zone: str


class Onboarded(Answer):
    """A new practice and its first key, which is shown only once."""

    practice: Practice
    key: str


class NewKey(Answer):
    """A new API key, which is shown only once."""

    key: str


class Key(Answer):
    """An API key without its secret."""

    id: int
    kind: Literal["owner", "practice", "publishable"]
    name: str
    practice_id: int | None
    last4: str
    scopes: list[str]
    created_at: Moment
    revoked_at: Moment | None


class Cluster(Answer):
    """A PostgreSQL server for practice databases."""

    name: str
    is_active: bool
    created_at: str | None


class NewCluster(Answer):
    """A new cluster."""

    name: str
    is_active: bool


class AuditLine(Answer):
    """An entry of an audit log."""

    id: int
    at: Moment
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] | None


class ProviderHealth(Answer):
    """The state of a provider."""

    status: str
    installed: bool


class PlugIn(Answer):
    """An installed plug-in. ``reason`` says why it was not loaded."""

    code: str
    path: str
    distribution: str | None
    loaded: bool
    reason: str | None


class EventBacklog(Answer):
    """Events that the host application has not received. ``abandoned`` ones used up all tries and are review cases."""

    destination: Literal["none", "active", "failing"]
    pending: int
    oldest_pending_at: Moment | None
    retrying: int
    retrying_since: Moment | None
    abandoned: int


class Health(Answer):
    """The state of the platform."""

    practices: int
    practices_behind: list[int]
    opened_here: int
    clock_ahead_seconds: float | None
    events: EventBacklog
    providers: dict[str, ProviderHealth]
    plug_ins: list[PlugIn]


class Available(CurrencyTerms):
    """A provider that a practice may use for a currency."""

    code: str
    name: str
    description: str | None
    logo_url: str | None
    status: str
    is_beta: bool
    is_configured: bool
    is_enabled: bool
    is_default: bool
    environment: Environment | None
    currency: str
    supported_payment_methods: list[str]
    supported_features: list[str]
    config_schema: dict[str, Any] | None
    requires_public_key: bool
    requires_secret_key: bool
    requires_webhook_secret: bool


class SecretView(Answer):
    """A secret: only whether it is set."""

    set: bool
    last4: str | None
    updated_at: Moment | None


class Configuration(Answer):
    """A practice's configuration of a provider."""

    id: int
    provider_code: str
    provider_name: str
    is_enabled: bool
    is_default: bool
    default_for: list[str]
    environment: Environment
    public_key: str | None
    secret_key: SecretView
    webhook_secret: SecretView
    config: dict[str, Any]
    prepared_environments: list[Environment]
    supported_currencies: list[str]
    priority: int
    webhook_url: str
    configured_by: int | None
    last_tested_at: Moment | None
    last_used_at: Moment | None
    created_at: Moment
    updated_at: Moment


class Excluded(Answer):
    """Why a provider cannot take the payment."""

    code: str
    reason: str
    detail: str


class CustomerFields(Answer):
    """The customer fields that a payment needs: all of ``required``, and one of ``oneOf`` unless that is empty. The
    phone must be a number of one of ``phoneCountries`` (ISO 3166), if there are any."""

    required: list[str]
    one_of: list[str]
    phone_countries: list[str]


class Chosen(Answer):
    """The provider that a payment would use."""

    code: str
    name: str
    public_key: str | None
    environment: Environment
    reason: str
    customer_fields: CustomerFields
    alternatives: list[str]
    excluded: list[Excluded]


class Tested(Answer):
    """Whether the keys can take payments. ``finding`` identifies the result; ``ok`` with a finding is a warning."""

    ok: bool
    environment: Environment | None
    finding: KeyFinding | None
    detail: str
    tested_at: Moment


class Attempt(Answer):
    """One attempt at one provider."""

    id: str
    reference: str
    number: int
    provider_code: str
    status: Literal[
        "sent",
        "needs_action",
        "pending",
        "authorized",
        "succeeded",
        "declined",
        "not_sent",
        "unknown",
        "expired",
        "canceled",
    ]
    reason: str | None
    code: str | None
    detail: str | None
    code_by: CodeBy
    provider_transaction_id: str | None
    identifiers: dict[IdentifierKind, list[str]]
    created_at: Moment
    updated_at: Moment


class Customer(Answer):
    """The customer."""

    email: str | None
    name: str | None
    phone: str | None


PaymentStatus = Literal["requires_action", "processing", "authorized", "succeeded", "failed", "canceled"]


class PaymentSummary(Answer):
    """A payment in a list."""

    id: str
    number: str | None
    status: PaymentStatus
    amount: Minor
    amount_authorized: Minor
    amount_captured: Minor
    amount_refunded: Minor
    amount_refund_pending: Minor
    amount_lost: Minor
    amount_disputed: Minor
    amount_duplicate: Minor
    amount_duplicate_returned: Minor
    fees: list[Fee]
    currency: str
    payment_method: str | None
    capture: Literal["automatic", "manual"]
    provider_code: str | None
    provider_transaction_id: str | None
    provider_fee: Minor | None
    provider_fee_currency: str | None
    failure_reason: str | None
    cancel_reason: str | None
    customer: Customer
    description: str | None
    reference: str | None
    metadata: dict[str, str]
    return_url: str | None
    environment: Environment
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment


class Payment(PaymentSummary):
    """A payment with its attempts, captures, cancels and disputes, and the method that it saved or charged."""

    client_token: str
    saved_method: SavedMethod | None
    next_action: NextAction | None
    attempts: list[Attempt]
    operations: list[Operation]
    disputes: list[Dispute]


class PublicPayment(Answer):
    """A payment as its customer may see it."""

    id: str
    number: str | None
    status: PaymentStatus
    amount: Minor
    currency: str
    description: str | None
    next_action: NextAction | None
    environment: Environment
    expires_at: Moment | None
    created_at: Moment


class PaymentPage(Answer):
    """A page of payments. ``nextCursor`` is null on the last page."""

    data: list[PaymentSummary]
    next_cursor: str | None
    environment: Environment


class Refund(Answer):
    """One refund."""

    id: str
    payment_id: str
    status: Literal["sent", "pending", "succeeded", "declined", "not_sent", "unknown", "failed"]
    amount: Minor
    currency: str
    reason: str | None
    origin: Literal["api", "provider"]
    failure_reason: str | None
    code: str | None
    detail: str | None
    code_by: CodeBy
    provider_refund_id: str | None
    provider_dispute_id: str | None
    environment: Environment
    created_at: Moment
    updated_at: Moment


class WebhookEvent(Answer):
    """A webhook from a provider."""

    id: str
    provider_code: str
    environment: Environment
    event_type: str
    status: Literal["received", "applied", "ignored", "parked"]
    reason: str | None
    payment_id: str | None
    tries: int
    received_at: Moment
    applied_at: Moment | None


class Person(Answer):
    """A staff member of a practice."""

    id: int
    email: str
    name: str
    role: str
    is_active: bool
    created_at: Moment


class Delivered(Answer):
    """A webhook was stored."""

    received: Literal[True]
    status: str


class Status(Answer):
    """The state of the service."""

    status: str


class Readiness(Answer):
    """Whether the service can serve, and what else does not work."""

    status: Literal["ready", "degraded"]
    degraded: list[str]
    practices: int | None
