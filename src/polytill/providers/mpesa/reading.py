"""Reads M-Pesa's answers and callbacks: stateless functions from JSON to outcomes.

The same result code is a number in a callback and text in a query. Zero is paid, a few codes mean "still running", and
every other code ends its prompt: Safaricom adds codes without notice, and none of them brings money later.
"""

from __future__ import annotations

import hashlib
import re

from polytill.domain.money import Money
from polytill.providers.contract import ADDRESS_REFERENCE, PaymentFact, WebhookResult, redact
from polytill.providers.http import Answer, Answered, parse_object, to_json
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
    as_unknown,
)
from polytill.providers.wire_amounts import money_or_none
from polytill.providers.wire_json import id_in, object_in, objects_in, string_in, text_in

# ── Facts ──

REDACTED = frozenset({"Password", "SecurityCredential", "access_token"})

PAID = "0"
# Result codes of a prompt that is still open on the phone. 4999: "The transaction is still under processing".
RUNNING = frozenset({"4999", "500.001.1001"})
RUNNING_WORDS = ("being processed", "under processing", "still processing", "in progress")
REASONS = {  # of result codes with a specific reason; any other ends its prompt as declined
    "1": Reason.insufficient_funds,
    "17": Reason.declined,
    "26": Reason.declined,
    "1001": Reason.declined,  # another prompt is open on the phone
    "1019": Reason.expired,
    "1025": Reason.declined,
    "1032": Reason.canceled,
    "1037": Reason.declined,  # the phone could not be reached, or the customer did not respond
    "2001": Reason.incorrect_details,
    "9999": Reason.declined,
}
STILL_RUNNING = "500.001.1001"  # with a text that says so: the same code has other meanings too
# Messages of a push that was rejected before any prompt, sent with HTTP 500 and that same code.
REJECTIONS = {
    "wrong credentials": Reason.config,  # of the passkey and the short code
    "merchant does not exist": Reason.config,
    "unable to lock subscriber": Reason.conflict,  # another prompt is open on that phone
}
TOKEN_REFUSED = ("404.001.03", "404.001.04", "400.003.01")
TOO_MANY = "500.003.02"

# ── Response readers ──


def read_push(answer: Answered, amount: Money) -> Outcome:
    """The outcome of processrequest. "0" means that a prompt was sent. With any other code and a CheckoutRequestID, one
    may have been sent: the query shows it.

    Without any id, the request was rejected. Source: the fields of the answer as Safaricom's portal describes them
    (M-Pesa Express), quoted alike by several public SDKs (mpesa-sdk-kotlin among them): ResponseCode is "the status of
    the transaction submission. 0 means successful submission and any other code means an error occurred", and
    MerchantRequestID identifies "any submitted payment request". So an answer with that id, or with a text of success,
    proves nothing: the outcome is unknown, and its callback or a person decides.
    """
    if not isinstance(answer, Answer):
        return answer
    checkout_id, said = string_in(answer.data, "CheckoutRequestID"), id_in(answer.data, "ResponseCode")
    if answer.status == 200 and said is not None and checkout_id:
        return Pending(amount, checkout_id, redact(answer.data, REDACTED))
    text = text_in(answer.data, "ResponseDescription")
    if answer.status == 200 and said is not None and not _is_zero(said) and text:
        submitted = (
            string_in(answer.data, "MerchantRequestID") is not None
            or _speaks_of_success(text)
            or "accepted" in text.lower()
        )
        return Unknown(Reason.unreadable, said, text) if submitted else NotSent(Reason.validation, said, text)
    return read_error(answer)


def read_query(answer: Answered, checkout_id: str, amount: Money) -> Outcome:
    """The outcome of a query about one prompt. ``amount`` is the prompt's, because no answer contains it."""
    if not isinstance(answer, Answer):
        return answer
    data = answer.data
    if data.get("errorCode") == STILL_RUNNING and _is_running("", text_in(data, "errorMessage")):
        return Pending(amount, checkout_id, redact(data, REDACTED))
    result = id_in(data, "ResultCode")
    if answer.status != 200 or result is None:
        found = read_error(answer)
        # The query was rejected. That proves nothing about the prompt.
        heard = answer.status < 500 and found.reason in (Reason.config, Reason.rate_limited)
        return found if heard else as_unknown(found)
    if (said := id_in(data, "ResponseCode")) not in (None, PAID):  # the query was not accepted
        return Unknown(Reason.unreadable, said, text_in(data, "ResponseDescription"))
    if string_in(data, "CheckoutRequestID") != checkout_id:
        return Unknown(Reason.unreadable, result, "M-Pesa answered about another prompt.")
    return _result(result, data, checkout_id, amount)


def _result(code: str, data: JsonObject, checkout_id: str, amount: Money) -> Outcome:
    """The outcome for a result code. A new code ends the prompt like any other. Only a contradiction (another spelling
    of zero, a text that reports success) leaves the outcome unknown."""
    text, kept = text_in(data, "ResultDesc"), redact(data, REDACTED)
    if code == PAID:
        return Succeeded(amount, checkout_id, response=kept)
    if code in REASONS:
        # A prompt that has ended cannot be confirmed any more, so the customer may get another one.
        return Declined(REASONS[code], True, code, text, checkout_id, kept, closed_for_certain=True)
    if _is_running(code, text):
        return Pending(amount, checkout_id, kept)
    if _is_zero(code) or _speaks_of_success(f"{code} {text}"):
        return Unknown(Reason.unreadable, code, text or "M-Pesa's result code is not known.")
    return Declined(Reason.declined, True, code, text or "M-Pesa's result code is not known.", checkout_id, kept)


def _is_running(code: str, text: str) -> bool:
    return code in RUNNING or any(words in text.lower() for words in RUNNING_WORDS)


def _speaks_of_success(text: str) -> bool:
    return re.search(r"\b(success|processed)", text.lower()) is not None


def _is_zero(code: str) -> bool:
    return not re.search(r"[1-9A-Za-z]", code)


def read_probe(answer: Answered) -> tuple[bool | None, str]:
    """What a query about a prompt that does not exist shows about the short code and passkey: rejected (False), not
    rejected (True) or unknown (None); and M-Pesa's message.

    Safaricom does not document the answer to a wrong passkey. Only the messages with which a push is rejected for it
    count as a rejection.
    """
    found = read_error(answer) if isinstance(answer, Answer) else answer
    text = (found.detail or "").strip()
    if isinstance(found, NotSent) and found.reason is Reason.config:
        return False, text
    return (True, text) if isinstance(answer, Answer) and string_in(answer.data, "errorCode") else (None, text)


# ── Callbacks ──


def read_callback(body: bytes) -> WebhookResult:
    """Read a callback about a prompt, or another result, which is ignored. Raises ``ValueError`` if it is neither."""
    event = parse_object(body, "an M-Pesa callback")
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
    return WebhookResult("stkCallback", f"{checkout_id}:{code}", "apply", facts=(fact,), must_fetch=True, body=kept)


def _paid_amount(call: JsonObject) -> Money | None:
    for item in objects_in(object_in(call, "CallbackMetadata"), "Item") or []:
        if item.get("Name") == "Amount":
            return money_or_none(item.get("Value"), "KES", 0)
    return None


# ── Error mapping ──


def refuses_token(answer: Answer) -> bool:
    """Whether M-Pesa rejected the call because its token has expired."""
    return answer.status == 401 or text_in(answer.data, "errorCode") in TOKEN_REFUSED


def read_error(answer: Answer) -> NotSent | Unknown:
    """The outcome of an error envelope, by what can have happened at M-Pesa."""
    code, text = text_in(answer.data, "errorCode"), text_in(answer.data, "errorMessage")
    if code in TOKEN_REFUSED or answer.status in (401, 403):
        return NotSent(Reason.config, code or str(answer.status), text)
    if code == TOO_MANY:
        return NotSent(Reason.rate_limited, code, text)
    rejected = next((reason for words, reason in REJECTIONS.items() if words in text.lower()), None)
    if rejected is not None and code:
        return NotSent(rejected, code, text)
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code or str(answer.status), text)
    if answer.status == 409:
        return Unknown(Reason.conflict, code or "409", text)
    if answer.status < 400 or not code:
        return Unknown(Reason.unreadable, code or str(answer.status), "M-Pesa's answer could not be read.")
    return NotSent(Reason.validation, code, text)
