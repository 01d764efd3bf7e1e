"""What a payment provider's handler is: the seed's interface, the six outcomes, and what a handler declares.

A handler is built with one practice's credentials, used, and forgotten. It speaks one wire protocol and decides
nothing: it answers one of exactly six outcomes, and ``flows/payments/settle.py`` decides what they mean. No handler imports
storage, and none raises for what the other side does; an exception from a handler is a bug and is read as ``Unknown``.
``polytill.testing.conformance`` proves a handler against all of this.

The dataclasses that go in and come out live in ``params.py`` and ``facts.py``; import them from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from polytill.domain.clock import World
from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.domain.states import Environment
from polytill.providers.customer_fields import CustomerFields
from polytill.providers.facts import (
    Balance,
    CredentialTest,
    DisputeFact,
    Fact,
    KeyFinding,
    Page,
    PaymentFact,
    RefundFact,
    WebhookResult,
    read_page,
)
from polytill.providers.http import Http
from polytill.providers.identifiers import identifiers_in
from polytill.providers.outcomes import JsonObject, Outcome
from polytill.providers.params import (
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    Customer,
    Detachment,
    DetachSavedMethodParams,
    LookupParams,
    OperationParams,
    ProviderConfig,
    RefundLookupParams,
    RefundParams,
    SaveMethodParams,
)
from polytill.providers.wire_json import REMOVED

__all__ = [
    "ADDRESS_REFERENCE",
    "Balance",
    "CatalogEntry",
    "ChargeSavedMethodParams",
    "ConfirmPaymentParams",
    "ContinuePaymentParams",
    "CreatePaymentParams",
    "CredentialTest",
    "CurrencyTerms",
    "Customer",
    "CustomerFields",
    "DetachSavedMethodParams",
    "Detachment",
    "DisputeFact",
    "Fact",
    "Handler",
    "Idempotency",
    "KeyField",
    "KeyFinding",
    "LookupParams",
    "OperationParams",
    "Page",
    "PaymentFact",
    "ProviderConfig",
    "RefundFact",
    "RefundLookupParams",
    "RefundParams",
    "SaveMethodParams",
    "WebhookProof",
    "WebhookResult",
    "environment_of_key",
    "read_page",
    "redact",
]

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
    """List-price terms for one currency: parts per million, minor units.

    ``step_minor``: every amount that the provider takes is a multiple of it, for example 100 where it takes whole
    shillings. Another amount is refused before anything is written.
    """

    percent_ppm: int = 0
    fixed_minor: int = 0
    min_minor: int | None = None
    max_minor: int | None = None
    recommended: bool = False
    step_minor: int = 1


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
    # Fields of ``config_schema`` that differ by environment: their patterns for sandbox and for production.
    settings_by_environment: ClassVar[Mapping[str, tuple[str, str]]] = {}
    catalog: ClassVar[CatalogEntry]
    # For every currency and method alike; where they differ, ``customer_fields`` says so.
    required_customer_fields: ClassVar[tuple[str, ...]] = ()
    webhook_proof: ClassVar[WebhookProof] = WebhookProof.signature
    # Whether each call carries our address, so that the merchant registers none (M-Pesa).
    webhook_with_each_call: ClassVar[bool] = False
    webhook_signed_with: ClassVar[str] = "webhookSecret"  # or secretKey (Paystack)
    webhook_answer: ClassVar[JsonObject] = {}  # what it wants to read beside status 200
    # May the same request be sent again?
    idempotency: ClassVar[Idempotency] = Idempotency.none
    idempotency_window_s: ClassVar[int] = 0
    # When "not found" proves that the first call did nothing: it cannot still be running over there.
    settle_horizon_s: ClassVar[float] = 60.0
    # Whether ``lookup_refund`` repeats the refund's own request under its key, within that window and where the refund's
    # id is not known. Only then is a refusal that it meets proof that the first request did nothing.
    lookup_repeats_refund: ClassVar[bool] = False
    # Whether money can move although nobody has read the create's answer (a push to the payer's phone). False: a link,
    # a session, an unconfirmed intent, which nobody can pay whose answer was lost.
    create_moves_money: ClassVar[bool] = False
    # What can be charged without the provider's page: (currency, method) and the details that such a charge needs
    # (``CreatePaymentParams.method_details``). Such a charge may move money although nobody has read its answer.
    direct_charges: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {}
    answers_name_amount: ClassVar[bool] = True  # False (M-Pesa): the request alone fixed it
    # Whether the provider pays a lost dispute by a refund out of the same transaction, and therefore never returns more
    # than it took. False where a chargeback is money of its own beside any refund (Stripe and other card acquirers).
    disputes_are_refunded: ClassVar[bool] = False
    # Whether ``list_disputes`` lists by when a dispute last changed (PayPal), and not by when it was opened: one that is
    # open is then found again without going back to its beginning.
    disputes_listed_by_change: ClassVar[bool] = False
    # Currencies that the provider can take beside those of ``catalog``, for which an owner sets the terms; None: any.
    further_currencies: ClassVar[frozenset[str] | None] = None
    # No provider knows whether it was paid; staff say so, in ``flows/payments/manual.py``.
    confirmed_by_staff: ClassVar[bool] = False
    # Where the identifiers of a payment stand in an answer as it is kept: ``providers/identifiers.py``. They are stored,
    # searched and shown; a token or an authorization code is none.
    identifiers: ClassVar[Mapping[IdentifierKind, tuple[str, ...]]] = {}
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
        """Ask the provider whether payments can be made with the keys. Creates nothing and moves nothing."""
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
    def read_identifiers(cls, response: Any) -> Identifiers:
        """What a payment is called in an answer as it is kept: by ``identifiers``, where paths are enough."""
        return identifiers_in(cls.identifiers, response)

    @classmethod
    def takes_currency(cls, currency: str) -> bool:
        """Whether the provider can take this currency at all: the catalog refuses to add another, and no payment in it is
        routed here."""
        return (
            cls.further_currencies is None or currency in cls.catalog.currencies or currency in cls.further_currencies
        )

    @classmethod
    def methods_in(cls, currency: str) -> tuple[str, ...]:
        """The methods by which a payer can really pay in a currency, most usual first."""
        return cls.catalog.methods

    @classmethod
    def customer_fields(cls, currency: str, method: str | None = None, direct: bool = False) -> CustomerFields:
        """What a charge needs to know of its customer. ``method`` None: the payer chooses, or the provider's usual one.
        ``direct``: without the provider's page. A create with these fields is never refused for want of another."""
        return CustomerFields(cls.required_customer_fields)

    @classmethod
    def charge_details(cls, currency: str, method: str, given: Mapping[str, str]) -> tuple[str, ...] | None:
        """The details that a direct charge needs, some of them because of those that are ``given``; None where the method
        cannot be charged directly."""
        return cls.direct_charges.get((currency, method))

    # Verbs that a provider may lack: ``None`` says that it does.
    refund_payment: ClassVar[Any] = None  # (RefundParams) -> Outcome
    lookup_refund: ClassVar[Any] = None  # (RefundLookupParams) -> Outcome
    capture_payment: ClassVar[Any] = None  # (OperationParams) -> Outcome
    cancel_payment: ClassVar[Any] = None  # (OperationParams) -> Outcome; NOTHING_TO_CLOSE: see outcomes.py
    continue_payment: ClassVar[Any] = None  # (ContinuePaymentParams) -> Outcome
    save_method: ClassVar[Any] = None  # (SaveMethodParams) -> Outcome
    charge_saved_method: ClassVar[Any] = None  # (ChargeSavedMethodParams) -> Outcome
    detach_saved_method: ClassVar[Any] = None  # (DetachSavedMethodParams) -> Detachment; harmless when repeated
    list_transactions: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Page[PaymentFact] | NotSent | Unknown
    list_refunds: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Page[RefundFact] | NotSent | Unknown
    list_disputes: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Page[DisputeFact] | NotSent | Unknown
    get_balance: ClassVar[Any] = None  # () -> Balance | NotSent | Unknown
    fetch_webhook_key: ClassVar[Any] = None  # (headers) -> None; before validate_webhook: PayPal's certificate


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
        return {key: REMOVED if key in fields else redact(item, fields) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, fields) for item in value]
    return value
