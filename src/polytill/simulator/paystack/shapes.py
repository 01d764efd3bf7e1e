"""Paystack's objects as it prints them, and its rules for amounts, currencies and fees.

Only shapes and arithmetic, written for the simulator from Paystack's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from polytill.domain.currencies import exponent_of
from polytill.simulator.books import Dispute, Json, Refund, Transaction, iso_time, number_of

# currency: (smallest amount in Paystack's units, country, percent in 1/10000, flat part in Paystack's units)
CURRENCIES: dict[str, tuple[int, str, int, int]] = {
    "NGN": (5000, "NG", 150, 10_000),
    "GHS": (10, "GH", 195, 0),
    "ZAR": (100, "ZA", 290, 100),
    "KES": (300, "KE", 150, 0),
    "USD": (200, "US", 390, 0),
    "XOF": (100, "CI", 195, 0),
    "EGP": (100, "EG", 270, 250),
    "RWF": (100, "RW", 290, 0),
}
NGN_WAIVER, NGN_CAP = 250_000, 200_000


def to_wire(minor: int, code: str) -> int:
    """ISO minor units as Paystack's number: always hundredths of the major unit, even for XOF."""
    return minor * int(10 ** (2 - exponent_of(code)))


def to_minor(wire: int, code: str) -> int | None:
    """Paystack's number in ISO minor units. None if the currency has no such fraction."""
    factor = int(10 ** (2 - exponent_of(code)))
    return wire // factor if wire % factor == 0 else None


def fee_of(wire: int, code: str) -> int:
    """The fee in Paystack's units, half up, whole in currencies without fractions."""
    _, _, rate, flat = CURRENCIES[code]
    if code == "NGN" and wire < NGN_WAIVER:
        flat = 0
    fee = (wire * rate + 5000) // 10_000 + flat
    if code == "NGN":
        fee = min(fee, NGN_CAP)
    factor = int(10 ** (2 - exponent_of(code)))
    return (fee + factor - 1) // factor * factor


@dataclass(slots=True)
class Paid:
    """Paystack's side of a transaction. ``status`` is Paystack's own value."""

    number: int
    access_code: str
    customer: Json
    metadata: Any
    callback_url: str | None
    channel: str = "card"
    status: str = "abandoned"
    message: str = "The transaction was not completed"
    authorization: Json = field(default_factory=dict)


def domain(tx: Transaction) -> str:
    """test or live, as the key says."""
    return "live" if tx.account.startswith("sk_live_") else "test"


def _time(moment: float | None) -> str | None:
    return None if moment is None else iso_time(moment)


def customer_json(customer: Json) -> Json:
    """A customer inside a transaction."""
    return {**customer, "metadata": None, "risk_action": "default", "international_format_phone": None}


def authorization_json(token: str, signature: str, code: str, channel: str) -> Json:
    """The instrument that paid: a card (reusable) or a mobile wallet."""
    card = channel == "card"
    return {
        "authorization_code": f"AUTH_{token}",
        "bin": "408408" if card else "055XXX",
        "last4": "4081" if card else "X987",
        "exp_month": "12",
        "exp_year": "2030" if card else "9999",
        "channel": channel,
        "card_type": "visa " if card else "",
        "bank": "TEST BANK" if card else "Mobile Money",
        "country_code": CURRENCIES[code][1],
        "brand": "visa" if card else "Mobile money",
        "reusable": card,
        "signature": f"SIG_{signature}" if card else None,
        "account_name": None,
    }


def _log(tx: Transaction, good: bool) -> Json:
    history = [{"type": "action", "message": "Attempted to pay with card", "time": 3}]
    if good:
        history.append({"type": "success", "message": "Successfully paid with card", "time": 4})
    return {
        "start_time": int(tx.created_at),
        "time_spent": 4,
        "attempts": 1,
        "errors": 0 if good else 1,
        "success": good,
        "mobile": False,
        "input": [],
        "history": history,
    }


def transaction_json(tx: Transaction) -> Json:
    """A transaction as verify, fetch and list print it."""
    paid: Paid = tx.wire
    amount, made = to_wire(tx.amount, tx.currency), iso_time(tx.created_at)
    when = _time(tx.paid_at)
    tried = paid.status != "abandoned"
    return {
        "id": paid.number,
        "domain": domain(tx),
        "status": paid.status,
        "reference": tx.reference,
        "receipt_number": None,
        "amount": amount,
        "message": None,
        "gateway_response": paid.message,
        "paid_at": when,
        "created_at": made,
        "channel": paid.channel,
        "currency": tx.currency,
        "ip_address": "127.0.0.1",
        "metadata": paid.metadata,
        "log": _log(tx, tx.captured > 0) if tried else None,
        "fees": to_wire(tx.fee, tx.currency) if tx.captured else None,
        "fees_split": None,
        "authorization": dict(paid.authorization),
        "customer": customer_json(paid.customer),
        "plan": None,
        "split": {},
        "order_id": None,
        "paidAt": when,
        "createdAt": made,
        "requested_amount": amount,
        "pos_transaction_data": None,
        "source": None,
        "fees_breakdown": None,
        "connect": None,
        "transaction_date": made,
        "plan_object": {},
        "subaccount": {},
    }


def charge_event(tx: Transaction) -> Json:
    """The data of a charge.success event."""
    full = transaction_json(tx)
    for name in ("receipt_number", "createdAt", "connect", "transaction_date", "plan_object"):
        del full[name]
    source = {"type": "api", "source": "merchant_api", "entry_point": "transaction_initialize", "identifier": None}
    return {**full, "plan": {}, "source": source}


def _inner(tx: Transaction) -> Json:
    """A transaction inside a refund or a dispute: many fields are missing."""
    full = charge_event(tx)
    for name in ("source", "fees_breakdown"):
        del full[name]
    return {**full, "authorization": {}, "customer": {"international_format_phone": None}}


def created_refund_json(tx: Transaction, refund: Refund) -> Json:
    """A refund as the call that creates it answers: the transaction is an object here."""
    when = _time(tx.paid_at)
    nothing = {"exp_month": None, "exp_year": None, "account_name": None}
    body = fetched_refund_json(tx, refund)
    for name in ("dispute", "settlement", "refunded_at"):
        del body[name]
    transaction: Json = {
        "id": tx.wire.number,
        "domain": domain(tx),
        "reference": tx.reference,
        "amount": to_wire(tx.amount, tx.currency),
        "paid_at": when,
        "channel": tx.wire.channel,
        "currency": tx.currency,
        "authorization": nothing,
        "customer": {"international_format_phone": None},
        "plan": {},
        "subaccount": {"currency": None},
        "split": {},
        "order_id": None,
        "paidAt": when,
        "pos_transaction_data": None,
        "source": None,
        "fees_breakdown": None,
    }
    return {**body, "transaction": transaction, "channel": None, "deducted_amount": 0, "fully_deducted": False}


def fetched_refund_json(tx: Transaction, refund: Refund) -> Json:
    """A refund as the call that fetches it answers: the transaction is a number here."""
    amount, done = to_wire(refund.amount, refund.currency), refund.status == "succeeded"
    changed = refund.wire.get("changed", refund.created_at)
    return {
        "integration": number_of(tx.account),
        "transaction": tx.wire.number,
        "dispute": refund.wire.get("dispute"),
        "settlement": None,
        "domain": domain(tx),
        "amount": amount,
        "deducted_amount": amount if done else 0,
        "fully_deducted": done,
        "currency": refund.currency,
        "channel": tx.wire.channel,
        "status": "processed" if done else refund.status,
        "refunded_by": refund.wire["by"],
        "refunded_at": iso_time(changed) if done else None,
        "expected_at": iso_time(refund.created_at + 864_000),
        "customer_note": refund.wire["customer_note"],
        "merchant_note": refund.wire["merchant_note"],
        "id": int(refund.id),
        "createdAt": iso_time(refund.created_at),
        "updatedAt": iso_time(changed),
    }


def listed_refund_json(tx: Transaction, refund: Refund) -> Json:
    """A refund in a list: other names and types than in a fetched one."""
    body = fetched_refund_json(tx, refund)
    done = refund.status == "succeeded"
    body["created_at"], body["updated_at"] = body.pop("createdAt"), body.pop("updatedAt")
    return {**body, "fully_deducted": 1 if done else None, "deducted_amount": body["amount"] if done else None}


def refund_event(tx: Transaction, refund: Refund, status: str) -> Json:
    """The data of a refund event: no id, and the amount is a string unless it failed."""
    amount = to_wire(refund.amount, refund.currency)
    person = {name: tx.wire.customer[name] for name in ("first_name", "last_name", "email")}
    return {
        "status": status,
        "transaction_reference": tx.reference,
        "refund_reference": refund.wire["reference"] if status != "pending" else None,
        "amount": amount if status == "failed" else str(amount),
        "currency": refund.currency,
        "processor": "instant-transfer",
        "customer": person,
        "integration": number_of(tx.account),
        "domain": domain(tx),
    }


def dispute_json(tx: Transaction, dispute: Dispute) -> Json:
    """A dispute, in its events and in lists."""
    amount, opened = to_wire(dispute.amount, tx.currency), iso_time(dispute.created_at)
    closed = _time(dispute.closed_at)
    email = tx.wire.customer["email"]
    said = {"sender": email, "body": "Customer complained about debit without value", "createdAt": opened}
    resolutions = {"open": None, "won": "declined", "lost": "merchant-accepted", "closed": None}
    statuses = {"open": "awaiting-merchant-feedback", "closed": "archived"}
    return {
        "id": int(dispute.id),
        "refund_amount": None if dispute.bare else amount,
        "currency": None if dispute.bare else tx.currency,
        "status": statuses.get(dispute.status, "resolved"),
        "resolution": resolutions[dispute.status],
        "domain": domain(tx),
        "transaction": _inner(tx),
        "transaction_reference": None,
        "category": dispute.reason or "chargeback",
        "customer": {**customer_json(tx.wire.customer), "metadata": {}},
        "bin": tx.wire.authorization.get("bin"),
        "last4": tx.wire.authorization.get("last4"),
        "dueAt": iso_time(dispute.created_at + 86_400),
        "resolvedAt": closed,
        "evidence": None,
        "attachments": None,
        "note": None,
        "history": [{"status": "pending", "by": email, "createdAt": opened}],
        "messages": [said],
        "created_at": opened,
        "updated_at": closed or opened,
    }
