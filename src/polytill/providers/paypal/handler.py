"""PayPal, Orders v2: two hosts, an access token for each call, decimal strings, RSA signatures on webhooks.

Sources: paypal/paypal-rest-api-specifications (Feb 2024), developer.paypal.com. Facts: approval is not payment; the
server must capture. A confirmation does that, however often it is repeated, because an order can be captured only once.
A COMPLETED order can hold a capture that is PENDING. The order's id is the payment's id here; captures and refunds are
read from the order. An order cannot be closed; it expires on its own. ``reading.py`` reads answers, ``webhooks.py``
webhooks, and ``disputes.py`` disputes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from polytill.domain.errors import InvalidAmount
from polytill.domain.identifiers import Identifiers
from polytill.domain.secret import Secret
from polytill.domain.states import CaptureMode
from polytill.providers.contract import (
    CatalogEntry,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    DisputeFact,
    Handler,
    Idempotency,
    KeyField,
    Listing,
    LookupParams,
    OperationParams,
    ProviderConfig,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
    read_page,
)
from polytill.providers.http import Answer, Answered, AnswerLost, ConnectionNotMade, read_answer
from polytill.providers.merchant_reference import shown
from polytill.providers.oauth import TokenRequest, basic, send_with_token
from polytill.providers.outcomes import (
    NOTHING_TO_CLOSE,
    REFUSED_AGAIN,
    Declined,
    JsonObject,
    NeedsAction,
    NotSent,
    Outcome,
    Reason,
    Succeeded,
    Unknown,
    as_unknown,
    is_missing,
    unproven,
)
from polytill.providers.paypal import disputes, reading, webhooks
from polytill.providers.paypal.issues import Meaning, meaning_of
from polytill.providers.paypal.key_test import test_keys
from polytill.providers.paypal.reading import places_of
from polytill.providers.token_cache import Token
from polytill.providers.wire_amounts import amount_step, too_fine
from polytill.providers.wire_json import filled, string_in

# ── Facts ──


# Only the fixed part of the US fee is known here.
OTHERS = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD"
FEE_PPM = 34_900
CERTIFICATE_KEPT_S = 3600

WHERE_KEYS_ARE = "PayPal developer dashboard → Apps & Credentials"
WORD = r"[0-9A-Za-z_-]{16,128}"  # sandbox and live look alike


LONGEST_TEXT = 127


class PayPalProvider(Handler):
    """The PayPal business account of one practice."""

    code = "paypal"
    name = "PayPal"
    hosts = frozenset({"api-m.paypal.com", "api-m.sandbox.paypal.com"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField("Client ID", WORD, WORD, help=WHERE_KEYS_ARE),
        "secretKey": KeyField("Client secret", WORD, WORD, help=WHERE_KEYS_ARE),
        "webhookSecret": KeyField(
            "Webhook ID", r"[0-9A-Z]{8,40}", r"[0-9A-Z]{8,40}", help=f"{WHERE_KEYS_ARE} → Webhooks"
        ),
    }
    catalog = CatalogEntry(
        description="PayPal accounts and cards, on PayPal's own page",
        website_url="https://www.paypal.com",
        documentation_url="https://developer.paypal.com/docs/api/orders/v2/",
        api_base_url="https://api-m.paypal.com",
        sandbox_api_base_url="https://api-m.sandbox.paypal.com",
        methods=("paypal", "card"),
        currencies={
            "USD": CurrencyTerms(FEE_PPM, 49, recommended=True),
            **{code: CurrencyTerms(FEE_PPM, step_minor=amount_step(code, places_of(code))) for code in OTHERS.split()},
        },
        priority=8,
    )
    idempotency = Idempotency.key
    idempotency_window_s = 6 * 3600
    further_currencies = frozenset()  # the catalog has all currencies of developer.paypal.com, currency codes
    disputes_are_refunded = True
    disputes_listed_by_change = True
    settle_horizon_s = 120.0
    redacted = reading.REDACTED

    @classmethod
    def read_identifiers(cls, response: Any) -> Identifiers:
        """The identifiers of an order and its parts, or of a single capture or authorization: all of these name theirs
        ``id``."""
        return reading.read_identifiers(response)

    def initialize(self, config: ProviderConfig) -> None:
        """Start without a certificate."""
        self._certificate: tuple[str, bytes] | None = None

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /v2/checkout/orders: returns an address at which the customer approves."""
        try:
            body = self._order_body(params)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        answer = await self._call("POST", "/v2/checkout/orders", body, params.reference)
        # If the order was created all the same, it holds nothing without an approval, and nobody has its address.
        return reading.read_order_answer(reading.as_rejection(answer)) if isinstance(answer, Answer) else answer

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET the order. If the customer has approved it, capture or authorize it: an order allows that once."""
        return await self._settled(params.reference, params.provider_transaction_id, params.only_ask)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """As ``confirm_payment``. If the order's id was lost, the identical create call is repeated under its request
        id."""
        if params.provider_transaction_id:
            return await self._settled(params.reference, params.provider_transaction_id)
        if params.create is not None and params.age_s < self.idempotency_window_s:
            return unproven(await self.create_payment_intent(params.create), REFUSED_AGAIN)
        return NotSent(Reason.not_found, detail="The order's answer was lost: nobody holds its address.")

    async def capture_payment(self, params: OperationParams) -> Outcome:
        """POST /v2/payments/authorizations/{id}/capture. The rest is released."""
        order = await self._order(params.provider_transaction_id)
        if not isinstance(order, dict):
            return order
        held, order_id = reading.authorization_of(order), order["id"]
        if held is None:
            return _nothing("hold")
        body: JsonObject = {"final_capture": True}
        if params.amount:
            try:
                body["amount"] = reading.amount_of(params.amount)
            except InvalidAmount:
                return too_fine(self.name, params.amount)
        path = f"/v2/payments/authorizations/{quote(held, safe='')}/capture"
        answer = await self._call("POST", path, body, params.reference)
        if not isinstance(answer, Answer):
            return answer
        rejected = reading.as_rejection(answer)
        outcome = reading.read_part(rejected, reading.read_capture, order_id)
        if isinstance(outcome, Declined) and rejected is not answer:
            return reading.read_declined(await self._order(order_id), outcome)
        return await self._as_it_stands(order, rejected, outcome)

    async def cancel_payment(self, params: OperationParams) -> Outcome:
        """POST /v2/payments/authorizations/{id}/void. An order without an authorization cannot be closed."""
        order = await self._order(params.provider_transaction_id)
        if not isinstance(order, dict):
            return order
        held = reading.authorization_of(order)
        if held is None:
            return NotSent(Reason.invalid_state, NOTHING_TO_CLOSE, "An order that holds nothing cannot be closed.")
        path = f"/v2/payments/authorizations/{quote(held, safe='')}/void"
        answer = await self._call("POST", path, {}, params.reference)
        if not isinstance(answer, Answer):
            return answer
        outcome = reading.read_part(answer, reading.read_authorization, order["id"])
        if isinstance(outcome, Declined) and answer.status >= 400:  # the void was declined and had no effect
            outcome = NotSent(Reason.invalid_state, outcome.code, outcome.detail)
        return await self._as_it_stands(order, answer, outcome)

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /v2/payments/captures/{id}/refund, under the refund's own request id."""
        try:
            amount = reading.amount_of(params.amount)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        order = await self._order(params.provider_transaction_id)
        if not isinstance(order, dict):
            return order
        captured = reading.capture_of(order, params.amount)
        if captured is None:
            return _nothing("capture")
        body = {"amount": amount, "custom_id": params.payment_reference, "invoice_id": params.reference}
        path = f"/v2/payments/captures/{quote(captured, safe='')}/refund"
        answer = await self._call("POST", path, body, params.reference)
        return read_answer(answer, reading.read_refund_answer)

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET /v2/payments/refunds/{id} if the id is known, else our reference among the order's refunds."""
        if params.provider_refund_id:
            answer = await self._call("GET", f"/v2/payments/refunds/{quote(params.provider_refund_id, safe='')}")
            return read_answer(answer, reading.read_refund_answer)
        order = await self._order(params.provider_transaction_id)
        if not isinstance(order, dict):
            # An order that is not found does not prove that nothing was refunded.
            return as_unknown(order)
        refunds = reading.payments_of(order, "refunds")
        for refund in refunds:
            if refund.get("invoice_id") == params.reference:
                return reading.read_refund(refund)
        if any(reading.could_be(refund, params) for refund in refunds):
            return Unknown(Reason.conflict, "unmarked", "A refund without our mark could be this one.")
        return NotSent(Reason.not_found, detail="The order has no such refund.")

    async def list_disputes(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[DisputeFact]:
        """GET /v1/customer/disputes by their last change, and the details of each, because the listing does not name
        the payment. The cursor is the query of the following page."""
        query = disputes.query(since_s, until_s, int(self.world.time_s()), cursor)
        answer = await self._call("GET", f"{disputes.PATH}?{query}")
        if not isinstance(answer, Answer):
            return answer
        items = disputes.items_in(answer.data)
        if answer.status != 200 or items is None:
            return reading.read_no_list(answer)
        facts: list[DisputeFact | None] = []
        for item in items:
            number = string_in(item, "dispute_id")
            if number is None:
                facts.append(None)
                continue
            told = await self._call("GET", f"{disputes.PATH}/{quote(number, safe='')}")
            if not isinstance(told, Answer):
                return told
            found = told.status == 200 and told.data.get("dispute_id") == number
            if not found and told.status != 404:
                return reading.read_no_list(told)
            facts.append(disputes.read_dispute(told.data) if found else None)
        return read_page(facts, disputes.next_query(answer.data))

    async def test_credentials(self) -> CredentialTest:
        """Fetch an access token and its scopes, then read: see ``key_test.py``. Each environment has its own host."""
        return await test_keys(self.http, self._token_request(), self._base, self.config.environment)

    async def fetch_webhook_key(self, headers: Mapping[str, str]) -> None:
        """GET the certificate that a webhook names, and cache it: only from PayPal's API over https, without any key."""
        url = webhooks.certificate_url(headers, self.config.base_url)
        if url is None:
            return

        async def fetch() -> Token | NotSent:
            try:
                status, _, content = await self.http.transport.send("GET", url, {"Accept": "*/*"}, None)
            except (ConnectionNotMade, AnswerLost):
                return NotSent(Reason.unreachable)
            if status != 200 or not content.startswith(webhooks.PEM):
                return NotSent(Reason.unreadable)
            return Token(Secret(content.decode("ascii", "replace")), CERTIFICATE_KEPT_S)

        found, _ = await self.http.tokens.get(f"certificate {url}".encode(), self.world.time_s(), fetch)
        if isinstance(found, Secret):
            self._certificate = (url, found.reveal().encode())

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """RSA over transmission id, time, our webhook id and the raw body's CRC, with the fetched certificate."""
        if self._certificate is None or webhooks.certificate_url(headers, self.config.base_url) != self._certificate[0]:
            return False
        now = datetime.fromtimestamp(self.world.time_s(), UTC)
        ids = (secret.reveal() for secret in self.config.webhook_secrets if secret)
        return any(webhooks.is_signed(headers, body, webhook_id, self._certificate[1], now) for webhook_id in ids)

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook. An approval only triggers a lookup, and that lookup captures."""
        return webhooks.read_event(body)

    # ── Request builders ──

    def _token_request(self) -> TokenRequest:
        headers = basic(self.config.public_key, self.config.secret_key)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        url, body = f"{self._base}/v1/oauth2/token", b"grant_type=client_credentials"
        return TokenRequest(self.name, "POST", url, headers, body)

    async def _call(
        self, method: str, path: str, body: JsonObject | None = None, request_id: str | None = None
    ) -> Answered:
        headers = {} if body is None else {"Prefer": "return=representation"}
        if request_id is not None:
            headers["PayPal-Request-Id"] = request_id
        send = partial(self.http.send_json, method, self._base + path, body=body, headers=headers)
        return await send_with_token(self.http, self._token_request(), self.world.time_s(), send)

    @property
    def _base(self) -> str:
        return self.config.base_url.rstrip("/")

    def _order_body(self, params: CreatePaymentParams) -> JsonObject:
        unit = {
            "reference_id": params.reference,
            "custom_id": params.reference,
            "invoice_id": _invoice(params),
            "description": (params.description or shown(params.merchant_reference, LONGEST_TEXT) or "")[:LONGEST_TEXT],
            "amount": reading.amount_of(params.amount),
        }
        page = {"return_url": params.return_url, "cancel_url": params.return_url, "user_action": "PAY_NOW"}
        if params.merchant_name:
            page["brand_name"] = params.merchant_name[:LONGEST_TEXT]
        return {
            "intent": "AUTHORIZE" if params.capture is CaptureMode.manual else "CAPTURE",
            "purchase_units": [filled(unit)],
            "payment_source": {"paypal": {"experience_context": page}},
        }

    async def _order(self, order_id: str | None) -> JsonObject | NotSent | Unknown:
        if not order_id:
            return NotSent(Reason.invalid_state, "no_order", "The order's id is not known.")
        answer = await self._call("GET", f"/v2/checkout/orders/{quote(order_id, safe='')}")
        return reading.order_in(answer, order_id) if isinstance(answer, Answer) else answer

    async def _order_of_capture(self, capture_id: str, missing: NotSent) -> JsonObject | NotSent | Unknown:
        """The order of a capture: staff may have named a payment by what PayPal's pages show, which is its capture."""
        answer = await self._call("GET", f"/v2/payments/captures/{quote(capture_id, safe='')}")
        if not isinstance(answer, Answer):
            return answer
        order_id = reading.order_of_capture(answer)
        return await self._order(order_id) if order_id else missing

    async def _as_it_stands(self, order: JsonObject, answer: Answer, outcome: Outcome) -> Outcome:
        """The outcome of a call about an authorization that may be in another state (captured, voided or expired
        already): the order shows it. If the authorization is unchanged, the rejection is the outcome."""
        if isinstance(outcome, Succeeded) and reading.payments_of(order, "captures"):  # captured in part before
            again = await self._order(order["id"])
            return reading.read_order(again) if isinstance(again, dict) else as_unknown(again)
        if not reading.is_rejected(answer, outcome):
            return outcome
        again = await self._order(order["id"])
        found = reading.read_order(again) if isinstance(again, dict) else outcome
        return outcome if isinstance(found, Unknown) or reading.holds_nothing_new(found) else found

    async def _settled(self, reference: str, order_id: str | None, only_ask: bool = False) -> Outcome:
        order = await self._order(order_id)
        if order_id and only_ask and isinstance(order, NotSent) and is_missing(order):
            order = await self._order_of_capture(order_id, order)
        if not isinstance(order, dict):
            return order
        if reading.reference_of(order) not in (reference, None):
            return Unknown(Reason.unreadable, detail="PayPal answered about another payment.")
        if order.get("status") != "APPROVED" or only_ask:
            return reading.read_order(order)
        act = "authorize" if order.get("intent") == "AUTHORIZE" else "capture"
        order_id = order["id"]
        path = f"/v2/checkout/orders/{quote(order_id, safe='')}/{act}"
        # No request id, because the order itself allows this once. With one, the first decline or 500 would be replayed
        # forever.
        answer = await self._call("POST", path, {})
        if not isinstance(answer, Answer):
            return answer
        rejected = reading.as_rejection(answer)
        outcome = reading.read_order_answer(rejected)
        if isinstance(outcome, Declined) and rejected is not answer:
            return reading.read_declined(await self._order(order_id), outcome)
        if not isinstance(outcome, NotSent) or not reading.is_rejected(rejected, outcome):
            return outcome
        if meaning_of(outcome.code or "") is Meaning.payer_first:
            return NeedsAction(reading.approval_in(order), reading.asked_of(order), order_id)
        again = await self._order(order_id)  # another call may have been faster, or the order is in another state
        return reading.read_rejected(again, outcome, order) if isinstance(again, dict) else again


def _invoice(params: CreatePaymentParams) -> str | None:
    """The invoice number, which PayPal shows to the buyer and in its reports. PayPal rejects a number that it has seen,
    and a host may use one reference for several payments, so the end of the attempt's id follows the reference."""
    own = f"-{params.reference[-8:]}"
    told_as = shown(params.merchant_reference, LONGEST_TEXT - len(own))
    return told_as + own if told_as else None


def _nothing(what: str) -> NotSent:
    return NotSent(Reason.invalid_state, f"no_{what}", f"The order holds no {what}.")
