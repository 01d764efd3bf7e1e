"""Flutterwave v3's objects as it prints them, and its rules for amounts and fees.

Only shapes and arithmetic, written for the simulator from Flutterwave's documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from polytill.domain.currencies import exponent_of
from polytill.simulator.books import Dispute, Json, Refund, Transaction, iso_time, number_of
from polytill.simulator.wire import compact

_CODES = "NGN GHS KES UGX TZS RWF ZMW ZAR XAF XOF MWK EGP MUR ETB SLE USD EUR GBP INR"
CURRENCIES = frozenset(_CODES.split())
_RATES = {"NGN": Decimal("0.014"), "KES": Decimal("0.029"), "GHS": Decimal("0.0195")}
_OTHER_RATE = Decimal("0.038")
_NGN_CAP = Decimal(2000)


def to_minor(value: Any, code: str) -> int | None:
    """A number or string in major units as ISO minor units. None if it is not an amount of that currency."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,13}(\.[0-9]{1,8})?", str(value)):
        return None
    minor = Decimal(str(value)).scaleb(exponent_of(code))
    return int(minor) if minor == minor.to_integral_value() and minor > 0 else None


def to_wire(minor: int, code: str) -> int | float:
    """ISO minor units as Flutterwave prints them: a JSON number in major units, an integer where possible."""
    major = Decimal(minor).scaleb(-exponent_of(code))
    return int(major) if major == major.to_integral_value() else float(major)


def fee_of(minor: int, code: str) -> int:
    """The fee in ISO minor units, half up."""
    major = Decimal(minor).scaleb(-exponent_of(code)) * _RATES.get(code, _OTHER_RATE)
    major = min(major, _NGN_CAP) if code == "NGN" else major
    return int(major.scaleb(exponent_of(code)).quantize(Decimal(1), ROUND_HALF_UP))


def stamp_duty_of(minor: int, code: str) -> int:
    """Nigeria's stamp duty from NGN 10 000, in ISO minor units."""
    return 5_000 if code == "NGN" and minor >= 1_000_000 else 0


@dataclass(slots=True)
class Link:
    """A hosted payment link. It stays open after declined attempts."""

    token: str
    redirect_url: str | None
    title: str
    customer: Json
    meta: Json | None
    expires_at: float | None
    open: bool = True
    attempts: list[Transaction] = field(default_factory=list)

    def close(self) -> None:
        """Close the link: it can no longer be paid."""
        self.open = False
        for tx in self.attempts:
            tx.closed = True


@dataclass(slots=True)
class Attempt:
    """Flutterwave's side of a transaction. ``number`` is None while only the link exists."""

    link: Link | None
    customer: Json
    meta: Json | None
    number: int | None = None
    flw_ref: str = ""
    payment_type: str = "card"
    auth_model: str = "PIN"
    response: str = "Transaction in progress"
    tried_at: float = 0.0
    extra: Json = field(default_factory=dict)


def status_of(tx: Transaction) -> str:
    """Flutterwave's name of a status."""
    return {"succeeded": "successful", "failed": "failed"}.get(tx.status, "pending")


def card_json(attempt: Attempt) -> Json:
    """The card that paid. Its token can charge it again."""
    return {
        "first_6digits": "553188",
        "last_4digits": "2950",
        "issuer": "MASTERCARD CREDIT",
        "country": "NIGERIA NG",
        "type": "MASTERCARD",
        "token": f"flw-t1nf-{attempt.flw_ref[-24:].lower()}-m03k",
        "expiry": "09/32",
    }


def transaction_json(tx: Transaction) -> Json:
    """A transaction as verify prints it."""
    attempt: Attempt = tx.wire
    good, amount = tx.status == "succeeded", to_wire(tx.amount, tx.currency)
    body: Json = {
        "id": attempt.number,
        "tx_ref": tx.reference,
        "flw_ref": attempt.flw_ref,
        "device_fingerprint": "N/A",
        "amount": amount,
        "currency": tx.currency,
        "charged_amount": amount,
        "app_fee": to_wire(fee_of(tx.amount, tx.currency), tx.currency) if good else None,
        "merchant_fee": 0,
        "processor_response": attempt.response,
        "auth_model": attempt.auth_model,
        "ip": "127.0.0.1",
        "narration": "CARD Transaction " if attempt.payment_type == "card" else "Simulated merchant",
        "status": status_of(tx),
        "payment_type": attempt.payment_type,
        "created_at": iso_time(attempt.tried_at),
        "account_id": number_of(tx.account),
    }
    if attempt.payment_type == "card":
        body["card"] = card_json(attempt)
    body["meta"] = attempt.meta
    body["amount_settled"] = to_wire(tx.amount - tx.fee, tx.currency) if good else None
    return {**body, "customer": dict(attempt.customer)}


def listed_json(tx: Transaction) -> Json:
    """A transaction in a list: ids are strings here, the customer is flat."""
    body = transaction_json(tx)
    customer = body.pop("customer")
    body.pop("meta")
    if "card" in body:
        names = ("type", "country", "issuer", "first_6digits", "last_4digits", "expiry")
        body["card"] = {name: body["card"][name] for name in names}
    body |= {"id": str(body["id"]), "account_id": str(number_of(tx.account))}
    return {**body, "customer_name": customer["name"], "customer_email": customer["email"]}


def chargeback_json(tx: Transaction, dispute: Dispute) -> Json:
    """A chargeback in a list. It names no currency."""
    opened = iso_time(dispute.created_at)
    steps: list[Json] = [
        {"initiator": "dispute", "date": opened, "description": "Dispute transaction"},
        {
            "action": "initiated",
            "stage": "new",
            "date": opened,
            "description": "Debit and hold chargeback amount",
            "source": "availablebalance",
        },
    ]
    return {
        "id": int(dispute.id),
        "amount": to_wire(dispute.amount, tx.currency),
        "flw_ref": tx.wire.flw_ref,
        "status": "initiated" if dispute.status == "open" else dispute.status,
        "stage": "new",
        "comment": dispute.reason or "Product/service not received",
        "meta": {"uploaded_proof": None, "history": steps},
        "due_date": iso_time(dispute.created_at + 172_800),
        "settlement_id": "N/A",
        "created_at": opened,
        "transaction_id": tx.wire.number,
        "tx_ref": tx.reference,
    }


def charge_json(tx: Transaction) -> Json:
    """A transaction in a webhook or in the answer of a direct charge."""
    body = transaction_json(tx)
    for name in ("meta", "amount_settled"):
        del body[name]
    return body


def charge_event(tx: Transaction) -> Json:
    """A charge.completed webhook, which also reports failures."""
    body = charge_json(tx)
    if "card" in body:
        del body["card"]["token"]
    kinds = {"card": "CARD_TRANSACTION", "bank_transfer": "BANK_TRANSFER_TRANSACTION", "ussd": "USSD_TRANSACTION"}
    kind = kinds.get(tx.wire.payment_type, "MOBILE_MONEY_TRANSACTION")
    return {"event": "charge.completed", "data": body, "meta_data": tx.wire.meta or {}, "event.type": kind}


def refund_json(tx: Transaction, refund: Refund) -> Json:
    """A refund."""
    return {
        "id": int(refund.id),
        "account_id": number_of(tx.account),
        "tx_id": tx.wire.number,
        "flw_ref": tx.wire.flw_ref,
        "wallet_id": number_of(tx.account) + 1286,
        "amount_refunded": to_wire(refund.amount, refund.currency),
        "status": "completed" if refund.status == "succeeded" else refund.status,
        "destination": "payment_source",
        "comments": refund.wire["comments"],
        "meta": {"source": "availablebalance"},
        "created_at": iso_time(refund.created_at),
    }


def refund_event(tx: Transaction, refund: Refund) -> Json:
    """A refund webhook: flat, in other capitals, without event and currency."""
    body = refund_json(tx, refund)
    return {
        "id": body["id"],
        "AmountRefunded": body["amount_refunded"],
        "status": body["status"],
        "FlwRef": body["flw_ref"],
        "destination": body["destination"],
        "comments": body["comments"],
        "settlement_id": "NEW",
        "meta": compact(body["meta"]).decode(),
        "createdAt": body["created_at"],
        "updatedAt": body["created_at"],
        "walletId": body["wallet_id"],
        "AccountId": body["account_id"],
        "TransactionId": body["tx_id"],
    }
