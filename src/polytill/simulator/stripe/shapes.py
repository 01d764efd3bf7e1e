"""Stripe's objects: the simulator's records of them and the JSON that Stripe prints (API 2026-10-28.endive).

Only shapes: nothing here decides anything or changes money.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from polytill.simulator.books import Account, Dispute, Json, Refund, Transaction
from polytill.simulator.stripe.params import to_wire

API_VERSION = "2026-10-28.endive"


@dataclass(slots=True)
class Card:
    """A payment method. ``behavior``: ok, authenticate, or a decline code; ``later`` acts after success."""

    id: str
    brand: str
    last4: str
    behavior: str
    created: int
    later: str = ""
    customer: str | None = None


@dataclass(slots=True)
class Charge:
    """One attempt to take money. Amounts in ISO minor units."""

    id: str
    amount: int
    created: int
    status: str
    card: Card
    captured: int = 0
    failure: Json | None = None
    balance_transaction: str | None = None


@dataclass(slots=True)
class Session:
    """A Checkout Session. ``status``: open | complete | expired."""

    id: str
    success_url: str | None
    cancel_url: str | None
    metadata: dict[str, str]
    client_reference_id: str | None
    customer_email: str | None
    created: int
    expires_at: int
    url: str
    status: str = "open"


@dataclass(slots=True)
class Intent:
    """Stripe's side of a transaction. ``id`` is None while only a Checkout Session exists."""

    id: str | None
    client_secret: str
    capture_method: str
    created: int
    status: str = "requires_payment_method"
    metadata: dict[str, str] = field(default_factory=dict)
    description: str | None = None
    customer: str | None = None
    receipt_email: str | None = None
    return_url: str | None = None
    setup_future_usage: str | None = None
    statement_descriptor_suffix: str | None = None
    card: Card | None = None
    next_action: Json | None = None
    last_error: Json | None = None
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    charges: list[Charge] = field(default_factory=list)
    session: Session | None = None

    @property
    def charge(self) -> Charge | None:
        """The latest charge."""
        return self.charges[-1] if self.charges else None


def live(key: str) -> bool:
    """Whether a key is a live key."""
    return "_live_" in key


def card_json(account: Account, card: Card) -> Json:
    """A payment method."""
    return {
        "id": card.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _billing(),
        "card": {
            **_card_facts(card),
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": card.created,
        "customer": card.customer,
        "livemode": live(account.key),
        "metadata": {},
        "type": "card",
    }


def _billing() -> Json:
    address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {"address": address, "email": None, "name": None, "phone": None, "tax_id": None}


def _card_facts(card: Card) -> Json:
    """What a payment method and the details of a charge both begin with."""
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": f"Fp{card.last4}xE1gQz0000",
        "funding": "credit",
    }


def intent_json(tx: Transaction) -> Json:
    """A PaymentIntent, nothing expanded."""
    intent: Intent = tx.wire
    amount = to_wire(tx.amount, tx.currency)
    charge = intent.charge
    return {
        "id": intent.id,
        "object": "payment_intent",
        "allowed_payment_method_types": None,
        "amount": amount,
        "amount_capturable": amount if intent.status == "requires_capture" else 0,
        "amount_details": {"tip": {}},
        "amount_received": to_wire(tx.captured, tx.currency),
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "client_secret": intent.client_secret,
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": tx.currency.lower(),
        "customer": intent.customer,
        "customer_account": None,
        "description": intent.description,
        "excluded_payment_method_types": None,
        "last_payment_error": intent.last_error,
        "latest_charge": charge.id if charge else None,
        "livemode": live(tx.account),
        "managed_payments": None,
        "metadata": dict(intent.metadata),
        "next_action": intent.next_action,
        "on_behalf_of": None,
        "payment_method": intent.card.id if intent.card else None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"installments": None, "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": intent.receipt_email,
        "review": None,
        "setup_future_usage": intent.setup_future_usage,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": intent.statement_descriptor_suffix,
        "status": intent.status,
        "transfer_data": None,
        "transfer_group": None,
    }


def _outcome(charge: Charge) -> Json:
    good, failure = charge.failure is None, charge.failure or {}
    declined = "The bank did not return any further details with this decline."
    return {
        "advice_code": failure.get("advice_code"),
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if good else "declined_by_network",
        "reason": failure.get("decline_code", failure.get("code")),
        "risk_level": "normal",
        "risk_score": 12 if good else 41,
        "seller_message": "Payment complete." if good else declined,
        "type": "authorized" if good else "issuer_declined",
    }


def _method_details(card: Card) -> Json:
    details = {
        **_card_facts(card),
        "installments": None,
        "last4": card.last4,
        "mandate": None,
        "network": card.brand,
        "three_d_secure": None,
        "wallet": None,
    }
    return {"card": details, "type": "card"}


def charge_json(tx: Transaction, charge: Charge) -> Json:
    """A Charge, nothing expanded."""
    good, failure = charge.failure is None, charge.failure or {}
    reserved = tx.reserved if good else 0
    return {
        "id": charge.id,
        "object": "charge",
        "amount": to_wire(charge.amount, tx.currency),
        "amount_captured": to_wire(charge.captured, tx.currency),
        "amount_refunded": to_wire(reserved, tx.currency),
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": charge.balance_transaction,
        "billing_details": _billing(),
        "calculated_statement_descriptor": "SIMULATED SHOP",
        "captured": charge.captured > 0,
        "created": charge.created,
        "currency": tx.currency.lower(),
        "customer": tx.wire.customer,
        "description": tx.wire.description,
        "destination": None,
        "dispute": tx.disputes[-1].id if good and tx.disputes else None,
        "disputed": good and bool(tx.disputes),
        "failure_balance_transaction": None,
        "failure_code": failure.get("code"),
        "failure_message": failure.get("message"),
        "fraud_details": {},
        "livemode": live(tx.account),
        "metadata": dict(tx.wire.metadata),
        "on_behalf_of": None,
        "order": None,
        "outcome": _outcome(charge),
        "paid": good,
        "payment_intent": tx.wire.id,
        "payment_method": charge.card.id,
        "payment_method_details": _method_details(charge.card),
        "radar_options": {},
        "receipt_email": tx.wire.receipt_email,
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{charge.id}" if good else None,
        "refunded": good and 0 < charge.captured == reserved,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": tx.wire.statement_descriptor_suffix,
        "status": charge.status,
        "transfer_data": None,
        "transfer_group": None,
    }


def balance_transaction_json(tx: Transaction, charge: Charge) -> Json:
    """What reached the balance for a captured charge."""
    amount, fee = to_wire(charge.captured, tx.currency), to_wire(tx.fee, tx.currency)
    code = tx.currency.lower()
    return {
        "id": charge.balance_transaction,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": charge.created + 172_800,
        "balance_type": "payments",
        "created": charge.created,
        "currency": code,
        "description": tx.wire.description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": code,
                "description": "Stripe processing fees",
                "type": "stripe_fee",
            }
        ],
        "net": amount - fee,
        "reporting_category": "charge",
        "source": charge.id,
        "status": "pending",
        "type": "charge",
    }


def refund_json(tx: Transaction, refund: Refund) -> Json:
    """A Refund."""
    wire = refund.wire
    body: Json = {
        "id": refund.id,
        "object": "refund",
        "amount": to_wire(refund.amount, refund.currency),
        "balance_transaction": wire["balance_transaction"],
        "charge": wire["charge"],
        "created": int(refund.created_at),
        "currency": refund.currency.lower(),
        "customer": None,
        "customer_account": None,
        "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
        "metadata": wire["metadata"],
        "payment_intent": tx.wire.id,
        "payment_method": None,
        "reason": wire["reason"],
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": refund.status,
        "transfer_reversal": None,
    }
    if refund.status == "failed":
        body["failure_reason"] = "expired_or_canceled_card"
        body["failure_balance_transaction"] = wire["failure_balance_transaction"]
    if refund.status == "pending":
        body["pending_reason"] = "processing"
    return body


def dispute_json(tx: Transaction, dispute: Dispute) -> Json:
    """A Dispute."""
    status = {"open": "needs_response", "closed": "won"}.get(dispute.status, dispute.status)
    if dispute.kind == "inquiry":  # one that ends without having become a chargeback took no money
        status = "warning_needs_response" if dispute.status == "open" else "warning_closed"
    return {
        "id": dispute.id,
        "object": "dispute",
        "amount": to_wire(dispute.amount, tx.currency),
        "balance_transaction": None,
        "balance_transactions": [],
        "charge": tx.wire.charge.id,
        "created": int(dispute.created_at),
        "currency": tx.currency.lower(),
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": int(dispute.created_at) + 604_800,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": dispute.kind == "inquiry" or dispute.status == "won",
        "livemode": live(tx.account),
        "metadata": {},
        "payment_intent": tx.wire.id,
        "reason": dispute.reason or "fraudulent",
        "status": status,
    }
