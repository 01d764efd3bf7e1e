"""Stripe's test payment methods and the messages of its declines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polytill.simulator.books import Account, Json
from polytill.simulator.stripe.params import Refused
from polytill.simulator.stripe.shapes import Card, card_json

if TYPE_CHECKING:
    from polytill.simulator.stripe.payments import Desk

# token: brand, last four digits, behavior, what happens later
_TOKENS: dict[str, tuple[str, str, str, str]] = {
    "pm_card_visa": ("visa", "4242", "ok", ""),
    "pm_card_visa_debit": ("visa", "5556", "ok", ""),
    "pm_card_us": ("visa", "4242", "ok", ""),
    "pm_card_gb": ("visa", "0000", "ok", ""),
    "pm_card_mastercard": ("mastercard", "4444", "ok", ""),
    "pm_card_amex": ("amex", "8431", "ok", ""),
    "pm_card_discover": ("discover", "1117", "ok", ""),
    "pm_card_bypassPending": ("visa", "0077", "ok", ""),
    "pm_card_authenticationRequired": ("visa", "3184", "authenticate", ""),
    "pm_card_authenticationRequiredOnSetup": ("visa", "3155", "authenticate", ""),
    "pm_card_threeDSecure2Required": ("visa", "3220", "authenticate", ""),
    "pm_card_threeDSecureRequired": ("visa", "3063", "authenticate", ""),
    "pm_card_createDispute": ("visa", "0259", "ok", "dispute"),
    "pm_card_createDisputeProductNotReceived": ("visa", "2685", "ok", "dispute"),
    "pm_card_pendingRefund": ("visa", "7726", "ok", "refund_pends"),
    "pm_card_refundFail": ("visa", "5126", "ok", "refund_fails"),
    "pm_card_chargeCustomerFail": ("visa", "0341", "generic_decline", ""),
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
    _TOKENS[f"pm_card_chargeDeclined{_word}"] = ("visa", _last4, _decline, "")
    _TOKENS[f"pm_card_visa_chargeDeclined{_word}"] = ("visa", _last4, _decline, "")

_MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "payment_intent_authentication_failure": "The provided PaymentMethod has failed authentication. "
    "You can provide "
    "payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
}
_OWN_CODES = ("expired_card", "incorrect_cvc", "processing_error", "authentication_required")


def card_for(desk: Desk, token: str) -> Card:
    """The payment method of a test token or of an id of this account."""
    known = desk.account.things.get(token)
    if isinstance(known, Card):
        return known
    if token not in _TOKENS:
        message = f"No such PaymentMethod: '{token}'"
        raise Refused(400, message, code="resource_missing", param="payment_method", early=True)
    brand, last4, behavior, later = _TOKENS[token]
    card = Card(desk.new_id("pm_1"), brand, last4, behavior, int(desk.now), later)
    desk.index(card.id, card)
    return card


def decline_error(account: Account, behavior: str, card: Card, charge_id: str) -> Json:
    """The error object of a decline, as in last_payment_error."""
    own = behavior in _OWN_CODES or behavior == "payment_intent_authentication_failure"
    code = behavior if own else "card_declined"
    error: Json = {
        "advice_code": "try_again_later"
        if behavior in ("insufficient_funds", "processing_error")
        else "do_not_try_again",
        "charge": charge_id,
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": _MESSAGES.get(behavior, "Your card was declined."),
        "payment_method": card_json(account, card),
        "type": "card_error",
    }
    if behavior == "payment_intent_authentication_failure":
        error |= {"type": "invalid_request_error"}
        del error["advice_code"]
    else:
        error["decline_code"] = behavior
    return error
