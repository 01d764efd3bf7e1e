"""Faults in requests and in reading answers. Each is a function with one mistake."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from polytill.domain.money import Money
from polytill.providers.http import Answer
from polytill.providers.outcomes import Declined, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.testing.conformance.planting import Sound, instead_of, misread, missent
from polytill.testing.conformance.wire import Asked

# ── Outcomes ──


@misread("paystack", "create_payment_intent", Unknown)
def lost_answer_is_failure(outcome: Unknown) -> NotSent:
    """A lost answer is reported as "not sent": the next provider would charge the customer again."""
    return NotSent(outcome.reason, outcome.code)


@misread("stripe", "refund_payment", Unknown)
def lost_refund_is_failure(outcome: Unknown) -> Declined:
    """A lost refund is reported as declined: staff would refund twice."""
    return Declined(outcome.reason, True)


@misread("flutterwave", "create_payment_intent", NotSent)
def refused_connection_is_unknown(outcome: NotSent) -> Unknown:
    """A refused connection is reported as unknown: the customer waits for nothing."""
    return Unknown(outcome.reason, outcome.code)


@misread("paystack", "lookup_payment", Unknown)
def failed_question_is_proof(outcome: Unknown) -> NotSent:
    """A failed lookup returns "not found": a paid payment would be charged again."""
    return NotSent(Reason.not_found, "x")


@misread("stripe", "lookup_payment", Unknown)
def gateways_refusal_is_proof(outcome: Unknown) -> Any:
    """A gateway's rejection counts as the provider's: a successful charge would be repeated."""
    return NotSent(Reason.validation, outcome.code) if outcome.reason is Reason.unreadable else outcome


@misread("stripe", "confirm_payment", Unknown)
def outage_is_a_decline(outcome: Unknown) -> Any:
    """A server error during a lookup is read as a decline."""
    out = outcome.reason is Reason.provider_unavailable
    return Declined(outcome.reason, True, outcome.code) if out else outcome


@misread("flutterwave", "create_payment_intent", NotSent)
def retry_after_is_dropped(outcome: NotSent) -> NotSent:
    """The provider's retry time is dropped."""
    return replace(outcome, retry_after_s=None)


@misread("paystack", "confirm_payment", Unknown)
def raw_code_is_dropped(outcome: Unknown) -> Unknown:
    """The provider's own code is dropped."""
    return replace(outcome, code=None)


@misread("paystack", "create_payment_intent", NotSent)
def refused_keys_are_the_payers_fault(outcome: NotSent) -> Any:
    """Rejected keys are reported as a decline."""
    return Declined(Reason.declined, True, "401") if outcome.reason is Reason.config else outcome


@misread("stripe", "confirm_payment", Unknown)
def answers_may_raise(outcome: Unknown) -> None:
    """An unexpected answer raises an error instead of returning an outcome."""
    raise AssertionError


# ── Reading ──


@misread("flutterwave", "confirm_payment", Declined)
def new_decline_is_unknown(outcome: Declined) -> Any:
    """A decline with a new code is reported as unknown: its customer waits for days, and nobody can cancel the payment."""
    return Unknown(Reason.unreadable, outcome.code) if outcome.code == "Levitation is not allowed" else outcome


@misread("stripe", "confirm_payment")
def new_decline_is_final(outcome: Any) -> Any:
    """A decline with a new code ends the payment, although the customer could try another card."""
    decline = getattr(outcome, "last_decline", None)
    return replace(decline, final=True) if decline and decline.code == "levitation" else outcome


@misread("paystack", "confirm_payment", Pending)
def pending_is_paid(outcome: Pending) -> Any:
    """A pending payment is reported as paid."""
    return Succeeded(outcome.amount, "1") if outcome.amount else outcome


@misread("stripe", "confirm_payment", Unknown)
def strange_status_is_failed(outcome: Unknown) -> Any:
    """An unknown status is reported as declined."""
    return Declined(Reason.declined, True, "x") if outcome.code == "levitating" else outcome


@instead_of("flutterwave", "confirm_payment")
async def our_own_amount_comes_back(sound: Sound, handler: Any, params: Any) -> Any:
    """The amount is ours instead of the provider's: a customer who pays less counts as paid."""
    outcome = await sound(handler, params)
    return replace(outcome, amount=params.amount) if isinstance(outcome, Succeeded) else outcome


@misread("stripe", "confirm_payment", Succeeded)
def iso_exponents_are_believed(outcome: Succeeded) -> Succeeded:
    """Amounts are read with ISO's exponents: Ugandan shillings are a hundred times too high."""
    read = Money(outcome.amount.minor * 100, "UGX")
    return replace(outcome, amount=read) if outcome.amount.currency == "UGX" else outcome


@instead_of("paystack", "_verify")
async def another_payments_answer_is_taken(sound: Sound, handler: Any, reference: str, direct: bool = False) -> Any:
    """Nothing checks which payment an answer is about."""
    answer = await handler._call("GET", f"/transaction/verify/{reference}")
    data = answer.data.get("data") if isinstance(answer, Answer) else None
    return handler.read_transaction(data) if isinstance(data, dict) else await sound(handler, reference, direct)


@misread("paystack", "confirm_payment", Succeeded)
def provider_id_is_lost(outcome: Succeeded) -> Any:
    """The provider's id of a paid payment is dropped: it could not be refunded."""
    return replace(outcome, provider_transaction_id=None)


@misread("stripe", "confirm_payment", Succeeded)
def hold_is_money(outcome: Succeeded) -> Succeeded:
    """An authorization is reported as a payment."""
    return replace(outcome, authorized_only=False)


@misread("stripe", "cancel_payment", Declined)
def cancel_is_not_final(outcome: Declined) -> Declined:
    """A canceled payment is reported as still payable."""
    return replace(outcome, final=False)


@misread("paystack", "confirm_payment", Succeeded)
def secrets_are_kept(outcome: Succeeded) -> Succeeded:
    """Answers are stored with the authorization codes in them."""
    return replace(outcome, response={"authorization_code": "AUTH_x"})


@misread("paystack", "lookup_refund", NotSent)
def any_refund_will_do(outcome: NotSent) -> Any:
    """A refund lookup accepts any refund of the transaction."""
    return Pending(None, "1") if outcome.reason is Reason.not_found else outcome


# ── Requests ──


@missent("paystack")
def reference_is_made_up(asked: Asked) -> Asked:
    """The provider receives a random reference: no lookup could find the payment."""
    return replace(asked, body=asked.body.replace(b"01conformance-attempt", b"random-attempt"))


@missent("paystack")
def refund_has_no_reference(asked: Asked) -> Asked:
    """A refund is sent without its reference: no lookup could find it after a lost answer."""
    return replace(asked, body=asked.body.replace(b"01conformance-refund", b"anonymous"))


def _rewritten(asked: Asked, field: str, change: Callable[[dict[str, Any]], object]) -> Asked:
    """A request whose JSON body has the field, with the body changed in place."""
    if f'"{field}"'.encode() not in asked.body:
        return asked
    data = json.loads(asked.body)
    change(data)
    return replace(asked, body=json.dumps(data).encode())


@missent("flutterwave")
def amounts_are_floats(asked: Asked) -> Asked:
    """Amounts are converted to floats on the way."""
    # The result of float arithmetic.
    return _rewritten(asked, "amount", lambda data: data.update(amount=float(data["amount"]) * 1.1 / 1.1))


@missent("paystack")
def amounts_are_major_units(asked: Asked) -> Asked:
    """Amounts are sent in major units although the provider expects minor units."""
    return _rewritten(asked, "amount", lambda data: data.update(amount=data["amount"] // 100))


@missent("flutterwave")
def currency_is_left_out(asked: Asked) -> Asked:
    """The currency is left out: the provider charges naira."""
    return _rewritten(asked, "currency", lambda data: data.pop("currency"))


_count = itertools.count()


@missent("stripe")
def idempotency_key_is_random(asked: Asked) -> Asked:
    """Each request has a new idempotency key: a repeat is a second payment."""
    key = f"{asked.headers.get('Idempotency-Key')}-{next(_count)}"
    return replace(asked, headers={**asked.headers, "Idempotency-Key": key})


@missent("paystack")
def key_stands_in_the_address(asked: Asked) -> Asked:
    """The key is sent in the address, and so reaches every log on the way."""
    return replace(asked, url=f"{asked.url}?key={asked.headers['Authorization'].removeprefix('Bearer ')}")


@missent("flutterwave")
def keys_go_elsewhere(asked: Asked) -> Asked:
    """Requests go to an undeclared host."""
    return replace(asked, url=asked.url.replace("api.flutterwave.com", "proxy.example"))


@instead_of("stripe", "create_payment_intent")
async def too_fine_is_rounded(sound: Sound, handler: Any, params: Any) -> Any:
    """An amount with too many decimals is rounded and sent."""
    whole = Money(params.amount.minor // 10 * 10, params.amount.currency)
    fitting = replace(params, amount=whole) if params.amount.currency == "KWD" else params
    return await sound(handler, fitting)


@instead_of("stripe", "refund_payment")
async def refunds_are_always_full(sound: Sound, handler: Any, params: Any) -> Any:
    """A partial refund returns the full amount."""
    wrong = params if params.full else replace(params, amount=Money(12_345, "USD"))
    return await sound(handler, wrong)
