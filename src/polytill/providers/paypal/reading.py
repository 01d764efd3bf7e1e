"""Reads PayPal's orders, captures, authorizations and refunds: stateless functions from JSON to outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from polytill.domain.identifiers import IdentifierKind, Identifiers
from polytill.domain.money import Money
from polytill.providers.contract import RefundLookupParams, redact
from polytill.providers.http import Answer
from polytill.providers.identifiers import IdentifierPaths, identifiers_in
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
    as_unknown,
)
from polytill.providers.paypal.issues import ISSUES, Meaning, decline_reason, meaning_of, rejection_reason
from polytill.providers.wire_amounts import decimal_text, fee_from_wire, money_or_none
from polytill.providers.wire_json import object_in, objects_in, string_in, text_in, text_of

# ── Facts ──

REDACTED = frozenset({"access_token", "id_token", "links", "payer", "payment_source"})
WHOLE_UNITS = frozenset({"HUF", "JPY", "TWD"})  # PayPal accepts no decimals of these, unlike ISO 4217

_UNITS = "purchase_units.payments"
_IDENTIFIERS: IdentifierPaths = {
    IdentifierKind.order: ("supplementary_data.related_ids.order_id",),
    IdentifierKind.capture: (f"{_UNITS}.captures.id",),
    IdentifierKind.authorization: (f"{_UNITS}.authorizations.id", "supplementary_data.related_ids.authorization_id"),
    IdentifierKind.invoice: ("invoice_id", "purchase_units.invoice_id", f"{_UNITS}.captures.invoice_id"),
}

WAITING = ("CREATED", "SAVED", "PAYER_ACTION_REQUIRED")
CAPTURED = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED")
RELEASED = {"VOIDED": Reason.canceled, "EXPIRED": Reason.expired, "DENIED": Reason.declined}
REFUND_WORDS = {"COMPLETED": "succeeded", "PENDING": "pending", "FAILED": "failed", "CANCELLED": "failed"}
ORDER_WORDS = frozenset({*WAITING, "APPROVED", "COMPLETED", "VOIDED"})

# ── Response readers ──


def order_in(answer: Answer, order_id: str) -> JsonObject | NotSent | Unknown:
    """The order in an answer, only if it is the requested one."""
    if not _is_object(answer):
        return read_no_list(answer)
    if answer.data["id"] != order_id:
        return Unknown(Reason.unreadable, detail="PayPal answered about another order.")
    return answer.data


def order_of_capture(answer: Answer) -> str | None:
    """The id of the order that a capture belongs to; None where there is no such capture."""
    related = object_in(object_in(answer.data, "supplementary_data"), "related_ids")
    return string_in(related, "order_id") if answer.status == 200 else None


def read_order_answer(answer: Answer) -> Outcome:
    """The outcome in an answer about creating, capturing or authorizing an order."""
    return read_order(answer.data) if _is_object(answer) else read_error(answer)


def read_order(data: JsonObject) -> Outcome:
    """The outcome of an order. Its captures show payments, its authorizations show held amounts, its status shows
    neither."""
    status, order_id = text_in(data, "status"), string_in(data, "id")
    captures, holds = payments_of(data, "captures"), payments_of(data, "authorizations")
    if status in WAITING or (status == "APPROVED" and not captures and not holds):
        return NeedsAction(approval_in(data), asked_of(data), order_id, response=redact(data, REDACTED))
    if status not in ORDER_WORDS:
        return Unknown(Reason.unreadable, status or "200", "PayPal's order has a status that is not known.")
    if captures:
        best = next((one for one in captures if one.get("status") in CAPTURED), captures[-1])
        return read_parts(data, order_id) or read_capture(best, order_id)
    if holds:
        return read_authorization(holds[-1], order_id)
    if status == "VOIDED":
        return Declined(Reason.canceled, True, status, None, order_id, redact(data, REDACTED))
    return Unknown(Reason.unreadable, status or "200", "PayPal's order could not be read.")


def read_identifiers(data: Any) -> Identifiers:
    """The identifiers of a stored order, capture or authorization."""
    if not isinstance(data, dict):
        return {}
    own = IdentifierKind.capture
    if "purchase_units" in data or "intent" in data:
        own = IdentifierKind.order
    elif "final_capture" not in data and data.get("status") in ("CREATED", "VOIDED", "EXPIRED"):
        own = IdentifierKind.authorization
    found = identifiers_in(_IDENTIFIERS, data)
    found[own] = tuple(dict.fromkeys((*identifiers_in({own: ("id",)}, data).get(own, ()), *found.get(own, ()))))
    return {kind: values for kind, values in found.items() if values}


def refund_reference(refund: JsonObject) -> str | None:
    """Our id of a refund. A refund from elsewhere has none, or the invoice number of its payment (``handler.py``)."""
    invoice, ours = string_in(refund, "invoice_id"), string_in(refund, "custom_id")
    is_payments = invoice is not None and ours is not None and invoice.endswith(f"-{ours[-8:]}")
    return None if is_payments else invoice


def read_parts(order: JsonObject, order_id: str | None) -> Succeeded | None:
    """An authorization that was captured in parts: their total, and the amount that is still authorized. None if one
    capture is all there is."""
    done = [one for one in payments_of(order, "captures") if one.get("status") in CAPTURED]
    hold = (payments_of(order, "authorizations") or [{}])[-1]
    is_open = hold.get("status") == "PARTIALLY_CAPTURED"
    total, held = _sum([money_in(one.get("amount")) for one in done]), money_in(hold.get("amount"))
    if total is None or not (len(done) > 1 or is_open):
        return None
    kept = redact(done[-1], REDACTED)
    if is_open and held is not None and held.currency == total.currency and held.minor > total.minor:
        rest = Money(held.minor - total.minor, total.currency)
        return Succeeded(rest, order_id, authorized_only=True, response=kept, captured=total)
    return Succeeded(total, order_id, _sum([_fee_in(one) for one in done]), response=kept)


def _sum(parts: list[Money | None]) -> Money | None:
    """Their sum; None if there is none, or if one is missing or of another currency."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({part.currency for part in known}) != 1:
        return None
    return Money(sum(part.minor for part in known), known[0].currency)


def _state_in(data: JsonObject) -> tuple[str, Money | None, JsonObject]:
    """The status and the amount of a part of an order, and what is stored of it."""
    return text_in(data, "status"), money_in(data.get("amount")), redact(data, REDACTED)


def read_capture(data: JsonObject, order_id: str | None = None) -> Succeeded | Pending | Declined | Unknown:
    """A capture, under the id of its order if known."""
    status, amount, kept = _state_in(data)
    name = order_id or string_in(data, "id")
    if status in CAPTURED and amount is not None:
        return Succeeded(amount, name, _fee_in(data), response=kept)
    if status == "PENDING":
        return Pending(amount, name, kept)
    if status in ("DECLINED", "FAILED"):
        return Declined(Reason.declined, True, status, _why(data), name, kept)
    return Unknown(Reason.unreadable, status or "200", "PayPal's capture could not be read.")


def read_authorization(data: JsonObject, order_id: str | None = None) -> Succeeded | Pending | Declined | Unknown:
    """An authorization: the amount is held, and no money has moved."""
    status, amount, kept = _state_in(data)
    name = order_id or string_in(data, "id")
    if status == "CREATED" and amount is not None:
        return Succeeded(amount, name, authorized_only=True, response=kept)
    if status == "PENDING":
        return Pending(amount, name, kept)
    if status in RELEASED:
        return Declined(RELEASED[status], True, status, None, name, kept)
    return Unknown(Reason.unreadable, status or "200", "PayPal's authorization could not be read.")


def read_refund(data: JsonObject) -> Outcome:
    """A refund, under its own id."""
    status, amount, kept = _state_in(data)
    refund_id, state = string_in(data, "id"), REFUND_WORDS.get(status)
    if state == "failed":
        return Declined(Reason.declined, True, status, _why(data), refund_id, kept)
    if state is None or amount is None:
        return Unknown(Reason.unreadable, status or "200", "PayPal's refund could not be read.")
    return Succeeded(amount, refund_id, response=kept) if state == "succeeded" else Pending(amount, refund_id, kept)


def read_rejected(order: JsonObject, refusal: NotSent, asked: JsonObject) -> Outcome:
    """The outcome of a capture or authorization that PayPal rejected, by the order's state after it.

    An order that is still approved holds nothing, and only we can capture it: the rejection is a final decline, for any
    issue. ``asked`` is the order as it was read before, with the customer's link.
    """
    found = read_order(order)
    if not isinstance(found, NeedsAction):
        return found
    order_id, kept = string_in(order, "id"), redact(order, REDACTED)
    closed = order.get("status") == "APPROVED"
    declined = Declined(_reason_of(refusal), closed, refusal.code, refusal.detail, order_id, kept)
    action = found.action or approval_in(asked)
    return declined if closed else NeedsAction(action, asked_of(order), order_id, declined, kept)


def read_declined(order: JsonObject | NotSent | Unknown, declined: Declined) -> Outcome:
    """The outcome of a decline with HTTP 500, by the order's state after it. It is a decline only if the order was read
    and holds nothing new."""
    if not isinstance(order, dict):
        return as_unknown(order)
    found = read_order(order)
    return declined if holds_nothing_new(found) else found


def holds_nothing_new(found: Outcome) -> bool:
    """Whether an order is unpaid or only authorized, as before a call that PayPal rejected."""
    return isinstance(found, NeedsAction) or (isinstance(found, Succeeded) and found.authorized_only)


def _reason_of(refusal: NotSent) -> Reason:
    kept = (Reason.config, Reason.currency_not_supported)
    return refusal.reason if refusal.reason in kept else Reason.declined


def could_be(refund: JsonObject, params: RefundLookupParams) -> bool:
    """Whether a refund without our mark may be the requested one."""
    unmarked = not refund_reference(refund) and string_in(refund, "id") not in params.known
    return unmarked and money_in(refund.get("amount")) in (params.amount, None)


def read_part(
    answer: Answer, read: Callable[[JsonObject, str | None], Outcome], order_id: str | None = None
) -> Outcome:
    """The outcome of an answer that is a single capture or authorization."""
    return read(answer.data, order_id) if _is_object(answer) else read_error(answer)


def read_refund_answer(answer: Answer) -> Outcome:
    """The outcome of an answer that is a refund."""
    return read_refund(answer.data) if _is_object(answer) else read_error(answer)


def _is_object(answer: Answer) -> bool:
    return answer.status in (200, 201) and string_in(answer.data, "id") is not None


# ── Parts of an order ──


def payments_of(order: JsonObject, kind: str) -> list[JsonObject]:
    """The order's captures, authorizations or refunds."""
    return objects_in(object_in(_unit(order), "payments"), kind) or []


def capture_of(order: JsonObject, wanted: Money | None = None) -> str | None:
    """The id of the capture to refund; of several, one that is large enough and has most of it left."""
    found = [one for one in payments_of(order, "captures") if one.get("status") in CAPTURED]
    for word in ("COMPLETED", "PARTIALLY_REFUNDED") if wanted and len(found) > 1 else ():
        for one in found:
            amount = money_in(one.get("amount"))
            if one.get("status") == word and amount and wanted and amount.minor >= wanted.minor:
                return string_in(one, "id")
    return next((string_in(one, "id") for one in found), None)


def authorization_of(order: JsonObject) -> str | None:
    """The id of the authorization."""
    return next((string_in(one, "id") for one in payments_of(order, "authorizations")), None)


def reference_of(order: JsonObject) -> str | None:
    """Our reference, which PayPal returns."""
    return string_in(_unit(order), "custom_id")


def asked_of(order: JsonObject) -> Money | None:
    """The amount of the order."""
    return money_in(_unit(order).get("amount"))


def approval_in(order: JsonObject) -> NextAction | None:
    """The address at which the customer approves; None if there is none."""
    for link in objects_in(order, "links") or []:
        url = string_in(link, "href")
        if link.get("rel") in ("payer-action", "approve") and url:
            return NextAction(NextKind.redirect, url)
    return None


def _unit(order: JsonObject) -> JsonObject:
    units = objects_in(order, "purchase_units")
    return units[0] if units else {}


def _fee_in(capture: JsonObject) -> Money | None:
    fee = object_in(object_in(capture, "seller_receivable_breakdown"), "paypal_fee")
    value = fee.get("value")
    return fee_from_wire(value, text_in(fee, "currency_code"), 0) if isinstance(value, str) else None


def _why(data: JsonObject) -> str | None:
    return text_in(object_in(data, "status_details"), "reason") or None


# ── Error mapping ──


def read_error(answer: Answer) -> NotSent | Unknown | Declined:
    """The outcome of an error envelope, by what can have happened at PayPal."""
    data = answer.data
    first = next(iter(objects_in(data, "details") or []), {})
    issue = text_in(first, "issue")
    code = issue or text_in(data, "name") or text_in(data, "error") or str(answer.status)
    text = text_in(first, "description") or text_of(data.get("message") or data.get("error_description"))
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code, text)
    if answer.status == 409:
        return Unknown(Reason.conflict, code, text)
    if issue == "DUPLICATE_INVOICE_ID":  # each refund has its own id, so an earlier request did arrive
        return Unknown(Reason.duplicate, code, text)
    if answer.status in (401, 403):
        return NotSent(Reason.config, code, text)
    if answer.status == 404:
        return NotSent(Reason.not_found, code, text)
    if issue == "CAPTURE_DISPUTED_PARTIAL_REFUND_NOT_ALLOWED":
        return Declined(Reason.disputed, True, code, text)
    meaning = meaning_of(issue)
    if meaning is Meaning.running:
        return Unknown(Reason.conflict, code, text)
    if answer.status not in (400, 422):
        return Unknown(Reason.unreadable, str(answer.status), "PayPal's answer could not be read.")
    if meaning in (Meaning.declined, Meaning.payer_again):
        return Declined(decline_reason(issue), meaning is Meaning.declined, code, text)
    if not (issue or data.get("name")):
        # A gateway's answer: the call did not reach PayPal, and the answer says nothing about other calls.
        return NotSent(Reason.unreadable, code, "What refused the call does not speak as PayPal does.")
    return NotSent(rejection_reason(issue), code, text)


def as_rejection(answer: Answer) -> Answer:
    """An answer with HTTP 500 whose body is certainly a rejection by PayPal, as the 422 that it should have been. Any
    other answer is returned unchanged.

    PayPal's error schemas have ``details`` in rejections only, and ``INTERNAL_SERVER_ERROR`` has none (Orders v2 and
    Payments v2, Feb 2024). So a body with PayPal's correlation id and only known issues is a rejection with any status.
    The order is read again before it counts.
    """
    issues = [text_in(one, "issue") for one in objects_in(answer.data, "details") or []]
    is_known = bool(issues) and all(issue in ISSUES for issue in issues)
    is_paypals = answer.data.get("name") == "UNPROCESSABLE_ENTITY" and string_in(answer.data, "debug_id") is not None
    return replace(answer, status=422) if answer.status == 500 and is_paypals and is_known else answer


def read_no_list(answer: Answer) -> NotSent | Unknown:
    """The error of a listing that failed."""
    error = read_error(answer)
    return as_unknown(error) if isinstance(error, Declined) else error


def is_rejected(answer: Answer, outcome: Outcome) -> bool:
    """Whether PayPal itself rejected a call, so that the object can be read again and decides."""
    return answer.status in (400, 422) and isinstance(outcome, NotSent) and outcome.reason is not Reason.unreadable


# ── Values ──


def places_of(currency: str) -> int:
    """The number of decimals that PayPal supports."""
    return 0 if currency in WHOLE_UNITS else 2


def amount_of(money: Money) -> JsonObject:
    """An amount as an object, with exactly these decimals. Raises ``InvalidAmount`` if it is too fine."""
    return {"currency_code": money.currency, "value": decimal_text(money, places_of(money.currency))}


def money_in(value: Any) -> Money | None:
    """The money in an amount object; None if there is none."""
    if not isinstance(value, dict) or not isinstance(value.get("value"), str):
        return None
    return money_or_none(value["value"], text_in(value, "currency_code"), 0)
