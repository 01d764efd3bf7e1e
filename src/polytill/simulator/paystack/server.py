"""Paystack's HTTP API: addresses, keys, lists, signatures.

Direct charges are in charge.py, payments in money.py, the shapes and the arithmetic in shapes.py.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from polytill.simulator.books import Account, Json, Refund, Transaction
from polytill.simulator.paystack import shapes
from polytill.simulator.paystack.answers import No, between, paged, yes
from polytill.simulator.paystack.charge import PaystackCharges
from polytill.simulator.paystack.shapes import to_minor, to_wire
from polytill.simulator.wire import Answer, Call, Headers, Route, json_answer, route


class Paystack(PaystackCharges):
    """Paystack."""

    prefix = "/paystack"
    key_pattern = re.compile(r"sk_(test|live)_[0-9a-zA-Z]{20,}")

    def table(self) -> list[Route]:
        return [
            route("POST /transaction/initialize", self._initialize, "create"),
            route("GET /transaction/verify/{reference}", self._verify),
            route("GET /transaction", self._list),
            route("GET /transaction/{number}", self._fetch),
            *self.charge_table(),
            route("POST /refund", self._refund, "refund"),
            route("GET /refund", self._list_refunds),
            route("GET /refund/{number}", self._fetch_refund),
            route("GET /dispute", self._list_disputes),
            route("GET /balance", self._balance, "other"),
        ]

    # Keys, envelopes, signatures

    def handle(self, call: Call) -> Answer:
        try:
            key = self.key_of(call.headers)
            if key is None or not self.accepts(key):
                hint = "Ensure that you provide the correct authorization key for the request"
                raise No("Invalid key", "invalid_Key", hint, status=401)
            found = self.find(call.method, call.path)
            if found is None:
                raise No(f"Cannot {call.method} {call.path}", "route_not_found", status=404)
            account = self.account(key)
            if account.standing == "inactive" and found[0].operation == "create":
                raise No("Merchant may be inactive", "merchant_inactive")
            given: Json | None = dict(call.query) if call.method == "GET" else call.document
            if given is None:
                raise No("Invalid JSON in the request body", "invalid_json")
            return found[0].run(account, {**given, "": call.base}, **found[1])
        except No as refusal:
            return refusal.answer

    def broken(self, status: int) -> Answer:
        if status == 429:
            body: Json = {"status": False, "message": "Too many requests", "type": "api_error", "code": "rate_limited"}
            return json_answer(body, 429, {"Retry-After": "1", "x-ratelimit-reset": "1"})
        message = "An unexpected error occurred, please try again"
        return json_answer({"status": False, "message": message, "type": "api_error", "code": "unknown"}, status)

    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """Paystack signs with the API key itself."""
        signature = hmac.new(account.encode(), body, hashlib.sha512).hexdigest()
        return {"x-paystack-signature": signature, "User-Agent": "Paystack/2.0"}

    # Creating

    def _initialize(self, account: Account, given: Json) -> Answer:
        tx = self._new(account, given)
        url = f"{given['']}/paystack/pay/{tx.wire.access_code}"
        data = {"authorization_url": url, "access_code": tx.wire.access_code, "reference": tx.reference}
        return yes("Authorization URL created", data)

    # Reading transactions

    def _verify(self, account: Account, given: Json, reference: str) -> Answer:
        return yes("Verification successful", shapes.transaction_json(self._known(account, reference)))

    def _fetch(self, account: Account, given: Json, number: str) -> Answer:
        for tx in account.transactions:
            if tx.id == number:
                return yes("Transaction retrieved", shapes.transaction_json(tx))
        raise No("Transaction not found", "transaction_not_found", status=404)

    def _list(self, account: Account, given: Json) -> Answer:
        rows = [shapes.transaction_json(tx) for tx in reversed(account.transactions)]
        for name in ("status", "reference", "currency", "amount", "channel"):
            if given.get(name):
                rows = [row for row in rows if str(row[name]) == given[name]]
        if given.get("customer"):
            wanted = given["customer"]
            rows = [row for row in rows if wanted in (str(row["customer"]["id"]), row["customer"]["customer_code"])]
        return paged("Transactions retrieved", between(rows, given), given)

    def _balance(self, account: Account, given: Json) -> Answer:
        sums = account.balances() or {"NGN": 0}
        rows = [{"currency": code, "balance": to_wire(total, code)} for code, total in sums.items()]
        return yes("Balances retrieved", rows)

    def _refund(self, account: Account, given: Json) -> Answer:
        wanted = str(given.get("transaction") or "")
        tx = next((tx for tx in account.transactions if wanted in (tx.id, tx.reference)), None)
        if tx is None:
            raise No("Transaction not found", "transaction_not_found", status=404)
        if not tx.captured:
            raise No("Transaction has not been paid", "invalid_transaction")
        if tx.wire.status == "reversed" or tx.refundable <= 0:
            raise No("Transaction has been fully reversed", "transaction_reversed")
        raw = given.get("amount")
        amount: int | None = tx.refundable
        if raw is not None:
            if isinstance(raw, bool) or not re.fullmatch(r"[1-9][0-9]{0,14}", str(raw)):
                raise No("Invalid refund amount")
            amount = to_minor(int(raw), tx.currency)
        if given.get("currency", tx.currency) != tx.currency:
            raise No("Currency does not match the transaction's currency")
        if amount is None:
            raise No(f"Invalid refund amount: {tx.currency} has no fractions")
        if amount > tx.refundable:
            raise No("Refund amount cannot be more than the amount left on the transaction")
        notes = given.get("merchant_note"), given.get("customer_note")
        made = self._make_refund(tx, amount, f"integration-{account.number}@example.com", notes)
        return yes("Refund has been queued for processing", shapes.created_refund_json(tx, made))

    @staticmethod
    def _refunds(account: Account) -> list[tuple[Transaction, Refund]]:
        return sorted(account.refunds, key=lambda pair: int(pair[1].id), reverse=True)

    def _list_refunds(self, account: Account, given: Json) -> Answer:
        """By numeric transaction id only: a reference finds nothing. The currency filter is ignored."""
        wanted = given.get("transaction")
        pairs = [(tx, refund) for tx, refund in self._refunds(account) if not wanted or tx.id == wanted]
        rows = [shapes.listed_refund_json(tx, refund) for tx, refund in pairs]
        return paged("Refunds retrieved", between(rows, given), given)

    def _fetch_refund(self, account: Account, given: Json, number: str) -> Answer:
        for tx, refund in self._refunds(account):
            if refund.id == number:
                return yes("Refund retrieved", shapes.fetched_refund_json(tx, refund))
        raise No("Refund not found", "refund_not_found", status=404)

    def _list_disputes(self, account: Account, given: Json) -> Answer:
        wanted = given.get("transaction")
        pairs = [(tx, dispute) for tx, dispute in account.disputes if not wanted or tx.id == wanted]
        rows = [shapes.dispute_json(tx, dispute) for tx, dispute in pairs]
        if given.get("status"):
            rows = [row for row in rows if row["status"] == given["status"]]
        return paged("Disputes retrieved", rows, given)
