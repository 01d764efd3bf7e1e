"""The contract of a provider handler: its methods, their six outcomes, and the facts that it declares.

A handler is built with the credentials of one practice, used and discarded. It implements one wire protocol and makes
no decisions: each call returns one of six outcomes, and ``flows/payments/settle.py`` decides what follows from it. A
handler never imports storage and never raises because of a provider's behavior. An exception from a handler is a bug
and is treated as ``Unknown``. ``polytill.testing.conformance`` tests a handler against this contract.

``params.py`` and ``facts.py`` define the dataclasses of parameters and results. Import them from this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from polytill.domain.clock import World
from polytill.domain.identifiers import Identifiers
from polytill.domain.states import Environment
from polytill.providers.customer_fields import CustomerFields
from polytill.providers.facts import (
    Balance,
    CredentialTest,
    DisputeFact,
    Fact,
    FactT,
    KeyFinding,
    Listing,
    Page,
    PaymentFact,
    RefundFact,
    WebhookResult,
    keys_failed,
    read_page,
)
from polytill.providers.http import Http
from polytill.providers.identifiers import IdentifierPaths, identifiers_in
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
    "FactT",
    "Handler",
    "Idempotency",
    "IdentifierPaths",
    "KeyField",
    "KeyFinding",
    "Listing",
    "LookupParams",
    "OperationParams",
    "Page",
    "PaymentFact",
    "ProviderConfig",
    "RefundFact",
    "RefundLookupParams",
    "RefundParams",
    "WebhookProof",
    "WebhookResult",
    "environment_of_key",
    "keys_failed",
    "read_page",
    "redact",
]

# If a provider signs nothing, a call can request its webhooks at ``<webhook_url>?reference=<our reference>``. The body
# that ``process_webhook`` reads then holds that reference under this name. This finds the attempt even if the answer
# that held the provider's id was lost.
ADDRESS_REFERENCE = "polytillReference"

# ── What a handler declares ──


class Idempotency(StrEnum):
    """What prevents a repeated create call from starting a second payment."""

    key = "key"  # the provider replays the first answer to the same key, for ``idempotency_window_s``
    reference = "reference"  # the provider rejects a reference that it has seen
    none = "none"


class WebhookProof(StrEnum):
    """What a webhook proves. Only ``signature`` makes its content trusted. Any other webhook only triggers a lookup."""

    signature = "signature"  # a signature over the raw body
    word = "word"  # a shared secret in a header: it proves the sender, but not the body
    address = "address"  # only the unguessable webhook address
    none = "none"  # the provider sends no webhooks


@dataclass(frozen=True, slots=True)
class KeyField:
    """A credential: one pattern per environment (full match), and where practice staff find it."""

    label: str
    sandbox: str
    production: str
    required: bool = True
    help: str = ""


@dataclass(frozen=True, slots=True)
class CurrencyTerms:
    """List-price terms for one currency. Fees are in parts per million and minor units.

    Every amount must be a multiple of ``step_minor``, for example 100 if the provider takes only whole shillings. Any
    other amount is rejected before anything is written.
    """

    percent_ppm: int = 0
    fixed_minor: int = 0
    min_minor: int | None = None
    max_minor: int | None = None
    recommended: bool = False
    step_minor: int = 1


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """The provider's entry in a new catalog. The values come from the provider's own pages."""

    description: str
    website_url: str
    documentation_url: str
    api_base_url: str
    sandbox_api_base_url: str
    methods: tuple[str, ...]
    currencies: Mapping[str, CurrencyTerms]
    priority: int = 0


class Handler:
    """The base class of provider handlers. An optional method that a provider does not support stays ``None``: the
    methods are the list of capabilities."""

    code: ClassVar[str]
    name: ClassVar[str]
    hosts: ClassVar[frozenset[str]]  # keys are sent to these hosts only, over https
    keys: ClassVar[Mapping[str, KeyField]]  # publicKey, secretKey, webhookSecret
    config_schema: ClassVar[JsonObject] = {"type": "object", "properties": {}, "additionalProperties": False}
    # Fields of ``config_schema`` that differ by environment: their patterns for sandbox and for production.
    settings_by_environment: ClassVar[Mapping[str, tuple[str, str]]] = {}
    catalog: ClassVar[CatalogEntry]
    # For every currency and method. If they differ, override ``customer_fields``.
    required_customer_fields: ClassVar[tuple[str, ...]] = ()
    webhook_proof: ClassVar[WebhookProof] = WebhookProof.signature
    # Whether each call carries our webhook address, so that the merchant does not register one (M-Pesa).
    webhook_with_each_call: ClassVar[bool] = False
    webhook_signed_with: ClassVar[str] = "webhookSecret"  # or secretKey (Paystack)
    webhook_answer: ClassVar[JsonObject] = {}  # the body that the provider expects with status 200
    # Whether the same request may be sent again.
    idempotency: ClassVar[Idempotency] = Idempotency.none
    idempotency_window_s: ClassVar[int] = 0
    # After this time "not found" proves that the first call did nothing: it cannot still be running at the provider.
    settle_horizon_s: ClassVar[float] = 60.0
    # Whether ``lookup_refund`` repeats the refund request under its idempotency key, within the window and if the
    # refund's id is not known. Only then does a rejection of the lookup prove that the first request did nothing.
    lookup_repeats_refund: ClassVar[bool] = False
    # Whether money can move although the answer to the create call was lost (a push to the customer's phone). False for
    # a link, a session or an unconfirmed intent: nobody can pay those without the answer.
    create_moves_money: ClassVar[bool] = False
    # Charges that need no page of the provider: (currency, method), and the details that such a charge requires
    # (``CreatePaymentParams.method_details``). Such a charge can move money although its answer was lost.
    direct_charges: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {}
    answers_name_amount: ClassVar[bool] = True  # False (M-Pesa): only the request contains the amount
    # Whether the provider pays a lost dispute by a refund of the same transaction, and so never returns more than it
    # took. False if a chargeback is separate from any refund (Stripe and other card acquirers).
    disputes_are_refunded: ClassVar[bool] = False
    # Whether ``list_disputes`` filters by the time of a dispute's last change (PayPal) instead of the time when it was
    # opened. If so, a change of an old dispute is found without listing back to the day when it was opened.
    disputes_listed_by_change: ClassVar[bool] = False
    # Currencies that the provider supports beyond those of ``catalog``; the owner sets their terms. None: any currency.
    further_currencies: ClassVar[frozenset[str] | None] = None
    # No provider reports whether it was paid; staff confirm it, in ``flows/payments/manual.py``.
    confirmed_by_staff: ClassVar[bool] = False
    # The paths of a payment's identifiers in a stored answer: see ``providers/identifiers.py``. Identifiers are stored,
    # searched and shown, so a token or an authorization code must not be one.
    identifiers: ClassVar[IdentifierPaths] = {}
    redacted: ClassVar[frozenset[str]] = frozenset()  # fields that are never stored: client secrets, tokens

    def __init__(self, config: ProviderConfig, http: Http, world: World) -> None:
        self.config = config
        self.http = http
        self.world = world
        self.initialize(config)

    def __repr__(self) -> str:
        return f"<{self.code} handler, {self.config.environment}>"

    def initialize(self, config: ProviderConfig) -> None:
        """Prepare the handler, if it needs that. Must not use the network."""

    # Methods that every provider has.
    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """Start a payment. Usually returns ``NeedsAction`` with a link or a client token."""
        raise NotImplementedError

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """Return the current state of a payment at the provider."""
        raise NotImplementedError

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """Find the result of a create call whose answer was lost."""
        raise NotImplementedError

    async def test_credentials(self) -> CredentialTest:
        """Check whether the keys can take payments. Creates nothing and moves no money."""
        raise NotImplementedError

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the provider of this configuration sent these raw bytes. Never raises, for any input."""
        raise NotImplementedError

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook that ``validate_webhook`` accepted. Raises ``ValueError`` if the body cannot be read."""
        raise NotImplementedError

    def get_public_config(self) -> JsonObject:
        """The values that a browser may receive: ``publicKey``.

        If the customer pays on our own page, also ``script`` (the address of the provider's script, loaded from the
        provider) and ``policy`` (the origins that it needs, by CSP directive). They follow ``config.base_url``, so that
        a simulator serves its own script and the page loads nothing else.
        """
        return {"publicKey": self.config.public_key}

    @classmethod
    def read_identifiers(cls, response: Any) -> Identifiers:
        """The identifiers of a payment in a stored answer, by the paths of ``identifiers``. Override it if paths are
        not enough."""
        return identifiers_in(cls.identifiers, response)

    @classmethod
    def takes_currency(cls, currency: str) -> bool:
        """Whether the provider supports this currency. The catalog rejects any other, and no payment in one is routed
        here."""
        return (
            cls.further_currencies is None or currency in cls.catalog.currencies or currency in cls.further_currencies
        )

    @classmethod
    def methods_in(cls, currency: str) -> tuple[str, ...]:
        """The methods with which a customer can pay in a currency, the most common first."""
        return cls.catalog.methods

    @classmethod
    def customer_fields(cls, currency: str, method: str | None = None, direct: bool = False) -> CustomerFields:
        """The customer fields that a charge requires. ``method`` None: the customer chooses, or the provider's usual
        method. ``direct``: a charge without the provider's page. A create call with these fields is never rejected
        because another one is missing."""
        return CustomerFields(cls.required_customer_fields)

    @classmethod
    def charge_details(cls, currency: str, method: str, given: Mapping[str, str]) -> tuple[str, ...] | None:
        """The details that a direct charge requires; some may depend on the ``given`` ones. None if the method cannot
        be charged directly."""
        return cls.direct_charges.get((currency, method))

    # Optional methods: ``None`` if the provider does not support them.
    refund_payment: ClassVar[Any] = None  # (RefundParams) -> Outcome
    lookup_refund: ClassVar[Any] = None  # (RefundLookupParams) -> Outcome
    capture_payment: ClassVar[Any] = None  # (OperationParams) -> Outcome
    cancel_payment: ClassVar[Any] = None  # (OperationParams) -> Outcome; NOTHING_TO_CLOSE: see outcomes.py
    continue_payment: ClassVar[Any] = None  # (ContinuePaymentParams) -> Outcome
    charge_saved_method: ClassVar[Any] = None  # (ChargeSavedMethodParams) -> Outcome
    detach_saved_method: ClassVar[Any] = None  # (DetachSavedMethodParams) -> Detachment; safe to repeat
    list_transactions: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Listing[PaymentFact]
    list_refunds: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Listing[RefundFact]
    list_disputes: ClassVar[Any] = None  # (since_s, until_s, cursor=None) -> Listing[DisputeFact]
    get_balance: ClassVar[Any] = None  # () -> Balance | NotSent | Unknown
    fetch_webhook_key: ClassVar[Any] = None  # (headers) -> None; called before validate_webhook: PayPal's certificate


def environment_of_key(handler: type[Handler], field_name: str, value: str) -> Environment | None:
    """The environment to which a key belongs, by the provider's pattern. None if it matches neither or both."""
    spec = handler.keys[field_name]
    sandbox = re.fullmatch(spec.sandbox, value) is not None
    production = re.fullmatch(spec.production, value) is not None
    if sandbox == production:
        return None
    return Environment.sandbox if sandbox else Environment.production


def redact(value: Any, fields: frozenset[str]) -> Any:
    """A provider's answer without the fields that must not be stored, at any depth (``parse_json`` limits it)."""
    if isinstance(value, dict):
        return {key: REMOVED if key in fields else redact(item, fields) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, fields) for item in value]
    return value
