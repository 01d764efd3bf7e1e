"""Flutterwave v3's HTTP API: addresses, keys, envelopes, lists, the shared webhook hash.

Payments are in v3_money.py, shapes and arithmetic in v3_shapes.py.
"""

from __future__ import annotations

import re
from typing import Any

from polytill.simulator.books import Account, Json, Refund, Transaction
from polytill.simulator.flutterwave import v3_shapes as shapes
from polytill.simulator.flutterwave.v3_money import FlutterwaveMoney, No
from polytill.simulator.flutterwave.v3_shapes import CURRENCIES, fee_of, stamp_duty_of, to_minor, to_wire
from polytill.simulator.wire import Answer, Call, Headers, Route, dated, json_answer, route, whole

_NOT_FOUND = "No transaction was found for this id"
_PAGE = 10
_CARD_PASSWORD, _PHONE_PASSWORD, _NO_FUNDS = "12345", "123456", "6648"  # Flutterwave's test data


def yes(message: str, data: Any = None, meta: Json | None = None) -> Answer:
    """Flutterwave's envelope of an answer. Some answers have no data at all."""
    body: Json = {"status": "success", "message": message}
    if meta is not None:
        body["meta"] = meta
    return json_answer(body if data is None else {**body, "data": data})


class Flutterwave(FlutterwaveMoney):
    """Flutterwave v3."""

    prefix = "/flutterwave/v3"
    key_pattern = re.compile(r"FLWSECK(_TEST)?-[0-9A-Za-z]+(-[0-9A-Za-z]+)?-X")

    def table(self) -> list[Route]:
        return [
            route("POST /payments", self._payments, "create"),
            route("POST /payments/link/disable", self._disable, "cancel"),
            route("POST /charges", self._charges, "create"),
            route("POST /tokenized-charges", self._tokenized, "create"),
            route("POST /validate-charge", self._validate, "confirm"),
            route("GET /transactions", self._list),
            route("GET /transactions/verify_by_reference", self._verify_by_reference),
            route("GET /transactions/fee", self._fee, "other"),
            route("GET /transactions/{number}/verify", self._verify),
            route("POST /transactions/{number}/refund", self._refund, "refund"),
            route("POST /transactions/{number}/resend-hook", self._resend),
            route("GET /refunds", self._list_refunds),
            route("GET /refunds/{number}", self._fetch_refund),
            route("GET /chargebacks", self._list_chargebacks),
            route("GET /balances", self._balances, "other"),
            route("GET /balances/{code}", self._balance, "other"),
        ]

    # Keys, envelopes, the hash

    def handle(self, call: Call) -> Answer:
        try:
            key = self.key_of(call.headers)
            if key is None:
                raise No("Authorization required", status=401)
            if not self.accepts(key):
                raise No("Invalid authorization key", status=401)
            found = self.find(call.method, call.path)
            if found is None:
                raise No(f"Cannot {call.method} /v3{call.path}", status=404)
            account = self.account(key)
            if account.standing == "inactive" and found[0].operation == "create":
                raise No("Merchant cannot perform transactions without approval.")
            given = call.given
            if given is None:
                raise No("Request body is not a JSON object")
            # The called address has no name.
            return found[0].run(account, {**given, **call.marked_query, "": call.base}, **found[1])
        except No as refusal:
            return refusal.answer

    def broken(self, status: int) -> Answer:
        if status == 429:
            body: Json = {"status": "error", "message": "Too many requests, please try again later", "data": None}
            return json_answer(body, 429, {"Retry-After": "1"})
        body = {"status": "error", "message": "An error occurred while processing your request", "data": None}
        return json_answer({**body, "error_id": f"ERRNO{self.network.hex(12)}"}, status)

    def sign(self, account: str, secret: str, body: bytes) -> Headers:
        """A shared secret in a header: the body is not covered."""
        return {"verif-hash": secret, "User-Agent": "Flutterwave/3.0"}

    # Creating

    def _payments(self, account: Account, given: Json) -> Answer:
        link = self.new_link(account, given)
        return yes("Hosted Link", {"link": f"{given['']}/flutterwave/pay/{link.token}"})

    def _disable(self, account: Account, given: Json) -> Answer:
        token = str(given.get("link") or "").rsplit("/", 1)[-1]
        if not self.disable_link(account, token):
            raise No("Payment link not found", status=404)
        return yes("Payment link has been disabled successfully")

    def _charges(self, account: Account, given: Json) -> Answer:
        """Direct charges, reduced: the payer acts elsewhere, except for a card token."""
        kind = str(given.get("?type") or "")
        tx = self.direct_charge(account, given, kind)
        if kind == "card":
            meta: Json = {"authorization": {"mode": "pin", "fields": ["pin"]}}
            return yes("Charge initiated", shapes.transaction_json(tx), meta)
        if kind in ("mpesa", "ussd"):
            fee = to_wire(fee_of(tx.amount, tx.currency), tx.currency)
            body = {**shapes.charge_json(tx), "app_fee": fee, "fraud_status": "ok", "charge_type": "normal"}
            if kind == "mpesa":
                return yes("Charge initiated", {**body, "auth_url": "N/A"})
            meta = {"authorization": {"mode": "ussd", "note": f"*566*002*{tx.wire.number}#"}}
            return yes("Charge initiated", {**body, "payment_code": str(tx.wire.number)}, meta)
        if kind == "bank_transfer":
            return yes("Charge initiated", None, {"authorization": self._transfer(tx)})
        if str(given.get("network")).upper() == "ORANGE":
            return self._asks_password(tx)
        url = f"{given['']}/flutterwave/pay/{tx.wire.extra['token']}"
        return yes("Charge initiated", None, {"authorization": {"redirect": url, "mode": "redirect"}})

    def _tokenized(self, account: Account, given: Json) -> Answer:
        """A saved card. Its e-mail decides: ``+2fa`` requires the cardholder, ``+otp`` a one-time password, and
        ``+nofunds`` is declined."""
        token, email = given.get("token"), str(given.get("email"))
        paid = (tx for tx in self.attempts(account).values() if tx.captured and tx.wire.payment_type == "card")
        owner = next((tx for tx in paid if shapes.card_json(tx.wire)["token"] == token), None)
        if owner is None or owner.wire.customer["email"] != email:
            raise No("Wrong token or email passed")
        tx = self.direct_charge(account, given, "card")
        tx.wire.auth_model = "noauth"
        if "+2fa" in email:
            url = f"{given['']}/flutterwave/pay/{tx.wire.extra['token']}"
            body = shapes.transaction_json(tx)  # here, and only here, the step is inside the data
            return yes("Charge initiated", {**body, "meta": {"authorization": {"mode": "redirect", "redirect": url}}})
        if "+otp" in email:
            return self._asks_password(tx)
        self.pay(account, tx, "decline" if "+nofunds" in email else "success")
        tx.closed = True
        if tx.status == "failed":
            tx.wire.response = "Insufficient Funds"
        return yes("Charge successful", shapes.transaction_json(tx))

    def _asks_password(self, tx: Transaction) -> Answer:
        tx.wire.extra["password"] = _CARD_PASSWORD if tx.wire.payment_type == "card" else _PHONE_PASSWORD
        tx.wire.response = "Please enter the OTP sent to your mobile number"
        meta = {"authorization": {"mode": "otp", "endpoint": "/v3/validate-charge"}}
        return yes("Charge initiated", shapes.transaction_json(tx), meta)

    def _validate(self, account: Account, given: Json) -> Answer:
        """A one-time password. A wrong one ends the charge."""
        name, typed = given.get("flw_ref"), given.get("otp")
        tx = next((tx for tx in self.attempts(account).values() if tx.wire.flw_ref == name), None)
        if tx is None or not isinstance(typed, str):
            raise No("otp and flw_ref are required")
        password = tx.wire.extra.pop("password", None)
        if password is None or tx.status != "requires_action":
            raise No("Transaction already verified")
        self.pay(account, tx, "success" if typed == password else "decline")
        tx.closed = True
        if typed != password:
            tx.wire.response = "Insufficient Funds" if typed == _NO_FUNDS else "Wrong OTP"
            raise No("Charge could not be validated")
        return yes("Charge validated", shapes.transaction_json(tx))

    @staticmethod
    def _transfer(tx: Transaction) -> Json:
        """The account into which the payer transfers."""
        return {
            "transfer_reference": tx.wire.flw_ref,
            "transfer_account": f"{tx.wire.number}"[-10:].rjust(10, "0"),
            "transfer_bank": "TEST BANK",
            "account_expiration": "1800",
            "transfer_note": "Simulated merchant",
            "transfer_amount": to_wire(tx.amount, tx.currency),
            "mode": "banktransfer",
        }

    # Reading

    def _known(self, account: Account, number: str) -> Transaction:
        tx = self.attempts(account).get(number)
        if tx is None:
            raise No(_NOT_FOUND)
        return tx

    def _verify(self, account: Account, given: Json, number: str) -> Answer:
        return yes("Transaction fetched successfully", shapes.transaction_json(self._known(account, number)))

    def _verify_by_reference(self, account: Account, given: Json) -> Answer:
        """A successful attempt if there is one, else the newest."""
        found = self.attempts_of(account, str(given.get("?tx_ref")))
        if not found:
            raise No(_NOT_FOUND)
        best = next((tx for tx in found if tx.status == "succeeded"), found[-1])
        return yes("Transaction fetched successfully", shapes.transaction_json(best))

    def _list(self, account: Account, given: Json) -> Answer:
        rows = [shapes.listed_json(tx) for tx in reversed(self.attempts(account).values())]
        for name in ("status", "tx_ref", "currency", "customer_email"):
            wanted = given.get(f"?{name}")
            if wanted:
                rows = [row for row in rows if row[name] == wanted]
        return self._page("Transactions fetched", rows, given)

    def _page(self, message: str, rows: list[Json], given: Json) -> Answer:
        rows = dated(rows, given.get("?from") or "", given.get("?to") or "")
        at = whole(given.get("?page") or "1", 1, 10**6)
        if at is None:
            raise No("page must be a positive number")
        info = {"total": len(rows), "current_page": at, "total_pages": (len(rows) + _PAGE - 1) // _PAGE}
        return yes(message, rows[(at - 1) * _PAGE : at * _PAGE], {"page_info": info})

    def _fee(self, account: Account, given: Json) -> Answer:
        code = given.get("?currency") or "NGN"
        minor = to_minor(given.get("?amount"), code) if code in CURRENCIES else None
        if minor is None:
            raise No("amount and currency are required")
        fee = to_wire(fee_of(minor, code), code)
        data = {
            "charge_amount": to_wire(minor, code),
            "fee": fee,
            "merchant_fee": 0,
            "flutterwave_fee": fee,
            "stamp_duty_fee": to_wire(stamp_duty_of(minor, code), code),
            "currency": code,
        }
        return yes("Charged fee", data)

    def _resend(self, account: Account, given: Json, number: str) -> Answer:
        self.tell(self._known(account, number))
        return yes("Hook sent")

    # Refunds and balances

    def _refund(self, account: Account, given: Json, number: str) -> Answer:
        tx = self._known(account, number)
        if not tx.captured:
            raise No("You can only refund a successful transaction")
        raw = given.get("amount")
        amount = tx.refundable if raw is None else to_minor(raw, tx.currency)
        if amount is None:
            raise No("amount must be a positive number")
        if amount > tx.refundable or amount == 0:
            raise No("Refund amount is more than the amount left on the transaction")
        comments = given.get("comments")
        made = self.make_refund(tx, amount, comments if isinstance(comments, str) else None)
        shape = shapes.refund_json(tx, made)
        del shape["comments"]
        return yes("Transaction refund initiated", shape)

    @staticmethod
    def _refunds(account: Account) -> list[tuple[Transaction, Refund]]:
        return sorted(account.refunds, key=lambda pair: int(pair[1].id), reverse=True)

    def _list_refunds(self, account: Account, given: Json) -> Answer:
        rows = [shapes.refund_json(tx, refund) for tx, refund in self._refunds(account)]
        wanted = given.get("?status")
        return self._page("Refunds fetched", [row for row in rows if wanted in (None, row["status"])], given)

    def _fetch_refund(self, account: Account, given: Json, number: str) -> Answer:
        for tx, refund in self._refunds(account):
            if refund.id == number:
                return yes("Refund fetched", shapes.refund_json(tx, refund))
        raise No("No refund was found for this id", status=404)

    def _list_chargebacks(self, account: Account, given: Json) -> Answer:
        found = sorted(account.disputes, key=lambda pair: int(pair[1].id), reverse=True)
        rows = [shapes.chargeback_json(tx, dispute) for tx, dispute in found]
        wanted = given.get("?status")
        return self._page("Chargebacks fetched", [row for row in rows if wanted in (None, row["status"])], given)

    def _wallet(self, code: str, minor: int) -> Json:
        amount = to_wire(minor, code)
        return {"currency": code, "available_balance": amount, "ledger_balance": amount}

    def _balances(self, account: Account, given: Json) -> Answer:
        rows = [self._wallet(code, minor) for code, minor in {"NGN": 0, **account.balances()}.items()]
        return yes("Wallet balances fetched", rows)

    def _balance(self, account: Account, given: Json, code: str) -> Answer:
        if code not in CURRENCIES:
            raise No("No wallet was found for this currency", status=404)
        return yes("Wallet balance fetched", self._wallet(code, account.balances().get(code, 0)))
