"""Acme: one host, JSON, integer minor units, webhooks signed over their body.

These facts are invented: replace them with those of the real provider, from the top to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.providers.contract import (
    CatalogEntry,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    Handler,
    Idempotency,
    KeyField,
    LookupParams,
    PaymentFact,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
    redact,
)
from polytill.providers.http import Answer, parse_json, to_json
from polytill.providers.outcomes import (
    Declined,
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
from polytill.providers.wire_amounts import from_wire, to_wire
from polytill.providers.wire_json import id_in, object_in, reason_of_decline, string_in, text_of

# ── Facts ──

WIRE_EXPONENT = {"USD": 2, "KES": 2, "JPY": 0}
REDACTED = frozenset({"pay_url"})  # anyone who has it can act as the customer
REFUSALS = {"duplicate_reference": Reason.duplicate, "currency": Reason.currency_not_supported}


class AcmeProvider(Handler):
    """One practice's Acme account."""

    code = "acme"
    name = "Acme"
    hosts = frozenset({"api.acme.example"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "secretKey": KeyField("Secret key", r"acme_test_\w{16,}", r"acme_live_\w{16,}"),
        "webhookSecret": KeyField("Webhook secret", r"hook_\w{16,}", r"hook_\w{16,}", required=False),
    }
    config_schema: ClassVar[dict[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}
    catalog = CatalogEntry(
        description="A provider that does not exist",
        website_url="https://acme.example",
        documentation_url="https://acme.example/docs",
        api_base_url="https://api.acme.example",
        sandbox_api_base_url="https://api.acme.example",
        methods=("card",),
        currencies={"USD": CurrencyTerms(29_000, 30, 50), "KES": CurrencyTerms(29_000), "JPY": CurrencyTerms(29_000)},
    )
    idempotency = Idempotency.reference
    settle_horizon_s = 60.0
    redacted = REDACTED

    # ── Public verbs ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /v1/payments: a page for the customer."""
        try:
            amount = to_wire(params.amount, WIRE_EXPONENT.get(params.amount.currency, 2))
        except InvalidAmount:
            return NotSent(Reason.validation, detail=f"{params.amount} has more decimals than Acme accepts.")
        body = {
            "reference": params.reference,
            "amount": amount,
            "currency": params.amount.currency,
            "return_url": params.return_url,
            "email": params.customer.email,
        }
        answer = await self._call("POST", "/v1/payments", body)
        return read_payment(answer, params.reference) if isinstance(answer, Answer) else answer

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET /v1/payments/{our reference}."""
        return await self._retrieve(params.reference)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """Same as ``confirm_payment``: the provider finds a payment by our reference, or does not have it."""
        return await self._retrieve(params.reference)

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /v1/refunds."""
        body = {
            "reference": params.reference,
            "payment": params.payment_reference,
            "amount": to_wire(params.amount, WIRE_EXPONENT.get(params.amount.currency, 2)),
            "currency": params.amount.currency,
        }
        answer = await self._call("POST", "/v1/refunds", body)
        return read_refund(answer, params.reference) if isinstance(answer, Answer) else answer

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET /v1/refunds/{our reference}."""
        answer = await self._call("GET", f"/v1/refunds/{quote(params.reference, safe='')}")
        return read_refund(answer, params.reference) if isinstance(answer, Answer) else answer

    async def test_credentials(self) -> CredentialTest:
        """GET /v1/account."""
        answer = await self._call("GET", "/v1/account")
        if not isinstance(answer, Answer):
            return CredentialTest(False, answer.detail or "Acme could not be reached.")
        mode = {"test": Environment.sandbox, "live": Environment.production}.get(text_of(answer.data.get("mode")))
        if answer.status == 200 and mode is not None:
            return CredentialTest(True, "Acme accepts the key.", mode)
        return CredentialTest(False, "Acme rejects the key.")

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """``acme-signature``: hex HMAC-SHA256 of the raw body."""
        given = header(headers, "acme-signature")
        secrets = [secret.reveal() for secret in self.config.webhook_secrets if secret]
        return any(same(hex_hmac(secret, body, "sha256"), given) for secret in secrets)

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook. Its id identifies duplicates."""
        event = parse_json(body)
        event_id = id_in(event) if isinstance(event, dict) else None
        if event_id is None:
            raise ValueError("not an event of Acme")
        kind, data = text_of(event.get("type")), object_in(event, "data")
        facts: tuple[PaymentFact, ...] = ()
        if kind.startswith("payment."):
            facts = (PaymentFact(payment_outcome(data), string_in(data, "reference"), id_in(data)),)
        action = "apply" if facts else "ignore"
        return WebhookResult(kind, event_id, action, event_id=event_id, facts=facts, body=redact(event, REDACTED))

    # ── Request builders ──

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer | NotSent | Unknown:
        assert self.config.secret_key is not None
        headers = {"Authorization": f"Bearer {self.config.secret_key.reveal()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = self.config.base_url.rstrip("/") + path
        return await self.http.send(method, url, headers, to_json(body) if body is not None else None)

    async def _retrieve(self, reference: str) -> Outcome:
        answer = await self._call("GET", f"/v1/payments/{quote(reference, safe='')}")
        return read_payment(answer, reference) if isinstance(answer, Answer) else answer


# ── Response readers ──


def money_in(data: dict[str, Any]) -> Money:
    """The amount of an object. ``InvalidAmount`` if it is missing or unreadable."""
    currency = text_of(data.get("currency"))
    return from_wire(data.get("amount"), currency, WIRE_EXPONENT.get(currency, 2))


def read_payment(answer: Answer, reference: str) -> Outcome:
    """The outcome of any call about one payment."""
    if answer.status >= 300 or "status" not in answer.data:
        return read_error(answer)
    if answer.data.get("reference") != reference:
        return Unknown(Reason.unreadable, detail="Acme answered about another payment.")
    return payment_outcome(answer.data)


def payment_outcome(data: dict[str, Any]) -> Outcome:
    """The outcome of a payment object, from an answer or a webhook."""
    status, number, kept = text_of(data.get("status")), id_in(data), redact(data, REDACTED)
    try:
        amount = money_in(data)
    except InvalidAmount:
        return Unknown(Reason.unreadable, status, "The amount could not be read.")
    if status == "open":
        link = string_in(data, "pay_url")
        return NeedsAction(NextAction(NextKind.redirect, link) if link else None, amount, number, response=kept)
    if status == "processing":
        return Pending(amount, number, kept)
    if status == "paid":
        return Succeeded(amount, number, response=kept)
    if status == "declined":
        word = text_of(data.get("decline"))
        return Declined(reason_of_decline(word), False, word or status, None, number, kept)
    return Unknown(Reason.unreadable, status, "Acme returned an unknown status.")


def read_refund(answer: Answer, reference: str) -> Outcome:
    """The outcome of any call about one refund."""
    if answer.status >= 300 or "status" not in answer.data:
        return read_error(answer)
    data, kept = answer.data, redact(answer.data, REDACTED)
    try:
        amount = money_in(data)
    except InvalidAmount:
        return Unknown(Reason.unreadable, detail="The refund's amount could not be read.")
    if data.get("reference") != reference:
        return Unknown(Reason.unreadable, detail="Acme answered about another refund.")
    if data.get("status") == "done":
        return Succeeded(amount, id_in(data), response=kept)
    if data.get("status") == "processing":
        return Pending(amount, id_in(data), kept)
    return Unknown(Reason.unreadable, text_of(data.get("status")))


# ── Error mapping ──


def read_error(answer: Answer) -> Outcome:
    """The outcome of an error, by what the provider can have done."""
    error = object_in(answer.data, "error")
    code, message = text_of(error.get("code")) or str(answer.status), text_of(error.get("message"))
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code, message)
    if answer.status == 409:  # the reference is taken, so the first call arrived
        return Unknown(Reason.conflict, code, message)
    if answer.status in (401, 403):
        return NotSent(Reason.config, code, message)
    if answer.status == 404 and code == "not_found":
        return NotSent(Reason.not_found, code, message)
    if 400 <= answer.status < 500:
        return NotSent(REFUSALS.get(code, Reason.validation), code, message)
    return Unknown(Reason.unreadable, code, "Acme's answer could not be read.")
