"""Stripe's test payment methods and the messages of its declines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polytill.simulator.books import Account, Json
from polytill.simulator.stripe.params import invalid
from polytill.simulator.stripe.shapes import Card, card_json

if TYPE_CHECKING:
    from polytill.simulator.stripe.payments import StripeRequest


@dataclass(frozen=True, slots=True)
class _TestCard:
    """What stands behind a token. ``behavior`` and ``later`` are those of ``Card``."""

    last4: str
    brand: str = "visa"
    behavior: str = "ok"
    later: str = ""


_TOKENS = {
    "pm_card_visa": _TestCard("4242"),
    "pm_card_visa_debit": _TestCard("5556"),
    "pm_card_us": _TestCard("4242"),
    "pm_card_gb": _TestCard("0000"),
    "pm_card_mastercard": _TestCard("4444", "mastercard"),
    "pm_card_amex": _TestCard("8431", "amex"),
    "pm_card_discover": _TestCard("1117", "discover"),
    "pm_card_bypassPending": _TestCard("0077"),
    "pm_card_authenticationRequired": _TestCard("3184", behavior="authenticate"),
    "pm_card_authenticationRequiredOnSetup": _TestCard("3155", behavior="authenticate"),
    "pm_card_threeDSecure2Required": _TestCard("3220", behavior="authenticate"),
    "pm_card_threeDSecureRequired": _TestCard("3063", behavior="authenticate"),
    "pm_card_createDispute": _TestCard("0259", later="dispute"),
    "pm_card_createDisputeProductNotReceived": _TestCard("2685", later="dispute"),
    "pm_card_pendingRefund": _TestCard("7726", later="refund_pends"),
    "pm_card_refundFail": _TestCard("5126", later="refund_fails"),
    "pm_card_chargeCustomerFail": _TestCard("0341", behavior="generic_decline"),
}
_DECLINES = {
    "": ("0002", "generic_decline"),
    "InsufficientFunds": ("9995", "insufficient_funds"),
    "LostCard": ("9987", "lost_card"),
    "StolenCard": ("9979", "stolen_card"),
    "ExpiredCard": ("0069", "expired_card"),
    "IncorrectCvc": ("0127", "incorrect_cvc"),
    "ProcessingError": ("0119", "processing_error"),
    "Fraudulent": ("0019", "fraudulent"),
    "VelocityLimitExceeded": ("6975", "card_velocity_exceeded"),
}
for _word, (_last4, _decline) in _DECLINES.items():
    for _prefix in ("pm_card_", "pm_card_visa_"):
        _TOKENS[f"{_prefix}chargeDeclined{_word}"] = _TestCard(_last4, behavior=_decline)

_MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "payment_intent_authentication_failure": "The provided PaymentMethod has failed authentication. You can provide "
    "payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
}
_OWN_CODES = ("expired_card", "incorrect_cvc", "processing_error", "authentication_required")


def card_for(request: StripeRequest, token: str) -> Card:
    """The payment method of a test token or of an id of this account."""
    known = request.account.things.get(token)
    if isinstance(known, Card):
        return known
    if token not in _TOKENS:
        raise invalid(f"No such PaymentMethod: '{token}'", "payment_method", "resource_missing")
    test = _TOKENS[token]
    card = Card(request.new_id("pm_1"), test.brand, test.last4, test.behavior, int(request.now), test.later)
    request.index(card.id, card)
    return card


def decline_error(account: Account, behavior: str, card: Card, charge_id: str) -> Json:
    """The error object of a decline, as in last_payment_error."""
    unauthenticated = behavior == "payment_intent_authentication_failure"
    code = behavior if unauthenticated or behavior in _OWN_CODES else "card_declined"
    again = behavior in ("insufficient_funds", "processing_error")
    error: Json = {
        "advice_code": "try_again_later" if again else "do_not_try_again",
        "charge": charge_id,
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": _MESSAGES.get(behavior, "Your card was declined."),
        "payment_method": card_json(account, card),
        "type": "card_error",
    }
    if unauthenticated:
        error |= {"type": "invalid_request_error"}
        del error["advice_code"]
    else:
        error["decline_code"] = behavior
    return error
