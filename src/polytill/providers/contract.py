"""What a payment provider's handler is: the seed's interface, the six outcomes, and what a handler declares.

A handler is built with one practice's credentials, used, and forgotten. It speaks one wire protocol and decides
nothing: it answers one of exactly six outcomes, and ``flows/settle.py`` decides what they mean. No handler imports
storage, and none raises for what the other side does; an exception from a handler is a bug and is read as ``Unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.http import Http
from polytill.providers.outcomes import JsonObject, Outcome

# ── What a handler is given ──


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One practice's credentials at one provider in one environment. ``base_url`` has passed the host check."""

    environment: Environment
    base_url: str
    public_key: str | None = None
    secret_key: Secret | None = None
    webhook_secrets: tuple[Secret, ...] = ()  # the present one first, then those still honoured
    config: Mapping[str, Any] = field(
        default_factory=dict
    )  # further fields, by configSchema; secret ones are ``Secret``


@dataclass(frozen=True, slots=True)
class Customer:
    """The payer, as far as known."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class CreatePaymentParams:
    """``reference`` is the attempt's id: unique, ours, and the provider's idempotency key where it has one."""

    reference: str
    payment_id: str
    amount: Money
    customer: Customer
    return_url: str
    method: str | None = None
    capture: str = "automatic"
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    merchant_name: str | None = None
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True)
class ConfirmPaymentParams:
    """Ask for the truth about a payment. ``payment_method`` confirms on the server where the provider can (Stripe)."""

    reference: str
    provider_transaction_id: str | None
    amount: Money
    payment_method: str | None = None
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class LookupParams:
    """What happened to a create call whose answer was lost? ``create`` is that call, byte for byte."""

    reference: str
    provider_transaction_id: str | None
    amount: Money
    create: CreatePaymentParams | None = None
    age_s: float = 0.0  # since the first call was made
    created_at_s: int = 0  # when it was made, seconds since the epoch


@dataclass(frozen=True, slots=True)
class RefundParams:
    """``reference`` is the refund's id. ``amount`` is always explicit."""

    reference: str
    payment_reference: str
    provider_transaction_id: str | None
    amount: Money
    full: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RefundLookupParams:
    """What happened to a refund? ``known`` are the provider's ids of refunds that belong to other rows of ours."""

    reference: str
    payment_reference: str
    provider_transaction_id: str | None
    provider_refund_id: str | None
    amount: Money
    full: bool
    reason: str | None = None
    known: frozenset[str] = frozenset()
    age_s: float = 0.0
    created_at_s: int = 0


@dataclass(frozen=True, slots=True)
class OperationParams:
    """A capture (``amount`` ≤ authorized) or a cancel (``amount`` None)."""

    reference: str
    payment_reference: str
    provider_transaction_id: str | None
    amount: Money | None = None


# ── What a webhook says ──


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """What a provider says of a payment. At least one of ``reference`` and ``provider_transaction_id`` is there."""

    outcome: Outcome
    reference: str | None = None
    provider_transaction_id: str | None = None
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class RefundFact:
    """What a provider says of a refund: of one refund (``amount``), or of all of a payment's together (``total``)."""

    state: str  # pending | requires_action | succeeded | failed
    reference: str | None = None  # our refund id, where the provider echoes it
    provider_refund_id: str | None = None
    payment_reference: str | None = None
    provider_transaction_id: str | None = None
    amount: Money | None = None
    total: Money | None = None
    response: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class DisputeFact:
    """What a provider says of a dispute. ``state`` is open, won or lost; ``provider_state`` its own word."""

    state: str
    provider_state: str
    provider_dispute_id: str
    payment_reference: str | None = None
    provider_transaction_id: str | None = None
    provider_charge_id: str | None = None
    amount: Money | None = None
    funds_withdrawn: bool = False
    due_at: str | None = None


Fact = PaymentFact | RefundFact | DisputeFact


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """One delivery, read. ``dedupe_key`` lets a later state of the same object through; ``environment`` None: not said.

    ``must_fetch``: the delivery proves nothing by itself. Its facts are hints of what to ask the provider about, and
    only the provider's answer is believed.
    """

    event_type: str
    dedupe_key: str
    action: str  # apply | ignore | notify
    environment: Environment | None = None
    event_id: str | None = None
    facts: tuple[Fact, ...] = ()
    must_fetch: bool = False
    reason: str | None = None
    body: JsonObject | None = None  # the delivery with its secret fields removed: what is kept


@dataclass(frozen=True, slots=True)
class CredentialTest:
    """Whether the keys work, and in which environment they turned out to be."""

    ok: bool
    detail: str
    environment: Environment | None = None


# ── What a handler declares ──


@dataclass(frozen=True, slots=True)
class KeyField:
    """A credential: its pattern for each environment (full match), and where practice staff find it."""

    label: str
    sandbox: str
    production: str
    required: bool = True
    help: str = ""


@dataclass(frozen=True, slots=True)
class CurrencyTerms:
    """List-price terms for one currency: parts per million, minor units."""

    percent_ppm: int = 0
    fixed_minor: int = 0
    min_minor: int | None = None
    max_minor: int | None = None
    recommended: bool = False


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What a fresh catalog says of a provider, from the provider's own pages."""

    description: str
    website_url: str
    documentation_url: str
    api_base_url: str
    sandbox_api_base_url: str
    methods: tuple[str, ...]
    currencies: Mapping[str, CurrencyTerms]
    priority: int = 0


class Handler:
    """The seed's ``PaymentProvider``. Verbs that a provider lacks stay ``None``: they *are* the capability list."""

    code: ClassVar[str]
    name: ClassVar[str]
    hosts: ClassVar[frozenset[str]]  # the only hosts (https) that ever see a key
    keys: ClassVar[Mapping[str, KeyField]]  # publicKey, secretKey, webhookSecret
    config_schema: ClassVar[JsonObject]
    catalog: ClassVar[CatalogEntry]
    required_customer_fields: ClassVar[tuple[str, ...]] = ()
    webhook_signed_with: ClassVar[str] = "webhookSecret"  # or secretKey (Paystack)
    # May the same request be sent again? "key": the provider replays by idempotency key for ``idempotency_window_s``.
    idempotency: ClassVar[str] = "none"
    idempotency_window_s: ClassVar[int] = 0
    # When "not found" proves that the first call did nothing: it cannot still be running over there.
    settle_horizon_s: ClassVar[float] = 60.0
    create_moves_money: ClassVar[bool] = False
    # Fields that never reach our tables: client secrets, reusable tokens.
    redacted: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: ProviderConfig, http: Http, world: World) -> None:
        self.config = config
        self.http = http
        self.world = world
        self.initialize(config)

    def __repr__(self) -> str:
        return f"<{self.code} handler, {self.config.environment}>"

    def initialize(self, config: ProviderConfig) -> None:
        """The seed's ``initialize(config)``: a handler that needs to prepare something does it here. No network."""

    # Verbs that every provider has.
    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """Start a payment: usually ``NeedsAction`` with a link or a client token."""
        raise NotImplementedError

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """The provider's present truth about a payment."""
        raise NotImplementedError

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """What happened to a create call whose answer was lost."""
        raise NotImplementedError

    async def test_credentials(self) -> CredentialTest:
        """Ask the provider whether the keys work. Moves nothing."""
        raise NotImplementedError

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether this configuration's provider sent these raw bytes. Never raises, whatever comes."""
        raise NotImplementedError

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a delivery that ``validate_webhook`` accepted. ``ValueError`` where the body cannot be read."""
        raise NotImplementedError

    def get_public_config(self) -> JsonObject:
        """What a browser may know: ``publicKey``.

        Where the payer pays on our own page, also ``script`` (the address of the provider's script, loaded from there)
        and ``policy`` (the origins that it needs, by CSP directive). They follow ``config.base_url``, so that a
        simulator serves its own script and nothing is loaded from elsewhere.
        """
        return {"publicKey": self.config.public_key}

    @classmethod
    def methods_in(cls, currency: str) -> tuple[str, ...]:
        """The methods by which a payer can really pay in a currency, most usual first."""
        return cls.catalog.methods

    # Verbs that a provider may lack.
    refund_payment: ClassVar[Any] = None
    lookup_refund: ClassVar[Any] = None
    capture_payment: ClassVar[Any] = None
    cancel_payment: ClassVar[Any] = None
    list_transactions: ClassVar[Any] = None


# What a handler can do, by the verb that does it. ``supportedFeatures`` is computed from this and nothing else.
FEATURES: tuple[tuple[str, str], ...] = (
    ("payments", "create_payment_intent"),
    ("webhooks", "process_webhook"),
    ("refunds", "refund_payment"),
    ("partial_refunds", "refund_payment"),
    ("manual_capture", "capture_payment"),
    ("cancel", "cancel_payment"),
    ("list_transactions", "list_transactions"),
)


def features_of(handler: type[Handler]) -> list[str]:
    """The features that this handler really has."""
    return [feature for feature, verb in FEATURES if getattr(handler, verb, None) is not None]


def environment_of_key(handler: type[Handler], field_name: str, value: str) -> Environment | None:
    """Which environment a key is of, by the provider's own pattern; None where it is neither or fits both."""
    spec = handler.keys[field_name]
    sandbox = re.fullmatch(spec.sandbox, value) is not None
    production = re.fullmatch(spec.production, value) is not None
    if sandbox == production:
        return None
    return Environment.sandbox if sandbox else Environment.production


def redact(value: Any, fields: frozenset[str]) -> Any:
    """A provider's answer without the fields that must not be kept, at any depth (``parse_json`` bounds it)."""
    if isinstance(value, dict):
        return {key: "[removed]" if key in fields else redact(item, fields) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, fields) for item in value]
    return value
