"""Flutterwave v4: charges without a hosted page, access tokens, idempotency keys, signed webhooks.

Sources: developer.flutterwave.com (v4 pages, 2025-2026); the list of refunds is from general knowledge. Facts: a
practice chooses v4 by configuring this provider instead of v3. There is no link; each charge is one try and final. A
push to a phone can be paid although its answer was lost. A repeated request with the same key returns the first answer.
Cards would require us to encrypt their numbers, so they are not offered; v3's hosted page takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import ClassVar
from urllib.parse import quote, urlencode

from polytill.domain.errors import InvalidAmount
from polytill.domain.identifiers import IdentifierKind
from polytill.providers.contract import (
    CatalogEntry,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CustomerFields,
    DisputeFact,
    Handler,
    Idempotency,
    IdentifierPaths,
    KeyField,
    Listing,
    LookupParams,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
    keys_failed,
)
from polytill.providers.flutterwave import v4_reading as reading
from polytill.providers.flutterwave.chargebacks import page_of
from polytill.providers.flutterwave.key_test import read_listing
from polytill.providers.flutterwave.reading import digits, is_signed, major_text
from polytill.providers.flutterwave.terms import WEBHOOK_SECRET, terms_in
from polytill.providers.flutterwave.v3_charge import noted_metadata
from polytill.providers.http import Answered, origin_of, read_answer
from polytill.providers.oauth import TokenRequest, fetch_token, send_with_token
from polytill.providers.outcomes import (
    REFUSED_AGAIN,
    JsonObject,
    NotSent,
    Outcome,
    Reason,
    Unknown,
    as_unknown,
    is_missing,
    unproven,
)
from polytill.providers.wire_amounts import too_fine
from polytill.providers.wire_json import filled, moment_text, object_in, string_in

# ── Facts ──

LIVE, SANDBOX = "f4bexperience.flutterwave.com", "developersandbox-api.flutterwave.com"
TOKENS = "idp.flutterwave.com"
TOKEN_PATH = "/realms/flutterwave/protocol/openid-connect/token"  # noqa: S105 — an address

METHODS = ("bank_transfer", "ussd", "mobile_money", "opay")  # our names are Flutterwave's here
# The countries of mobile money, by currency.
COUNTRIES: Mapping[str, tuple[str, ...]] = {
    "GHS": ("GH",),
    "KES": ("KE",),
    "UGX": ("UG",),
    "RWF": ("RW",),
    "TZS": ("TZ",),
    "ZMW": ("ZM",),
    "XAF": ("CM", "CG", "GA"),
    "XOF": ("CI", "SN", "BF", "TG", "BJ"),
}
MAX_REFUND_PAGES = 200

WHERE_KEYS_ARE = "Flutterwave dashboard → Settings → API keys (v4)"
CLIENT = r"(?!FLW(PUB|SEC)K)[0-9A-Za-z-]{16,128}"  # sandbox and live look alike; v3's keys do not work in v4


class FlutterwaveV4Provider(Handler):
    """The Flutterwave account of one practice, with API v4."""

    code = "flutterwave_v4"
    name = "Flutterwave v4"
    hosts = frozenset({LIVE, SANDBOX, TOKENS})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField("Client ID", CLIENT, CLIENT, help=WHERE_KEYS_ARE),
        "secretKey": KeyField("Client secret", CLIENT, CLIENT, help=WHERE_KEYS_ARE),
        "webhookSecret": WEBHOOK_SECRET,
    }
    catalog = CatalogEntry(
        description="Bank transfer, USSD, mobile money and OPay in Africa, without a hosted page",
        website_url="https://flutterwave.com",
        documentation_url="https://developer.flutterwave.com/docs",
        api_base_url=f"https://{LIVE}",
        sandbox_api_base_url=f"https://{SANDBOX}",
        methods=METHODS,
        currencies=terms_in(("NGN", *COUNTRIES)),
        priority=9,
    )
    required_customer_fields = ("email",)
    further_currencies = frozenset()  # each of its methods belongs to one of the catalog's currencies
    idempotency = Idempotency.key
    idempotency_window_s = 3600  # not documented; an hour is safe to assume
    settle_horizon_s = 180.0
    create_moves_money = True
    direct_charges: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {
        **{("NGN", method): () for method in ("bank_transfer", "ussd", "opay")},
        **{(code, "mobile_money"): () for code in COUNTRIES},
    }
    identifiers: ClassVar[IdentifierPaths] = {
        IdentifierKind.charge: ("id:chg_",),
        IdentifierKind.order: ("order_id",),
        IdentifierKind.reference: ("flw_ref", "processor_response.reference"),
        IdentifierKind.card_last4: ("payment_method_details.card.last4", "payment_method.card.last4"),
    }
    redacted = reading.REDACTED

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /orchestration/direct-charges: customer, method and charge in one call."""
        try:
            body = self._charge_body(params)
        except InvalidAmount:
            return too_fine("Flutterwave", params.amount)
        if isinstance(body, NotSent):
            return body
        answer = await self._call("POST", "/orchestration/direct-charges", body, params.reference)
        return reading.about(params.reference, answer)

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET /charges/{id}."""
        return await self._read(params.reference, params.provider_transaction_id)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """As ``confirm_payment``. If the charge's id was lost, the identical create call is repeated under its key."""
        if not params.provider_transaction_id and params.create and params.age_s < self.idempotency_window_s:
            # A 404 for the repeat says nothing about the first call.
            return unproven(await self.create_payment_intent(params.create), REFUSED_AGAIN)
        return await self._read(params.reference, params.provider_transaction_id)

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /refunds, under the refund's own key. ``meta`` contains our reference as well."""
        if not params.provider_transaction_id:
            return NotSent(Reason.invalid_state, "no_charge", "The charge's id is not known.")
        try:
            amount = Decimal(major_text(params.amount))
        except InvalidAmount:
            return too_fine("Flutterwave", params.amount)
        body = {
            "charge_id": params.provider_transaction_id,
            "amount": amount,
            "reason": "requested_by_customer",
            "meta": {reading.REFUND_META: params.reference},
        }
        answer = await self._call("POST", "/refunds", body, params.reference)
        return reading.read_refund(answer, params.amount.currency)

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET /refunds/{id} if the id is known, else our reference among the charge's refunds."""
        currency = params.amount.currency
        if params.provider_refund_id:
            answer = await self._call("GET", f"/refunds/{quote(params.provider_refund_id, safe='')}")
            return reading.read_refund(answer, currency)
        items = await self._refunds_of(params.provider_transaction_id)
        if not isinstance(items, list):
            return as_unknown(items)  # a failed lookup proves nothing about the refund
        for item in items:
            if object_in(item, "meta").get(reading.REFUND_META) == params.reference:
                return reading.refund_outcome(item, currency)
        if any(reading.could_be(item, params) for item in items):
            return Unknown(Reason.conflict, "unmarked", "A refund without our mark could be this one.")
        return NotSent(Reason.not_found, detail="The charge has no such refund.")

    async def list_disputes(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[DisputeFact]:
        """GET /chargebacks. The cursor is the page number; an empty page is the end."""
        page = digits(cursor) or "1"
        query = {"from": moment_text(since_s), "to": moment_text(until_s), "page": page, "size": 50}
        items = read_answer(await self._call("GET", f"/chargebacks?{urlencode(query)}"), reading.items_of)
        return page_of(items, str(int(page) + 1) if items else None) if isinstance(items, list) else items

    async def test_credentials(self) -> CredentialTest:
        """Fetch an access token, then a list: see ``key_test.py``. The token host serves both environments."""
        token = await fetch_token(self.http, self._token_request())
        if isinstance(token, NotSent):
            return keys_failed(token.detail or "Flutterwave could not be reached.", token.reason is Reason.config)
        answer = await self.http.send_json("GET", f"{self._base}/refunds?page=1&size=10", token.secret)
        return read_listing(answer, self.config.environment)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """``flutterwave-signature``: base64 HMAC-SHA256 of the raw body. v3's shared secret alone is rejected."""
        return is_signed(self.config, headers, body)

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook."""
        return reading.read_event(body)

    def get_public_config(self) -> JsonObject:
        """Empty: there is no page of Flutterwave."""
        return {}

    @classmethod
    def customer_fields(cls, currency: str, method: str | None = None, direct: bool = False) -> CustomerFields:
        """Always an e-mail address; for mobile money, the usual method outside Nigeria, also the phone number."""
        if (method or _usual(currency)) != "mobile_money":
            return CustomerFields(("email",))
        return CustomerFields(("phone", "email"), phone_countries=COUNTRIES.get(currency, ()))

    # ── Request builders ──

    def _token_request(self) -> TokenRequest:
        origin = origin_of(self.config.base_url)
        # Flutterwave has a separate host for tokens. A simulator issues them at the address of its API.
        theirs = origin in (f"https://{LIVE}", f"https://{SANDBOX}")
        url = f"https://{TOKENS}{TOKEN_PATH}" if theirs else self._base + TOKEN_PATH
        secret = self.config.secret_key
        form = {
            "client_id": self.config.public_key or "",
            "client_secret": secret.reveal() if secret else "",
            "grant_type": "client_credentials",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return TokenRequest(self.name, "POST", url, headers, urlencode(form).encode())

    async def _call(self, method: str, path: str, body: JsonObject | None = None, key: str | None = None) -> Answered:
        headers = {"X-Idempotency-Key": key, "X-Trace-Id": key} if key is not None else {}
        send = partial(self.http.send_json, method, self._base + path, body=body, headers=headers)
        return await send_with_token(self.http, self._token_request(), self.world.time_s(), send)

    @property
    def _base(self) -> str:
        return self.config.base_url.rstrip("/")

    def _charge_body(self, params: CreatePaymentParams) -> JsonObject | NotSent:
        currency, phone = params.amount.currency, params.phone
        method = params.method or _usual(currency)
        if method not in METHODS:
            return NotSent(Reason.validation, "method", f"Flutterwave v4 has no {method} here.")
        if method == "mobile_money" and phone is None:
            return NotSent(Reason.validation, "phone", f"Mobile money needs a phone number for {currency}.")
        details = params.method_details or {}
        if phone and method == "mobile_money":
            network = details.get("provider", "").upper()
            details = {"country_code": phone.country_code, "phone_number": phone.number} | filled({"network": network})
        customer: JsonObject = {"email": params.customer.email}
        if params.customer.name:
            first, _, last = params.customer.name.partition(" ")
            customer["name"] = {"first": first, "last": last or first}
        if phone:
            customer["phone"] = {"country_code": phone.country_code, "number": phone.number}
        return {
            "amount": Decimal(major_text(params.amount)),
            "currency": currency,
            "reference": params.reference,
            "redirect_url": params.return_url,
            "customer": customer,
            "payment_method": {"type": method, **filled({method: dict(details)})},
            "meta": {**noted_metadata(params), "payment_id": params.payment_id},
        }

    async def _read(self, reference: str, charge_id: str | None) -> Outcome:
        if not charge_id:
            return Unknown(Reason.not_found, "no_charge_id", "Only a webhook can show the result of the charge.")
        outcome = reading.about(reference, await self._call("GET", f"/charges/{quote(charge_id, safe='')}"))
        # A charge with an id exists, so "not found" proves nothing.
        if is_missing(outcome):
            return Unknown(Reason.not_found, "404", "Flutterwave does not find its own charge.")
        return outcome

    async def _refunds_of(self, charge_id: str | None) -> list[JsonObject] | NotSent | Unknown:
        """All refunds of a charge. Every page is read, because "not found" must mean that there is none."""
        found: list[JsonObject] = []
        for page in range(1, MAX_REFUND_PAGES + 1):
            answer = await self._call("GET", f"/refunds?{urlencode({'page': page, 'size': 50})}")
            items = read_answer(answer, reading.items_of)
            if not isinstance(items, list):
                return items
            fresh = [item for item in items if item not in found]
            if not fresh:
                return [item for item in found if string_in(item, "charge_id") in (charge_id, None)]
            found += fresh
        return Unknown(Reason.unreadable, "too_many", "There are too many refunds to look through.")


def _usual(currency: str) -> str:
    return "bank_transfer" if currency == "NGN" else "mobile_money"
