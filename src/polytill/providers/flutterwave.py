"""Flutterwave v3, as it speaks in 2026: one host, JSON, major units, webhooks that do not sign their body.

Sources: Flutterwave/Node-v3 (Jun 2026), developer.flutterwave.com (v3 pages of Sep 2026, v4 webhook pages).
What to know: a link has no transaction until somebody pays, and cannot be looked up; one ``tx_ref`` can have
several transactions, the failed ones first; nothing is idempotent; ``verif-hash`` proves that its sender has
a word, not what the body says: a v3 delivery is a hint of what to ask. Refund answers name no currency.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode

from polytill.domain.currencies import exponent_of
from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money
from polytill.providers.contract import (
    CatalogEntry,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    Fact,
    Handler,
    KeyField,
    LookupParams,
    PaymentFact,
    ProviderConfig,
    RefundFact,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
    environment_of_key,
    redact,
)
from polytill.providers.http import Answer, parse_json, to_json
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NeedsAction,
    NextAction,
    NextKind,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.providers.signing import header, hex_hmac, same
from polytill.providers.wire_amounts import fee_from_wire, from_wire, to_wire

# ── Facts ──

MAJOR = 0  # the wire's exponent: amounts are written in major units

LOCAL_FEES_PPM = {"NGN": 14_000, "GHS": 19_500, "KES": 29_000}
OTHERS = ("UGX", "TZS", "RWF", "ZMW", "ZAR", "XAF", "XOF", "MWK", "EGP", "MUR", "ETB", "USD", "EUR", "GBP")
OTHER_FEE_PPM = 38_000  # the price of a foreign card

# Our word for a method, and ``payment_options`` by currency ("": in every currency).
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
REDACTED = frozenset({"authorization", "auth_url", "customertoken", "embedtoken", "link", "token"})
REFUND_MARK = "polytill refund "
MAX_SESSION_MINUTES = 1440
MAX_REFUND_PAGES = 20

V3_WORDS = {
    "successful": "succeeded",
    "failed": "failed",
    "pending": "pending",
    "success-pending-validation": "pending",  # ACH: not a success
}
V4_WORDS = {"succeeded": "succeeded", "failed": "failed", "pending": "pending", "voided": "canceled"}
# ``completed-mpgs``, ``completed-momo``, … and ``pending-momo`` are told by their first word.
REFUND_WORDS = {
    "completed": "succeeded",
    "successful": "succeeded",
    "succeeded": "succeeded",
    "pending": "pending",
    "processing": "pending",
    "initiated": "pending",
    "new": "pending",
    "requires_action": "requires_action",
    "failed": "failed",
    "cancelled": "failed",
}
INPUT_MODES = frozenset({"pin", "otp", "avs_noauth"})
WHERE_KEYS_ARE = "Flutterwave dashboard → Settings → API keys"
WORD = "[!-~]([ -~]{0,198}[!-~])?"  # a space at either end would be lost in a header


class FlutterwaveProvider(Handler):
    """One practice's Flutterwave account."""

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
        "webhookSecret": KeyField(
            "Secret hash", WORD, WORD, help="Flutterwave dashboard → Settings → Webhooks → Secret hash"
        ),
    }
    config_schema: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {
            "encryptionKey": {
                "type": "string",
                "title": "Encryption key",
                "description": "Only for cards that are charged directly; the hosted page does without.",
                "pattern": "^(FLWSECK_TEST[0-9A-Za-z]{8,32}|[0-9A-Za-z]{24})$",
                "secret": True,
            },
            "webhookVersion": {
                "type": "string",
                "title": "Webhook version",
                "description": "v4 takes only deliveries with a signature over their body.",
                "enum": ["v3", "v4"],
                "default": "v3",
            },
        },
        "additionalProperties": False,
    }
    catalog = CatalogEntry(
        description="Cards, bank transfer, USSD and mobile money across Africa, also in USD, EUR and GBP",
        website_url="https://flutterwave.com",
        documentation_url="https://developer.flutterwave.com/v3.0/docs",
        api_base_url="https://api.flutterwave.com/v3",
        sandbox_api_base_url="https://api.flutterwave.com/v3",
        methods=tuple(PAYMENT_OPTIONS),
        currencies={
            code: CurrencyTerms(LOCAL_FEES_PPM.get(code, OTHER_FEE_PPM), recommended=code == "NGN")
            for code in (*LOCAL_FEES_PPM, *OTHERS)
        },
        priority=10,
    )
    required_customer_fields = ("email",)
    settle_horizon_s = 180.0  # their gateway gives up after 28 s
    redacted = REDACTED

    def initialize(self, config: ProviderConfig) -> None:
        """Remember the address up to /v3, whether or not the catalog's ends with it."""
        self._base = config.base_url.rstrip("/").removesuffix("/v3") + "/v3"
        self._signed_body: bytes | None = None  # the delivery whose signature was found right

    # ── Public verbs ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /payments: a link for the payer. There is no transaction yet."""
        try:
            body = self._payment_body(params)
        except InvalidAmount:
            return _too_fine(params.amount)
        if body.get("payment_options") == "":
            detail = f"Flutterwave has no {params.method} in {params.amount.currency}."
            return NotSent(Reason.validation, detail=detail)
        answer = await self._call("POST", "/payments", body)
        return read_charge(answer) if isinstance(answer, Answer) else answer

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET /transactions/{id}/verify, or verify_by_reference. ``not_found``: nobody paid the link yet."""
        return await self._verify(params.reference, params.provider_transaction_id)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """As ``confirm_payment``: a link cannot be looked up, and nobody holds one whose answer was lost."""
        return await self._verify(params.reference, params.provider_transaction_id)

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /transactions/{id}/refund. Our reference travels in ``comments``, to be found again."""
        currency, number = params.amount.currency, _digits(params.provider_transaction_id)
        try:
            amount = _major(params.amount)
        except InvalidAmount:
            return _too_fine(params.amount)
        found = number or await self._number_of(params.payment_reference)
        if not isinstance(found, str):
            return found
        note = f"{REFUND_MARK}{params.reference} {params.reason or ''}".strip()
        answer = await self._call("POST", f"/transactions/{found}/refund", {"amount": amount, "comments": note})
        return read_refund(answer, currency, found) if isinstance(answer, Answer) else answer

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET /refunds/{id}, else the refund with our note, else the only one of that amount."""
        currency, number = params.amount.currency, _digits(params.provider_transaction_id)
        refund_id = _digits(params.provider_refund_id)
        if refund_id:
            answer = await self._call("GET", f"/refunds/{refund_id}")
            outcome = read_refund(answer, currency, number) if isinstance(answer, Answer) else answer
            if not _not_found(outcome):
                return outcome
        found = number or await self._number_of(params.payment_reference)
        if not isinstance(found, str):
            # A payment that is not found, or not paid, does not prove that nothing was refunded.
            certain = found.reason in (Reason.not_found, Reason.invalid_state)
            return Unknown(found.reason, found.code, found.detail) if certain else found
        items = await self._refunds_of(found, params.created_at_s)
        if not isinstance(items, list):
            return items
        mine = [item for item in items if _noted_reference(item.get("comments")) == params.reference]
        alike = [
            item
            for item in items
            if _noted_reference(item.get("comments")) is None
            and _id(item) not in params.known
            and _money(_refunded(item), _string(item, "currency") or currency) == params.amount
        ]
        candidates = mine or alike
        if not candidates:
            return NotSent(Reason.not_found, detail="The transaction has no such refund.")
        if len(candidates) > 1 or _transaction_of(candidates[0]) is None:
            return Unknown(Reason.conflict, detail="Several refunds could be this one.")
        return read_refund_object(candidates[0], currency)

    async def list_transactions(
        self, since_s: int, until_s: int, page: int = 1
    ) -> list[PaymentFact] | NotSent | Unknown:
        """GET /transactions over whole days (UTC): one page."""
        query = {"from": _day(since_s), "to": _day(until_s), "page": page}
        items = await self._list("/transactions", query)
        if not isinstance(items, list):
            return items
        facts = (_payment_fact(item) for item in items)
        return [fact for fact in facts if fact.reference or fact.provider_transaction_id]

    async def test_credentials(self) -> CredentialTest:
        """GET /balances."""
        assert self.config.secret_key is not None
        answer = await self._call("GET", "/balances")
        if not isinstance(answer, Answer):
            return CredentialTest(False, answer.detail or "Flutterwave could not be reached.")
        if answer.status != 200 or answer.data.get("status") != "success":
            return CredentialTest(False, f"Flutterwave refuses the key: {_text(answer.data.get('message'))}")
        environment = environment_of_key(type(self), "secretKey", self.config.secret_key.reveal())
        data = answer.data.get("data")
        balances = data if isinstance(data, list) else [data]
        found = ", ".join(_text(item.get("currency")) for item in balances if isinstance(item, dict))
        return CredentialTest(True, f"Flutterwave accepts the key (balances in {found}).", environment)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """v4: base64 HMAC-SHA256 of the raw body. v3: a shared word. A signature, if there, must be right."""
        secrets = [secret.reveal() for secret in self.config.webhook_secrets if secret]
        signed = any(name.lower() == "flutterwave-signature" for name in headers)
        if not signed and self.config.config.get("webhookVersion") != "v4":
            given = header(headers, "verif-hash")
            return any(same(secret, given) for secret in secrets)
        given = header(headers, "flutterwave-signature")
        valid = any(same(_signature(secret, body), given) for secret in secrets)
        self._signed_body = body if valid else None
        return valid

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a delivery: v4's envelope, or one of v3's three shapes. Only a signed v4 one is believed."""
        event = parse_json(body)
        if not isinstance(event, dict):
            raise ValueError("not a Flutterwave event")
        data, kept = _object(event, "data"), redact(event, REDACTED)
        if "event" not in event and isinstance(event.get("type"), str) and data:
            event_id = _id(event, "webhook_id") or _id(event)
            if event_id is None:
                raise ValueError("a v4 delivery without an id")
            facts = _read_v4(event["type"], data)
            believed = self.config.config.get("webhookVersion") == "v4" or body == self._signed_body
            action = "apply" if facts else "ignore"
            return WebhookResult(event["type"], event_id, action, None, event_id, facts, not believed, body=kept)
        kind, key, facts, action = _read_v3(event, data)
        return WebhookResult(kind, key, action, facts=facts, must_fetch=True, body=kept)

    # ── Request builders ──

    async def _call(self, method: str, path: str, body: JsonObject | None = None) -> Answer | NotSent | Unknown:
        assert self.config.secret_key is not None
        headers = {"Authorization": f"Bearer {self.config.secret_key.reveal()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self.http.send(method, self._base + path, headers, to_json(body) if body else None)

    def _payment_body(self, params: CreatePaymentParams) -> JsonObject:
        customer = {
            "email": params.customer.email,
            "name": params.customer.name,
            "phonenumber": params.customer.phone,
        }
        body: JsonObject = {
            "tx_ref": params.reference,
            "amount": _major(params.amount),
            "currency": params.amount.currency,
            "redirect_url": params.return_url,
            "customer": {name: value for name, value in customer.items() if value},
            "meta": {**params.metadata, "payment_id": params.payment_id, "attempt_id": params.reference},
        }
        if params.merchant_name or params.description:
            texts = {"title": params.merchant_name, "description": params.description}
            body["customizations"] = {name: text for name, text in texts.items() if text}
        if params.method is not None:
            options = PAYMENT_OPTIONS.get(params.method, {"": params.method})
            body["payment_options"] = options.get(params.amount.currency) or options.get("", "")
        if params.expires_in_s is not None and params.expires_in_s >= 60:
            body["configurations"] = {"session_duration": min(params.expires_in_s // 60, MAX_SESSION_MINUTES)}
        return body

    async def _verify(self, reference: str, transaction_id: str | None) -> Outcome:
        outcome: Outcome = NotSent(Reason.not_found)
        if number := _digits(transaction_id):
            outcome = _about(reference, await self._call("GET", f"/transactions/{number}/verify"))
        if _not_found(outcome):
            query = urlencode({"tx_ref": reference})
            outcome = _about(reference, await self._call("GET", f"/transactions/verify_by_reference?{query}"))
        if isinstance(outcome, Declined | Pending):
            # The payer may have tried again on the same link: another transaction may have gone through.
            items = await self._list("/transactions", {"tx_ref": reference})
            for item in reversed(items) if isinstance(items, list) else ():
                other = read_transaction(item) if item.get("tx_ref") == reference else None
                if isinstance(other, Succeeded):
                    return other
        return outcome

    async def _number_of(self, reference: str) -> str | NotSent | Unknown:
        outcome = await self._verify(reference, None)
        if isinstance(outcome, Succeeded):
            number = _digits(outcome.provider_transaction_id)
            return number or Unknown(Reason.unreadable, detail="Flutterwave gave no transaction number.")
        if isinstance(outcome, NotSent | Unknown):
            return outcome
        return NotSent(Reason.invalid_state, detail="Only a payment that succeeded can be refunded.")

    async def _list(self, path: str, query: Mapping[str, Any]) -> list[JsonObject] | NotSent | Unknown:
        answer = await self._call("GET", f"{path}?{urlencode(query)}")
        return answer if not isinstance(answer, Answer) else _items(answer)

    async def _refunds_of(self, number: str, since_s: int) -> list[JsonObject] | NotSent | Unknown:
        """All refunds of a transaction. Every page is read: "not found" must mean that it is not there."""
        window = {"from": _day(since_s - 86_400), "to": _day(int(self.world.time_s()) + 86_400)} if since_s else {}
        found: dict[str, JsonObject] = {}
        for page in range(1, MAX_REFUND_PAGES + 1):
            answer = await self._call("GET", f"/refunds?{urlencode({**window, 'page': page})}")
            items = answer if not isinstance(answer, Answer) else _items(answer)
            if not isinstance(items, list):
                return items
            fresh = {_id(item) or f"{page}/{place}": item for place, item in enumerate(items)}
            total = None
            if isinstance(answer, Answer):
                total = _object(_object(answer.data, "meta"), "page_info").get("total_pages")
            last = page >= total if isinstance(total, int) else fresh.keys() <= found.keys()
            found |= fresh
            if last:
                return [item for item in found.values() if _transaction_of(item) in (number, None)]
        return Unknown(Reason.unreadable, detail="There are too many refunds to look through.")


# ── Response readers ──


def _about(reference: str, answer: Answer | NotSent | Unknown) -> Outcome:
    if not isinstance(answer, Answer):
        return answer
    data = _object(answer.data, "data")
    if answer.status >= 300 or answer.data.get("status") != "success" or not data:
        return read_error(answer)
    if data.get("tx_ref") != reference:
        return Unknown(Reason.unreadable, detail="Flutterwave answered about another reference.")
    return read_transaction(data)


def read_transaction(data: JsonObject, words: Mapping[str, str] = V3_WORDS) -> Outcome:
    """A transaction object, from verify, a listing or a delivery. Only ``status`` counts, no text."""
    status, currency = _text(data.get("status")), _text(data.get("currency"))
    number, kept, state = _id(data), redact(data, REDACTED), words.get(status)
    amount = _money(data.get("amount"), currency)
    if state == "pending":
        return Pending(amount, number, kept)
    if state == "canceled":
        return Declined(Reason.canceled, True, status, None, number, kept)
    if state == "failed":
        said = data.get("processor_response")
        text = _text(said.get("type") if isinstance(said, dict) else said)
        return Declined(_decline_reason(text), False, text or status, None, number, kept)
    if state is None or amount is None:
        return Unknown(Reason.unreadable, status, "Flutterwave's status or amount could not be read.")
    charged = fee_from_wire(data.get("charged_amount"), currency, MAJOR)
    fee = fee_from_wire(data.get("app_fee"), currency, MAJOR)
    return Succeeded(amount, number, fee, charged if charged != amount else None, response=kept)


def read_charge(answer: Answer) -> Outcome:
    """What POST /payments (a link) and POST /charges (the next step in ``meta.authorization``) answer."""
    if answer.status >= 300 or answer.data.get("status") != "success":
        return read_error(answer)
    data, step = _object(answer.data, "data"), _object(_object(answer.data, "meta"), "authorization")
    kept, number = redact(answer.data, REDACTED), _id(data)
    amount = _money(data.get("amount"), _text(data.get("currency")))
    mode, text = _text(step.get("mode")), _string(step, "note") or _string(step, "transfer_note")
    link = _string(data, "link") or (_string(step, "redirect") if mode == "redirect" else None)
    if link:
        return NeedsAction(NextAction(NextKind.redirect, link), amount, number, response=kept)
    if mode in INPUT_MODES:
        return NeedsAction(NextAction(NextKind.input, wants=mode), amount, number, response=kept)
    if text:
        action = NextAction(NextKind.instructions, instructions=text)
        return NeedsAction(action, amount, number, response=kept)
    return read_transaction(data)


def read_refund(answer: Answer, currency: str, number: str | None = None) -> Outcome:
    """What POST /transactions/{id}/refund and GET /refunds/{id} answer. They name no currency."""
    data = _object(answer.data, "data")
    if answer.status >= 300 or answer.data.get("status") != "success" or not data:
        return read_error(answer)
    if number is not None and _transaction_of(data) not in (None, number):
        return Unknown(Reason.unreadable, detail="Flutterwave answered about another transaction.")
    return read_refund_object(data, currency)


def read_refund_object(data: JsonObject, currency: str) -> Outcome:
    """A refund object, in either spelling."""
    amount = _money(_refunded(data), _string(data, "currency") or currency)
    refund_id, kept, state = _id(data), redact(data, REDACTED), _refund_state(data)
    if state == "failed":
        text = "Flutterwave could not pay the refund out."
        return Declined(Reason.declined, True, _text(data.get("status")), text, refund_id, kept)
    if state is None or amount is None:
        return Unknown(Reason.unreadable, _text(data.get("status")), "The refund could not be read.")
    return Succeeded(amount, refund_id, response=kept) if state == "succeeded" else Pending(amount, refund_id, kept)


def _refund_state(data: JsonObject) -> str | None:
    # ``completed`` can still carry a payout that failed; meta is an object here and JSON text in a delivery.
    meta = data.get("meta")
    if isinstance(meta, str):
        try:
            meta = parse_json(meta.encode())
        except ValueError:
            meta = None
    if isinstance(meta, dict) and _text(meta.get("disburse_status")).lower() == "failed":
        return "failed"
    return REFUND_WORDS.get(_text(data.get("status")).lower().partition("-")[0])


# ── Deliveries ──


def _read_v3(event: JsonObject, data: JsonObject) -> tuple[str, str, tuple[Fact, ...], str]:
    """The event's name, the dedupe key, hints of what to ask about, and the action."""
    kind = _string(event, "event")
    if kind is None and "AmountRefunded" in event:  # shape C
        kind, data = "refund", event
    elif kind is None and "txRef" in event:  # shape B: the documented object under older names
        kind = _string(event, "event.type") or "charge"
        renamed = {"tx_ref": event.get("txRef"), "app_fee": event.get("appfee")}
        return _read_v3_charge(kind, {**event, **renamed})
    elif kind is None:  # a virtual card's debit, and whatever else comes without an envelope
        kind, data = _string(event, "event.type") or "unknown", event
        return kind, f"{kind}:{_id(data)}", (), "ignore"
    if kind.startswith("charge."):
        return _read_v3_charge(kind, data)
    state, status = _refund_state(data), _text(data.get("status"))
    if kind.startswith("refund"):
        refund_id, number = _id(data), _transaction_of(data)
        if refund_id is None or number is None:
            raise ValueError("a refund that names no transaction")
        fact = RefundFact(
            state or "pending",
            _noted_reference(data.get("comments")),
            refund_id,
            provider_transaction_id=number,
            response=redact(data, REDACTED),
        )
        return kind, f"refund:{refund_id}:{status}", (fact,), "apply"
    # transfer.* and others: their ids live in another number space.
    action = "notify" if kind.startswith("chargeback") else "ignore"
    return kind, f"{kind}:{_id(data)}:{status}", (), action


def _read_v3_charge(kind: str, data: JsonObject) -> tuple[str, str, tuple[Fact, ...], str]:
    fact = _payment_fact(data)
    named = fact.provider_transaction_id or fact.reference
    if named is None:
        raise ValueError("a charge that names no transaction")
    return kind, f"{named}:{_text(data.get('status'))}", (fact,), "apply"


def _read_v4(kind: str, data: JsonObject) -> tuple[Fact, ...]:
    if kind.startswith("charge."):
        fact = _payment_fact(data, V4_WORDS)
        return (fact,) if fact.reference or fact.provider_transaction_id else ()
    state, charge = _refund_state(data), _string(data, "charge_id")
    if not kind.startswith("refund.") or state is None or charge is None:
        return ()
    amount = _money(_refunded(data), _text(data.get("currency")))
    kept = redact(data, REDACTED)
    return (RefundFact(state, None, _id(data), None, charge, amount, response=kept),)


def _payment_fact(data: JsonObject, words: Mapping[str, str] = V3_WORDS) -> PaymentFact:
    reference = _string(data, "tx_ref") or _string(data, "reference")
    return PaymentFact(read_transaction(data, words), reference, _id(data), _object(data, "meta") or None)


# ── Error mapping ──


def read_error(answer: Answer) -> NotSent | Unknown:
    """An error envelope, sorted by what can have happened over there."""
    message = _text(answer.data.get("message"))
    lower = message.lower()
    code = _text(answer.data.get("error_id") or answer.data.get("code")) or None
    if answer.status >= 500 or answer.status == 408:
        return Unknown(Reason.provider_unavailable, code or str(answer.status), message)
    if answer.status < 400 and answer.data.get("status") != "error":
        return Unknown(Reason.unreadable, str(answer.status), "Flutterwave's answer could not be read.")
    if answer.status in (401, 403) or "authorization" in lower:
        return NotSent(Reason.config, code or str(answer.status), message)
    if answer.status == 404 or "not found" in lower or (lower.startswith("no ") and " found" in lower):
        return NotSent(Reason.not_found, code, message)
    if "currency" in lower and "support" in lower:
        return NotSent(Reason.currency_not_supported, code, message)
    if "insufficient" in lower:
        return NotSent(Reason.insufficient_funds, code, message)
    return NotSent(Reason.conflict if answer.status == 409 else Reason.validation, code, message)


def _decline_reason(text: str) -> Reason:
    lower = text.lower()
    if "insufficient" in lower:
        return Reason.insufficient_funds
    if "expired" in lower:
        return Reason.expired_card
    if "incorrect" in lower or "invalid pin" in lower or "wrong pin" in lower or "otp" in lower:
        return Reason.incorrect_details
    return Reason.declined


# ── Values ──


def _major(money: Money) -> str:
    places = min(exponent_of(money.currency), 2)
    return format(Decimal(to_wire(money, places)).scaleb(-places), "f")


def _too_fine(money: Money) -> NotSent:
    return NotSent(Reason.validation, detail=f"Flutterwave takes no amount as fine as {money}.")


def _money(value: Any, currency: str) -> Money | None:
    try:
        return from_wire(value, currency, MAJOR)
    except InvalidAmount:
        return None


def _refunded(data: JsonObject) -> Any:
    return data.get("amount_refunded", data.get("AmountRefunded"))


def _transaction_of(refund: JsonObject) -> str | None:
    return _id(refund, "tx_id") or _id(refund, "TransactionId")


def _items(answer: Answer) -> list[JsonObject] | NotSent | Unknown:
    items = answer.data.get("data")
    if answer.status >= 300 or answer.data.get("status") != "success" or not isinstance(items, list):
        return read_error(answer)
    return [item for item in items if isinstance(item, dict)]


def _not_found(outcome: Outcome) -> bool:
    return isinstance(outcome, NotSent) and outcome.reason is Reason.not_found


def _id(data: JsonObject, name: str = "id") -> str | None:
    value = data.get(name)
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None


def _digits(value: str | None) -> str | None:
    return value if value and value.isascii() and value.isdigit() else None


def _string(data: JsonObject, name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and value else None


def _object(data: JsonObject, name: str) -> JsonObject:
    inner = data.get(name)
    return inner if isinstance(inner, dict) else {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:300]


def _noted_reference(note: Any) -> str | None:
    _, mark, rest = str(note).partition(REFUND_MARK)
    return rest.split()[0] if mark and rest.split() else None


def _signature(secret: str, body: bytes) -> str:
    return base64.b64encode(bytes.fromhex(hex_hmac(secret, body, "sha256"))).decode()


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
