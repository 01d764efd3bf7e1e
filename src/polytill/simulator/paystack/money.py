"""Paystack's payments: transactions, the bank's answer, refunds, disputes, the hosted page.

Addresses, keys and lists are in server.py, shapes and arithmetic in shapes.py.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal

from polytill.domain.currencies import exponent_of
from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Json, Refund, Transaction
from polytill.simulator.paystack import shapes
from polytill.simulator.paystack.answers import No, metadata_of, text_of
from polytill.simulator.paystack.shapes import CURRENCIES, Paid, fee_of, to_minor, to_wire
from polytill.simulator.wire import Fields, PayPage, Provider, is_web_address, with_query

_REFERENCE = re.compile(r"^[A-Za-z0-9\-.=]{1,100}$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
_PROCESSING_TIME = 0.2


def _signature(key: str) -> str:
    """The same for the same card at one account. Every customer here pays with one card."""
    return hashlib.sha256(f"{key}|4084084084084081".encode()).hexdigest()[:20]


class PaystackMoney(Provider):
    """The payments of Paystack, without its HTTP API."""

    name = "paystack"

    def _tell(self, tx: Transaction, event: str, data: Json) -> None:
        self.publish(tx, event, {"event": event, "data": data})

    # Making transactions

    def _amount(self, given: Json) -> tuple[int, str]:
        """The amount in ISO minor units and its currency."""
        code = given.get("currency") or "NGN"
        if not isinstance(code, str) or code not in CURRENCIES:
            raise No("Currency not supported by merchant", "unsupported_currency", status=403)
        raw = given.get("amount")
        if isinstance(raw, bool) or not isinstance(raw, int | str) or not re.fullmatch(r"[0-9]{1,15}", str(raw)):
            raise No("Invalid Amount Sent", "invalid_amount")
        minor = to_minor(int(raw), code)
        if minor is None:
            raise No(f"Invalid Amount Sent: {code} has no fractions", "invalid_amount")
        if int(raw) < CURRENCIES[code][0]:
            least = Decimal(CURRENCIES[code][0]) / 100
            raise No(f"Amount is below the minimum of {code} {least}", "invalid_amount")
        return minor, code

    def _new(self, account: Account, given: Json) -> Transaction:
        email = given.get("email")
        if not isinstance(email, str) or not _EMAIL.match(email):
            raise No("Invalid Email Address Passed", "invalid_email_address")
        money = self._amount(given)
        reference = given.get("reference") or self.network.token(10).lower()
        if not isinstance(reference, str) or not _REFERENCE.match(reference):
            raise No("Invalid reference: only letters, digits, '-', '.' and '=' are allowed")
        if self._by_reference(account, reference) is not None:
            hint = "Try and create the Transaction or Charge with a new reference"
            raise No("Duplicate Transaction Reference", "duplicate_reference", hint)
        callback = given.get("callback_url")
        if callback is not None and not is_web_address(callback):
            raise No("Invalid callback URL")
        access = self.network.token(15).lower()
        number = self.network.number("paystack transaction", 4_099_260_000)
        paid = Paid(number, access, self._customer(account, email, given), metadata_of(given.get("metadata")), callback)
        tx = self.book(account, str(number), reference, money, paid, "created")
        account.things[access] = tx
        account.memory["by_reference"][reference] = tx
        return tx

    def _customer(self, account: Account, email: str, given: Json) -> Json:
        known: dict[str, Json] = account.memory["customers"]
        if email not in known:
            number = self.network.number("paystack customer", 181_873_000)
            code = f"CUS_{self.network.token(15).lower()}"
            names = {name: text_of(given.get(name)) for name in ("first_name", "last_name")}
            known[email] = {"id": number, **names, "email": email, "customer_code": code, "phone": None}
        return known[email]

    @staticmethod
    def _by_reference(account: Account, reference: str) -> Transaction | None:
        found: Transaction | None = account.memory["by_reference"].get(reference)
        return found

    def _known(self, account: Account, reference: str) -> Transaction:
        tx = self._by_reference(account, reference)
        if tx is None:
            hint = "Ensure that you are passing the correct transaction reference"
            raise No("Transaction reference not found.", "transaction_not_found", hint, status=404)
        return tx

    # Money

    def _settle(self, tx: Transaction, good: bool) -> None:
        """The bank has answered."""
        paid: Paid = tx.wire
        if not good:
            tx.status, paid.status, paid.message = "failed", "failed", "Declined"
            return
        paid.status, paid.message = "success", "Successful"
        tx.pay(self.now)
        tx.fee = to_minor(fee_of(to_wire(tx.amount, tx.currency), tx.currency), tx.currency) or 0
        paid.authorization = shapes.authorization_json(
            self.network.token(10).lower(), _signature(self.account(tx.account).key), tx.currency, paid.channel
        )
        self._tell(tx, "charge.success", shapes.charge_event(tx))

    def _make_refund(
        self, tx: Transaction, amount: int, by: str, notes: tuple[object, object] = (None, None)
    ) -> Refund:
        """Queue a refund. ``notes``: the merchant's and the customer's, as they were sent."""
        number = str(self.network.number("paystack refund", 3_018_000))
        merchant, customer = (text_of(note) or None for note in notes)
        usual = f"Refund for transaction {tx.reference}"
        made = Refund(number, amount, tx.currency, "pending", self.now, merchant or customer)
        made.wire = {
            "customer_note": customer or usual,
            "merchant_note": merchant or f"{usual} by {by}",
            "by": by,
            "reference": f"TRF_{self.network.token(15).lower()}",
        }
        tx.refunds.append(made)
        self._tell(tx, "refund.pending", shapes.refund_event(tx, made, "pending"))
        self.network.after(_PROCESSING_TIME, lambda: self._refund_processed(tx, made))
        return made

    def _refund_processed(self, tx: Transaction, refund: Refund) -> None:
        if refund.status != "pending":
            return
        refund.status, refund.wire["changed"] = "succeeded", self.now
        if tx.refunded == tx.captured:
            tx.wire.status = "reversed"
        self._tell(tx, "refund.processed", shapes.refund_event(tx, refund, "processed"))

    # The payer and the dashboard

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        if outcome != "abandon":
            self._settle(transaction, outcome == "success")
        if outcome == "decline" and transaction.said:
            transaction.wire.message = transaction.said[1] or transaction.said[0]
        return transaction

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        return self._make_refund(transaction, amount, "dashboard@example.com")

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        refund.status, refund.wire["changed"] = "failed", self.now
        if transaction.wire.status == "reversed":
            transaction.wire.status = "success"
        self._tell(transaction, "refund.failed", shapes.refund_event(transaction, refund, "failed"))

    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        made = transaction.dispute_for(story)
        if made is None:
            number = self.network.number("paystack dispute", 358_900)
            amount = story.amount or transaction.refundable or transaction.captured
            made = Dispute(str(number), amount, "open", self.now, reason=story.reason, bare=story.bare, capped=True)
            transaction.disputes.append(made)
            self._tell(transaction, "charge.dispute.create", shapes.dispute_json(transaction, made))
        if outcome != "open":
            made.status, made.closed_at = outcome, self.now
            if outcome == "lost":
                transaction.wire.status = "reversed"
                self._pay_dispute(transaction, made, story.with_refund)
            self._tell(transaction, "charge.dispute.resolve", shapes.dispute_json(transaction, made))
        return made

    def _pay_dispute(self, tx: Transaction, made: Dispute, with_refund: bool) -> None:
        """Pay a lost dispute from what is left. ``with_refund``: by a refund that is listed and has webhooks, too."""
        left = min(made.amount, tx.refundable)
        if not made.bare:  # a dispute without an amount is about the whole transaction
            made.amount = left or made.amount
        if with_refund and tx.refundable:
            made.paid_by_refund = True
            refund = self._make_refund(tx, left, "disputes@example.com")
            refund.wire["dispute"] = int(made.id)

    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage:
        amount = f"{Decimal(tx.amount).scaleb(-exponent_of(tx.currency)):f}"
        return PayPage(
            provider="Paystack",
            title="Checkout",
            merchant=f"Simulated merchant {account.number}",
            description=tx.wire.customer["email"],
            amount=amount,
            currency=tx.currency,
            state="open" if tx.payable else "paid",
            reference=tx.reference,
            note="Your last attempt was declined." if tx.status == "failed" else "",
        )

    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> str | None:
        self.pay(account, tx, outcome)
        metadata = tx.wire.metadata
        if outcome == "abandon" and isinstance(metadata, dict) and is_web_address(metadata.get("cancel_action")):
            return str(metadata["cancel_action"])
        if tx.wire.callback_url is None:
            return None
        return with_query(tx.wire.callback_url, {"trxref": str(tx.reference), "reference": str(tx.reference)})
