"""The payer's side of Stripe: what the hosted page (or Stripe.js) does with an intent or a session."""

from __future__ import annotations

from decimal import Decimal

from polytill.simulator.books import Transaction
from polytill.simulator.stripe import payments as money
from polytill.simulator.stripe.cards import card_for
from polytill.simulator.stripe.params import exponent_of_or_two
from polytill.simulator.stripe.payments import StripeRequest
from polytill.simulator.stripe.shapes import Intent
from polytill.simulator.wire import Fields, PayPage, with_query


def _begin(request: StripeRequest, tx: Transaction) -> None:
    """The payer submits a Checkout Session for the first time, which creates its intent."""
    intent: Intent = tx.wire
    if intent.id is None:
        intent.id = tx.id = request.new_id("pi_3")
        intent.client_secret = f"{intent.id}_secret_{request.network.token(25)}"
        request.index(intent.id, tx)
        request.emit_intent("created", tx)


def payer_acts(request: StripeRequest, tx: Transaction, outcome: str) -> None:
    """Pay, be declined, or leave. The caller has checked that the transaction is payable."""
    intent: Intent = tx.wire
    if outcome == "abandon":
        return
    _begin(request, tx)
    if outcome == "success":
        if intent.card is None or intent.card.behavior not in ("ok", "authenticate"):
            intent.card = card_for(request, "pm_card_visa")
        money.approve(request, tx)
    elif intent.status == "requires_action":
        money.decline(request, tx, "payment_intent_authentication_failure")
    else:
        intent.card = card_for(request, "pm_card_chargeDeclined")
        money.decline(request, tx, tx.said[0] if tx.said else "generic_decline")


def page_of(tx: Transaction, token: str, query: Fields) -> PayPage | None:
    """The page of an intent or a session. A client secret, if given, must be the right one."""
    intent: Intent = tx.wire
    secret = query.get("payment_intent_client_secret") or query.get("client_secret")
    if secret and secret != intent.client_secret:
        return None
    state = "open" if tx.payable else "paid" if tx.status in ("succeeded", "authorized") else "expired"
    if intent.session is not None and intent.session.status == "expired":
        state = "expired"
    return PayPage(
        provider="Stripe",
        title="Checkout" if token.startswith("cs_") else "Card payment",
        merchant="Simulated Stripe merchant",
        description=intent.description or "",
        amount=f"{Decimal(tx.amount).scaleb(-exponent_of_or_two(tx.currency)):f}",
        currency=tx.currency,
        state=state,
        reference=tx.reference,
        note=(intent.last_error or {}).get("message", ""),
    )


def submit_page(request: StripeRequest, tx: Transaction, token: str, outcome: str, form: Fields) -> str | None:
    """The payer pressed a button. A declined card form stays on the page; a redirect always returns."""
    intent: Intent = tx.wire
    if tx.payable:
        payer_acts(request, tx, outcome)
    paid = tx.status in ("succeeded", "authorized")
    if token.startswith("cs_") and intent.session is not None:
        if paid and intent.session.success_url:
            return intent.session.success_url.replace("{CHECKOUT_SESSION_ID}", token)
        return intent.session.cancel_url if outcome == "abandon" else None
    target = intent.return_url or form.get("return_url") or None
    if target is None or (outcome == "abandon" and not paid):
        return None
    result = {"payment_intent": intent.id or "", "payment_intent_client_secret": intent.client_secret}
    return with_query(target, {**result, "redirect_status": "succeeded" if paid else "failed"})
