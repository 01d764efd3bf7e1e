"""Reads Flutterwave's transactions, charges, refunds, webhooks of v3 and v4, and errors.

It uses no network and no credentials; ``v3.py`` and ``v4.py`` send the requests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from polytill.domain.currencies import exponent_of
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import Fact, PaymentFact, ProviderConfig, RefundFact, redact
from polytill.providers.flutterwave.key_test import PROBE
from polytill.providers.http import Answer, Answered, parse_json
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
    SavedMethod,
    Succeeded,
    Unknown,
    Wants,
    unless_missing,
)
from polytill.providers.signing import header, hex_hmac, same
from polytill.providers.wire_amounts import decimal_text, fee_from_wire, money_or_none
from polytill.providers.wire_json import (
    id_in,
    moment_in,
    noted_reference,
    object_in,
    objects_in,
    reason_of_decline,
    string_in,
    text_in,
    text_of,
    token_in,
)

# ── Facts ──

SIGNATURE = "flutterwave-signature"
MAJOR = 0  # the wire's exponent: amounts are written in major units
# Marks a charge without Flutterwave's page in its ``meta``: there is no link to it.
DIRECT = {"polytill_charge": "direct"}
REDACTED = frozenset({"authorization", "auth_url", "customertoken", "embedtoken", "link", "token"})

V3_WORDS = {
    "successful": "succeeded",
    "failed": "failed",
    "pending": "pending",
    "success-pending-validation": "pending",  # ACH: not a success
}
V4_WORDS = {"succeeded": "succeeded", "failed": "failed", "pending": "pending", "voided": "canceled"}
# The first word decides: ``completed-mpgs``, ``completed-momo``, …, ``pending-momo``.
REFUND_WORDS = {
    "completed": "succeeded",
    "successful": "succeeded",
    "succeeded": "succeeded",
    "pending": "pending",
    "processing": "pending",
    "initiated": "pending",
    "new": "pending",
    "requires_action": "requires_action",
    "failed": "failed",
    "cancelled": "failed",
}
INPUT_MODES = {"pin": Wants.pin, "otp": Wants.otp, "avs_noauth": Wants.address}

# ── Response readers ──


def about(reference: str, answer: Answered, direct: bool = False) -> Outcome:
    """A transaction's outcome, only if the answer is about our reference. ``direct``: there is no link to it, whether
    or not Flutterwave returns our ``meta``."""
    if not isinstance(answer, Answer):
        return answer
    data = _data_in(answer)
    if not data:
        return _read_missing(answer)
    if data.get("tx_ref") != reference:
        return Unknown(Reason.unreadable, detail="Flutterwave answered about another reference.")
    outcome = read_transaction(data)
    return replace(outcome, final=True) if direct and isinstance(outcome, Declined) else outcome


def _is_success(answer: Answer) -> bool:
    return answer.status < 300 and answer.data.get("status") == "success"


def _data_in(answer: Answer) -> JsonObject:
    return object_in(answer.data, "data") if _is_success(answer) else {}


def read_transaction(data: JsonObject, words: Mapping[str, str] = V3_WORDS) -> Outcome:
    """A transaction from verify, a listing or a webhook. Only ``status`` counts, not a message."""
    status, currency = text_in(data, "status"), text_in(data, "currency")
    number, kept, state = id_in(data), redact(data, REDACTED), words.get(status)
    amount = money_in(data.get("amount"), currency)
    if state == "pending":
        return Pending(amount, number, kept)
    if state == "canceled":
        return Declined(Reason.canceled, True, status, None, number, kept)
    if state == "failed":
        said = data.get("processor_response")
        text = text_of(said.get("type") if isinstance(said, dict) else said)
        return Declined(reason_of_decline(text), _is_direct(data), text or status, None, number, kept)
    if state is None or amount is None:
        return Unknown(Reason.unreadable, status, "Flutterwave's status or amount could not be read.")
    charged = fee_from_wire(data.get("charged_amount"), currency, MAJOR)
    fee = fee_from_wire(data.get("app_fee"), currency, MAJOR)
    paid = charged if charged != amount else None
    # A customer who is charged more bears the fee. A customer who was charged less has not paid the requested amount.
    amount = charged if charged is not None and charged.minor < amount.minor else amount
    return Succeeded(amount, number, fee, paid, response=kept, saved_method=saved_method(data))


def saved_method(data: JsonObject) -> SavedMethod | None:
    """The card of a paid transaction, if it may be charged again. The charge needs the same e-mail address."""
    card = object_in(data, "card")
    token = token_in(card, "token")
    if token is None:
        return None
    month, _, year = text_in(card, "expiry").partition("/")
    return SavedMethod(
        Secret(token),
        "card",
        string_in(card, "type"),
        string_in(card, "last_4digits"),
        f"20{year}-{month}" if len(month) == len(year) == 2 and (month + year).isdecimal() else None,
        _fingerprint(card),
    )


def _fingerprint(card: JsonObject) -> str | None:
    """A hash of the card's properties: Flutterwave has no fingerprint, and issues another token for a card each time.
    Two cards with the same first six and last four digits, expiry and country count as one, which only matters for one
    customer."""
    told = [text_in(card, name).strip() for name in ("first_6digits", "last_4digits", "expiry", "country")]
    if not all(told[:3]):
        return None
    return hashlib.sha256("|".join(told).casefold().encode()).hexdigest()[:32]


def _is_direct(data: JsonObject) -> bool:
    return DIRECT.items() <= object_in(data, "meta").items()


def read_charge(answer: Answer) -> Outcome:
    """The outcome in an answer of POST /payments (a link), POST /charges or /tokenized-charges (the next step)."""
    if not _is_success(answer):
        return read_error(answer)
    data = object_in(answer.data, "data")
    step = _step_in(answer.data, data)
    kept, number = redact(answer.data, REDACTED), id_in(data)
    amount = money_in(data.get("amount"), text_in(data, "currency"))
    mode, text = text_in(step, "mode"), string_in(step, "note") or string_in(step, "transfer_note")
    link = string_in(data, "link") or (string_in(step, "redirect") if mode == "redirect" else None)
    if link:
        action = NextAction(NextKind.redirect, link)
    elif mode in INPUT_MODES:
        named = {name: text_in(data, name) for name in ("flw_ref", "payment_type") if data.get(name)}
        action = NextAction(NextKind.input, wants=INPUT_MODES[mode], continuation=named)
    elif text:
        action = NextAction(NextKind.instructions, instructions=text)
    else:
        return read_transaction(data)
    return NeedsAction(action, amount, number, response=kept)


def _step_in(envelope: JsonObject, data: JsonObject) -> JsonObject:
    """What the customer must do next. It is in ``meta.authorization`` next to the data (cards, mobile money, USSD),
    inside the data (tokenised charges, NG account, Apple Pay), or in either without ``meta``. Source: Node-v3,
    collections.md."""
    for place in (object_in(envelope, "meta"), object_in(data, "meta"), data, envelope):
        step = object_in(place, "authorization")
        if step:
            return step
    # ACH and bank debits have only the address of the bank's page. M-Pesa writes "N/A" there.
    link, state = string_in(data, "auth_url") or "", V3_WORDS.get(text_in(data, "status"))
    return {"mode": "redirect", "redirect": link} if state == "pending" and link.startswith("https://") else {}


def read_refund(answer: Answered, currency: str, number: str | None = None) -> Outcome:
    """The outcome in an answer of POST /transactions/{id}/refund or GET /refunds/{id}. These name no currency."""
    if not isinstance(answer, Answer):
        return answer
    data = _data_in(answer)
    if not data:
        return read_error(answer)
    if number is not None and transaction_of(data) not in (None, number):
        return Unknown(Reason.unreadable, detail="Flutterwave answered about another transaction.")
    return read_refund_object(data, currency)


def read_refund_object(data: JsonObject, currency: str) -> Outcome:
    """A refund object, in either spelling."""
    amount = money_in(refunded_in(data), string_in(data, "currency") or currency)
    refund_id, kept, state = id_in(data), redact(data, REDACTED), _refund_state(data)
    if state == "failed":
        text = "Flutterwave could not pay the refund out."
        return Declined(Reason.declined, True, text_in(data, "status"), text, refund_id, kept)
    if state is None or amount is None:
        return Unknown(Reason.unreadable, text_in(data, "status"), "The refund could not be read.")
    return Succeeded(amount, refund_id, response=kept) if state == "succeeded" else Pending(amount, refund_id, kept)


def _refund_state(data: JsonObject) -> str | None:
    # ``completed`` can still have a payout that failed. ``meta`` is an object here and JSON text in a webhook.
    meta = data.get("meta")
    if isinstance(meta, str):
        try:
            meta = parse_json(meta.encode())
        except ValueError:
            meta = None
    if isinstance(meta, dict) and text_in(meta, "disburse_status").lower() == "failed":
        return "failed"
    return REFUND_WORDS.get(text_in(data, "status").lower().partition("-")[0])


# ── Webhooks ──


def read_v3(event: JsonObject, data: JsonObject) -> tuple[str, str, tuple[Fact, ...], str]:
    """The event's name, the dedupe key, the facts to look up, and the action."""
    kind = string_in(event, "event")
    if kind is None and "AmountRefunded" in event:  # form C
        kind, data = "refund", event
    elif kind is None and "txRef" in event:  # form B: the documented object under older names
        kind = string_in(event, "event.type") or "charge"
        renamed = {"tx_ref": event.get("txRef"), "app_fee": event.get("appfee")}
        return _read_v3_charge(kind, {**event, **renamed})
    elif kind is None:  # a virtual card's debit, or any other event without an envelope
        kind, data = string_in(event, "event.type") or "unknown", event
        return kind, f"{kind}:{id_in(data)}", (), "ignore"
    if kind.startswith("charge."):
        return _read_v3_charge(kind, data)
    status = text_in(data, "status")
    if kind.startswith("refund"):
        fact = refund_fact(data)
        if fact is None:
            raise ValueError("a refund that names no transaction")
        return kind, f"refund:{fact.provider_refund_id}:{status}", (fact,), "apply"
    # transfer.* and others: their ids are not transaction ids.
    action = "notify" if kind.startswith("chargeback") else "ignore"
    return kind, f"{kind}:{id_in(data)}:{status}", (), action


def refund_fact(data: JsonObject) -> RefundFact | None:
    """The fact in a v3 refund object, without a currency; None if it does not name its transaction."""
    refund_id, number = id_in(data), transaction_of(data)
    if refund_id is None or number is None:
        return None
    ours, state = noted_reference(data.get("comments")), _refund_state(data) or "unknown"
    made_at = moment_in(data, "created_at", "createdAt")
    return RefundFact(
        state, ours, refund_id, provider_transaction_id=number, response=redact(data, REDACTED), made_at=made_at
    )


def _read_v3_charge(kind: str, data: JsonObject) -> tuple[str, str, tuple[Fact, ...], str]:
    fact = payment_fact(data)
    named = fact.provider_transaction_id or fact.reference
    if named is None:
        raise ValueError("a charge that names no transaction")
    return kind, f"{named}:{text_of(data.get('status'))}", (fact,), "apply"


def read_v4(kind: str, data: JsonObject) -> tuple[Fact, ...]:
    """The facts of a signed v4 webhook."""
    if kind.startswith("charge."):
        fact = listed_payment(data, V4_WORDS)
        return (fact,) if fact else ()
    state, charge = _refund_state(data) or "unknown", string_in(data, "charge_id")
    if not kind.startswith("refund.") or charge is None:
        return ()
    amount = money_in(refunded_in(data), text_in(data, "currency"))
    kept = redact(data, REDACTED)
    made_at = moment_in(data, "created_datetime")
    return (RefundFact(state, None, id_in(data), None, charge, amount, response=kept, made_at=made_at),)


def payment_fact(data: JsonObject, words: Mapping[str, str] = V3_WORDS) -> PaymentFact:
    """The fact in a transaction object."""
    reference = string_in(data, "tx_ref") or string_in(data, "reference")
    return PaymentFact(read_transaction(data, words), reference, id_in(data), object_in(data, "meta") or None)


def listed_payment(data: JsonObject, words: Mapping[str, str] = V3_WORDS) -> PaymentFact | None:
    """The fact in a transaction object; None if it has neither a reference nor a number."""
    fact = payment_fact(data, words)
    return fact if fact.reference or fact.provider_transaction_id else None


# ── Error mapping ──


def read_error(answer: Answer) -> NotSent | Unknown:
    """The outcome of an error envelope, by what can have happened at Flutterwave."""
    message = text_in(answer.data, "message")
    lower = message.lower()
    code = text_of(answer.data.get("error_id") or answer.data.get("code")) or None
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code or str(answer.status), message)
    if answer.status == 409:  # another request is in progress at Flutterwave
        return Unknown(Reason.conflict, code or "409", message)
    if answer.status < 400 and answer.data.get("status") != "error":
        return Unknown(Reason.unreadable, str(answer.status), "Flutterwave's answer could not be read.")
    is_refused = lower.startswith(("invalid authorization", "authorization required"))
    if answer.status in (401, 403) or is_refused or PROBE.reports_inactive(message):
        return NotSent(Reason.config, code or str(answer.status), message)
    missing = NotSent(Reason.not_found, code, message)
    if answer.status == 404 or "not found" in lower or says_none(missing):
        return missing
    if "currency" in lower and "support" in lower:
        return NotSent(Reason.currency_not_supported, code, message)
    if "insufficient" in lower:
        return NotSent(Reason.insufficient_funds, code, message)
    return NotSent(Reason.validation, code, message)


def _read_missing(answer: Answer) -> Outcome:
    """The error of a lookup of a payment. "Not found" counts only in Flutterwave's own words."""
    outcome, text = read_error(answer), text_in(answer.data, "message").lower()
    in_its_words = text.startswith("transaction not found") or (
        text.startswith("no transaction") and says_none(outcome)
    )
    return outcome if in_its_words else unless_missing(outcome)


def says_none(outcome: Outcome | list[JsonObject]) -> bool:
    """Whether Flutterwave reports that nothing was found."""
    text = (outcome.detail or "").lower() if isinstance(outcome, NotSent) else ""
    return text.startswith("no ") and " found" in text


# ── Values ──


def major_text(money: Money) -> str:
    """An amount as Flutterwave writes it: exact major units."""
    return decimal_text(money, min(exponent_of(money.currency), 2))


def money_in(value: Any, currency: str, owed: bool = False) -> Money | None:
    """The money for a number of major units; None if it is not an amount."""
    return money_or_none(value, currency, MAJOR, owed)


def refunded_in(data: JsonObject) -> Any:
    """The refunded amount, under either of its names."""
    return data.get("amount_refunded", data.get("AmountRefunded"))


def transaction_of(refund: JsonObject) -> str | None:
    """The transaction to which a refund belongs."""
    return id_in(refund, "tx_id") or id_in(refund, "TransactionId")


def items_of(answer: Answer) -> list[JsonObject] | NotSent | Unknown:
    """The objects of a listing."""
    items = objects_in(answer.data, "data") if _is_success(answer) else None
    return read_error(answer) if items is None else items


def digits(value: str | None) -> str | None:
    """The value, if it is a number that may be used in a URL."""
    return value if value and value.isascii() and value.isdigit() else None


def is_signed(config: ProviderConfig, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether ``flutterwave-signature`` is the base64 HMAC-SHA256 of the raw body, with a webhook secret."""
    given = header(headers, SIGNATURE)
    digests = (hex_hmac(secret.reveal(), body, "sha256") for secret in config.webhook_secrets if secret)
    return any(same(base64.b64encode(bytes.fromhex(digest)).decode(), given) for digest in digests)
