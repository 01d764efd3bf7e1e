"""Reads Stripe's answers and webhooks: stateless functions from JSON to outcomes and facts.

A webhook's form follows the API version of the practice's webhook endpoint, not ours, so old forms are read too. No
reader of an answer raises, for any content. A reader of a webhook may raise ``ValueError``.
"""

from __future__ import annotations

from dataclasses import replace

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import Fact, PaymentFact, RefundFact, redact
from polytill.providers.http import Answer
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NeedsAction,
    NextAction,
    NextKind,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.providers.stripe.disputes import dispute_fact
from polytill.providers.stripe.saved_methods import saved_method
from polytill.providers.stripe.terms import amount_in, money_of, wire_exponent
from polytill.providers.wire_amounts import fee_from_wire
from polytill.providers.wire_json import expandable_id, moment_in, object_in, objects_in, text_in, token_in

# ── Facts ──


def _set(words: str, prefix: str = "") -> frozenset[str]:
    return frozenset(prefix + word for word in words.split())


# A payment method can be charged again. With the last two, anyone can act as the customer.
REDACTED = frozenset({"client_secret", "payment_method", "redirect_to_url", "use_stripe_sdk"})

OUR_PAYMENT, OUR_ATTEMPT, OUR_REFUND = ("polytill_payment", "polytill_attempt", "polytill_refund")  # in metadata

# requires_source and requires_source_action: the names of the same two states before 2019.
ACTION_WORDS = _set("requires_action requires_source_action")
PAYER_WORDS = _set("requires_payment_method requires_confirmation requires_source") | ACTION_WORDS
REFUND_WORDS = {
    "pending": "pending",
    "requires_action": "requires_action",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}

DECLINE_REASONS = {
    Reason.insufficient_funds: "insufficient_funds",
    Reason.expired_card: "expired_card",
    Reason.incorrect_details: "incorrect_cvc incorrect_number incorrect_zip incorrect_address incorrect_pin "
    "invalid_cvc invalid_number invalid_pin invalid_expiry_month invalid_expiry_year",
    Reason.authentication_required: "authentication_required authentication_not_handled "
    "payment_intent_authentication_failure",
}
_REASON_OF_DECLINE = {code: reason for reason, codes in DECLINE_REASONS.items() for code in codes.split()}
# Stripe asks that a customer never sees these codes. Staff find the true code in the stored answer.
HIDDEN_DECLINES = _set("fraudulent lost_card stolen_card merchant_blacklist pickup_card")

REFUSALS = {
    Reason.amount_too_small: "amount_too_small",
    Reason.amount_too_large: "amount_too_large",
    Reason.integrator_bug: "payment_method_types_no_longer_supported parameter_unknown",
    Reason.invalid_state: "payment_intent_unexpected_state charge_already_captured charge_already_refunded "
    "charge_expired_for_capture",
    Reason.disputed: "charge_disputed",
    Reason.not_found: "resource_missing",
    Reason.config: "testmode_charges_only livemode_mismatch api_key_expired platform_api_key_expired "
    "secret_key_required more_permissions_required account_invalid",
}
_REASON_OF_REFUSAL = {code: reason for reason, codes in REFUSALS.items() for code in codes.split()}
# The intent is not in the state that we assume. Only another read shows its state.
STATE_CODES = _set(REFUSALS[Reason.invalid_state])

INTENT_EVENTS = _set(
    "created requires_action processing amount_capturable_updated succeeded payment_failed canceled partially_funded",
    "payment_intent.",
)
SESSION_EVENTS = _set("completed async_payment_succeeded async_payment_failed expired", "checkout.session.")
REFUND_EVENTS = _set("refund.created refund.updated refund.failed charge.refund.updated")
DISPUTE_EVENTS = _set("created updated closed funds_withdrawn funds_reinstated", "charge.dispute.")
KNOWN_EVENTS = INTENT_EVENTS | SESSION_EVENTS | REFUND_EVENTS | DISPUTE_EVENTS | {"charge.refunded"}

# Before this version, releasing an authorization (a cancel, the rest of a partial capture) created a refund.
RELEASES_ARE_NO_REFUNDS_SINCE = "2025-03-31"

# ── Response readers ──


def read_intent(data: JsonObject) -> Outcome:
    """A PaymentIntent, from any answer or listing."""
    try:
        return intent_outcome(data)
    except InvalidAmount:
        return Unknown(Reason.unreadable, text_in(data, "status"), "Stripe's amount could not be read.")


def intent_outcome(data: JsonObject) -> Outcome:
    """The state of a PaymentIntent. Raises ``InvalidAmount`` if its amounts cannot be read."""
    status, currency = text_in(data, "status"), data.get("currency")
    intent_id, kept = expandable_id(data, "id"), redact(data, REDACTED)
    amount = money_of(data.get("amount"), currency)
    if status in PAYER_WORDS:
        # A failed try has no status of its own: the intent waits for another try and holds the error.
        error = object_in(data, "last_payment_error")
        last = _declined(error, intent_id, None) if error else None
        return NeedsAction(_next_action(data, status), amount, intent_id, last, kept)
    if status == "processing":
        return Pending(amount, intent_id, kept)
    if status == "requires_capture":
        held = _given(data, "amount_capturable", amount)
        taken = _given(data, "amount_received", Money(0, amount.currency))  # captured in parts, and not completely yet
        return Succeeded(
            held,
            intent_id,
            authorized_only=True,
            response=kept,
            saved_method=saved_method(data),
            captured=taken if taken.minor else None,
        )
    if status == "succeeded":
        received = _given(data, "amount_received", amount)
        return Succeeded(received, intent_id, _fee_of(data), response=kept, saved_method=saved_method(data))
    if status == "canceled":
        word = text_in(data, "cancellation_reason")
        reason = Reason.expired if word in ("expired", "automatic") else Reason.canceled
        return Declined(reason, True, word or "canceled", None, intent_id, kept)
    return Unknown(Reason.unreadable, status, "Stripe gave a status that is not known.")


def read_refund(data: JsonObject) -> Outcome:
    """A Refund, from any answer or listing."""
    refund_id, kept = expandable_id(data, "id"), redact(data, REDACTED)
    status, amount = text_in(data, "status"), amount_in(data)
    if amount is None:
        return Unknown(Reason.unreadable, status, "The refund's amount could not be read.")
    if status == "succeeded":
        return Succeeded(amount, refund_id, response=kept)
    if status == "pending":
        return Pending(amount, refund_id, kept)
    if status == "requires_action":
        action = NextAction(NextKind.instructions, instructions="Stripe has asked the payer for bank details.")
        return NeedsAction(action, amount, refund_id, response=kept)
    if status == "failed":
        code = text_in(data, "failure_reason") or "failed"
        detail = "Stripe could not pay the refund out."
        return Declined(Reason.declined, True, code, detail, refund_id, kept)
    if status == "canceled":
        return Declined(Reason.canceled, True, "canceled", None, refund_id, kept)
    return Unknown(Reason.unreadable, status, "Stripe gave a status that is not known.")


def listed_payment(data: JsonObject) -> PaymentFact | None:
    """A PaymentIntent from a listing; None if it has no id."""
    fact = _fact_of(read_intent(data), data)
    return fact if fact.provider_transaction_id else None


def _fact_of(outcome: Outcome, intent: JsonObject) -> PaymentFact:
    metadata = object_in(intent, "metadata") or None
    return PaymentFact(outcome, _mark_in(intent, OUR_ATTEMPT), expandable_id(intent, "id"), metadata)


def _mark_in(data: JsonObject, mark: str) -> str | None:
    return text_in(object_in(data, "metadata"), mark) or None


def _next_action(data: JsonObject, status: str) -> NextAction | None:
    secret = token_in(data, "client_secret")
    token = Secret(secret) if secret else None
    url = object_in(object_in(data, "next_action"), "redirect_to_url").get("url")
    if status in ACTION_WORDS and isinstance(url, str) and url:
        return NextAction(NextKind.redirect, url, token)
    return NextAction(NextKind.client_token, provider_token=token) if token else None


def _given(data: JsonObject, name: str, otherwise: Money) -> Money:
    value = data.get(name)
    return otherwise if value is None else money_of(value, data.get("currency"))


def _fee_of(intent: JsonObject) -> Money | None:
    """The fee on the expanded balance transaction, in Stripe's settlement currency."""
    charges = objects_in(object_in(intent, "charges"), "data")  # until 2022-11-15
    charge = object_in(intent, "latest_charge") or (charges[-1] if charges else {})
    entry = object_in(charge, "balance_transaction")
    currency = text_in(entry, "currency").upper()
    return fee_from_wire(entry.get("fee"), currency, wire_exponent(currency))


# ── Webhooks ──

THIN = "v2.core.event"
THIN_SAYS_NOTHING = (
    "Stripe sent a thin event, which names an object and not how it stands. Set the payload style of this event "
    "destination to snapshot; until then such payments are found by lookups only."
)


def read_event(event: JsonObject) -> tuple[tuple[Fact, ...], str, str | None]:
    """Facts, action and reason of an event. Raises ``ValueError`` if it is of a known kind and cannot be read."""
    kind = str(event.get("type"))
    if event.get("object") == THIN:
        return (), "notify", THIN_SAYS_NOTHING
    if kind not in KNOWN_EVENTS:
        # charge.* (the same payment again), setup_intent.*, payout.* and any new kind.
        return (), "ignore", "This kind of event changes no payment."
    data = object_in(object_in(event, "data"), "object")
    if not expandable_id(data, "id"):
        raise ValueError(f"a Stripe event {kind} without its object")
    try:
        fact = _read_object(kind, event, data)
    except InvalidAmount as error:
        raise ValueError(f"a Stripe event {kind} with an amount that cannot be read") from error
    if isinstance(fact, str):
        return (), "notify" if kind in REFUND_EVENTS else "ignore", fact
    return (fact,), "apply", None


def _read_object(kind: str, event: JsonObject, data: JsonObject) -> Fact | str:
    if kind in INTENT_EVENTS:
        return _intent_fact(kind, data)
    if kind in SESSION_EVENTS:
        return _session_fact(kind, data)
    if kind in DISPUTE_EVENTS:
        return dispute_fact(kind, data, _mark_in(data, OUR_ATTEMPT))
    return _charge_fact(event, data) if kind == "charge.refunded" else _refund_fact(data)


def _intent_fact(kind: str, data: JsonObject) -> PaymentFact:
    outcome = intent_outcome(data)
    if kind == "payment_intent.payment_failed" and isinstance(outcome, NeedsAction):
        error = object_in(data, "last_payment_error")
        outcome = _declined(error, outcome.provider_transaction_id, outcome.response)
    elif kind == "payment_intent.partially_funded" and isinstance(outcome, NeedsAction):
        outcome = Pending(outcome.amount, outcome.provider_transaction_id, outcome.response)
    return _fact_of(outcome, data)


def _session_fact(kind: str, data: JsonObject) -> PaymentFact | str:
    if data.get("mode", "payment") != "payment":
        return "This checkout session takes no payment."
    intent_id = expandable_id(data, "payment_intent")
    reference = text_in(data, "client_reference_id") or _mark_in(data, OUR_ATTEMPT)
    if reference is None and intent_id is None:
        return "This checkout session names no payment."
    kept, word = redact(data, REDACTED), kind.removeprefix("checkout.session.")
    outcome: Outcome
    if word == "expired":
        outcome = Declined(Reason.expired, True, "expired", None, intent_id, kept)
    elif word == "async_payment_failed":
        # This ends the customer's page: another try needs another session.
        outcome = Declined(Reason.declined, True, word, None, intent_id, kept)
    else:
        amount = money_of(data.get("amount_total"), data.get("currency"))
        if data.get("payment_status") == "no_payment_required":
            return "There was nothing to pay."
        paid = data.get("payment_status") == "paid"
        outcome = Succeeded(amount, intent_id, response=kept) if paid else Pending(amount, intent_id, kept)
    return PaymentFact(outcome, reference, intent_id, object_in(data, "metadata") or None)


def _refund_fact(data: JsonObject) -> RefundFact:
    return RefundFact(
        REFUND_WORDS.get(text_in(data, "status"), "unknown"),
        reference=_mark_in(data, OUR_REFUND),
        provider_refund_id=expandable_id(data, "id"),
        payment_reference=_mark_in(data, OUR_ATTEMPT),
        provider_transaction_id=expandable_id(data, "payment_intent"),
        amount=money_of(data.get("amount"), data.get("currency")),
        response=redact(data, REDACTED),
        made_at=moment_in(data, "created"),
    )


def listed_refund(data: JsonObject) -> RefundFact | None:
    """A refund from a listing; None if it cannot be read."""
    return _refund_fact(data) if amount_in(data) and expandable_id(data, "id") else None


def _charge_fact(event: JsonObject, charge: JsonObject) -> RefundFact | str:
    """``charge.refunded``: the total refunded of a charge so far, not one refund."""
    if charge.get("captured") is False:
        return "An authorization was released; no money had moved."
    currency = charge.get("currency")
    total = money_of(charge.get("amount_refunded"), currency)
    if "" < text_in(event, "api_version") < RELEASES_ARE_NO_REFUNDS_SINCE:
        whole = money_of(charge.get("amount"), currency)
        released = whole.minor - _given(charge, "amount_captured", whole).minor
        if released >= total.minor > 0:
            return "The rest of an authorization was released; nothing was refunded."
        total = Money(total.minor - released, total.currency)
    return RefundFact(
        "succeeded",
        payment_reference=_mark_in(charge, OUR_ATTEMPT),
        provider_transaction_id=expandable_id(charge, "payment_intent"),
        total=total,
        response=redact(charge, REDACTED),
    )


# ── Error mapping ──


def read_error(answer: Answer) -> Outcome:
    """The outcome of an answer without the requested object, by what can have happened at Stripe."""
    status, error = answer.status, object_in(answer.data, "error")
    code, message = code_of(answer), text_in(error, "message") or None
    if status >= 500 or status == 424:
        return Unknown(Reason.provider_unavailable, code or str(status), message)
    if status == 409:  # another call with this key is in progress
        return Unknown(Reason.conflict, code or "409", message)
    if error.get("type") == "idempotency_error":
        # Each of our keys is used for one request only, so an earlier request with this key did arrive.
        return Unknown(Reason.duplicate, code or "idempotency_error", message)
    if (status == 402 and error) or (error.get("type") == "card_error" and status == 400):
        intent_id = expandable_id(error, "payment_intent")
        return _declined(error, intent_id, redact(error, REDACTED))
    if status in (401, 403) or code == "testmode_charges_only":  # the account is not activated
        return NotSent(Reason.config, code or str(status), message)
    if not 400 <= status < 500:
        return Unknown(Reason.unreadable, str(status), "Stripe's answer could not be read.")
    if status == 429:
        return NotSent(Reason.rate_limited, code or "429", message, answer.retry_after_s)
    if status != 404 and not error.get("type"):
        # A gateway's answer: the call did not reach Stripe, and the answer says nothing about other calls.
        return NotSent(Reason.unreadable, str(status), "What refused the call does not speak as Stripe does.")
    if code == "charge_disputed":  # Stripe does not refund a disputed payment
        return Declined(Reason.disputed, True, code, message)
    said = (message or "").lower()
    if "exists in live mode" in said or "exists in test mode" in said:
        return NotSent(Reason.config, code, message)
    if "invalid currency" in said:
        return NotSent(Reason.currency_not_supported, code, message)
    otherwise = Reason.not_found if status == 404 else Reason.validation
    return NotSent(_REASON_OF_REFUSAL.get(code or "", otherwise), code, message)


def read_off_session(answer: Answer) -> Outcome:
    """The outcome of a charge while the customer is absent. A decline holds the intent, which then waits for the
    customer."""
    error = object_in(answer.data, "error")
    intent = object_in(error, "payment_intent")
    if answer.status != 402 or not intent:
        refused = read_error(answer)
        # Without an intent, there is nothing that the customer could still pay.
        return replace(refused, final=True) if isinstance(refused, Declined) else refused
    waits = read_intent(intent)
    if isinstance(waits, NeedsAction) and waits.last_decline is None:
        return replace(waits, last_decline=_declined(error, waits.provider_transaction_id, None))
    return waits


def code_of(answer: Answer) -> str | None:
    """The error's code, if there is one."""
    return text_in(object_in(answer.data, "error"), "code") or None


def _declined(error: JsonObject, intent_id: str | None, kept: JsonObject | None) -> Declined:
    code = text_in(error, "decline_code") or text_in(error, "code") or None
    if code in HIDDEN_DECLINES:
        return Declined(Reason.declined, False, "generic_decline", "The card was declined.", intent_id, kept)
    reason = _REASON_OF_DECLINE.get(code or "") or _REASON_OF_DECLINE.get(text_in(error, "code"), Reason.declined)
    return Declined(reason, False, code, text_in(error, "message") or None, intent_id, kept)
