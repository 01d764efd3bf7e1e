"""What M-Pesa's answers and callbacks mean: readers without any state, from JSON to outcomes.

The same result code is a number in a callback and text in a query. Only codes in the table decide anything.
"""

from __future__ import annotations

import hashlib

from polytill.domain.errors import InvalidAmount
from polytill.domain.money import Money
from polytill.providers.contract import ADDRESS_REFERENCE, PaymentFact, WebhookResult, redact
from polytill.providers.http import Answer, parse_json, to_json
from polytill.providers.outcomes import Declined, JsonObject, NotSent, Outcome, Pending, Reason, Succeeded, Unknown
from polytill.providers.wire_amounts import from_wire
from polytill.providers.wire_json import id_in, object_in, objects_in, string_in, text_of

# ── Facts ──

REDACTED = frozenset({"Password", "SecurityCredential", "access_token"})

PAID = "0"
REASONS = {  # of result codes: each ends its prompt for good
    "1": Reason.insufficient_funds,
    "17": Reason.declined,
    "26": Reason.declined,
    "1001": Reason.declined,  # another prompt holds the phone
    "1019": Reason.expired,
    "1025": Reason.declined,
    "1032": Reason.canceled,
    "1037": Reason.declined,  # the phone could not be reached, or nobody answered
    "2001": Reason.incorrect_details,
    "9999": Reason.declined,
}
STILL_RUNNING = "500.001.1001"  # and says so: the same code stands for other trouble too
TOKEN_REFUSED = ("404.001.03", "404.001.04", "400.003.01")
TOO_MANY = "500.003.02"

# ── Response readers ──


def read_push(answer: Answer, amount: Money) -> Outcome:
    """What processrequest says: "0" is a prompt that was sent."""
    checkout_id, said = string_in(answer.data, "CheckoutRequestID"), id_in(answer.data, "ResponseCode")
    if answer.status == 200 and said == "0" and checkout_id:
        return Pending(amount, checkout_id, redact(answer.data, REDACTED))
    return read_error(answer)


def read_query(answer: Answer, checkout_id: str, amount: Money) -> Outcome:
    """What the query says of one prompt. ``amount`` is what the prompt asked for: no answer names it."""
    data = answer.data
    if data.get("errorCode") == STILL_RUNNING and "being processed" in text_of(data.get("errorMessage")).lower():
        return Pending(amount, checkout_id, redact(data, REDACTED))
    result = id_in(data, "ResultCode")
    if answer.status != 200 or result is None:
        found = read_error(answer)
        # What is refused here is the question: it proves nothing about the prompt.
        return found if found.reason in (Reason.config, Reason.rate_limited) else _unknown(found)
    if string_in(data, "CheckoutRequestID") != checkout_id:
        return Unknown(Reason.unreadable, result, "M-Pesa answered about another prompt.")
    return _result(result, data, checkout_id, amount)


def _unknown(found: NotSent | Unknown) -> Unknown:
    return Unknown(found.reason, found.code, found.detail)


def _result(code: str, data: JsonObject, checkout_id: str, amount: Money) -> Outcome:
    text, kept = text_of(data.get("ResultDesc")), redact(data, REDACTED)
    if code == PAID:
        return Succeeded(amount, checkout_id, response=kept)
    if code in REASONS:
        # A prompt that has ended cannot be answered any more: the customer may have another one.
        return Declined(REASONS[code], True, code, text, checkout_id, kept, closed_for_certain=True)
    return Unknown(Reason.unreadable, code, text or "M-Pesa's result code is not known.")


# ── Callbacks ──


def read_callback(body: bytes) -> WebhookResult:
    """A callback about a prompt, or a result of something else, which is none of ours. ``ValueError`` for nonsense."""
    event = parse_json(body)
    if not isinstance(event, dict):
        raise ValueError("not an M-Pesa callback")
    call, kept = object_in(object_in(event, "Body"), "stkCallback"), redact(event, REDACTED)
    if not call:
        if not isinstance(event.get("Result"), dict) and "TransID" not in event:
            raise ValueError("not an M-Pesa callback")
        key = f"other:{hashlib.sha256(to_json(kept)).hexdigest()}"
        return WebhookResult("other", key, "ignore", must_fetch=True, body=kept)
    checkout_id, code = string_in(call, "CheckoutRequestID"), id_in(call, "ResultCode")
    if checkout_id is None or code is None:
        raise ValueError("a callback that names no prompt or no result")
    amount = _paid_amount(call)
    if code == PAID and amount is None:
        outcome: Outcome = Unknown(Reason.unreadable, code, "The callback's amount could not be read.")
    else:
        outcome = _result(code, call, checkout_id, amount or Money(0, "KES"))
    fact = PaymentFact(outcome, string_in(event, ADDRESS_REFERENCE), checkout_id)
    return WebhookResult(
        "stkCallback", f"{checkout_id}:{code}", "apply", facts=(fact,), must_fetch=True, body=kept
    )  # fmt: skip


def _paid_amount(call: JsonObject) -> Money | None:
    for item in objects_in(object_in(call, "CallbackMetadata"), "Item") or []:
        if item.get("Name") == "Amount":
            try:
                return from_wire(item.get("Value"), "KES", 0)
            except InvalidAmount:
                return None
    return None


# ── Error mapping ──


def refuses_token(answer: Answer) -> bool:
    """Whether M-Pesa would not hear the call, because its token has ended."""
    return answer.status == 401 or text_of(answer.data.get("errorCode")) in TOKEN_REFUSED


def read_error(answer: Answer) -> NotSent | Unknown:
    """An error envelope, sorted by what can have happened over there."""
    code, text = text_of(answer.data.get("errorCode")), text_of(answer.data.get("errorMessage"))
    if code in TOKEN_REFUSED or answer.status in (401, 403):
        return NotSent(Reason.config, code or str(answer.status), text)
    if code == TOO_MANY:
        return NotSent(Reason.rate_limited, code, text)
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code or str(answer.status), text)
    if answer.status == 409:
        return Unknown(Reason.conflict, code or "409", text)
    if answer.status < 400 or not code:
        return Unknown(Reason.unreadable, code or str(answer.status), "M-Pesa's answer could not be read.")
    return NotSent(Reason.validation, code, text)
