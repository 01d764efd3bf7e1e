"""Flutterwave v3 as of 2026: one host, JSON, major units, webhooks that do not sign their body.

Sources: Flutterwave/Node-v3 (Jun 2026), developer.flutterwave.com (v3 pages of Sep 2026, v4 webhook pages). Facts: a
link has no transaction until a customer pays, and cannot be looked up. One ``tx_ref`` can have several transactions,
the failed ones first. Nothing is idempotent. ``verif-hash`` proves that the sender has a shared secret, not what the
body says, so a v3 webhook only triggers a lookup. Refund answers name no currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlencode

from polytill.domain.errors import InvalidAmount
from polytill.domain.identifiers import IdentifierKind
from polytill.providers.contract import (
    Balance,
    CatalogEntry,
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CustomerFields,
    DisputeFact,
    Fact,
    Handler,
    IdentifierPaths,
    KeyField,
    Listing,
    LookupParams,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundLookupParams,
    RefundParams,
    WebhookProof,
    WebhookResult,
    environment_of_key,
    read_page,
    redact,
)
from polytill.providers.flutterwave.chargebacks import page_of
from polytill.providers.flutterwave.key_test import PROBE
from polytill.providers.flutterwave.reading import (
    REDACTED,
    SIGNATURE,
    about,
    digits,
    is_signed,
    items_of,
    listed_payment,
    major_text,
    money_in,
    read_charge,
    read_refund,
    read_transaction,
    read_v3,
    read_v4,
    refund_fact,
)
from polytill.providers.flutterwave.terms import WEBHOOK_SECRET, terms_in
from polytill.providers.flutterwave.v3_charge import (
    DETAILS,
    LONGEST_REFERENCE,
    charge_of,
    charged_fields,
    noted_metadata,
    password_body,
    read_direct,
    read_validated,
    saved_body,
    vouchers,
)
from polytill.providers.flutterwave.v3_refunds import days, refunds_of, the_refund
from polytill.providers.http import Answer, Answered, parse_object, read_answer
from polytill.providers.merchant_reference import shown
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
    as_unknown,
    is_missing,
    unless_missing,
)
from polytill.providers.signing import header, same
from polytill.providers.wire_amounts import too_fine
from polytill.providers.wire_json import filled, id_in, object_in, refund_note, text_in

# ── Facts ──

CURRENCIES = "NGN GHS KES UGX TZS RWF ZMW ZAR XAF XOF MWK EGP MUR ETB USD EUR GBP"
# Supported as well, by account and country (flutterwave.com, accepted currencies); SLE and STN succeed SLL and STD.
FURTHER_CURRENCIES = "BIF CAD CDF CLP COP CVE GMD GNF INR LRD MAD MZN SLE STN"

# Our name of a method, and ``payment_options`` by currency ("": in every currency).
PAYMENT_OPTIONS: dict[str, dict[str, str]] = {
    "card": {"": "card"},
    "bank_transfer": {"": "banktransfer"},
    "bank_account": {"": "account"},
    "ussd": {"NGN": "ussd"},
    "mpesa": {"KES": "mpesa"},
    "mobile_money": {
        "KES": "mpesa",
        "GHS": "mobilemoneyghana",
        "UGX": "mobilemoneyuganda",
        "RWF": "mobilemoneyrwanda",
        "ZMW": "mobilemoneyzambia",
        "TZS": "mobilemoneytanzania",
        "XAF": "mobilemoneyfranco",
        "XOF": "mobilemoneyfranco",
    },
}
NAIRA_ONLY = ("bank_transfer", "bank_account")  # for other currencies the page rejects them, but not the API
MAX_SESSION_MINUTES = 1440

WHERE_KEYS_ARE = "Flutterwave dashboard → Settings → API keys"


class FlutterwaveProvider(Handler):
    """The Flutterwave account of one practice."""

    code = "flutterwave"
    name = "Flutterwave"
    hosts = frozenset({"api.flutterwave.com"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField(
            "Public key",
            r"FLWPUBK_TEST-[0-9A-Za-z]+(-[0-9A-Za-z]+)?-X",
            r"FLWPUBK-[0-9A-Za-z]+(-[0-9A-Za-z]+)?-X",
            help=WHERE_KEYS_ARE,
        ),
        "secretKey": KeyField(
            "Secret key",
            r"FLWSECK_TEST-[0-9A-Za-z]+(-[0-9A-Za-z]+)?-X",
            r"FLWSECK-[0-9A-Za-z]+(-[0-9A-Za-z]+)?-X",
            help=WHERE_KEYS_ARE,
        ),
        "webhookSecret": WEBHOOK_SECRET,
    }
    config_schema: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {
            "encryptionKey": {
                "type": "string",
                "title": "Encryption key",
                "description": "Only for direct card charges. Not needed for the hosted page.",
                "pattern": "^(FLWSECK_TEST[0-9A-Za-z]{8,32}|[0-9A-Za-z]{24})$",
                "secret": True,
            },
            "webhookVersion": {
                "type": "string",
                "title": "Webhook version",
                "description": "v4 only accepts webhooks with a signed body.",
                "enum": ["v3", "v4"],
                "default": "v3",
            },
        },
        "additionalProperties": False,
    }
    settings_by_environment: ClassVar[Mapping[str, tuple[str, str]]] = {
        "encryptionKey": ("FLWSECK_TEST[0-9A-Za-z]{8,32}", "[0-9A-Za-z]{24}")
    }
    catalog = CatalogEntry(
        description="Cards, bank transfer, USSD and mobile money across Africa, also in USD, EUR and GBP",
        website_url="https://flutterwave.com",
        documentation_url="https://developer.flutterwave.com/v3.0/docs",
        api_base_url="https://api.flutterwave.com/v3",
        sandbox_api_base_url="https://api.flutterwave.com/v3",
        methods=tuple(PAYMENT_OPTIONS),
        currencies=terms_in(CURRENCIES.split()),
        priority=10,
    )
    required_customer_fields = ("email",)
    webhook_proof = WebhookProof.word
    direct_charges = DETAILS
    further_currencies = frozenset(FURTHER_CURRENCIES.split())
    settle_horizon_s = 180.0  # their gateway gives up after 28 s
    identifiers: ClassVar[IdentifierPaths] = {
        IdentifierKind.reference: ("flw_ref", "data.flw_ref", "flwRef"),
        IdentifierKind.card_last4: ("card.last_4digits", "data.card.last_4digits"),
    }
    redacted = REDACTED

    def initialize(self, config: ProviderConfig) -> None:
        """Set the address up to /v3, whether or not the catalog's ends with it."""
        self._base = config.base_url.rstrip("/").removesuffix("/v3") + "/v3"
        self._signed_body: bytes | None = None  # the webhook whose signature was valid

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /payments: returns a link, and no transaction yet. With method details, POST /charges: no page."""
        try:
            if params.method_details is not None:
                asked = charge_of(params)
                return asked if isinstance(asked, NotSent) else await self._charge(*asked)
            body = self._payment_body(params)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        if body.get("payment_options") == "":
            detail = f"Flutterwave has no {params.method} in {params.amount.currency}."
            return NotSent(Reason.validation, detail=detail)
        return read_answer(await self._call("POST", "/payments", body), read_charge)

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET /transactions/{id}/verify, or verify_by_reference. ``not_found``: nobody has paid the link yet."""
        return await self._verify(params.reference, params.provider_transaction_id, params.direct)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """As ``confirm_payment``: a link cannot be looked up, and if the answer was lost, nobody has the link."""
        return await self._verify(params.reference, params.provider_transaction_id, params.direct)

    async def charge_saved_method(self, params: ChargeSavedMethodParams) -> Outcome:
        """POST /tokenized-charges. Some banks still require the customer; the answer then holds a link for them."""
        try:
            body = saved_body(params)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        return await self._charge("/tokenized-charges", body)

    async def continue_payment(self, params: ContinuePaymentParams) -> Outcome:
        """POST /validate-charge: the one-time password that a direct charge requires."""
        body = password_body(params)
        answer = body if isinstance(body, NotSent) else await self._call("POST", "/validate-charge", body)
        return read_validated(answer, params.reference) if isinstance(answer, Answer) else answer

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /transactions/{id}/refund. ``comments`` contains our reference, so that a lookup finds the refund."""
        try:
            amount = major_text(params.amount)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        found = digits(params.provider_transaction_id) or await self._number_of(params.payment_reference)
        if not isinstance(found, str):
            return found
        note = refund_note(params.reference, params.reason)
        answer = await self._call("POST", f"/transactions/{found}/refund", {"amount": amount, "comments": note})
        return read_refund(answer, params.amount.currency, found)

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET /refunds/{id}, else the refund with our note, else the only one of that amount."""
        currency, number = params.amount.currency, digits(params.provider_transaction_id)
        refund_id = digits(params.provider_refund_id)
        if refund_id:
            answer = await self._call("GET", f"/refunds/{refund_id}")
            outcome = read_refund(answer, currency, number)
            if not is_missing(outcome):
                return outcome
        found = number or await self._number_of(params.payment_reference)
        if not isinstance(found, str):
            # A payment that is not found or not paid does not prove that nothing was refunded.
            return as_unknown(found) if found.reason in (Reason.not_found, Reason.invalid_state) else found
        now_s = int(self.world.time_s())
        items = await refunds_of(self._call, found, params, now_s)
        return the_refund(items, params) if isinstance(items, list) else items

    async def list_transactions(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[PaymentFact]:
        """GET /transactions for whole days (UTC). The cursor is the page number; an empty page is the end."""
        items, following = await self._page("/transactions", since_s, until_s, cursor)
        return read_page(map(listed_payment, items), following) if isinstance(items, list) else items

    async def list_refunds(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[RefundFact]:
        """GET /refunds for whole days (UTC), paged like transactions."""
        items, following = await self._page("/refunds", since_s, until_s, cursor)
        return read_page(map(refund_fact, items), following) if isinstance(items, list) else items

    async def list_disputes(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[DisputeFact]:
        """GET /chargebacks for whole days (UTC), paged like transactions."""
        items, following = await self._page("/chargebacks", since_s, until_s, cursor)
        return page_of(items, following) if isinstance(items, list) else items

    async def get_balance(self) -> Balance | NotSent | Unknown:
        """GET /balances."""
        items = await self._list("/balances", {})
        if not isinstance(items, list):
            return items
        held = [money_in(item.get("available_balance"), text_in(item, "currency"), owed=True) for item in items]
        return Balance(tuple(money for money in held if money is not None))

    async def test_credentials(self) -> CredentialTest:
        """GET /balances, and a payment request that can create nothing: see ``key_test.py``."""
        assert self.config.secret_key is not None
        environment = environment_of_key(type(self), "secretKey", self.config.secret_key.reveal())
        return await PROBE.test(self._call, environment)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """v4: base64 HMAC-SHA256 of the raw body. v3: a shared secret. A signature that is present must be valid."""
        has_signature = any(name.lower() == SIGNATURE for name in headers)
        if not has_signature and self.config.config.get("webhookVersion") != "v4":
            given = header(headers, "verif-hash")
            return any(same(secret.reveal(), given) for secret in self.config.webhook_secrets if secret)
        valid = is_signed(self.config, headers, body)
        self._signed_body = body if valid else None
        return valid

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook: v4's envelope, or one of v3's three forms. Only a signed v4 webhook is trusted."""
        event = parse_object(body, "a Flutterwave event")
        data, kept = object_in(event, "data"), redact(event, REDACTED)
        if "event" not in event and isinstance(event.get("type"), str) and data:
            event_id = id_in(event, "webhook_id") or id_in(event)
            if event_id is None:
                raise ValueError("a v4 delivery without an id")
            facts = tuple(_without_number(fact) for fact in read_v4(event["type"], data))
            believed = self.config.config.get("webhookVersion") == "v4" or body == self._signed_body
            action = "apply" if facts else "ignore"
            return WebhookResult(event["type"], event_id, action, None, event_id, facts, not believed, body=kept)
        kind, key, facts, action = read_v3(event, data)
        return WebhookResult(kind, key, action, facts=facts, must_fetch=True, body=kept)

    @classmethod
    def methods_in(cls, currency: str) -> tuple[str, ...]:
        """The methods of the hosted page. M-Pesa is Kenya's mobile money, so it is not listed twice."""
        offered = [name for name, options in PAYMENT_OPTIONS.items() if options.get(currency) or options.get("")]
        hidden = ("mpesa",) if currency == "NGN" else ("mpesa", *NAIRA_ONLY)
        return tuple(name for name in offered if name not in hidden)

    @classmethod
    def customer_fields(cls, currency: str, method: str | None = None, direct: bool = False) -> CustomerFields:
        """Always an e-mail address. The page asks for the phone number itself; a direct charge of mobile money requires
        it."""
        return charged_fields(currency) if direct else CustomerFields(("email",))

    @classmethod
    def charge_details(cls, currency: str, method: str, given: Mapping[str, str]) -> tuple[str, ...] | None:
        """As ``direct_charges``. Vodafone in Ghana also requires a voucher, which its customer dials for."""
        needed = DETAILS.get((currency, method))
        return None if needed is None else (*needed, *vouchers(currency, given))

    # ── Request builders ──

    async def _call(self, method: str, path: str, body: JsonObject | None = None) -> Answered:
        assert self.config.secret_key is not None
        return await self.http.send_json(method, self._base + path, self.config.secret_key, body)

    def _payment_body(self, params: CreatePaymentParams) -> JsonObject:
        phone = params.phone.digits if params.phone else None
        body: JsonObject = {
            "tx_ref": params.reference,
            "amount": major_text(params.amount),
            "currency": params.amount.currency,
            "redirect_url": params.return_url,
            "customer": filled({"email": params.customer.email, "name": params.customer.name, "phonenumber": phone}),
            "meta": {**noted_metadata(params), "payment_id": params.payment_id, "attempt_id": params.reference},
        }
        told_as = shown(params.merchant_reference, LONGEST_REFERENCE)
        if texts := filled({"title": params.merchant_name, "description": params.description or told_as}):
            body["customizations"] = texts
        if params.method is not None:
            options = PAYMENT_OPTIONS.get(params.method, {"": params.method})
            body["payment_options"] = options.get(params.amount.currency) or options.get("", "")
        if params.expires_in_s is not None and params.expires_in_s >= 60:
            body["configurations"] = {"session_duration": min(params.expires_in_s // 60, MAX_SESSION_MINUTES)}
        return body

    async def _charge(self, path: str, body: JsonObject) -> Outcome:
        """Send a charge that moves money immediately. After a rejection, a lookup by the reference shows whether it
        exists."""
        answer, reference = await self._call("POST", path, body), body["tx_ref"]
        outcome = read_direct(answer, reference) if isinstance(answer, Answer) else answer
        if not isinstance(answer, Answer) or not isinstance(outcome, NotSent) or outcome.reason is Reason.config:
            return outcome
        truth = await self._verify(reference, None, direct=True)
        if isinstance(truth, NotSent):
            return outcome if is_missing(truth) else as_unknown(outcome)
        return truth

    async def _verify(self, reference: str, transaction_id: str | None, direct: bool = False) -> Outcome:
        outcome: Outcome = NotSent(Reason.not_found)
        if number := digits(transaction_id):
            outcome = about(reference, await self._call("GET", f"/transactions/{number}/verify"), direct)
        if is_missing(outcome):
            query = urlencode({"tx_ref": reference})
            outcome = about(reference, await self._call("GET", f"/transactions/verify_by_reference?{query}"), direct)
        if isinstance(outcome, Declined | Pending):
            # The customer may have tried again on the same link, so another transaction may have succeeded.
            items = await self._list("/transactions", {"tx_ref": reference})
            if not isinstance(items, list):
                return unless_missing(items)
            for item in reversed(items):
                other = read_transaction(item) if item.get("tx_ref") == reference else None
                if isinstance(other, Succeeded):
                    return other
        return outcome

    async def _number_of(self, reference: str) -> str | NotSent | Unknown:
        outcome = await self._verify(reference, None)
        if isinstance(outcome, Succeeded):
            number = digits(outcome.provider_transaction_id)
            return number or Unknown(Reason.unreadable, detail="Flutterwave gave no transaction number.")
        if isinstance(outcome, NotSent | Unknown):
            return outcome
        return NotSent(Reason.invalid_state, detail="Only a payment that succeeded can be refunded.")

    async def _list(self, path: str, query: Mapping[str, Any]) -> list[JsonObject] | NotSent | Unknown:
        return read_answer(await self._call("GET", f"{path}?{urlencode(query)}"), items_of)

    async def _page(
        self, path: str, since_s: int, until_s: int, cursor: str | None
    ) -> tuple[list[JsonObject] | NotSent | Unknown, str | None]:
        """The entries of a page, and the number of the next."""
        page = digits(cursor) or "1"
        items = await self._list(path, {**days(since_s, until_s), "page": page})
        return items, str(int(page) + 1) if items else None


def _without_number(fact: Fact) -> Fact:
    """v4 has other ids of a charge than v3. Later requests of this handler use v3's numbers."""
    if not isinstance(fact, PaymentFact) or isinstance(fact.outcome, NotSent | Unknown):
        return fact
    return replace(fact, outcome=replace(fact.outcome, provider_transaction_id=None))
