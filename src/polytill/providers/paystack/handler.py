"""Paystack as of 2026: one host, JSON, every amount times 100, webhooks signed with the API key.

Sources: PaystackOSS/openapi (Oct 2025), PaystackOSS/doc-code-snippets (Feb 2026), support.paystack.com. Facts:
``verify`` by our own reference is the lookup. ``abandoned`` means not paid yet. An unpaid link cannot be retrieved
again. Refunds have no idempotency, so a lost answer is looked up in the transaction's refunds. ``reading.py`` reads
answers and webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote, urlencode

from polytill.domain.errors import InvalidAmount
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.states import Environment
from polytill.providers.contract import (
    Balance,
    CatalogEntry,
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    CredentialTest,
    CurrencyTerms,
    CustomerFields,
    Detachment,
    DetachSavedMethodParams,
    DisputeFact,
    FactT,
    Handler,
    Idempotency,
    IdentifierPaths,
    KeyField,
    Listing,
    LookupParams,
    PaymentFact,
    RefundFact,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
    read_page,
    redact,
)
from polytill.providers.http import Answer, Answered, parse_object, read_answer
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NeedsAction,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
    as_unknown,
    is_missing,
    unless_missing,
    unproven,
)
from polytill.providers.paystack import charge, reading
from polytill.providers.paystack.disputes import WIRE_EXPONENT, listed_dispute
from polytill.providers.paystack.key_test import PROBE
from polytill.providers.signing import header, hex_hmac, same
from polytill.providers.wire_amounts import to_wire, too_fine
from polytill.providers.wire_json import moment_text, object_in, refund_note

# ── Facts ──

PAGE_SIZE, MAX_PAGES = 100, 50
CHANNELS = ("card", "bank_transfer", "bank", "ussd", "mobile_money", "qr")  # our names are Paystack's here
# The methods offered to customers. All of them are available only for naira.
CHANNELS_IN: dict[str, tuple[str, ...]] = {
    "NGN": CHANNELS,
    "GHS": ("card", "mobile_money", "bank_transfer"),
    "KES": ("card", "mobile_money"),
    "XOF": ("card", "mobile_money"),
    "ZAR": ("card", "qr"),
}

WHERE_KEYS_ARE = "Paystack dashboard → Settings → API Keys & Webhooks"


class PaystackProvider(Handler):
    """The Paystack account of one practice."""

    code = "paystack"
    name = "Paystack"
    hosts = frozenset({"api.paystack.co"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField(
            "Public key", r"pk_test_[0-9a-zA-Z]{8,}", r"pk_live_[0-9a-zA-Z]{8,}", help=WHERE_KEYS_ARE
        ),
        "secretKey": KeyField(
            "Secret key", r"sk_test_[0-9a-zA-Z]{20,}", r"sk_live_[0-9a-zA-Z]{20,}", help=WHERE_KEYS_ARE
        ),
    }
    catalog = CatalogEntry(
        description="Cards, bank transfer, USSD and mobile money in Nigeria, Ghana, South Africa, Kenya "
        "and Côte d'Ivoire",
        website_url="https://paystack.com",
        documentation_url="https://paystack.com/docs/api/",
        api_base_url="https://api.paystack.co",
        sandbox_api_base_url="https://api.paystack.co",
        methods=CHANNELS,
        currencies={
            "NGN": CurrencyTerms(15_000, 100_00, 50_00, recommended=True),
            "GHS": CurrencyTerms(19_500, 0, 10, recommended=True),
            "ZAR": CurrencyTerms(29_000, 1_00, 1_00),
            "KES": CurrencyTerms(29_000, 0, 3_00),
            "USD": CurrencyTerms(39_000, 0, 2_00),
            "XOF": CurrencyTerms(32_000, 0, 1),
        },
        priority=20,
    )
    required_customer_fields = ("email",)
    webhook_signed_with = "secretKey"
    further_currencies = frozenset({"EGP", "RWF"})  # accounts in Egypt and Rwanda; a price list is not published
    idempotency = Idempotency.reference
    disputes_are_refunded = True
    settle_horizon_s = 120.0
    direct_charges = charge.DETAILS
    identifiers: ClassVar[IdentifierPaths] = {
        IdentifierKind.reference: ("reference",),
        IdentifierKind.receipt: ("receipt_number",),
        IdentifierKind.card_last4: ("authorization.last4",),
    }
    redacted = reading.REDACTED

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /transaction/initialize: returns a link and an access code. With method details, POST /charge: no page."""
        direct = params.method_details is not None
        try:
            body = charge.charge_body(params) if direct else self._initialize_body(params)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        if isinstance(body, NotSent):
            return body
        if direct:
            return await self._charged(await self._call("POST", "/charge", body), params.reference)
        return read_answer(await self._call("POST", "/transaction/initialize", body), self.read_charge)

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET /transaction/verify/{reference}."""
        return await self._verify(params.reference, params.direct)

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """Verify by our own reference. Found but unpaid is ``NeedsAction(None)``: its link is lost."""
        return await self._verify(params.reference, params.direct)

    async def continue_payment(self, params: ContinuePaymentParams) -> Outcome:
        """POST /charge/submit_…. A wrong PIN or OTP is rejected and ends the charge."""
        asked = charge.step(params)
        if isinstance(asked, NotSent):
            return asked
        return await self._charged(await self._call("POST", *asked), params.reference)

    async def charge_saved_method(self, params: ChargeSavedMethodParams) -> Outcome:
        """POST /transaction/charge_authorization. ``paused``: the customer must confirm, at the address in the answer."""
        try:
            body = charge.saved_body(params)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        answer = await self._call("POST", "/transaction/charge_authorization", body)
        return await self._charged(answer, params.reference)

    async def detach_saved_method(self, params: DetachSavedMethodParams) -> Detachment:
        """POST /customer/authorization/deactivate: the authorization code cannot be charged any more."""
        body: JsonObject = {"authorization_code": params.token.reveal()}
        return charge.read_detached(await self._call("POST", "/customer/authorization/deactivate", body))

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /refund. ``merchant_note`` contains our reference, so that a lookup finds a refund whose answer was
        lost."""
        try:
            body = self._refund_body(params)
        except InvalidAmount:
            return too_fine(self.name, params.amount)
        return read_answer(await self._call("POST", "/refund", body), reading.read_refund)

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET /refund/{id} if the id is known, else the refunds of the transaction: by our note, or without a note of
        polytill."""
        if params.provider_refund_id:
            answer = await self._call("GET", f"/refund/{quote(params.provider_refund_id, safe='')}")
            return reading.read_present_refund(answer, params.provider_refund_id)
        if not params.provider_transaction_id:
            return Unknown(Reason.not_found, detail="The transaction's number is not known yet.")
        items = await self._refunds_of(params.provider_transaction_id)
        if not isinstance(items, list):
            return unless_missing(items)  # only a list that was read to its end proves anything
        found = [item for item in items if reading.is_refund(item, params)]
        if not found:
            return NotSent(Reason.not_found, detail="The transaction has no such refund.")
        if len(found) > 1:
            return Unknown(Reason.conflict, detail="Several refunds could be this one.")
        return reading.refund_outcome(found[0])

    async def list_transactions(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[PaymentFact]:
        """GET /transaction of a period in seconds since the epoch, newest first, 100 per page. The cursor is the page
        number."""
        return await self._list("/transaction", since_s, until_s, cursor, reading.listed_payment)

    async def list_refunds(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[RefundFact]:
        """GET /refund of a period in seconds since the epoch, paged like transactions."""
        return await self._list("/refund", since_s, until_s, cursor, reading.listed_refund)

    async def list_disputes(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[DisputeFact]:
        """GET /dispute of a period in seconds since the epoch, paged like transactions."""
        return await self._list("/dispute", since_s, until_s, cursor, listed_dispute)

    async def get_balance(self) -> Balance | NotSent | Unknown:
        """GET /balance."""
        items = read_answer(await self._call("GET", "/balance"), reading.read_list)
        return reading.read_balance(items) if isinstance(items, list) else items

    async def test_credentials(self) -> CredentialTest:
        """GET /balance, and an initialize that can create nothing: see ``key_test.py``."""
        return await PROBE.test(self._call, self.config.environment)

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """``x-paystack-signature``: hex HMAC-SHA512 of the raw body, keyed with the API secret key."""
        given = header(headers, "x-paystack-signature")
        secrets = (secret.reveal() for secret in self.config.webhook_secrets if secret)
        return any(same(hex_hmac(secret, body, "sha512"), given) for secret in secrets)

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook. Paystack sends no event id, and no event for a failed try."""
        event = parse_object(body, "a Paystack event")
        kind, data = event.get("event"), event.get("data")
        if not isinstance(kind, str):
            raise ValueError("not a Paystack event")
        if not isinstance(data, dict):
            raise ValueError("a Paystack event without data")
        key, facts, action, reason = reading.read_event(kind, data)
        places = (data, object_in(data, "customer"), object_in(data, "transaction"))
        domain = next((place["domain"] for place in places if place.get("domain")), None)
        return WebhookResult(
            event_type=kind,
            dedupe_key=f"{kind}:{key}",
            action=action,
            environment={"test": Environment.sandbox, "live": Environment.production}.get(str(domain)),
            facts=facts,
            reason=reason,
            body=redact(event, self.redacted),
        )

    @classmethod
    def methods_in(cls, currency: str) -> tuple[str, ...]:
        """Cards everywhere, the others by country."""
        return CHANNELS_IN.get(currency, ("card",))

    @classmethod
    def customer_fields(cls, currency: str, method: str | None = None, direct: bool = False) -> CustomerFields:
        """Always an e-mail address. The page asks for the phone number itself; a direct charge of mobile money requires
        it."""
        return charge.charged_fields(currency) if direct and method == "mobile_money" else CustomerFields(("email",))

    # ── Request builders ──

    async def _call(self, method: str, path: str, body: JsonObject | None = None) -> Answered:
        assert self.config.secret_key is not None
        return await self.http.send_json(method, self.config.base_url.rstrip("/") + path, self.config.secret_key, body)

    def _initialize_body(self, params: CreatePaymentParams) -> JsonObject:
        return {
            **charge.order_of(params),
            "callback_url": params.return_url,
            "metadata": charge.metadata_of(params, {"cancel_action": params.return_url}),
            **({"channels": [params.method]} if params.method is not None else {}),
        }

    def _refund_body(self, params: RefundParams) -> JsonObject:
        return {
            "transaction": params.provider_transaction_id or params.payment_reference,
            "amount": to_wire(params.amount, WIRE_EXPONENT),
            "currency": params.amount.currency,
            "merchant_note": refund_note(params.reference),
            "customer_note": params.reason or "Refund",
        }

    async def _list(
        self, path: str, since_s: int, until_s: int, cursor: str | None, read: Callable[[JsonObject], FactT | None]
    ) -> Listing[FactT]:
        window = {"from": moment_text(since_s), "to": moment_text(until_s)}
        found = await self._page(path, window, int(cursor or "1"))
        return read_page(map(read, found[0]), found[1]) if isinstance(found, tuple) else found

    async def _page(
        self, path: str, query: Mapping[str, str], page: int
    ) -> tuple[list[JsonObject], str | None] | NotSent | Unknown:
        """The objects of one page, and the number of the next."""
        answer = await self._call("GET", f"{path}?{urlencode({**query, 'perPage': PAGE_SIZE, 'page': page})}")
        if not isinstance(answer, Answer):
            return answer
        items = reading.read_list(answer)
        if not isinstance(items, list):
            return items
        # Pages may be shorter than requested, so the number of pages decides as well.
        goes_on = len(items) == PAGE_SIZE or reading.page_count(answer) > page
        return items, str(page + 1) if goes_on and items else None

    async def _refunds_of(self, transaction_id: str) -> list[JsonObject] | NotSent | Unknown:
        """All refunds of a transaction. A refund on an unread page would count as one that was never made."""
        items: list[JsonObject] = []
        for page in range(1, MAX_PAGES + 1):
            found = await self._page("/refund", {"transaction": transaction_id}, page)
            if not isinstance(found, tuple):
                return found
            items += found[0]
            if found[1] is None:
                return items
        return Unknown(Reason.not_found, detail="Paystack's list is too long to be read to its end.")

    async def _verify(self, reference: str, direct: bool = False) -> Outcome:
        answer = await self._call("GET", f"/transaction/verify/{quote(reference, safe='')}")
        if not isinstance(answer, Answer):
            return answer
        data = answer.data.get("data")
        if answer.status != 200 or answer.data.get("status") is not True or not isinstance(data, dict):
            return reading.read_missing(answer)
        if data.get("reference") != reference:
            return Unknown(Reason.unreadable, detail="Paystack answered about another reference.")
        outcome = self.read_transaction(data)
        direct = direct or reading.is_direct(data)  # metadata may be returned as 0, "" or null
        if direct and isinstance(outcome, Declined):
            return replace(outcome, final=True)
        undecided = isinstance(outcome, NeedsAction | Pending)
        return await self._progress(reference, outcome) if undecided and direct else outcome

    async def _charged(self, answer: Answered, reference: str) -> Outcome:
        """The outcome of a charge or of one of its steps. After a rejection, a lookup by the reference shows whether it
        exists."""
        outcome = charge.read_step(answer, reference) if isinstance(answer, Answer) else answer
        if isinstance(outcome, Succeeded) and isinstance(answer, Answer):
            # If the customer bears the fee, only verify shows the requested amount. If verify fails, the outcome is
            # unknown, because the card was charged.
            is_told = object_in(answer.data, "data").get("requested_amount") is not None
            return outcome if is_told else unproven(await self._verify(reference, direct=True))
        if not (isinstance(answer, Answer) and isinstance(outcome, NotSent) and outcome.reason is Reason.validation):
            return outcome
        truth = await self._verify(reference, direct=True)
        if isinstance(truth, NotSent):
            return outcome if is_missing(truth) else as_unknown(outcome)
        return truth

    async def _progress(self, reference: str, found: Outcome) -> Outcome:
        """The step that a direct charge in progress waits for. If the step is not known, the outcome stays as found."""
        answer = await self._call("GET", f"/charge/{quote(reference, safe='')}")
        if not isinstance(answer, Answer):
            return found
        step = charge.read_progress(charge.read_step(answer, reference))
        return found if isinstance(step, NotSent | Unknown) else step

    # ── Response readers ──

    read_transaction = staticmethod(reading.read_transaction)
    read_charge = staticmethod(reading.read_charge)
