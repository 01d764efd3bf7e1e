"""Stripe's payments: intents, charges, captures, refunds, disputes.

HTTP, idempotency keys and the syntax of parameters are elsewhere. An action here changes the books and sends its
events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polytill.simulator.books import USUAL, Account, Dispute, DisputeStory, Json, Refund, Transaction
from polytill.simulator.stripe import params as p
from polytill.simulator.stripe.cards import card_for, decline_error
from polytill.simulator.stripe.params import Refused, to_minor, to_wire
from polytill.simulator.stripe.sessions import session_json
from polytill.simulator.stripe.shapes import (
    API_VERSION,
    Card,
    Charge,
    Intent,
    Session,
    charge_json,
    dispute_json,
    intent_json,
    live,
    refund_json,
)

if TYPE_CHECKING:
    from polytill.simulator.network import Network

AUTHORIZATION_LIFE = 7 * 86_400
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")


@dataclass(slots=True)
class StripeRequest:
    """One request's view of Stripe: its account, the request, and the tools to act."""

    network: Network
    account: Account
    base: str
    request_id: str | None = None
    idempotency_key: str | None = None

    @property
    def now(self) -> float:
        """The simulator's time."""
        return self.network.now()

    def new_id(self, prefix: str, length: int = 24) -> str:
        """A new object id."""
        return prefix + self.network.token(length)

    def index(self, name: str, thing: Any) -> None:
        """Register an object of this account under its id."""
        self.account.things[name] = thing

    def keep(self, tx: Transaction) -> None:
        """Book a transaction under the reference that the merchant sent."""
        self.account.transactions.append(tx)
        self.refer(tx)

    def refer(self, tx: Transaction) -> None:
        """Read the merchant's reference from the places where it may be."""
        session: Session | None = tx.wire.session
        own = {**tx.wire.metadata, **(session.metadata if session else {})}
        sent = own.get("polytill_attempt") or own.get("reference") or (session and session.client_reference_id)
        tx.reference = sent or tx.idempotency_key

    def later(self, seconds: float, act: Callable[[StripeRequest], object]) -> None:
        """Act later, independently of a request."""
        alone = replace(self, request_id=None, idempotency_key=None)
        self.network.after(seconds, lambda: act(alone))

    def emit(self, kind: str, thing: Json, previous: Json | None = None) -> None:
        """Record an event and send it."""
        data: Json = {"object": thing}
        if previous is not None:
            data["previous_attributes"] = previous
        event = {
            "id": self.new_id("evt_"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(self.now),
            "data": data,
            "livemode": live(self.account.key),
            "pending_webhooks": 1,
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": kind,
        }
        self.account.events.append(event)
        del self.account.events[:-1000]
        self.network.publish(self.account, kind, event)

    def emit_intent(self, kind: str, tx: Transaction) -> None:
        """An event about the intent."""
        self.emit(f"payment_intent.{kind}", intent_json(tx))

    def emit_dispute(self, kind: str, tx: Transaction, dispute: Dispute, before: str | None = None) -> None:
        """An event about a dispute. ``before``: the status that it had."""
        previous = {"status": before} if before else None
        self.emit(f"charge.dispute.{kind}", dispute_json(tx, dispute), previous)

    def emit_charge(self, kind: str, tx: Transaction, previous: Json | None = None) -> None:
        """An event about the latest charge."""
        self.emit(f"charge.{kind}", charge_json(tx, tx.wire.charge), previous)


def fee_of(captured: int) -> int:
    """2.9 % + 30 minor units, half up."""
    return (captured * 29 + 500) // 1000 + 30


def unexpected(tx: Transaction, message: str) -> Refused:
    """The intent's state does not allow this."""
    more = {"payment_intent": intent_json(tx)}
    return Refused(400, message, code="payment_intent_unexpected_state", more=more)


def set_status(tx: Transaction, status: str) -> None:
    """Change the intent's status and the normalized status of the books together."""
    intent: Intent = tx.wire
    intent.status = status
    if status != "requires_action":
        intent.next_action = None
    if status in ("requires_action", "processing", "succeeded", "canceled"):
        tx.status = status
    elif status == "requires_capture":
        tx.status = "authorized"
    else:
        tx.status = "failed" if intent.last_error else "created"


def confirm(request: StripeRequest, tx: Transaction, *, off_session: bool = False, refuse_action: bool = False) -> None:
    """Try the intent's payment method. Raises the 402 of a decline after booking it."""
    intent: Intent = tx.wire
    if intent.status not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        message = f"You cannot confirm this PaymentIntent because it has a status of {intent.status}."
        raise unexpected(tx, message)
    if intent.card is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent "
            "with a payment method and then confirm it again."
        )
        raise unexpected(tx, message)
    if intent.card.behavior == "authenticate" and not (off_session or refuse_action):
        _ask_for_authentication(request, tx)
    elif intent.card.behavior == "ok":
        approve(request, tx)
    else:
        wanted = intent.card.behavior
        raise decline(request, tx, "authentication_required" if wanted == "authenticate" else wanted)


def _ask_for_authentication(request: StripeRequest, tx: Transaction) -> None:
    intent: Intent = tx.wire
    set_status(tx, "requires_action")
    if intent.return_url:
        redirect = {"return_url": intent.return_url, "url": f"{request.base}/stripe/pay/{intent.id}"}
        intent.next_action = {"redirect_to_url": redirect, "type": "redirect_to_url"}
    else:
        sdk = {"type": "three_d_secure_redirect", "stripe_js": f"{request.base}/stripe/pay/{intent.id}"}
        intent.next_action = {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
    request.emit_intent("requires_action", tx)


def _new_charge(request: StripeRequest, tx: Transaction, card: Card, status: str) -> Charge:
    charge = Charge(request.new_id("ch_3"), tx.amount, int(request.now), status, card)
    tx.wire.charges.append(charge)
    request.index(charge.id, (tx, charge))
    return charge


def approve(request: StripeRequest, tx: Transaction) -> None:
    """The bank approves: take or hold the money."""
    intent: Intent = tx.wire
    card = intent.card or card_for(request, "pm_card_visa")
    intent.card, intent.last_error = card, None
    charge = _new_charge(request, tx, card, "succeeded")
    if intent.setup_future_usage or intent.customer:
        card.customer = card.customer or intent.customer
    tx.paid_at = request.now
    if intent.capture_method == "manual":
        set_status(tx, "requires_capture")
        request.emit_charge("succeeded", tx)
        request.emit_intent("amount_capturable_updated", tx)
        request.later(AUTHORIZATION_LIFE, lambda alone: _authorization_expired(alone, tx, charge))
    else:
        _take(request, tx, tx.amount)
        request.emit_charge("succeeded", tx)
        request.emit_intent("succeeded", tx)
    if intent.session is not None:
        intent.session.status = "complete"
        request.emit("checkout.session.completed", session_json(tx))
    if card.later == "dispute":
        open_dispute(request, tx)


def _take(request: StripeRequest, tx: Transaction, amount: int) -> None:
    """Capture ``amount`` of the latest charge; the rest is released."""
    charge: Charge = tx.wire.charge
    charge.captured = tx.captured = amount
    tx.fee = fee_of(amount)
    charge.balance_transaction = request.new_id("txn_3")
    request.index(charge.balance_transaction, (tx, charge))
    set_status(tx, "succeeded")


def _authorization_expired(request: StripeRequest, tx: Transaction, charge: Charge) -> None:
    if tx.wire.status == "requires_capture" and tx.wire.charge is charge:
        _cancel(request, tx, "automatic")
        request.emit_charge("expired", tx)


def decline(request: StripeRequest, tx: Transaction, behavior: str) -> Refused:
    """The bank declines: book it, and answer the caller with the 402."""
    intent: Intent = tx.wire
    card = intent.card or card_for(request, "pm_card_chargeDeclined")
    charge = _new_charge(request, tx, card, "failed")
    error = decline_error(request.account, behavior, card, charge.id)
    charge.failure = error
    intent.last_error, intent.card = error, None
    set_status(tx, "requires_payment_method")
    request.emit_charge("failed", tx)
    request.emit_intent("payment_failed", tx)
    more = {key: value for key, value in error.items() if key not in ("message", "type", "code")}
    more["payment_intent"] = intent_json(tx)
    return Refused(402, error["message"], code=error["code"], kind="card_error", more=more)


def capture(request: StripeRequest, tx: Transaction, wire_amount: int | None) -> None:
    """Capture what is held, or part of it."""
    if tx.wire.status != "requires_capture":
        message = (
            f"This PaymentIntent could not be captured because it has a status of {tx.wire.status}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture."
        )
        raise unexpected(tx, message)
    if wire_amount is not None:
        p.check_amount(wire_amount, tx.currency, "amount_to_capture", minimum=False)
    amount = tx.amount if wire_amount is None else to_minor(wire_amount, tx.currency)
    if amount > tx.amount:
        message = "The amount_to_capture is greater than the capturable amount."
        raise Refused(400, message, code="amount_too_large", param="amount_to_capture")
    _take(request, tx, amount)
    request.emit_charge("captured", tx)
    request.emit_intent("succeeded", tx)


def cancel(request: StripeRequest, tx: Transaction, reason: str | None) -> None:
    """Cancel the intent for good and release what is held."""
    if tx.wire.status not in CANCELABLE:
        message = (
            f"You cannot cancel this PaymentIntent because it has a status of {tx.wire.status}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(CANCELABLE)}."
        )
        raise unexpected(tx, message)
    if tx.wire.session is not None and tx.wire.session.status == "open":
        raise unexpected(tx, "You cannot cancel a PaymentIntent created by a Checkout Session.")
    _cancel(request, tx, reason)


def _cancel(request: StripeRequest, tx: Transaction, reason: str | None) -> None:
    tx.wire.canceled_at, tx.wire.cancellation_reason = int(request.now), reason
    set_status(tx, "canceled")
    request.emit_intent("canceled", tx)


def refund(
    request: StripeRequest, tx: Transaction, wire_amount: int | None, reason: str | None, meta: dict[str, str]
) -> Refund:
    """Refund money."""
    charge: Charge | None = tx.wire.charge
    if charge is None or not tx.captured:
        name = charge.id if charge else tx.wire.id
        raise Refused(400, f"This payment ({name}) has no successful charge to refund.", param="payment_intent")
    if any(dispute.status == "lost" for dispute in tx.disputes):
        raise Refused(400, f"Charge {charge.id} has been charged back; cannot issue a refund.", code="charge_disputed")
    if any(dispute.status == "open" and dispute.kind == "chargeback" for dispute in tx.disputes):
        raise Refused(400, f"Charge {charge.id} has an open dispute and cannot be refunded.", code="charge_disputed")
    if tx.refundable <= 0:
        raise Refused(400, f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    if wire_amount is not None:
        p.check_amount(wire_amount, tx.currency, minimum=False)
    amount = tx.refundable if wire_amount is None else to_minor(wire_amount, tx.currency)
    if amount > tx.refundable:
        asked, left = to_wire(amount, tx.currency), to_wire(tx.refundable, tx.currency)
        message = f"Refund amount ({asked}) is greater than unrefunded amount on charge ({left})"
        raise Refused(400, message, param="amount")
    before = to_wire(tx.reserved, tx.currency)
    later = charge.card.later
    reference = meta.get("polytill_refund") or meta.get("reference") or request.idempotency_key
    status = "pending" if later == "refund_pends" else "succeeded"
    made = Refund(request.new_id("re_3"), amount, tx.currency, status, request.now, reference)
    made.wire = {
        "charge": charge.id,
        "reason": reason,
        "metadata": meta,
        "balance_transaction": request.new_id("txn_3"),
    }
    tx.refunds.append(made)
    request.index(made.id, (tx, made))
    request.emit("refund.created", refund_json(tx, made))
    request.emit_charge("refunded", tx, {"amount_refunded": before, "refunded": False})
    if later == "refund_pends":
        request.later(1.0, lambda alone: _refund_done(alone, tx, made))
    if later == "refund_fails":
        request.later(1.0, lambda alone: fail_refund(alone, tx, made))
    return made


def _refund_done(request: StripeRequest, tx: Transaction, made: Refund) -> None:
    if made.status == "pending":
        made.status = "succeeded"
        request.emit("refund.updated", refund_json(tx, made), {"status": "pending"})


def fail_refund(request: StripeRequest, tx: Transaction, made: Refund) -> None:
    """The payer's bank returned a refund, so the refunded total decreases."""
    if made.status == "failed":
        return
    before, made.status = made.status, "failed"
    made.wire["failure_balance_transaction"] = request.new_id("txn_3")
    shape = refund_json(tx, made)
    request.emit("refund.updated", shape, {"status": before})
    request.emit("refund.failed", shape)
    request.emit("charge.refund.updated", shape, {"status": before})


def open_dispute(request: StripeRequest, tx: Transaction, story: DisputeStory = USUAL) -> Dispute:
    """The customer disputes the charge at the bank. A chargeback withdraws the money meanwhile, an inquiry does not."""
    amount = story.amount or tx.refundable or tx.captured
    made = Dispute(request.new_id("du_1"), amount, "open", request.now, kind=story.kind, reason=story.reason)
    tx.disputes.append(made)
    request.index(made.id, (tx, made))
    request.emit_dispute("created", tx, made)
    if made.kind == "chargeback":
        request.emit_dispute("funds_withdrawn", tx, made)
    return made


def escalate(request: StripeRequest, tx: Transaction, made: Dispute) -> None:
    """An inquiry becomes a chargeback."""
    if made.kind == "inquiry":
        made.kind = "chargeback"
        request.emit_dispute("updated", tx, made, "warning_needs_response")
        request.emit_dispute("funds_withdrawn", tx, made)


def close_dispute(request: StripeRequest, tx: Transaction, made: Dispute, outcome: str) -> None:
    """The bank decides."""
    made.status, made.closed_at = outcome, request.now
    charged_back = made.kind == "chargeback"
    if outcome == "won" and charged_back:
        request.emit_dispute("funds_reinstated", tx, made)
    request.emit_dispute("closed", tx, made, "needs_response" if charged_back else "warning_needs_response")
