"""Stripe's HTTP API: addresses, keys, idempotency, expansion, lists, signatures, the hosted page.

Payments are in payments.py, the objects in shapes.py, the parameters in params.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Json, Refund, Transaction
from polytill.simulator.stripe import calls
from polytill.simulator.stripe import customers as people
from polytill.simulator.stripe import payments as money
from polytill.simulator.stripe.access import by_publishable_key, check_permission
from polytill.simulator.stripe.pages import page_of, payer_acts, submit_page
from polytill.simulator.stripe.params import Refused, parse_form, to_wire
from polytill.simulator.stripe.payments import StripeRequest
from polytill.simulator.wire import Answer, Call, Fields, Headers, PayPage, Provider, Route, bearer, json_answer, route

_KEPT_FOR = 86_400


class Stripe(Provider):
    """Stripe, API 2026-10-28.endive."""

    name = "stripe"
    prefix = "/stripe/v1"
    key_pattern = re.compile(r"(sk|rk)_(test|live)_\w{8,}")

    def table(self) -> list[Route]:
        return [
            route("GET /balance", people.balance, "other"),
            route("GET /account", people.account, "other"),
            route("POST /payment_intents", calls.create_intent, "create"),
            route("GET /payment_intents", calls.list_intents),
            route("GET /payment_intents/{id}", partial(calls.retrieve, "payment_intent", "pi_", param="intent")),
            route("POST /payment_intents/{id}", calls.update_intent),
            route("POST /payment_intents/{id}/confirm", calls.confirm_intent, "confirm"),
            route("POST /payment_intents/{id}/capture", calls.capture_intent, "capture"),
            route("POST /payment_intents/{id}/cancel", calls.cancel_intent, "cancel"),
            route("POST /refunds", calls.create_refund, "refund"),
            route("GET /refunds", calls.list_refunds),
            route("GET /refunds/{id}", partial(calls.retrieve, "refund", "re_")),
            route("GET /charges", calls.list_charges),
            route("GET /charges/{id}", partial(calls.retrieve, "charge", "ch_")),
            route("GET /balance_transactions/{id}", partial(calls.retrieve, "balance transaction", "txn_")),
            route("GET /disputes", calls.list_disputes),
            route("POST /customers", people.create_customer),
            route("GET /customers/{id}", partial(calls.retrieve, "customer", "cus_"), "other"),
            route("GET /customers/{id}/payment_methods", people.list_payment_methods, "other"),
            route("POST /payment_methods/{id}/attach", people.attach_payment_method),
            route("POST /payment_methods/{id}/detach", people.detach_payment_method),
            route("POST /checkout/sessions", calls.create_session, "create"),
            route("GET /checkout/sessions/{id}", partial(calls.retrieve, "checkout.session", "cs_")),
            route("POST /checkout/sessions/{id}/expire", calls.expire_session, "cancel"),
            route("GET /events", calls.list_events),
            route("GET /events/{id}", calls.retrieve_event),
            route("POST /webhook_endpoints", people.create_endpoint),
        ]

    # Keys

    def key_of(self, headers: Fields) -> str | None:
        token = bearer(headers)
        scheme, _, encoded = headers.get("Authorization", "").partition(" ")
        if token is None and scheme.lower() == "basic":
            try:
                token = base64.b64decode(encoded, validate=True).decode().partition(":")[0] or None
            except (binascii.Error, UnicodeDecodeError):
                token = None
        return token

    def _account(self, call: Call) -> Account:
        key = self.key_of(call.headers)
        if key is None:
            message = (
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise Refused(401, message, early=True)
        if key.startswith("pk_"):
            message = "This API call cannot be made with a publishable API key. Please use a secret API key."
            raise Refused(401, message, code="secret_key_required", early=True)
        if not self.accepts(key):
            shown = f"{key[:8]}{'*' * 16}{key[-4:]}" if len(key) > 16 else "*" * len(key)
            raise Refused(401, f"Invalid API Key provided: {shown}", early=True)
        return self.account(key)

    # Idempotency

    def _memory(self, call: Call) -> tuple[str, dict[str, dict[str, Any]]] | None:
        """The idempotency key of a request, and its account's memory of such keys."""
        key, secret = self._key(call), self.key_of(call.headers)
        return (key, self.account(secret).memory) if key is not None and secret is not None else None

    @staticmethod
    def _fingerprint(call: Call) -> str:
        fields = sorted(parse_qsl(call.body.decode(errors="replace"), keep_blank_values=True))
        return hashlib.sha256(f"{call.method} {call.path} {fields}".encode()).hexdigest()

    def _key(self, call: Call) -> str | None:
        return call.headers.get("Idempotency-Key") if call.method == "POST" else None

    def enter(self, call: Call) -> Answer | None:
        """Replay, conflict, or mark the key as running."""
        try:
            key = self._key(call)
            if key is None:
                return None
            account = self._account(call)
            if not key or len(key) > 255:
                raise Refused(400, "Invalid Idempotency-Key: up to 255 characters.", early=True)
            return self._known(account, key, self._fingerprint(call))
        except Refused as refusal:
            return self._answered(refusal.status, refusal.error)

    def _known(self, account: Account, key: str, fingerprint: str) -> Answer | None:
        kept: tuple[str, Answer, float] | None = account.memory["idempotency"].get(key)
        if kept is not None and kept[2] + _KEPT_FOR < self.now:
            kept = None
        before = kept[0] if kept else account.memory["running"].get(key)
        if before is not None and before != fingerprint:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise Refused(400, message, kind="idempotency_error")
        if kept is not None:
            return replace(kept[1], headers={**kept[1].headers, "Idempotent-Replayed": "true"})
        if before is not None:
            message = (
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                "submitted twice, and the other request is still going through)."
            )
            raise Refused(409, message, code="idempotency_key_in_use", kind="idempotency_error")
        account.memory["running"][key] = fingerprint
        return None

    def leave(self, call: Call) -> None:
        found = self._memory(call)
        if found:
            found[1]["running"].pop(found[0], None)

    def remember(self, call: Call, answer: Answer) -> None:
        found = self._memory(call)
        if found:
            found[1]["idempotency"][found[0]] = (self._fingerprint(call), answer, self.now)

    # Calls

    def handle(self, call: Call) -> Answer:
        request_id = f"req_{self.network.token(14)}"
        try:
            public = by_publishable_key(self.network.accounts.values(), call, self.key_of(call.headers))
            if public is not None:
                return json_answer(public, headers={"Request-Id": request_id})
            account = self._account(call)
            check_permission(account, call)
            found = self.find(call.method, call.path)
            if found is None:
                message = (
                    f"Unrecognized request URL ({call.method}: /v1{call.path}). Please see https://stripe.com/docs."
                )
                raise Refused(404, message, early=True)
            request = StripeRequest(self.network, account, call.base, request_id, self._key(call))
            params = parse_form(call.query_string if call.method == "GET" else _form(call))
            answer = found[0].run(request, params, **found[1])
        except Refused as refusal:
            answer = self._answered(refusal.status, refusal.error, request_id)
            if refusal.early:
                return answer
        answer.headers["Request-Id"] = request_id
        if self._key(call) is not None:
            answer.headers["Idempotency-Key"] = str(self._key(call))
            self.remember(call, answer)
        return answer

    def _answered(self, status: int, error: Json, request_id: str | None = None) -> Answer:
        return json_answer({"error": error}, status, {"Request-Id": request_id or f"req_{self.network.token(14)}"})

    def broken(self, status: int) -> Answer:
        if status == 429:
            error = {"code": "rate_limit", "message": "Request rate limit exceeded.", "type": "invalid_request_error"}
            headers = {"Retry-After": "1", "Stripe-Rate-Limited-Reason": "global-rate"}
            return json_answer({"error": error}, 429, headers)
        message = (
            "Error while communicating with one of our backends.  Sorry about that!  We have been notified of the "
            "problem.  If you have any questions, we can help at https://support.stripe.com/."
        )
        return self._answered(status, {"message": message, "type": "api_error"})

    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """The timestamp is the real time, whatever the simulator's clock says: receivers compare it with their own."""
        moment = int(self.network.clock())
        signature = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": f"t={moment},v1={signature}",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }

    # The payer and the dashboard

    def _alone(self, account: Account) -> StripeRequest:
        return StripeRequest(self.network, account, self.network.public_url or "")

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        payer_acts(self._alone(account), transaction, outcome)
        return transaction

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        wire = to_wire(amount, transaction.currency)
        return money.refund(self._alone(account), transaction, wire, "requested_by_customer", {})

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        money.fail_refund(self._alone(account), transaction, refund)

    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        request = self._alone(account)
        made = transaction.dispute_for(story) or money.open_dispute(request, transaction, story)
        if outcome == "open" and story.kind == "chargeback":
            money.escalate(request, transaction, made)
        if outcome != "open":
            money.close_dispute(request, transaction, made, outcome)
        return made

    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage | None:
        return page_of(tx, token, query)

    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> str | None:
        return submit_page(self._alone(account), tx, token, outcome, form)


def _form(call: Call) -> str:
    try:
        return call.body.decode()
    except UnicodeDecodeError:
        raise Refused(400, "Invalid request body: it must be UTF-8.", early=True) from None
