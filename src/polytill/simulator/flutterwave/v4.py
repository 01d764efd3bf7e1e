"""Flutterwave v4's HTTP API: access tokens, idempotency keys, direct charges, refunds, signed webhooks.

Decimals and fees are those of v3.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from polytill.simulator.access_tokens import TokenProvider
from polytill.simulator.books import Account, Json, Refund, Transaction, iso_time
from polytill.simulator.flutterwave.chargebacks import Chargebacks
from polytill.simulator.flutterwave.v3_shapes import CURRENCIES, fee_of, to_minor, to_wire
from polytill.simulator.wire import (
    Answer,
    Call,
    Fields,
    Headers,
    PayPage,
    Rejected,
    Route,
    is_web_address,
    json_answer,
    part_of,
    route,
    whole,
)

_REFERENCE = re.compile(r"^[A-Za-z0-9-]{6,42}$")
_COUNTRY_CODE, _NUMBER = re.compile(r"[1-9][0-9]{0,2}"), re.compile(r"[0-9]{7,10}")
_METHODS = ("bank_transfer", "ussd", "mobile_money", "opay")
_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "expired_uncaptured_charge")
_PAGE = 50


class No(Rejected):
    """Flutterwave rejects the request."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Charge:
    """Flutterwave's side of a transaction."""

    method: Json
    customer: Json
    meta: Json
    redirect_url: str | None
    response: str = ""


class FlutterwaveV4(TokenProvider, Chargebacks):
    """Flutterwave v4."""

    name = "flutterwave_v4"
    prefix = "/flutterwave_v4"
    key_pattern = re.compile(r"[0-9A-Za-z-]{16,128}")
    token_seconds = 600
    request_header = "X-Idempotency-Key"
    chargeback_series = ("flutterwave v4 chargeback", 900)

    def table(self) -> list[Route]:
        return [
            route("POST /realms/flutterwave/protocol/openid-connect/token", self._token),
            route("POST /orchestration/direct-charges", self._charge, "create"),
            route("GET /charges/{id}", self._get_charge),
            route("POST /refunds", self._refund, "refund"),
            route("GET /refunds", self._list_refunds),
            route("GET /refunds/{id}", self._get_refund),
            route("GET /chargebacks", self._list_chargebacks),
        ]

    # Keys, tokens, idempotency keys

    def enter(self, call: Call) -> Answer | None:
        first = super().enter(call)
        return first and replace(first, headers={**first.headers, "X-Idempotency-Cache-Hit": "true"})

    def handle(self, call: Call) -> Answer:
        overtaken_by = self.enter(call)  # a call that arrived late, after its own repeat
        if overtaken_by is not None:
            return overtaken_by
        try:
            found = self.find(call.method, call.path)
            if found is None:
                raise No("Resource not found", status=404)
            line, parts = found
            if line.operation == "other":
                return line.run(call)
            key, named, given = self.valid_key_of(call.headers), call.headers.get("X-Idempotency-Key"), call.given
            if key is None or not self.accepts(key):
                raise No("Unauthorized", status=401)
            if self.standing(key) == "inactive" and line.operation == "create":
                raise No("Merchant cannot perform transactions without approval.", status=403)
            if call.method == "POST" and named is not None and not 12 <= len(named) <= 255:
                raise No("X-Idempotency-Key must have 12 to 255 characters")
            if given is None:
                raise No("Request body is not a JSON object")
            answer = line.run(self.account(key), given, **parts)
        except No as refusal:
            return _refused(refusal.status, str(refusal))
        self.remember(call, answer)
        return answer

    def broken(self, status: int) -> Answer:
        if status == 429:
            return replace(_refused(429, "Too many requests"), headers={"Retry-After": "1"})
        return _refused(status, "An unexpected error occurred")

    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """Base64 HMAC-SHA256 over the body."""
        mac = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        return {"flutterwave-signature": base64.b64encode(mac).decode()}

    def _token(self, call: Call) -> Answer:
        form = {name: values[0] for name, values in parse_qs(call.body.decode("latin-1")).items()}
        key = form.get("client_secret", "")
        # One host issues tokens for both environments: a key of the other one is recognized here.
        right = (
            self.well_formed(key) and self.well_formed(form.get("client_id", "")) and self.standing(key) != "unknown"
        )
        if not right or form.get("grant_type") != "client_credentials":
            return json_answer({"error": "invalid_client", "error_description": "Invalid client credentials"}, 401)
        self.account(key)
        token = f"eyJ{self.network.token(60)}"
        self.issue(key, token)
        return json_answer({"access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"})

    # Charges

    def _charge(self, account: Account, given: Json) -> Answer:
        reference, code, method = given.get("reference"), given.get("currency"), part_of(given, "payment_method")
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise No("reference is invalid")
        if any(tx.reference == reference for tx in account.transactions):
            raise No("Charge with this reference already exists", status=409)
        minor = to_minor(given.get("amount"), code) if isinstance(code, str) and code in CURRENCIES else None
        if minor is None:
            raise No("amount or currency is invalid")
        kind = method.get("type")
        if kind not in _METHODS:
            raise No("payment_method.type is not supported")
        if kind == "mobile_money" and not _is_phone(method.get("mobile_money"), "phone_number"):
            raise No("payment_method.mobile_money.phone_number is required")
        customer, back = part_of(given, "customer"), given.get("redirect_url")
        if "@" not in str(customer.get("email")):
            raise No("customer.email is required")
        if customer.get("phone") and not _is_phone(customer["phone"], "number"):
            raise No("customer.phone is invalid")
        charge = Charge(method, customer, part_of(given, "meta"), back if is_web_address(back) else None)
        name = f"chg_{self.network.token(10)}"
        tx = self.book(account, name, reference, (minor, str(code)), charge, "requires_action")
        account.things[tx.id] = tx
        return _yes(self._shown(tx))

    def _shown(self, tx: Transaction) -> Json:
        words = {"succeeded": "succeeded", "failed": "failed", "canceled": "voided"}
        shape: Json = {
            "id": tx.id,
            "amount": to_wire(tx.amount, tx.currency),
            "currency": tx.currency,
            "reference": tx.reference,
            "status": words.get(tx.status, "pending"),
            "customer": tx.wire.customer,
            "payment_method": tx.wire.method,
            "meta": tx.wire.meta,
            "created_datetime": iso_time(tx.created_at),
        }
        if tx.status == "requires_action":
            shape["next_action"] = self._next(tx)
        elif tx.wire.response:
            shape["processor_response"] = {"type": tx.wire.response, "code": "00" if tx.captured else "05"}
        return shape

    def _next(self, tx: Transaction) -> Json:
        kind = tx.wire.method["type"]
        if kind == "opay":
            url = f"{self.network.public_url or 'http://127.0.0.1'}/flutterwave_v4/pay/{tx.id}"
            return {"type": "redirect_url", "redirect_url": {"url": url}}
        notes = {
            "bank_transfer": f"Transfer to account {int(tx.created_at) % 10**10:010d} at Test Bank",
            "ussd": "Dial *889*000*1234#",
            "mobile_money": "Please authorise this payment on your phone",
        }
        return {"type": "payment_instruction", "payment_instruction": {"note": notes[kind]}}

    def _known(self, account: Account, charge_id: object) -> Transaction:
        tx = account.things.get(str(charge_id))
        if not isinstance(tx, Transaction):
            raise No("Charge not found", status=404)
        return tx

    def _get_charge(self, account: Account, given: Json, id: str) -> Answer:
        return _yes(self._shown(self._known(account, id)))

    # Refunds

    def _refund(self, account: Account, given: Json) -> Answer:
        tx = self._known(account, given.get("charge_id"))
        minor = to_minor(given.get("amount"), tx.currency)
        if minor is None or given.get("reason") not in _REASONS:
            raise No("amount or reason is invalid")
        if minor > tx.refundable:
            raise No("Refund amount is more than what is left of the charge")
        return _yes(self._refund_shown(tx, self._made(account, tx, minor, part_of(given, "meta"))))

    def _made(self, account: Account, tx: Transaction, minor: int, meta: Json) -> Refund:
        reference = next((str(value) for value in meta.values()), None)
        number = f"rfd_{self.network.token(10)}"
        made = Refund(number, minor, tx.currency, "succeeded", self.now, reference, {"meta": meta})
        tx.refunds.append(made)
        account.things[made.id] = (tx, made)
        self._tell(tx, self._event("refund.completed", self._refund_shown(tx, made)))
        return made

    def _refund_shown(self, tx: Transaction, refund: Refund) -> Json:
        return {
            "id": refund.id,
            "charge_id": tx.id,
            "amount_refunded": to_wire(refund.amount, refund.currency),
            "currency": refund.currency,
            "status": refund.status,
            "meta": refund.wire["meta"],
            "reason": "requested_by_customer",
            "created_datetime": iso_time(refund.created_at),
        }

    def _list_refunds(self, account: Account, given: Json) -> Answer:
        at = whole(given.get("?page", "1"), 1, 10**6) or 1
        rows = [self._refund_shown(tx, refund) for tx, refund in account.refunds]
        return _yes(rows[(at - 1) * _PAGE : at * _PAGE])

    def _get_refund(self, account: Account, given: Json, id: str) -> Answer:
        found = account.things.get(id)
        if not isinstance(found, tuple):
            raise No("Refund not found", status=404)
        tx, refund = found
        return _yes(self._refund_shown(tx, refund))

    def _list_chargebacks(self, account: Account, given: Json) -> Answer:
        at, size = whole(given.get("?page", "1"), 1, 10**6), whole(given.get("?size", "10"), 10, 50)
        if at is None or size is None:
            raise No("page or size is not valid")
        low, high = given.get("?from") or "", given.get("?to") or "9"
        rows: list[Json] = [
            {
                "id": int(one.id),
                "charge_id": tx.id,
                "amount": to_wire(one.amount, tx.currency),
                "meta": {},
                "stage": "new",
                "status": "initiated" if one.status == "open" else one.status,
                "type": "local",
                "due_datetime": iso_time(one.created_at + 172_800),
                "created_datetime": iso_time(one.created_at),
                "updated_datetime": iso_time(one.closed_at or one.created_at),
                "settlement_id": "N/A",
                "uploaded_proof": None,
                "comment": one.reason or "Service not rendered",
                "initiator": "Cardholder",
            }
            for tx, one in reversed(account.disputes)
        ]
        rows = [row for row in rows if low <= str(row["created_datetime"]) <= high]
        return _yes(rows[(at - 1) * size : at * size])

    # The payer and the dashboard

    def _event(self, kind: str, data: Json) -> Json:
        now = int(self.now * 1000)
        return {"webhook_id": f"wbk_{self.network.token(12)}", "timestamp": now, "type": kind, "data": data}

    def charge_event(self, tx: Transaction) -> Json:
        """The webhook of a completed charge."""
        return self._event("charge.completed", self._shown(tx))

    def _tell(self, tx: Transaction, event: Json) -> None:
        self.publish(tx, event["type"], event)

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        tx = transaction
        if outcome == "abandon":
            return tx
        tx.closed = True
        if outcome == "success":
            tx.pay(self.now)
            tx.fee, tx.wire.response = fee_of(tx.amount, tx.currency), "approved"
        else:
            tx.status, tx.wire.response = "failed", tx.said[0] if tx.said else "insufficient_funds"
        self._tell(tx, self.charge_event(tx))
        return tx

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        return self._made(account, transaction, amount, {})

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        refund.status = "failed"
        self._tell(transaction, self._event("refund.completed", self._refund_shown(transaction, refund)))

    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage:
        state = "open" if tx.payable else "paid" if tx.captured else "expired"
        merchant, amount = f"Simulated merchant {account.number}", str(to_wire(tx.amount, tx.currency))
        return PayPage("Flutterwave", "OPay", merchant, "", amount, tx.currency, state, tx.reference)

    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> str | None:
        self.pay(account, tx, outcome)
        back: str | None = tx.wire.redirect_url
        return back


def _yes(data: Any) -> Answer:
    return json_answer({"status": "success", "message": "Successful", "data": data})


def _refused(status: int, message: str) -> Answer:
    error = {"type": "REQUEST_NOT_VALID", "code": f"10{status}", "message": message, "validation_errors": []}
    return json_answer({"status": "failed", "error": error}, status)


def _is_phone(given: Any, name: str) -> bool:
    """A country code and a number of seven to ten digits. A trunk zero is accepted only if it is part of the number."""
    if not isinstance(given, dict):
        return False
    code, number = str(given.get("country_code")), str(given.get(name))
    keeps_zero = code in ("225", "242")  # Ivory Coast, Congo
    return bool(_COUNTRY_CODE.fullmatch(code) and _NUMBER.fullmatch(number)) and (number[0] != "0" or keeps_zero)
