"""Flutterwave's payments: links, attempts, the bank's answer, refunds, the hosted page.

Addresses, keys and lists are in v3.py, shapes and arithmetic in v3_shapes.py. A link is booked as a
``created`` transaction until its first attempt; every further attempt is a transaction of its own.
"""

from __future__ import annotations

import re
from decimal import Decimal

from polytill.domain.currencies import exponent_of
from polytill.simulator.books import Account, Json, Refund, Transaction, iso_time
from polytill.simulator.flutterwave import v3_shapes as shapes
from polytill.simulator.flutterwave.chargebacks import Chargebacks
from polytill.simulator.flutterwave.v3_shapes import CURRENCIES, Attempt, Link, fee_of, to_minor
from polytill.simulator.wire import Fields, PayPage, Rejected, is_web_address, json_answer, part_of, with_query

_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
_PHONE = re.compile(r"\+?[0-9]+")
_DIRECT = {
    "card": "card",
    "mpesa": "mpesa",
    "ussd": "ussd",
    "bank_transfer": "bank_transfer",
    "mobile_money_ghana": "mobilemoneygh",
    "mobile_money_uganda": "mobilemoneyug",
    "mobile_money_rwanda": "mobilemoneyrw",
    "mobile_money_zambia": "mobilemoneyzm",
    "mobile_money_tanzania": "mobilemoneytz",
    "mobile_money_franco": "mobilemoneyfranco",
}


class No(Rejected):
    """Flutterwave rejects the request."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.answer = json_answer({"status": "error", "message": message, "data": None}, status)


def _check_direct(given: Json, kind: str, code: str) -> None:
    """The required fields of a direct charge, with the messages of the official SDK's validator (services/schema)."""
    phone, wallet = given.get("phone_number"), kind.startswith("mobile_money") or kind == "mpesa"
    if wallet and not _PHONE.fullmatch(str(phone)):
        raise No("phone_number must be digits, with or without a plus")
    if kind == "mobile_money_ghana" and given.get("network") == "VODAFONE" and not given.get("voucher"):
        raise No("voucher is required")
    if phone and not _PHONE.fullmatch(str(phone)):
        raise No("phone number should be digits")
    if not wallet:
        return
    if code == "RWF" and not given.get("order_id"):
        raise No('"order_id" is required')
    if code in ("XAF", "XOF") and not given.get("country"):
        raise No('"country" is required')
    voucher = given.get("voucher")
    if voucher is not None and not str(voucher).isdecimal():
        raise No('"voucher" must be a number')


def _word(tx: Transaction, usual: str) -> str:
    """The provider's text of a decline."""
    return (tx.said[1] or tx.said[0]) if tx.said else usual


class FlutterwaveMoney(Chargebacks):
    """The payments of Flutterwave, without its HTTP API."""

    name = "flutterwave"
    chargeback_series = ("flutterwave chargeback", 4_100)

    def tell(self, tx: Transaction) -> None:
        """Send charge.completed, also for a failure."""
        self.publish(tx, "charge.completed", shapes.charge_event(tx))

    # Links and attempts

    def _customer(self, account: Account, customer: Json) -> Json:
        email = customer.get("email")
        if not isinstance(email, str) or not _EMAIL.match(email):
            raise No("customer.email is required")
        known: dict[str, Json] = account.memory["customers"]
        if email not in known:
            known[email] = {
                "id": self.network.number("flutterwave customer", 216_519_000),
                "name": str(customer.get("name") or "Anonymous customer"),
                "phone_number": str(customer.get("phonenumber") or customer.get("phone_number") or "N/A"),
                "email": email,
                "created_at": iso_time(self.now),
            }
        return known[email]

    def _money(self, given: Json) -> tuple[str, tuple[int, str]]:
        """The reference, and the amount in ISO minor units with its currency (NGN if absent)."""
        reference = given.get("tx_ref")
        if not isinstance(reference, str) or not reference:
            raise No("tx_ref is required")
        code = given.get("currency") or "NGN"
        if not isinstance(code, str) or code not in CURRENCIES:
            raise No("Currency is not supported")
        if given.get("amount") is None:
            raise No("amount is required")
        minor = to_minor(given["amount"], code)
        if minor is None:
            raise No("amount must be a positive number with no more decimals than the currency has")
        return reference, (minor, code)

    def _book(
        self, account: Account, reference: str, money: tuple[int, str], attempt: Attempt, name: str
    ) -> Transaction:
        tx = self.book(account, name, reference, money, attempt, "created")
        if attempt.link is not None:
            for before in attempt.link.attempts:
                before.closed = True
            attempt.link.attempts.append(tx)
        return tx

    def new_link(self, account: Account, given: Json) -> Link:
        """POST /payments."""
        reference, money = self._money(given)
        if not is_web_address(given.get("redirect_url")):
            raise No("redirect_url is required")
        customer = self._customer(account, part_of(given, "customer"))
        title = part_of(given, "customizations").get("title")
        meta = given.get("meta") if isinstance(given.get("meta"), dict) else None
        link = Link(
            self.network.hex(20), given["redirect_url"], str(title or ""), customer, meta, self._lifetime(given)
        )
        tx = self._book(account, reference, money, Attempt(link, customer, meta), link.token)
        account.things[link.token] = tx
        if link.expires_at is not None:
            self.network.after(link.expires_at - self.now, lambda: self.disable_link(account, link.token))
        return link

    def _lifetime(self, given: Json) -> float | None:
        """When a link expires: only if the merchant asked for it."""
        minutes = part_of(given, "configurations").get("session_duration")
        if minutes is None:
            return None
        if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= 1440:
            raise No("configurations.session_duration must be between 1 and 1440 minutes")
        return self.now + minutes * 60

    def disable_link(self, account: Account, token: str) -> bool:
        """Disable a link. It is canceled if it has no attempt."""
        tx = account.things.get(token)
        if tx is None or not tx.wire.link:
            return False
        tx.wire.link.close()
        if tx.status == "created":
            tx.status = "canceled"
        return True

    def direct_charge(self, account: Account, given: Json, kind: str) -> Transaction:
        """POST /charges: an attempt at once, without a link."""
        if kind not in _DIRECT:
            raise No("type is not supported")
        reference, money = self._money(given)
        _check_direct(given, kind, money[1])
        person = {"name": given.get("fullname"), "email": given.get("email"), "phonenumber": given.get("phone_number")}
        meta = given.get("meta") if isinstance(given.get("meta"), dict) else None
        attempt = Attempt(None, self._customer(account, person), meta, payment_type=_DIRECT[kind])
        tx = self._book(account, reference, money, attempt, "")
        self._number(account, tx)
        tx.status = "requires_action"
        attempt.auth_model = "PIN" if kind == "card" else kind.upper()
        attempt.extra["token"] = self.network.hex(20)
        account.things[attempt.extra["token"]] = tx
        return tx

    def _number(self, account: Account, tx: Transaction) -> None:
        """An attempt starts: it gets its id and its reference at Flutterwave."""
        tx.wire.number = self.network.number("flutterwave transaction", 288_200_000)
        tx.wire.flw_ref = f"FLW-MOCK-{self.network.hex(32)}"
        tx.wire.tried_at = self.now
        tx.id = str(tx.wire.number)
        self.attempts(account)[tx.id] = tx
        account.memory["by_reference"].setdefault(str(tx.reference), []).append(tx)

    def attempts(self, account: Account) -> dict[str, Transaction]:
        """What Flutterwave calls transactions (attempts, not links), by id, oldest first."""
        return account.memory["attempts"]

    def attempts_of(self, account: Account, reference: str) -> list[Transaction]:
        """The attempts under one tx_ref, oldest first."""
        found: list[Transaction] = account.memory["by_reference"].get(reference, [])
        return found

    def _attempt(self, account: Account, tx: Transaction) -> Transaction:
        """The transaction that the payer acts on: a new one after a decline."""
        if tx.wire.number is None:
            self._number(account, tx)
            return tx
        if tx.status != "failed":
            return tx
        before: Attempt = tx.wire
        fresh = Attempt(before.link, before.customer, before.meta, payment_type=before.payment_type)
        again = self._book(account, str(tx.reference), (tx.amount, tx.currency), fresh, "")
        self._number(account, again)
        if before.link is not None:
            account.things[before.link.token] = again
        return again

    # The payer and the dashboard

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        link = transaction.wire.link
        if outcome == "abandon" or (link is not None and not link.open):
            return transaction
        tx = self._attempt(account, transaction)
        if outcome == "success":
            tx.pay(self.now)
            tx.fee = fee_of(tx.amount, tx.currency)
            tx.wire.response = "Approved by Financial Institution"
            if link is not None:
                link.close()
        else:
            tx.status, tx.wire.response = "failed", _word(transaction, "Do Not Honour")
        self.tell(tx)
        return tx

    def make_refund(self, tx: Transaction, amount: int, comments: str | None) -> Refund:
        """Completed at once. Webhooks go only to accounts that switched refund webhooks on."""
        number = self.network.number("flutterwave refund", 8_600)
        made = Refund(str(number), amount, tx.currency, "succeeded", self.now, comments)
        made.wire = {"comments": comments}
        tx.refunds.append(made)
        self._tell_refund(tx, made)
        return made

    def _tell_refund(self, tx: Transaction, refund: Refund) -> None:
        self.publish(tx, "refund", shapes.refund_event(tx, refund))

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        return self.make_refund(transaction, amount, None)

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        refund.status = "failed"
        self._tell_refund(transaction, refund)

    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage:
        link: Link | None = tx.wire.link
        closed = tx.status == "canceled" or (link is not None and not link.open and tx.status != "succeeded")
        state = "expired" if closed else "open" if tx.payable else "paid"
        return PayPage(
            provider="Flutterwave",
            title=link.title if link is not None and link.title else "Checkout",
            merchant=f"Simulated merchant {account.number}",
            description=tx.wire.customer["email"],
            amount=f"{Decimal(tx.amount).scaleb(-exponent_of(tx.currency)):f}",
            currency=tx.currency,
            state=state,
            reference=tx.reference,
            note=tx.wire.response if tx.status == "failed" else "",
        )

    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> str | None:
        tx = self.pay(account, tx, outcome)
        link: Link | None = tx.wire.link
        if link is None or link.redirect_url is None:
            return None
        status = {"success": "successful", "decline": "failed", "abandon": "cancelled"}[outcome]
        values = {"status": status, "tx_ref": str(tx.reference)}
        if outcome != "abandon":
            values["transaction_id"] = str(tx.wire.number)
        return with_query(link.redirect_url, values)
