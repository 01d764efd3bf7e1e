"""PayPal's objects as it prints them, its decimals and its fee. Only shapes, written from PayPal's specifications."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from polytill.domain.currencies import exponent_of
from polytill.simulator.books import Dispute, Json, Refund, Transaction

_CODES = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD USD"
CURRENCIES = frozenset(_CODES.split())
_NO_DECIMALS = frozenset({"HUF", "JPY", "TWD"})
_RATE = Decimal("0.0349")


@dataclass(slots=True)
class Order:
    """PayPal's side of a transaction. ``unit`` is the purchase unit as the merchant sent it."""

    intent: str
    unit: Json
    return_url: str
    cancel_url: str
    status: str = "PAYER_ACTION_REQUIRED"
    declines: bool = False
    hold: str | None = None
    hold_status: str = "CREATED"
    capture: str | None = None
    refunds: list[Refund] = field(default_factory=list)


def to_minor(value: Any, code: str) -> int | None:
    """A decimal string as ISO minor units. None if PayPal would reject it."""
    pattern = r"[0-9]{1,10}(\.0{1,2})?" if code in _NO_DECIMALS else r"[0-9]{1,10}(\.[0-9]{1,2})?"
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        return None
    minor = int(Decimal(value).scaleb(exponent_of(code)))
    return minor if minor > 0 else None


def amount_json(minor: int, code: str) -> Json:
    """An amount object with exactly the decimals that PayPal prints."""
    places = 0 if code in _NO_DECIMALS else 2
    return {"currency_code": code, "value": f"{Decimal(minor).scaleb(-exponent_of(code)):.{places}f}"}


def fee_of(minor: int, code: str) -> int:
    """3.49 %, plus 49 cents for dollars, in ISO minor units, half up to what PayPal can print."""
    least = Decimal(10) ** exponent_of(code) if code in _NO_DECIMALS else Decimal(1)
    part = int((Decimal(minor) * _RATE / least).quantize(Decimal(1), ROUND_HALF_UP) * least)
    return min(part + (49 if code == "USD" else 0), minor)


def moment(seconds: float) -> str:
    """A time as PayPal prints it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _named(tx: Transaction) -> Json:
    return {name: tx.wire.unit[name] for name in ("custom_id", "invoice_id") if name in tx.wire.unit}


def capture_json(tx: Transaction) -> Json:
    """The capture of an order."""
    status = "REFUNDED" if tx.refunded == tx.captured else "PARTIALLY_REFUNDED" if tx.refunded else "COMPLETED"
    return {
        "id": tx.wire.capture,
        "status": status,
        "amount": amount_json(tx.captured, tx.currency),
        "final_capture": True,
        **_named(tx),
        "seller_receivable_breakdown": {
            "gross_amount": amount_json(tx.captured, tx.currency),
            "paypal_fee": amount_json(tx.fee, tx.currency),
            "net_amount": amount_json(tx.captured - tx.fee, tx.currency),
        },
        "supplementary_data": {
            "related_ids": {"order_id": tx.id, **({"authorization_id": tx.wire.hold} if tx.wire.hold else {})}
        },
        "create_time": moment(tx.paid_at or tx.created_at),
    }


def authorization_json(tx: Transaction) -> Json:
    """The authorization of an order."""
    return {
        "id": tx.wire.hold,
        "status": tx.wire.hold_status,
        "amount": amount_json(tx.amount, tx.currency),
        **_named(tx),
        "supplementary_data": {"related_ids": {"order_id": tx.id}},
        "create_time": moment(tx.created_at),
    }


def refund_json(tx: Transaction, refund: Refund, base: str) -> Json:
    """A refund. Only a link names its capture."""
    words = {"succeeded": "COMPLETED", "pending": "PENDING", "failed": "FAILED"}
    capture = f"{base}/v2/payments/captures/{tx.wire.capture}"
    custom = refund.wire.get("custom_id") or tx.wire.unit.get("custom_id")
    body: Json = {
        "id": refund.id,
        "status": words[refund.status],
        "amount": amount_json(refund.amount, refund.currency),
    }
    body |= {"invoice_id": refund.reference} if refund.reference else {}
    body |= {"custom_id": custom} if custom else {}
    body["links"] = [
        {"href": f"{base}/v2/payments/refunds/{refund.id}", "rel": "self", "method": "GET"},
        {"href": capture, "rel": "up", "method": "GET"},
    ]
    return {**body, "create_time": moment(refund.created_at)}


def dispute_json(tx: Transaction, dispute: Dispute, given: int | None) -> Json:
    """A dispute as its webhooks show it. ``given``: what a lost dispute returned to the customer."""
    codes = {"won": "RESOLVED_SELLER_FAVOUR", "lost": "RESOLVED_BUYER_FAVOUR", "closed": "CANCELED_BY_BUYER"}
    about = {"seller_transaction_id": tx.wire.capture, "custom": tx.wire.unit.get("custom_id")}
    told: Json = {
        "dispute_id": dispute.id,
        "create_time": moment(dispute.created_at),
        "update_time": moment(dispute.changed_at or dispute.created_at),
        "status": "RESOLVED" if dispute.closed_at else "WAITING_FOR_SELLER_RESPONSE",
        "reason": dispute.reason or "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        "dispute_life_cycle_stage": "INQUIRY" if dispute.kind == "inquiry" else "CHARGEBACK",
        "disputed_transactions": [about],
        "dispute_amount": amount_json(dispute.amount, tx.currency),
        "seller_response_due_date": moment(dispute.created_at + 864_000),
    }
    if dispute.shows_money and dispute.withdrawn is not None:
        came_back = dispute.withdrawn.status == "failed"
        told["money_movements"] = [
            {
                "affected_party": "SELLER",
                "amount": amount_json(dispute.amount, tx.currency),
                "type": kind,
                "reason": "DISPUTE_SETTLEMENT",
                "initiated_time": moment(dispute.created_at),
            }
            for kind in ("DEBIT", *(["CREDIT"] if came_back else []))
        ]
    if dispute.closed_at:
        told["dispute_outcome"] = {"outcome_code": codes[dispute.status]}
        if given:
            told["dispute_outcome"]["amount_refunded"] = amount_json(given, tx.currency)
    return told


def listed_dispute_json(tx: Transaction, dispute: Dispute, base: str) -> Json:
    """A dispute in a list: a summary without the payment and the outcome."""
    told = dispute_json(tx, dispute, None)
    for name in ("disputed_transactions", "dispute_outcome"):
        told.pop(name, None)
    link = {"href": f"{base}/v1/customer/disputes/{dispute.id}", "rel": "self", "method": "GET"}
    return {**told, "links": [link]}


def order_json(tx: Transaction, base: str, page: str) -> Json:
    """An order with its captures, authorizations and refunds."""
    order: Order = tx.wire
    payments: Json = {}
    if order.hold is not None:
        payments["authorizations"] = [authorization_json(tx)]
    if order.capture is not None:
        payments["captures"] = [capture_json(tx)]
    if tx.refunds:
        payments["refunds"] = [refund_json(tx, refund, base) for refund in tx.refunds]
    unit = {**order.unit, "amount": amount_json(tx.amount, tx.currency)}
    links = [{"href": f"{base}/v2/checkout/orders/{tx.id}", "rel": "self", "method": "GET"}]
    if order.status in ("PAYER_ACTION_REQUIRED", "CREATED"):
        links.append({"href": page, "rel": "payer-action", "method": "GET"})
    return {
        "id": tx.id,
        "intent": order.intent,
        "status": order.status,
        "payment_source": {"paypal": {}},
        "purchase_units": [{**unit, **({"payments": payments} if payments else {})}],
        "create_time": moment(tx.created_at),
        "links": links,
    }
