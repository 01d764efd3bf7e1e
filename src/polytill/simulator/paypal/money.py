"""PayPal's payments: orders, approvals, captures, authorizations, refunds, disputes, the hosted page.

Addresses, tokens and signatures are in server.py, shapes and decimals in shapes.py.
"""

from __future__ import annotations

from polytill.simulator.access_tokens import TokenProvider
from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Json, Refund, Transaction
from polytill.simulator.paypal import shapes
from polytill.simulator.paypal.shapes import Order
from polytill.simulator.wire import Fields, PayPage, Rejected, is_web_address, part_of, with_query

_CHOOSE_AGAIN = ("INSTRUMENT_DECLINED", "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING")
# As the official Orders v2 file describes them.
_TEXTS = {
    "INSTRUMENT_DECLINED": "The instrument presented was either declined by the processor or bank, or it can't be used "
    "for this payment.",
    "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING": "Transaction failed. Redirect the payer to select another funding source.",
    "PAYER_CANNOT_PAY": "Combination of payer and payee settings mean that this buyer cannot pay this seller.",
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED": "The payer account cannot be used for this transaction.",
    "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED": "You have exceeded the maximum number of payment attempts.",
    "TRANSACTION_BLOCKED_BY_PAYEE": "Transaction blocked by Payee's Fraud Protection settings.",
    "COMPLIANCE_VIOLATION": "Transaction is declined due to compliance violation.",
}


class No(Rejected):
    """PayPal rejects the request with one issue."""

    def __init__(self, issue: str, text: str = "", status: int = 422) -> None:
        super().__init__(text or issue)
        self.status, self.issue = status, issue


class PayPalMoney(TokenProvider):
    """The payments of PayPal, without its HTTP API."""

    name = "paypal"

    @property
    def base(self) -> str:
        """The base address of the API."""
        return f"{self.network.public_url or 'http://127.0.0.1'}/paypal"

    def event(self, kind: str, resource: Json) -> Json:
        """The body of a webhook."""
        return {
            "id": f"WH-{self.network.token(17).upper()}-{self.network.token(17).upper()}",
            "event_version": "1.0",
            "create_time": shapes.moment(self.now),
            "event_type": kind,
            "resource_version": "2.0",
            "resource": resource,
        }

    def tell(self, tx: Transaction, kind: str, resource: Json) -> None:
        """Send a webhook."""
        self.publish(tx, kind, self.event(kind, resource))

    def new_order(self, account: Account, given: Json) -> Transaction:
        """POST /v2/checkout/orders."""
        units = given.get("purchase_units")
        unit = units[0] if isinstance(units, list) and len(units) == 1 and isinstance(units[0], dict) else None
        if given.get("intent") not in ("CAPTURE", "AUTHORIZE") or unit is None:
            raise No("INVALID_PARAMETER_VALUE", "intent or purchase_units", status=400)
        money = self.money(unit.get("amount"))
        page = part_of(given, "payment_source", "paypal", "experience_context")
        back, away = page.get("return_url"), page.get("cancel_url")
        if not is_web_address(back) or not is_web_address(away):
            raise No("INVALID_PARAMETER_VALUE", "return_url or cancel_url", status=400)
        known = {
            name: unit[name] for name in ("reference_id", "custom_id", "invoice_id", "description") if name in unit
        }
        if not all(isinstance(value, str) and 1 <= len(value) <= 127 for value in known.values()):
            raise No("INVALID_STRING_LENGTH", status=400)
        if "invoice_id" in known and self._is_paid(account, known["invoice_id"]):
            raise No("DUPLICATE_INVOICE_ID")
        order = Order(given["intent"], known, str(back), str(away))
        name, reference = self.network.token(17).upper(), known.get("custom_id") or known.get("reference_id")
        tx = self.book(account, name, reference, money, order, "requires_action")
        account.things[tx.id] = tx
        return tx

    @staticmethod
    def _is_paid(account: Account, invoice: str) -> bool:
        """Whether an invoice number was used already: PayPal accepts it once, unless the account allows repeats."""
        return any(tx.wire.unit.get("invoice_id") == invoice and tx.captured for tx in account.transactions)

    def money(self, given: object) -> tuple[int, str]:
        """An amount object in ISO minor units and its currency."""
        code = given.get("currency_code") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(code, str) or code not in shapes.CURRENCIES:
            raise No("CURRENCY_NOT_SUPPORTED")
        minor = shapes.to_minor(given.get("value"), code)
        if minor is None:
            raise No("DECIMAL_PRECISION", "the amount's decimals are not those of its currency")
        return minor, code

    def take(self, account: Account, tx: Transaction, intent: str) -> None:
        """Capture or authorize what the payer approved."""
        order: Order = tx.wire
        if order.intent != intent:
            raise No("ACTION_DOES_NOT_MATCH_INTENT")
        if order.capture or order.hold:
            raise No("ORDER_ALREADY_CAPTURED" if order.capture else "ORDER_ALREADY_AUTHORIZED")
        if order.status != "APPROVED":
            raise No("ORDER_NOT_APPROVED")
        if order.declines:
            issue, text = tx.said or ("INSTRUMENT_DECLINED", "")
            tx.status = "failed"
            if issue in _CHOOSE_AGAIN:
                order.status, order.declines = "PAYER_ACTION_REQUIRED", False
            else:  # the order stays approved, and can never be captured
                tx.closed = True
            raise No(issue, text or _TEXTS.get(issue, "The request was refused."))
        order.status = "COMPLETED"
        if intent == "AUTHORIZE":
            order.hold, tx.status, tx.closed = self.network.token(17).upper(), "authorized", True
            self.tell(tx, "PAYMENT.AUTHORIZATION.CREATED", shapes.authorization_json(tx))
        else:
            self._captured(account, tx, tx.amount)

    def _captured(self, account: Account, tx: Transaction, amount: int) -> None:
        tx.wire.capture, tx.captured, tx.status = self.network.token(17).upper(), amount, "succeeded"
        tx.closed, tx.paid_at, tx.fee = True, self.now, shapes.fee_of(amount, tx.currency)
        self.tell(tx, "PAYMENT.CAPTURE.COMPLETED", shapes.capture_json(tx))

    def capture_hold(self, account: Account, tx: Transaction, amount: int) -> None:
        """Capture an authorization, in whole or in part; the rest is released."""
        if tx.wire.hold_status != "CREATED":
            raise No("AUTHORIZATION_VOIDED" if tx.status == "canceled" else "AUTHORIZATION_ALREADY_CAPTURED")
        if amount > tx.amount:
            raise No("MAX_CAPTURE_AMOUNT_EXCEEDED")
        tx.wire.hold_status = "CAPTURED"
        self._captured(account, tx, amount)

    def void_hold(self, account: Account, tx: Transaction) -> None:
        """Release an authorization."""
        if tx.wire.hold_status != "CREATED":
            raise No("PREVIOUSLY_CAPTURED" if tx.captured else "PREVIOUSLY_VOIDED")
        tx.wire.hold_status, tx.status = "VOIDED", "canceled"
        self.tell(tx, "PAYMENT.AUTHORIZATION.VOIDED", shapes.authorization_json(tx))

    def make_refund(
        self, account: Account, tx: Transaction, amount: int, wire: Json, kind: str = "PAYMENT.CAPTURE.REFUNDED"
    ) -> Refund:
        """Completed at once, with a webhook."""
        if tx.refundable <= 0:
            raise No("CAPTURE_FULLY_REFUNDED")
        if amount > tx.refundable:
            raise No("REFUND_AMOUNT_EXCEEDED")
        number = self.network.token(17).upper()
        made = Refund(number, amount, tx.currency, "succeeded", self.now, wire.get("invoice_id"), wire)
        tx.refunds.append(made)
        account.things[made.id] = (tx, made)
        self.tell(tx, kind, shapes.refund_json(tx, made, self.base))
        return made

    # The payer and the dashboard

    def pay(self, account: Account, transaction: Transaction, outcome: str) -> Transaction:
        """The payer approves or leaves. Whether their funding source declines is known at the capture."""
        order: Order = transaction.wire
        if outcome != "abandon" and order.status == "PAYER_ACTION_REQUIRED":
            order.status, order.declines, transaction.status = "APPROVED", outcome == "decline", "processing"
            self.tell(transaction, "CHECKOUT.ORDER.APPROVED", shapes.order_json(transaction, self.base, ""))
        return transaction

    def refund_in_dashboard(self, account: Account, transaction: Transaction, amount: int) -> Refund:
        return self.make_refund(account, transaction, amount, {})

    def fail_refund(self, account: Account, transaction: Transaction, refund: Refund) -> None:
        refund.status = "failed"
        self.tell(transaction, "PAYMENT.REFUND.FAILED", shapes.refund_json(transaction, refund, self.base))

    def dispute(self, account: Account, transaction: Transaction, outcome: str, story: DisputeStory = USUAL) -> Dispute:
        made, kind = transaction.dispute_for(story), "UPDATED"
        if made is None:
            number = f"PP-D-{self.network.number('paypal dispute', 27_800)}"
            amount, kind = story.amount or transaction.captured, "CREATED"
            made = Dispute(number, amount, "open", self.now, kind=story.kind, reason=story.reason, capped=True)
            transaction.disputes.append(made)
        elif outcome == "open" and story.kind == "chargeback":
            made.kind = "chargeback"
        given: int | None = None
        if outcome != "open":
            made.status, made.closed_at, kind = outcome, self.now, "RESOLVED"
        made.shows_money = made.shows_money or story.shows_money
        if outcome == "open" and story.with_reversal and made.withdrawn is None:
            made.withdrawn = self.make_refund(account, transaction, made.amount, {}, "PAYMENT.CAPTURE.REVERSED")
            made.paid_by_refund = True
        elif outcome == "lost" and made.withdrawn is not None and made.withdrawn.status == "succeeded":
            given = made.amount
        elif outcome == "lost":
            given = min(made.amount, transaction.refundable)
            made.amount = given or made.amount
            if (story.with_refund or story.with_reversal) and given:
                made.paid_by_refund = True
                kind_of_refund = "REVERSED" if story.with_reversal else "REFUNDED"
                made.withdrawn = self.make_refund(account, transaction, given, {}, f"PAYMENT.CAPTURE.{kind_of_refund}")
        elif made.withdrawn is not None:  # decided for the merchant, who gets the money again
            made.withdrawn.status, made.paid_by_refund = "failed", False
        made.changed_at = self.now
        self.tell(transaction, f"CUSTOMER.DISPUTE.{kind}", shapes.dispute_json(transaction, made, given))
        return made

    def page(self, account: Account, tx: Transaction, token: str, query: Fields) -> PayPage:
        waiting = tx.wire.status == "PAYER_ACTION_REQUIRED"
        amount = shapes.amount_json(tx.amount, tx.currency)["value"]
        note = "Your instrument was declined." if tx.status == "failed" else ""
        return PayPage(
            "PayPal",
            "Checkout",
            f"Simulated merchant {account.number}",
            tx.wire.unit.get("description", ""),
            amount,
            tx.currency,
            "open" if waiting else "paid",
            tx.reference,
            note,
        )

    def submit(self, account: Account, tx: Transaction, token: str, outcome: str, form: Fields) -> str:
        if outcome == "abandon":
            return with_query(tx.wire.cancel_url, {"token": tx.id})
        self.pay(account, tx, outcome)
        return with_query(tx.wire.return_url, {"token": tx.id, "PayerID": "QYR5Z8XDVJNXQ"})
