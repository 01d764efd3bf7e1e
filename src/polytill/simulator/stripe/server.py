"""Stripe's HTTP API: addresses, keys, idempotency, expansion, lists, signatures, the hosted page.

Payments are in stripe_payments.py, the objects in stripe_shapes.py, the parameters in stripe_params.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Refund, Transaction
from polytill.simulator.stripe import calls as calls
from polytill.simulator.stripe import customers as people
from polytill.simulator.stripe import payments as money
from polytill.simulator.stripe.access import by_publishable_key, check_permission
from polytill.simulator.stripe.pages import page_of, payer_acts, submit_page
from polytill.simulator.stripe.params import Refused, parse_form, to_wire
from polytill.simulator.stripe.payments import Desk
from polytill.simulator.wire import Answer, Call, PayPage, Provider, Route, bearer, json_answer, route

_KEY = re.compile(r"^(sk|rk)_(test|live)_\w{8,}$")
_KEPT_FOR = 86_400


class Stripe(Provider):
    """Stripe, API 2026-10-28.endive."""

    name = "stripe"
    prefix = "/stripe/v1"

    def table(self) -> list[Route]:
        one = "/payment_intents/{id}"
        return [
            route("GET", "/balance", "other", people.balance),
            route("GET", "/account", "other", people.account),
            route("POST", "/payment_intents", "create", calls.create_intent),
            route("GET", "/payment_intents", "lookup", calls.list_intents),
            route("GET", one, "lookup", calls.retrieve_intent),
            route("POST", one, "other", calls.update_intent),
            route("POST", one + "/confirm", "confirm", calls.confirm_intent),
            route("POST", one + "/capture", "capture", calls.capture_intent),
            route("POST", one + "/cancel", "cancel", calls.cancel_intent),
            route("POST", "/refunds", "refund", calls.create_refund),
            route("GET", "/refunds", "lookup", calls.list_refunds),
            route("GET", "/refunds/{id}", "lookup", calls.retrieve_refund),
            route("GET", "/charges", "lookup", calls.list_charges),
            route("GET", "/charges/{id}", "lookup", calls.retrieve_charge),
            route("GET", "/balance_transactions/{id}", "lookup", calls.retrieve_balance_transaction),
            route("GET", "/disputes", "lookup", calls.list_disputes),
            route("POST", "/customers", "other", people.create_customer),
            route("GET", "/customers/{id}", "other", people.retrieve_customer),
            route("GET", "/customers/{id}/payment_methods", "other", people.list_payment_methods),
            route("POST", "/payment_methods/{id}/attach", "other", people.attach_payment_method),
            route("POST", "/payment_methods/{id}/detach", "other", people.detach_payment_method),
            route("POST", "/checkout/sessions", "create", calls.create_session),
            route("GET", "/checkout/sessions/{id}", "lookup", calls.retrieve_session),
            route("POST", "/checkout/sessions/{id}/expire", "cancel", calls.expire_session),
            route("GET", "/events", "lookup", calls.list_events),
            route("GET", "/events/{id}", "lookup", calls.retrieve_event),
            route("POST", "/webhook_endpoints", "other", people.create_endpoint),
        ]

    # Keys

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        token = bearer(headers)
        scheme, _, encoded = headers.get("Authorization", "").partition(" ")
        if token is None and scheme.lower() == "basic":
            try:
                token = base64.b64decode(encoded, validate=True).decode().partition(":")[0] or None
            except (binascii.Error, UnicodeDecodeError):
                token = None
        return token

    def well_formed(self, key: str) -> bool:
        return _KEY.fullmatch(key) is not None and "invalid" not in key.lower()

    def _account(self, call: Call) -> Account:
        key = self.key_of(call.headers)
        if key is None:
            message = (
                "You did not provide an API key. You need to provide your API key in the "
                "Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise Refused(401, message, early=True)
        if key.startswith("pk_"):
            message = "This API call cannot be made with a publishable API key. Please use a secret API key."
            raise Refused(401, message, code="secret_key_required", early=True)
        if not self.accepts(key):
            shown = f"{key[:8]}{'*' * 16}{key[-4:]}" if len(key) > 16 else "*" * len(key)
            raise Refused(401, f"Invalid API Key provided: {shown}", early=True)
        return self.network.account(self.name, key)

    # Idempotency

    def _kept(self, account: Account) -> dict[str, tuple[str, Answer, float]]:
        kept: dict[str, tuple[str, Answer, float]] = account.memory.setdefault("idempotency", {})
        return kept

    def _running(self, account: Account) -> dict[str, str]:
        running: dict[str, str] = account.memory.setdefault("running", {})
        return running

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
            return self._refusal(refusal)

    def _known(self, account: Account, key: str, fingerprint: str) -> Answer | None:
        kept = self._kept(account).get(key)
        if kept is not None and kept[2] + _KEPT_FOR < self.network.now():
            kept = None
        before = kept[0] if kept else self._running(account).get(key)
        if before is not None and before != fingerprint:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were "
                "first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise Refused(400, message, kind="idempotency_error")
        if kept is not None:
            return Answer(kept[1].status, kept[1].body, {**kept[1].headers, "Idempotent-Replayed": "true"})
        if before is not None:
            message = (
                "There is currently another in-progress request using this Idempotent Key (that "
                "probably means you "
                "submitted twice, and the other request is still going through)."
            )
            raise Refused(409, message, code="idempotency_key_in_use", kind="idempotency_error")
        self._running(account)[key] = fingerprint
        return None

    def leave(self, call: Call) -> None:
        key, secret = self._key(call), self.key_of(call.headers)
        if key is not None and secret is not None:
            self._running(self.network.account(self.name, secret)).pop(key, None)

    def remember(self, call: Call, answer: Answer) -> None:
        key, secret = self._key(call), self.key_of(call.headers)
        if key is not None and secret is not None:
            kept = self._kept(self.network.account(self.name, secret))
            kept[key] = (self._fingerprint(call), answer, self.network.now())

    # Calls

    def handle(self, call: Call) -> Answer:
        request_id = f"req_{self.network.token(14)}"
        try:
            public = by_publishable_key(self.network.accounts.values(), call, self.key_of(call.headers))
            if public is not None:
                return json_answer(200, public, {"Request-Id": request_id})
            account = self._account(call)
            check_permission(account, call)
            found = self.find(call.method, call.path)
            if found is None:
                message = (
                    f"Unrecognized request URL ({call.method}: /v1{call.path}). Please see https://stripe.com/docs."
                )
                raise Refused(404, message, early=True)
            desk = Desk(self.network, account, call.base, request_id, self._key(call))
            params = parse_form(call.query_string if call.method == "GET" else _form(call))
            answer = found[0].run(desk, params, **found[1])
        except Refused as refusal:
            answer = self._refusal(refusal, request_id)
            if refusal.early:
                return answer
        answer.headers["Request-Id"] = request_id
        if self._key(call) is not None:
            answer.headers["Idempotency-Key"] = str(self._key(call))
            self.remember(call, answer)
        return answer

    def _refusal(self, refusal: Refused, request_id: str | None = None) -> Answer:
        headers = {"Request-Id": request_id or f"req_{self.network.token(14)}"}
        return json_answer(refusal.status, {"error": refusal.error}, headers)

    def broken(self, status: int) -> Answer:
        if status == 429:
            error = {"code": "rate_limit", "message": "Request rate limit exceeded.", "type": "invalid_request_error"}
            headers = {"Retry-After": "1", "Stripe-Rate-Limited-Reason": "global-rate"}
            return json_answer(429, {"error": error}, headers)
        message = (
            "Error while communicating with one of our backends.  Sorry about that!  We have been "
            "notified of the "
            "problem.  If you have any questions, we can help at https://support.stripe.com/."
        )
        headers = {"Request-Id": f"req_{self.network.token(14)}"}
        return json_answer(status, {"error": {"message": message, "type": "api_error"}}, headers)

    def sign(self, account: str, secret: str, body: bytes) -> dict[str, str]:
        """The timestamp is the real time, whatever the simulator's clock says: receivers compare it with their own."""
        moment = int(self.network.clock())
        signature = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": f"t={moment},v1={signature}",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }

    # The payer and the dashboard

    def _alone(self, account: Account) -> Desk:
        return Desk(self.network, account, self.network.public_url or "")

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        payer_acts(self._alone(account), transaction, outcome)
        return transaction

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        wire = to_wire(amount, transaction.currency)
        return money.refund(self._alone(account), transaction, wire, "requested_by_customer", {})

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        money.fail_refund(self._alone(account), transaction, refund)

    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        desk = self._alone(account)
        made = transaction.dispute_for(story) or money.open_dispute(desk, transaction, story)
        if outcome == "open" and story.kind == "chargeback":
            money.escalate(desk, transaction, made)
        if outcome != "open":
            money.close_dispute(desk, transaction, made, outcome)
        return made

    def _behind(self, token: str) -> tuple[Account, Transaction] | None:
        for (provider, _), account in self.network.accounts.items():
            thing: Any = account.things.get(token)
            if provider == self.name and isinstance(thing, Transaction):
                return account, thing
        return None

    def page(self, token: str, query: Mapping[str, str]) -> PayPage | None:
        found = self._behind(token)
        return page_of(found[1], token, query) if found else None

    def submit(self, token: str, outcome: str, form: Mapping[str, str]) -> str | None:
        found = self._behind(token)
        return submit_page(self._alone(found[0]), found[1], token, outcome, form) if found else None


def _form(call: Call) -> str:
    try:
        return call.body.decode()
    except UnicodeDecodeError:
        raise Refused(400, "Invalid request body: it must be UTF-8.", early=True) from None
