"""What a payment provider's handler is: the seed's interface, the six outcomes, and what a handler declares.

A handler is built with one practice's credentials, used, and forgotten. It speaks one wire protocol and decides
nothing: it answers one of exactly six outcomes, and ``flows/settle.py`` decides what they mean. No handler imports
storage, and none raises for what the other side does; an exception from a handler is a bug and is read as ``Unknown``.
``polytill.testing.conformance`` proves a handler against all of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.http import Http
from polytill.providers.outcomes import JsonObject, Outcome, Wants

# ── What a handler is given ──


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One practice's credentials at one provider in one environment. ``base_url`` has passed the host check."""

    environment: Environment
    base_url: str
    public_key: str | None = None
    secret_key: Secret | None = None
    webhook_secrets: tuple[Secret, ...] = ()  # the present one first, then those still honoured
    config: Mapping[str, Any] = field(default_factory=dict)  # by configSchema; secret fields are ``Secret``
    # Where this configuration's deliveries arrive: named in each call (M-Pesa), or part of what is signed (Square).
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """The payer, as far as known."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class CreatePaymentParams:
    """``reference`` is the attempt's id: unique, ours, and the provider's idempotency key where it has one.

    ``method_details`` is what a direct charge asks for besides the method (``{"provider": "mtn"}``): never a card's
    number. ``save_method`` asks for a token with which the payer can be charged again (``Succeeded.saved_method``).
    """

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
    method_details: Mapping[str, str] = field(default_factory=dict)
    save_method: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmPaymentParams:
    """Ask for the truth about a payment. ``payment_method`` confirms on the server where the provider can (Stripe).

    A confirmation that may move money carries ``operation_reference``: its own id, the same for each repeat of it, and
    the provider's idempotency key where it has one. Without it the question must be safe to repeat.
    """

    reference: str
    provider_transaction_id: str | None
    amount: Money
    payment_method: str | None = None
    return_url: str | None = None
    operation_reference: str | None = None


@dataclass(frozen=True, slots=True)
class ContinuePaymentParams:
    """The payer's answer to ``NextAction.wants``: a PIN, a one-time password, the parts of an address.

    ``values`` are written by the payer: never kept, never logged. ``operation_reference`` names this answer.
    """

    reference: str
    provider_transaction_id: str | None
    amount: Money
    wants: Wants
    values: Mapping[str, Secret]
    operation_reference: str


@dataclass(frozen=True, slots=True)
class ChargeSavedMethodParams:
    """Charge a payer who is not there, with a token from ``Succeeded.saved_method``. Always moves money."""

    reference: str
    payment_id: str
    amount: Money
    customer: Customer  # with the e-mail under which the method was saved
    token: Secret
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    provider_customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class SaveMethodParams:
    """Keep a payer's method without taking money, where a provider can."""

    reference: str
    customer: Customer
    return_url: str


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
    provider_charge_id: str | None = None  # where a refund names the capture or charge, not the payment (PayPal)


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

FactT = TypeVar("FactT", PaymentFact, DisputeFact)


@dataclass(frozen=True, slots=True)
class Page(Generic[FactT]):
    """One page of a listing. ``next`` asks for the following one, whatever a provider's cursor is; None: the end.

    A page may be empty and still have a next one: what could not be read as a fact is left out.
    """

    facts: tuple[FactT, ...]
    next: str | None = None


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


@dataclass(frozen=True, slots=True)
class Balance:
    """What a provider holds for the practice: one sum for each currency, ready to be paid out, and on its way."""

    available: tuple[Money, ...]
    pending: tuple[Money, ...] = ()


# Where nothing is signed, a call may ask for deliveries to ``<webhook_url>?reference=<ours>``: ``process_webhook`` finds
# it in the body under this name, and so a call whose answer was lost with the provider's id.
ADDRESS_REFERENCE = "polytillReference"

# ── What a handler declares ──


class Idempotency(StrEnum):
    """What protects a repeated create from being a second one."""

    key = "key"  # the provider replays the first answer to the same key, for ``idempotency_window_s``
    reference = "reference"  # the provider refuses a reference that it has seen
    none = "none"


class WebhookProof(StrEnum):
    """What a delivery proves. Only ``signature`` may be believed; the others are hints, and the provider is asked."""

    signature = "signature"  # over the raw body
    word = "word"  # a shared word: its sender knows it, the body may be anybody's
    address = "address"  # nothing but our unguessable address
    none = "none"  # there are no deliveries


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
    webhook_proof: ClassVar[WebhookProof] = WebhookProof.signature
    webhook_signed_with: ClassVar[str] = "webhookSecret"  # or secretKey (Paystack)
    webhook_answer: ClassVar[JsonObject] = {}  # what it wants to read beside status 200
    # May the same request be sent again?
    idempotency: ClassVar[Idempotency] = Idempotency.none
    idempotency_window_s: ClassVar[int] = 0
    # When "not found" proves that the first call did nothing: it cannot still be running over there.
    settle_horizon_s: ClassVar[float] = 60.0
    # Whether money can move although nobody has read the create's answer (a push to the payer's phone). False: a link,
    # a session, an unconfirmed intent, which nobody can pay whose answer was lost.
    create_moves_money: ClassVar[bool] = False
    answers_name_amount: ClassVar[bool] = True  # False (M-Pesa): the request alone fixed it
    # No provider knows whether it was paid; staff say so, in ``flows/by_hand.py``.
    confirmed_by_staff: ClassVar[bool] = False
    redacted: ClassVar[frozenset[str]] = frozenset()  # fields that never reach our tables: client secrets, tokens

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
        """What a browser may know."""
        return {"publicKey": self.config.public_key}

    # Verbs that a provider may lack: ``None`` says that it does.
    refund_payment: ClassVar[Any] = None  # (RefundParams) -> Outcome
    lookup_refund: ClassVar[Any] = None  # (RefundLookupParams) -> Outcome
    capture_payment: ClassVar[Any] = None  # (OperationParams) -> Outcome
    cancel_payment: ClassVar[Any] = None  # (OperationParams) -> Outcome
    continue_payment: ClassVar[Any] = None  # (ContinuePaymentParams) -> Outcome
    save_method: ClassVar[Any] = None  # (SaveMethodParams) -> Outcome
    charge_saved_method: ClassVar[Any] = None  # (ChargeSavedMethodParams) -> Outcome
    list_transactions: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Page[PaymentFact] | NotSent | Unknown
    list_disputes: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Page[DisputeFact] | NotSent | Unknown
    get_balance: ClassVar[Any] = None  # () -> Balance | NotSent | Unknown
    fetch_webhook_key: ClassVar[Any] = None  # (headers) -> None; before validate_webhook: PayPal's certificate


# What a handler can do, by the verb that does it. ``supportedFeatures`` is computed from this and nothing else.
FEATURES: tuple[tuple[str, str], ...] = (
    ("payments", "create_payment_intent"),
    ("webhooks", "process_webhook"),
    ("refunds", "refund_payment"),
    ("partial_refunds", "refund_payment"),
    ("manual_capture", "capture_payment"),
    ("cancel", "cancel_payment"),
    ("direct_charges", "continue_payment"),
    ("saved_methods", "charge_saved_method"),
    ("list_transactions", "list_transactions"),
    ("list_disputes", "list_disputes"),
    ("balance", "get_balance"),
)


def features_of(handler: type[Handler]) -> list[str]:
    """The features that this handler really has: a verb that is inherited from ``Handler`` is none."""
    return [feature for feature, verb in FEATURES if getattr(handler, verb, None) not in (None, getattr(Handler, verb))]


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
