"""Reads Flutterwave v4's charges, refunds and webhooks. ``reading.py`` holds what v3 and v4 share."""

from __future__ import annotations

from dataclasses import replace

from polytill.providers.contract import Fact, PaymentFact, RefundFact, RefundLookupParams, WebhookResult, redact
from polytill.providers.flutterwave import reading as shared
from polytill.providers.flutterwave.chargebacks import read_chargeback
from polytill.providers.flutterwave.reading import V4_WORDS, money_in, read_refund_object, refunded_in
from polytill.providers.http import Answer, Answered, parse_object
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
    Unknown,
)
from polytill.providers.wire_json import id_in, object_in, objects_in, string_in, text_in

# ── Facts ──

REDACTED = shared.REDACTED | {"access_token", "redirect_url", "client_secret"}
REFUND_META = "polytill_refund"
ABOUT_MONEY = ("charge.", "refund.", "chargeback")
CONFLICT = "10409"  # the reference already exists, whatever the status

# ── Response readers ──


def about(reference: str, answer: Answered) -> Outcome:
    """A charge's outcome, only if the answer is about our reference."""
    if not isinstance(answer, Answer):
        return answer
    data = _data_in(answer)
    if not data:
        return read_error(answer)
    if data.get("reference") != reference:
        return Unknown(Reason.unreadable, str(answer.status), "Flutterwave answered about another reference.")
    return read_charge(data)


def read_charge(data: JsonObject) -> Outcome:
    """A charge, which is one try. ``next_action`` holds what it waits for."""
    outcome = _closed(shared.read_transaction(data, V4_WORDS))
    if not isinstance(outcome, Pending):
        return replace(outcome, response=redact(data, REDACTED)) if hasattr(outcome, "response") else outcome
    step, kept = object_in(data, "next_action"), redact(data, REDACTED)
    kind = text_in(step, "type")
    inner = object_in(step, kind)
    url, told = string_in(inner, "url"), string_in(inner, "note")
    if kind == "redirect_url" and url:
        action = NextAction(NextKind.redirect, url)
    elif kind in ("payment_instruction", "requires_bank_transfer") and told:
        action = NextAction(NextKind.instructions, instructions=told)
    else:
        return replace(outcome, response=kept)
    return NeedsAction(action, outcome.amount, outcome.provider_transaction_id, response=kept)


def _closed(outcome: Outcome) -> Outcome:
    # A failed charge cannot be tried again: it has no link.
    return replace(outcome, final=True) if isinstance(outcome, Declined) else outcome


def read_refund(answer: Answered, currency: str) -> Outcome:
    """The outcome in an answer of POST /refunds or GET /refunds/{id}."""
    if not isinstance(answer, Answer):
        return answer
    data = _data_in(answer)
    return refund_outcome(data, currency) if data else read_error(answer)


def _data_in(answer: Answer) -> JsonObject:
    is_success = answer.status in (200, 201) and answer.data.get("status") == "success"
    return object_in(answer.data, "data") if is_success else {}


def refund_outcome(data: JsonObject, currency: str) -> Outcome:
    """A refund object. Its amount has two names."""
    named = {**data, "amount_refunded": data.get("amount_refunded", data.get("amount"))}
    return read_refund_object(named, currency)


def could_be(item: JsonObject, params: RefundLookupParams) -> bool:
    """Whether a refund without our mark may be the requested one."""
    unmarked = REFUND_META not in object_in(item, "meta") and id_in(item) not in params.known
    value = refunded_in(item)
    amount = money_in(item.get("amount") if value is None else value, params.amount.currency)
    return unmarked and amount in (params.amount, None)


def items_of(answer: Answer) -> list[JsonObject] | NotSent | Unknown:
    """The objects of a listing."""
    items = objects_in(answer.data, "data")
    if answer.status != 200 or answer.data.get("status") != "success" or items is None:
        return read_error(answer)
    return items


# ── Webhooks ──


def read_event(body: bytes) -> WebhookResult:
    """Read a webhook. Raises ``ValueError`` if the body is not an event."""
    event = parse_object(body, "a Flutterwave event")
    event_id = id_in(event, "webhook_id") or id_in(event)
    kind, data = string_in(event, "type"), object_in(event, "data")
    if event_id is None or kind is None or not data:
        raise ValueError("not a Flutterwave v4 event")
    facts: tuple[Fact, ...] = tuple(
        replace(fact, outcome=_closed(fact.outcome)) if isinstance(fact, PaymentFact) else _marked(fact, data)
        for fact in shared.read_v4(kind, data)
    )
    if kind.startswith("chargeback"):
        read = read_chargeback(data)
        facts = (read,) if read is not None and read.understood else ()
    action = "apply" if facts else "notify" if kind.startswith(ABOUT_MONEY) else "ignore"
    reason = "What Flutterwave says of this could not be read." if action == "notify" else None
    return WebhookResult(kind, event_id, action, None, event_id, facts, reason=reason, body=redact(event, REDACTED))


def _marked(fact: Fact, data: JsonObject) -> Fact:
    mark = string_in(object_in(data, "meta"), REFUND_META)
    return replace(fact, reference=mark) if isinstance(fact, RefundFact) and mark else fact


# ── Error mapping ──


def read_error(answer: Answer) -> NotSent | Unknown:
    """The outcome of an error envelope, by what can have happened at Flutterwave."""
    error = object_in(answer.data, "error")
    code, text = text_in(error, "code") or str(answer.status), text_in(error, "message")
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code, text)
    if answer.status == 409 or code == CONFLICT:
        return Unknown(Reason.conflict, code, text)
    if answer.status < 400:
        return Unknown(Reason.unreadable, str(answer.status), "Flutterwave's answer could not be read.")
    reason = {401: Reason.config, 403: Reason.config, 404: Reason.not_found}.get(answer.status, Reason.validation)
    if reason is Reason.validation and not error:
        # A gateway's answer: the call did not arrive, and the answer says nothing about other calls.
        return NotSent(Reason.unreadable, code, "What refused the call does not speak as Flutterwave does.")
    return NotSent(reason, code, text)
