"""Stripe as of 2026: one host, form-encoded requests, JSON answers, and an idempotency key on every POST.

Sources: stripe/openapi, stripe-python 16.1, docs.stripe.com (webhooks, idempotent requests, declines, changelog).
Facts: Stripe has no failed status; a declined intent waits for another try. The lookup of a lost answer is the
identical request with the same key. A stored 5xx is replayed for a day, so after one the lookup reads the list.
``reading.py`` reads answers and webhooks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import ClassVar
from urllib.parse import quote

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    Balance,
    CatalogEntry,
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    CreatePaymentParams,
    CredentialTest,
    Detachment,
    DetachSavedMethodParams,
    DisputeFact,
    FactT,
    Idempotency,
    KeyField,
    Listing,
    LookupParams,
    OperationParams,
    PaymentFact,
    RefundFact,
    RefundLookupParams,
    RefundParams,
    WebhookResult,
    environment_of_key,
    read_page,
    redact,
)
from polytill.providers.http import Answer, Answered, parse_object, read_answer
from polytill.providers.outcomes import REFUSED_AGAIN, JsonObject, NotSent, Outcome, Reason, Unknown, unproven
from polytill.providers.signing import header, hex_hmac, same
from polytill.providers.stripe import reading, terms
from polytill.providers.stripe.disputes import listed_dispute
from polytill.providers.stripe.forms import (
    EXPAND,
    Form,
    charge_form,
    create_form,
    customer_form,
    encoded,
    keeping,
    metadata,
    optional,
)
from polytill.providers.stripe.key_test import test_keys
from polytill.providers.stripe.listing import read_balance, read_list
from polytill.providers.stripe.payment_element import PaymentElement
from polytill.providers.stripe.reading import OUR_ATTEMPT, OUR_REFUND
from polytill.providers.stripe.saved_methods import read_detached
from polytill.providers.wire_json import object_in, objects_in, string_in

# ── Facts ──

API_VERSION = "2026-10-28.endive"
TOLERANCE_S = 300  # maximum age of a signature, in both directions
PAGE_SIZE, MAX_PAGES = 100, 50
# How far the caller's clock may have differed from Stripe's, for searches by time: usually, and at most.
CLOCK_SKEWS_S = (600, 2 * 24 * 3600)

REFUND_REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})

WHERE_KEYS_ARE = "Stripe dashboard → Developers → API keys"
WHERE_SECRETS_ARE = "Stripe dashboard → Developers → Webhooks → your endpoint → Signing secret"


class StripeProvider(PaymentElement):
    """The Stripe account of one practice."""

    code = "stripe"
    name = "Stripe"
    hosts = frozenset({"api.stripe.com"})
    keys: ClassVar[Mapping[str, KeyField]] = {
        "publicKey": KeyField("Publishable key", r"pk_test_\w{8,}", r"pk_live_\w{8,}", help=WHERE_KEYS_ARE),
        "secretKey": KeyField(
            "Secret or restricted key", r"(sk|rk)_test_\w{8,}", r"(sk|rk)_live_\w{8,}", help=WHERE_KEYS_ARE
        ),
        # Not required to save the keys: Stripe shows it only after the webhook address is registered.
        "webhookSecret": KeyField(
            "Webhook signing secret", r"whsec_\S{8,}", r"whsec_\S{8,}", required=False, help=WHERE_SECRETS_ARE
        ),
    }
    catalog = CatalogEntry(
        description="Cards, wallets, bank debits and local methods in more than 120 currencies",
        website_url="https://stripe.com",
        documentation_url="https://docs.stripe.com/api",
        api_base_url="https://api.stripe.com",
        sandbox_api_base_url="https://api.stripe.com",
        methods=terms.METHODS,
        currencies=terms.BY_CURRENCY,
        priority=30,
    )
    further_currencies = (
        terms.THREE_DECIMAL
    )  # supported for accounts of some countries, beyond the presentment currencies
    idempotency = Idempotency.key
    idempotency_window_s = 23 * 3600  # Stripe stores a key for at least 24 hours
    lookup_repeats_refund = True
    settle_horizon_s = 120.0
    identifiers = terms.IDENTIFIERS
    redacted = reading.REDACTED

    # ── Public methods ──

    async def create_payment_intent(self, params: CreatePaymentParams) -> Outcome:
        """POST /v1/payment_intents: returns a client secret for the customer's browser."""
        return self._read_intent(await self._create(params))

    async def confirm_payment(self, params: ConfirmPaymentParams) -> Outcome:
        """GET the intent. With a payment method, first POST /confirm, which may move money."""
        intent_id = params.provider_transaction_id
        if not intent_id:
            return Unknown(Reason.not_found, detail="Stripe's id of the payment is not known yet.")
        if params.payment_method is None:
            return await self._retrieve(intent_id)
        # Another payment method is another try. The same method is a repeat.
        tried = hashlib.sha256(params.payment_method.encode()).hexdigest()[:24]
        form = [("payment_method", params.payment_method), *optional("return_url", params.return_url)]
        return await self._act(intent_id, "confirm", [*form, *EXPAND], f"{params.reference}-{tried}")

    async def lookup_payment(self, params: LookupParams) -> Outcome:
        """GET the intent if its id is known, else repeat the identical create call, else read the list."""
        if params.provider_transaction_id:
            # Intents are never deleted: a missing one belongs to another account or to the other mode.
            return unproven(await self._retrieve(params.provider_transaction_id))
        if params.create is not None and params.age_s < self.idempotency_window_s:
            answer = await self._create(params.create)
            if not _first_result_is_lost(answer):
                outcome = unproven(self._read_intent(answer), REFUSED_AGAIN)
                intent_id = _replayed_id(answer, outcome)
                return unproven(await self._retrieve(intent_id)) if intent_id else outcome
        first = params.created_at_s or int(self.world.time_s() - params.age_s)
        # A repeat of the create call may have created it.
        last = first + self.idempotency_window_s
        missing: Outcome = NotSent(Reason.not_found)
        for skew_s in CLOCK_SKEWS_S:
            window = [("created[gte]", str(first - skew_s)), ("created[lte]", str(last + skew_s))]
            found = await self._find("/v1/payment_intents", window, (OUR_ATTEMPT, params.reference))
            if isinstance(found, dict):
                return reading.read_intent(found)
            if not isinstance(found, NotSent):
                return found
            missing = found
        return missing

    async def refund_payment(self, params: RefundParams) -> Outcome:
        """POST /v1/refunds."""
        return self._read_refund(await self._refund(params))

    async def lookup_refund(self, params: RefundLookupParams) -> Outcome:
        """GET the refund if its id is known, else repeat the identical request, else read the list."""
        if params.provider_refund_id:
            return await self._present_refund(params.provider_refund_id)
        if not params.provider_transaction_id:
            return Unknown(Reason.not_found, detail="Stripe's id of the payment is not known yet.")
        if params.age_s < self.idempotency_window_s:
            again = await self._refund(params)
            if not _first_result_is_lost(again):
                outcome = unproven(self._read_refund(again), REFUSED_AGAIN)
                refund_id = _replayed_id(again, outcome)
                return await self._present_refund(refund_id) if refund_id else outcome
        query = [("payment_intent", params.provider_transaction_id)]
        found = await self._find("/v1/refunds", query, (OUR_REFUND, params.reference))
        return reading.read_refund(found) if isinstance(found, dict) else found

    async def capture_payment(self, params: OperationParams) -> Outcome:
        """POST /capture: the amount, or all that is authorized. The rest is released."""
        form: Form = []
        if params.amount is not None:
            try:
                form = [("amount_to_capture", str(terms.wire_amount(params.amount)))]
            except InvalidAmount:
                return _too_fine(params.amount)
        return await self._operate(params, "capture", [*form, *EXPAND])

    async def cancel_payment(self, params: OperationParams) -> Outcome:
        """POST /cancel: nobody can pay this intent any more, and an authorized amount is released."""
        return await self._operate(params, "cancel", [])

    async def charge_saved_method(self, params: ChargeSavedMethodParams) -> Outcome:
        """POST /v1/payment_intents, confirmed immediately while the customer is absent. Never repeated: a lookup reads
        the list."""
        try:
            form = charge_form(params)
        except InvalidAmount:
            return _too_fine(params.amount)
        answer = await self._call("POST", "/v1/payment_intents", form, params.reference)
        if isinstance(answer, Answer) and answer.status != 200:
            return reading.read_off_session(answer)
        return self._read_intent(answer)

    async def detach_saved_method(self, params: DetachSavedMethodParams) -> Detachment:
        """POST /v1/payment_methods/{id}/detach: the method no longer belongs to a customer and cannot be charged."""
        path = f"/v1/payment_methods/{quote(params.token.reveal(), safe='')}/detach"
        return read_detached(await self._call("POST", path, [], f"detach-{self.world.random_bytes(16).hex()}"))

    async def list_transactions(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[PaymentFact]:
        """Intents of a period in seconds since the epoch, newest first. The cursor is the last id of a page."""
        query = [*_window(since_s, until_s, cursor), ("expand[]", "data.latest_charge.balance_transaction")]
        return await self._list("/v1/payment_intents", query, reading.listed_payment)

    async def list_refunds(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[RefundFact]:
        """Refunds of a period in seconds since the epoch, newest first."""
        return await self._list("/v1/refunds", _window(since_s, until_s, cursor), reading.listed_refund)

    async def list_disputes(self, since_s: int, until_s: int, cursor: str | None = None) -> Listing[DisputeFact]:
        """Disputes of a period in seconds since the epoch, newest first."""
        return await self._list("/v1/disputes", _window(since_s, until_s, cursor), listed_dispute)

    async def get_balance(self) -> Balance | NotSent | Unknown:
        """GET /v1/balance."""
        return read_answer(await self._call("GET", "/v1/balance"), read_balance)

    async def test_credentials(self) -> CredentialTest:
        """Sends reads, and requests that can create nothing: see ``key_test.py``."""
        assert self.config.secret_key is not None
        mode = environment_of_key(type(self), "secretKey", self.config.secret_key.reveal())
        return await test_keys(self._call, self.config, mode, self.world.random_bytes(16).hex())

    def validate_webhook(self, headers: Mapping[str, str], body: bytes) -> bool:
        """``Stripe-Signature: t=…,v1=…``: hex HMAC-SHA256 of time, "." and raw body."""
        parts = [part.partition("=") for part in (header(headers, "stripe-signature") or "").split(",")]
        time_text = next((value for name, _, value in parts if name == "t"), "")
        if not (time_text.isascii() and time_text.isdigit() and len(time_text) <= 12):
            return False
        if abs(self.world.time_s() - int(time_text)) > TOLERANCE_S:
            return False
        message = time_text.encode() + b"." + body
        given = [value for name, _, value in parts if name == "v1"]
        expected = [hex_hmac(key.reveal(), message, "sha256") for key in self.config.webhook_secrets if key]
        return any(same(right, value) for right in expected for value in given)

    def process_webhook(self, body: bytes) -> WebhookResult:
        """Read a webhook. ``api_version`` and ``livemode`` may be missing."""
        event = parse_object(body, "a Stripe event")
        kind, event_id = event.get("type"), string_in(event, "id")
        if not isinstance(kind, str):
            raise ValueError("not a Stripe event")
        if event_id is None:
            raise ValueError("a Stripe event without an id")
        facts, action, reason = reading.read_event(event)
        is_thin = event.get("object") == reading.THIN
        return WebhookResult(
            event_type=kind,
            dedupe_key=f"thin:{kind}" if is_thin else event_id,  # one notice per event type is enough
            action=action,
            environment=_environment(event),
            event_id=event_id,
            facts=facts,
            reason=reason,
            body=redact(event, self.redacted),
        )

    # ── Request builders ──

    async def _call(
        self, method: str, path: str, form: Form | None = None, key: str | None = None, api_key: Secret | None = None
    ) -> Answered:
        api_key = api_key or self.config.secret_key
        assert api_key is not None
        headers = {
            "Authorization": f"Bearer {api_key.reveal()}",
            "Accept": "application/json",
            "Stripe-Version": API_VERSION,
        }
        if form is not None:
            assert key is not None
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Idempotency-Key"] = key
        url = self.config.base_url.rstrip("/").removesuffix("/v1") + path
        return await self.http.send(method, url, headers, encoded(form).encode() if form is not None else None)

    async def _create(self, params: CreatePaymentParams) -> Answered:
        try:
            form = create_form(params)
        except InvalidAmount:
            return _too_fine(params.amount)
        if params.save_method:
            customer = await self._customer(params)
            if not isinstance(customer, str):
                return customer
            form += keeping(customer)
        return await self._call("POST", "/v1/payment_intents", form, params.reference)

    async def _customer(self, params: CreatePaymentParams) -> str | NotSent:
        """The customer for whom the method is saved. It has its own idempotency key, so that a lookup finds the same
        one."""
        answer = await self._call("POST", "/v1/customers", customer_form(params), f"{params.reference}-customer")
        found = string_in(answer.data, "id") if isinstance(answer, Answer) and answer.status == 200 else None
        if found:
            return found
        refused = read_answer(answer, reading.read_error)
        if isinstance(refused, NotSent):  # the payment was not sent, whether or not the customer was created
            return refused
        return NotSent(Reason.provider_unavailable, getattr(refused, "code", None), "Stripe made no customer.")

    async def _present_refund(self, refund_id: str) -> Outcome:
        answer = await self._call("GET", f"/v1/refunds/{quote(refund_id, safe='')}")
        return unproven(self._read_refund(answer))

    async def _refund(self, params: RefundParams | RefundLookupParams) -> Answered:
        if not params.provider_transaction_id:
            return NotSent(Reason.invalid_state, detail="Stripe's id of the payment is not known yet.")
        try:
            amount = terms.wire_amount(params.amount)
        except InvalidAmount:
            return _too_fine(params.amount)
        form = [("payment_intent", params.provider_transaction_id), ("amount", str(amount))]
        if params.reason in REFUND_REASONS:
            form.append(("reason", params.reason))
        form += metadata({OUR_REFUND: params.reference, OUR_ATTEMPT: params.payment_reference})
        return await self._call("POST", "/v1/refunds", form, params.reference)

    async def _operate(self, params: OperationParams, verb: str, form: Form) -> Outcome:
        if not params.provider_transaction_id:
            return NotSent(Reason.invalid_state, detail="Stripe's id of the payment is not known yet.")
        return await self._act(params.provider_transaction_id, verb, form, params.reference)

    async def _act(self, intent_id: str, verb: str, form: Form, key: str) -> Outcome:
        path = f"/v1/payment_intents/{quote(intent_id, safe='')}/{verb}"
        answer = await self._call("POST", path, form, key)
        if isinstance(answer, Answer) and answer.status == 400 and reading.code_of(answer) in reading.STATE_CODES:
            truth = await self._retrieve(intent_id)
            if not isinstance(truth, NotSent | Unknown):
                return truth
        return self._read_intent(answer, intent_id)

    async def _retrieve(self, intent_id: str) -> Outcome:
        path = f"/v1/payment_intents/{quote(intent_id, safe='')}?{encoded(EXPAND)}"
        return self._read_intent(await self._call("GET", path), intent_id)

    async def _list(self, path: str, query: Form, read: Callable[[JsonObject], FactT | None]) -> Listing[FactT]:
        found = read_answer(await self._call("GET", f"{path}?{encoded(query)}"), read_list)
        return read_page(map(read, found[0]), found[1]) if isinstance(found, tuple) else found

    async def _find(self, path: str, query: Form, mark: tuple[str, str]) -> JsonObject | Outcome:
        """The first listed object with our mark in its metadata, on any page. Lists are current."""
        after: str | None = None
        for _ in range(MAX_PAGES):
            asked = [*query, ("limit", str(PAGE_SIZE)), *optional("starting_after", after)]
            answer = await self._call("GET", f"{path}?{encoded(asked)}")
            if not isinstance(answer, Answer):
                return unproven(answer)
            items = objects_in(answer.data, "data")
            if answer.status != 200 or items is None:
                return unproven(reading.read_error(answer))
            for item in items:
                if object_in(item, "metadata").get(mark[0]) == mark[1]:
                    return item
            if not answer.data.get("has_more"):
                return NotSent(Reason.not_found, detail="Stripe's list does not hold it.")
            after = string_in(items[-1], "id") if items else None
            if after is None:
                return Unknown(Reason.unreadable, detail="Stripe's list breaks off.")
        return Unknown(Reason.not_found, detail="Stripe's list is too long to be read to its end.")

    # ── Response readers and error mapping ──

    def _read_intent(self, answer: Answered, intent_id: str | None = None) -> Outcome:
        """The outcome in any answer about one intent."""
        if not isinstance(answer, Answer):
            return answer
        if answer.status != 200 or answer.data.get("object") != "payment_intent":
            return reading.read_error(answer)
        if intent_id is not None and answer.data.get("id") != intent_id:
            return Unknown(Reason.unreadable, detail="Stripe answered about another payment.")
        return reading.read_intent(answer.data)

    def _read_refund(self, answer: Answered) -> Outcome:
        """The outcome in any answer about one refund."""
        if not isinstance(answer, Answer):
            return answer
        if answer.status != 200 or answer.data.get("object") != "refund":
            return reading.read_error(answer)
        return reading.read_refund(answer.data)


def _window(since_s: int, until_s: int, cursor: str | None) -> Form:
    window = [("created[gte]", str(since_s)), ("created[lte]", str(until_s)), ("limit", str(PAGE_SIZE))]
    return window + optional("starting_after", cursor)


def _replayed_id(answer: Answered, outcome: Outcome) -> str | None:
    """The id in the first answer, if Stripe replayed it: it does not hold the current state."""
    is_replay = isinstance(answer, Answer) and answer.headers.get("idempotent-replayed") == "true"
    return getattr(outcome, "provider_transaction_id", None) if is_replay else None


def _first_result_is_lost(answer: Answered) -> bool:
    """Whether a repeat cannot return the result of the first request: a stored 5xx, or a request with other bytes."""
    if not isinstance(answer, Answer):
        return False
    replayed = answer.headers.get("idempotent-replayed", "").lower() == "true"
    kind = object_in(answer.data, "error").get("type")
    return (answer.status >= 500 and replayed) or (answer.status == 400 and kind == "idempotency_error")


def _environment(data: JsonObject) -> Environment | None:
    live = data.get("livemode")
    return {True: Environment.production, False: Environment.sandbox}[live] if isinstance(live, bool) else None


def _too_fine(amount: Money) -> NotSent:
    return NotSent(Reason.validation, detail=f"Stripe takes no amount like {amount}.")
