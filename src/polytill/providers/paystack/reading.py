"""Reads Paystack's answers and webhooks: stateless functions from JSON to outcomes and facts.

Types vary: amounts and ids are numbers or strings, metadata is 0, "", null, JSON text or an object. No reader of an
answer raises, for any content. A reader of a webhook may raise ``ValueError``.
"""

from __future__ import annotations

import json
from typing import Any

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import Balance, Fact, PaymentFact, RefundFact, RefundLookupParams, redact
from polytill.providers.http import Answer, Answered, parse_json
from polytill.providers.outcomes import (
    Declined,
    JsonObject,
    NeedsAction,
    NextAction,
    NextKind,
    NotSent,
    Outcome,
    PayOffline,
    Pending,
    Reason,
    SavedMethod,
    Succeeded,
    Unknown,
    Wants,
    unless_missing,
)
from polytill.providers.paystack.disputes import WIRE_EXPONENT, dispute_fact, dispute_of
from polytill.providers.paystack.key_test import PROBE
from polytill.providers.wire_amounts import fee_from_wire, from_wire, money_or_none, to_wire
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

# Marks a charge without Paystack's page in its metadata: there is no link to it.
DIRECT = {"polytill_charge": "direct"}

REDACTED = frozenset({"access_code", "authorization_code", "authorization_url"})

PENDING_WORDS = frozenset({"ongoing", "pending", "processing", "queued"})
INPUT_WORDS = {
    "send_pin": Wants.pin,
    "send_otp": Wants.otp,
    "send_phone": Wants.phone,
    "send_birthday": Wants.birthday,
    "send_address": Wants.address,
}
REFUND_WORDS = {
    "pending": "pending",
    "processing": "pending",
    "processed": "succeeded",
    "failed": "failed",
    "needs-attention": "requires_action",
}

# ── Response readers ──


def read_transaction(data: JsonObject) -> Outcome:
    """A transaction from verify, a listing or a webhook."""
    status = str(data.get("status"))
    transaction_id, kept = id_in(data), redact(data, REDACTED)
    charged = money_in(data, "amount")
    asked = money_in(data, "requested_amount") if data.get("requested_amount") else charged
    if charged is None or asked is None:
        return Unknown(Reason.unreadable, status, "Paystack's amount could not be read.")
    if status in ("success", "reversed"):  # reversed: paid, and later refunded in full or lost to a dispute
        fee = fee_from_wire(data.get("fees"), charged.currency, WIRE_EXPONENT)
        # A customer who pays more than requested bears the fee. One who pays less has not paid the requested amount.
        amount, paid = min(asked, charged, key=lambda money: money.minor), charged if charged != asked else None
        return Succeeded(amount, transaction_id, fee, paid, response=kept, saved_method=saved_method(data))
    if status == "abandoned":
        return NeedsAction(None, asked, transaction_id, response=kept)
    if status in PENDING_WORDS:
        return Pending(asked, transaction_id, kept)
    if status == "failed":
        text = _decline_text(data)
        return Declined(reason_of_decline(text), is_direct(data), text, None, transaction_id, kept)
    return Unknown(Reason.unreadable, status, "Paystack gave a status that is not known.")


def read_charge(answer: Answer) -> Outcome:
    """The outcome in an answer of initialize, /charge, /charge/{reference} or charge_authorization."""
    data = answer.data.get("data")
    if answer.status >= 400 or not isinstance(data, dict):
        return read_error(answer)
    kept = redact(data, REDACTED)
    if answer.data.get("type") == "success" and "transaction" in data:
        # Capitec Pay: "success" is the state of the request; the payment is pending.
        inner = object_in(data, "transaction")
        amount = money_in(inner, "amount")
        if amount is None:
            return Unknown(Reason.unreadable, detail="Paystack's amount could not be read.")
        return Pending(amount, id_in(inner), kept)
    status = str(data.get("status"))
    link = string_in(data, "authorization_url") or (string_in(data, "url") if status == "open_url" else None)
    text = text_in(data, "display_text")
    if link:
        code = string_in(data, "access_code")
        action = NextAction(NextKind.redirect, link, Secret(code) if code else None)
    elif status in INPUT_WORDS:
        action = NextAction(NextKind.input, instructions=text or None, wants=INPUT_WORDS[status])
    elif status in ("pay_offline", "pending_bank_transfer"):
        text = text or json.dumps(kept, default=str)
        action = NextAction(NextKind.instructions, instructions=text, offline=_offline(data))
    elif status in PENDING_WORDS:
        return Pending(response=kept)
    elif status in ("failed", "timeout"):
        why = _decline_text(data)
        return Declined(reason_of_decline(why), True, why, response=kept)
    else:
        return read_transaction(data)
    return NeedsAction(action, response=kept)


def _decline_text(data: JsonObject) -> str:
    return text_of(data.get("gateway_response") or data.get("message"))


def _offline(data: JsonObject) -> PayOffline:
    bank = data.get("bank")
    return PayOffline(
        ussd_code=string_in(data, "ussd_code"),
        bank=string_in(bank, "name") if isinstance(bank, dict) else string_in(data, "bank"),
        account_number=string_in(data, "account_number"),
        account_name=string_in(data, "account_name"),
        expires_at=string_in(data, "account_expires_at"),
    )


def saved_method(data: JsonObject) -> SavedMethod | None:
    """The authorization of a paid transaction, if it may be charged again. The charge needs the same e-mail address."""
    held = object_in(data, "authorization")
    token = token_in(held, "authorization_code")
    if held.get("reusable") is not True or token is None:
        return None
    year, month = text_in(held, "exp_year"), text_in(held, "exp_month").zfill(2)
    return SavedMethod(
        Secret(token),
        string_in(held, "channel") or "card",
        string_in(held, "brand"),
        string_in(held, "last4"),
        f"{year}-{month}" if year.isdecimal() and month.isdecimal() else None,
        string_in(held, "signature"),
    )


def is_direct(data: JsonObject) -> bool:
    """Whether a transaction was charged without Paystack's page."""
    return DIRECT.items() <= (_metadata(data) or {}).items()


def read_refund(answer: Answer) -> Outcome:
    """The outcome in an answer of POST /refund or GET /refund/{id}."""
    data = answer.data.get("data")
    if asked_the_bank(answer):
        return bank_silent(answer)
    if answer.status >= 400 or answer.data.get("status") is not True or not isinstance(data, dict):
        return read_error(answer)
    return refund_outcome(data)


def read_present_refund(answer: Answered, refund_id: str) -> Outcome:
    """The outcome of GET /refund/{id}, if it is about that refund."""
    if not isinstance(answer, Answer):
        return answer
    outcome = read_refund(answer)
    told = id_in(object_in(answer.data, "data"))
    if told not in (None, refund_id) and not isinstance(outcome, NotSent | Unknown):
        return Unknown(Reason.unreadable, detail="Paystack answered about another refund.")
    return outcome


def page_count(answer: Answer) -> int:
    """The number of pages of a listing; 0 if the answer does not contain it."""
    told = text_in(object_in(answer.data, "meta"), "pageCount")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0


def read_list(answer: Answer) -> list[JsonObject] | NotSent | Unknown:
    """The objects of a listing."""
    items = objects_in(answer.data, "data")
    if answer.status == 200 and answer.data.get("status") is True and items is not None:
        return items
    error = read_error(answer)
    return error if isinstance(error, NotSent | Unknown) else Unknown(Reason.unreadable)


def read_balance(items: list[JsonObject]) -> Balance:
    """The balance in an answer of GET /balance. A currency that is not known here is left out."""
    held = (money_in(item, "balance", owed=True) for item in items)
    return Balance(tuple(money for money in held if money is not None))


def is_refund(data: JsonObject, wanted: RefundLookupParams) -> bool:
    """Whether a listed refund is the requested one: ours by its note; otherwise by its amount, if it is not assigned
    yet."""
    noted = noted_reference(data.get("merchant_note"))
    if _transaction_of(data) not in (None, wanted.provider_transaction_id):
        return False
    if wanted.reference:
        return noted == wanted.reference
    same_amount = text_in(data, "amount") == str(to_wire(wanted.amount, WIRE_EXPONENT))
    return noted is None and same_amount and dispute_of(data) is None and id_in(data) not in wanted.known


def _transaction_of(data: JsonObject) -> str | None:
    """The transaction's number, as a plain value or in an object."""
    return id_in(data, "transaction") or id_in(object_in(data, "transaction"))


def refund_outcome(data: JsonObject) -> Outcome:
    """A refund object."""
    refund_id, kept = id_in(data), redact(data, REDACTED)
    state, amount = REFUND_WORDS.get(str(data.get("status"))), money_in(data, "amount")
    if amount is None:
        return Unknown(Reason.unreadable, detail="The refund's amount could not be read.")
    if state == "succeeded":
        return Succeeded(amount, refund_id, response=kept)
    if state == "failed":
        text = "Paystack could not pay the refund out."
        return Declined(Reason.declined, True, "failed", text, refund_id, kept)
    if state == "requires_action":
        text = "Paystack needs the payer's bank details."
        action = NextAction(NextKind.instructions, instructions=text)
        return NeedsAction(action, amount, refund_id, response=kept)
    if state == "pending":
        return Pending(amount, refund_id, kept)
    return Unknown(Reason.unreadable, str(data.get("status")))


# ── Webhooks ──

# The rest of the dedupe key, the facts, the action, the reason.
Reading = tuple[str, tuple[Fact, ...], str, str | None]


def read_event(kind: str, data: JsonObject) -> Reading:
    """Read an event's ``data``. Raises ``InvalidAmount`` if a required amount cannot be read."""
    if kind == "charge.success":
        fact = payment_fact(data)
        named = fact.provider_transaction_id or fact.reference
        if named is None:
            raise ValueError("a charge that names no transaction")
        return named, (fact,), "apply", None
    if kind.startswith("refund."):
        return _read_refund_event(kind, data)
    if kind.startswith("charge.dispute."):
        dispute = dispute_fact(data)
        key = dispute.provider_dispute_id
        if kind.endswith("remind"):  # each names its own deadline
            key += f":{dispute.provider_state}:{dispute.due_at}"
        elif kind.endswith("resolve") and dispute.state == "open":
            # An event without a decision must not have the same dedupe key as the one with it.
            key += f":{text_in(data, 'resolution')}"
        return key, (dispute,), "apply", None
    if kind.startswith("preauthorization."):
        return _read_preauthorization(kind, data)
    if kind == "bank.transfer.rejected":
        transfer = object_in(data, "bank_transfer")
        return text_in(transfer, "transaction_id"), (), "notify", text_in(transfer, "message_type")
    # transfer.*, subscription.*, invoice.* and any new kind: not our payments, even if they look alike.
    return id_in(data) or text_in(data, "reference"), (), "ignore", None


def payment_fact(data: JsonObject) -> PaymentFact:
    """The fact in a transaction object."""
    return PaymentFact(read_transaction(data), string_in(data, "reference"), id_in(data), _metadata(data))


def listed_payment(data: JsonObject) -> PaymentFact | None:
    """A transaction from a listing; None if it has neither a reference nor a number."""
    fact = payment_fact(data)
    return fact if fact.reference or fact.provider_transaction_id else None


def _metadata(data: JsonObject) -> JsonObject | None:
    metadata = data.get("metadata")
    if isinstance(metadata, str) and metadata:
        try:
            metadata = parse_json(metadata.encode())
        except ValueError:
            return None
    return metadata if isinstance(metadata, dict) and metadata else None


def _read_refund_event(kind: str, data: JsonObject) -> Reading:
    state = REFUND_WORDS.get(kind.removeprefix("refund."), "unknown")
    reference = string_in(data, "transaction_reference")
    amount = _required_money(data.get("amount"), data)
    # An absent refund_reference is an empty part of the key, as in a pending event.
    refund_reference = text_in(data, "refund_reference")
    key = f"{reference}:{refund_reference}:{to_wire(amount, WIRE_EXPONENT)}"
    ours, kept = noted_reference(data.get("merchant_note")), redact(data, REDACTED)
    named = dispute_of(data)
    fact = RefundFact(state, ours, id_in(data), reference, amount=amount, response=kept, provider_dispute_id=named)
    return key, (fact,), "apply", None


def listed_refund(data: JsonObject) -> RefundFact | None:
    """A refund from a listing, with the dispute that it paid; None if it does not name its transaction."""
    state, number = REFUND_WORDS.get(text_in(data, "status"), "unknown"), _transaction_of(data)
    ours, kept = noted_reference(data.get("merchant_note")), redact(data, REDACTED)
    if number is None or id_in(data) is None:
        return None
    return RefundFact(
        state,
        ours,
        id_in(data),
        provider_transaction_id=number,
        response=kept,
        provider_dispute_id=dispute_of(data),
        made_at=moment_in(data, "createdAt", "created_at"),
    )


def _read_preauthorization(kind: str, data: JsonObject) -> Reading:
    inner = object_in(data, "transaction")
    captured = data.get("captured_amount") if kind == "preauthorization.capture.success" else None
    amount = _required_money(captured or data.get("amount"), data)
    transaction_id = id_in(data, "transaction_id") or id_in(inner)
    kept = redact(data, REDACTED)
    outcome: Outcome
    if kind == "preauthorization.reserve.success":
        outcome = Succeeded(amount, transaction_id, authorized_only=True, response=kept)
    elif kind == "preauthorization.capture.success":
        # data.fees is 0 here; the transaction holds the actual fee.
        fee = fee_from_wire(inner.get("fees"), amount.currency, WIRE_EXPONENT)
        outcome = Succeeded(amount, transaction_id, fee, response=kept)
    elif kind == "preauthorization.release.success":
        outcome = Declined(Reason.canceled, True, "released", None, transaction_id, kept)
    else:
        return id_in(data) or "", (), "ignore", None
    fact = PaymentFact(outcome, string_in(data, "reference"), transaction_id)
    return id_in(data) or "", (fact,), "apply", None


# ── Error mapping ──


def read_error(answer: Answer) -> Outcome:
    """The outcome of an error envelope, by what can have happened at Paystack."""
    message = text_in(answer.data, "message")
    lower = message.lower()
    code = text_in(answer.data, "code") or None
    if answer.status >= 500:
        return Unknown(Reason.provider_unavailable, code or str(answer.status), message)
    if answer.status == 409:  # another request is in progress at Paystack
        return Unknown(Reason.conflict, code or "409", message)
    if code == "duplicate_reference" or "duplicate transaction reference" in lower:
        # Our references are used once, so the first call with this one did arrive.
        return Unknown(Reason.duplicate, "duplicate_reference", message)
    if code == "transaction_not_found" or answer.status == 404 or "reference not found" in lower:
        return NotSent(Reason.not_found, code, message)
    if answer.status == 401 or code == "invalid_Key" or message == "Invalid key" or PROBE.reports_inactive(message):
        return NotSent(Reason.config, code or "invalid_key", message)
    if "currency not supported" in lower:
        return NotSent(Reason.currency_not_supported, code, message)
    if answer.status == 403:
        return NotSent(Reason.config, code or "403", message)
    if answer.status in (400, 422) and "dispute" in lower:
        return Declined(Reason.disputed, True, code, message)
    if answer.status == 422:
        return NotSent(Reason.invalid_state, code, message)
    # The answer reports a failure and yet contains data. Only another lookup can decide.
    if answer.status < 400 and (answer.data.get("status") is not False or answer.data.get("data")):
        return Unknown(Reason.unreadable, str(answer.status), "Paystack's answer could not be read.")
    return NotSent(Reason.validation, code, message)


def asked_the_bank(answer: Answer) -> bool:
    """Whether the bank or processor behind Paystack rejected the charge. The answer does not show what was done there."""
    return 400 <= answer.status < 500 and answer.data.get("type") in ("processor_error", "api_error")


def bank_silent(answer: Answer) -> Unknown:
    """The outcome of such a rejection."""
    return Unknown(Reason.provider_unavailable, text_in(answer.data, "code") or str(answer.status))


def read_missing(answer: Answer) -> Outcome:
    """The error of a lookup by reference. "Not found" counts only in Paystack's own words."""
    text = text_in(answer.data, "message").lower()
    words = ("transaction reference not found", "transaction not found")
    in_its_words = answer.data.get("code") == "transaction_not_found" or text.startswith(words)
    return read_error(answer) if in_its_words else unless_missing(read_error(answer))


# ── Values ──


def money_in(data: JsonObject, name: str, owed: bool = False) -> Money | None:
    """The money under this name, in the currency of the object; None if it is not an amount."""
    return money_or_none(data.get(name), str(data.get("currency")), WIRE_EXPONENT, owed)


def _required_money(value: Any, data: JsonObject) -> Money:
    return from_wire(value, str(data.get("currency")), WIRE_EXPONENT)
