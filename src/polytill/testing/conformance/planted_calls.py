"""Faults in requests and in reading answers: each a function from a sound handler to one with one mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from polytill.domain.money import Money
from polytill.providers.http import Answer
from polytill.providers.outcomes import Declined, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.testing.conformance.planting import Class, after, over, plant, sending

# ── Outcomes ──


@plant("paystack")
def lost_answer_is_failure(base: Class) -> Class:
    """A lost answer is reported as "not sent": the next provider would charge the customer again."""
    return after(base, "create_payment_intent", lambda _, o: NotSent(o.reason, o.code) if isinstance(o, Unknown) else o)


@plant("stripe")
def lost_refund_is_failure(base: Class) -> Class:
    """A lost refund is reported as declined: staff would refund twice."""
    return after(base, "refund_payment", lambda _, o: Declined(o.reason, True) if isinstance(o, Unknown) else o)


@plant("flutterwave")
def refused_connection_is_unknown(base: Class) -> Class:
    """A refused connection is reported as unknown: the customer waits for nothing."""
    return after(base, "create_payment_intent", lambda _, o: Unknown(o.reason, o.code) if isinstance(o, NotSent) else o)


@plant("paystack")
def failed_question_is_proof(base: Class) -> Class:
    """A failed lookup returns "not found": a paid payment would be charged again."""
    return after(base, "lookup_payment", lambda _, o: NotSent(Reason.not_found, "x") if isinstance(o, Unknown) else o)


@plant("stripe")
def gateways_refusal_is_proof(base: Class) -> Class:
    """A gateway's rejection counts as the provider's: a successful charge would be repeated."""
    return after(
        base,
        "lookup_payment",
        lambda _, o: (
            NotSent(Reason.validation, o.code) if isinstance(o, Unknown) and o.reason is Reason.unreadable else o
        ),
    )


@plant("stripe")
def outage_is_a_decline(base: Class) -> Class:
    """A server error during a lookup is read as a decline."""
    return after(
        base,
        "confirm_payment",
        lambda _, o: (
            Declined(o.reason, True, o.code) if getattr(o, "reason", None) is Reason.provider_unavailable else o
        ),
    )


@plant("flutterwave")
def retry_after_is_dropped(base: Class) -> Class:
    """The provider's retry time is dropped."""
    return after(
        base, "create_payment_intent", lambda _, o: replace(o, retry_after_s=None) if isinstance(o, NotSent) else o
    )


@plant("paystack")
def raw_code_is_dropped(base: Class) -> Class:
    """The provider's own code is dropped."""
    return after(base, "confirm_payment", lambda _, o: replace(o, code=None) if isinstance(o, Unknown) else o)


@plant("paystack")
def refused_keys_are_the_payers_fault(base: Class) -> Class:
    """Rejected keys are reported as a decline."""
    return after(
        base,
        "create_payment_intent",
        lambda _, o: Declined(Reason.declined, True, "401") if getattr(o, "reason", None) is Reason.config else o,
    )


@plant("stripe")
def answers_may_raise(base: Class) -> Class:
    """An unexpected answer raises an error instead of returning an outcome."""

    def read(handler: Any, outcome: Any) -> Any:
        assert not isinstance(outcome, Unknown)
        return outcome

    return after(base, "confirm_payment", read)


# ── Reading ──


@plant("flutterwave")
def new_decline_is_unknown(base: Class) -> Class:
    """A decline with a new code is reported as unknown: its customer waits for days, and nobody can cancel the payment."""
    return after(
        base,
        "confirm_payment",
        lambda _, o: Unknown(Reason.unreadable, o.code) if _has_code(o, "Levitation is not allowed") else o,
    )


@plant("stripe")
def new_decline_is_final(base: Class) -> Class:
    """A decline with a new code ends the payment, although the customer could try another card."""
    return after(
        base,
        "confirm_payment",
        lambda _, o: (
            replace(o.last_decline, final=True) if _has_code(getattr(o, "last_decline", None), "levitation") else o
        ),
    )


def _has_code(outcome: Any, code: str) -> bool:
    return isinstance(outcome, Declined) and outcome.code == code


@plant("paystack")
def pending_is_paid(base: Class) -> Class:
    """A pending payment is reported as paid."""
    return after(
        base, "confirm_payment", lambda _, o: Succeeded(o.amount, "1") if isinstance(o, Pending) and o.amount else o
    )


@plant("stripe")
def strange_status_is_failed(base: Class) -> Class:
    """An unknown status is reported as declined."""
    return after(
        base,
        "confirm_payment",
        lambda _, o: Declined(Reason.declined, True, "x") if getattr(o, "code", None) == "levitating" else o,
    )


@plant("flutterwave")
def our_own_amount_comes_back(base: Class) -> Class:
    """The amount is ours instead of the provider's: a customer who pays less counts as paid."""
    sound = base.confirm_payment

    async def confirm_payment(self: Any, params: Any) -> Any:
        outcome = await sound(self, params)
        return replace(outcome, amount=params.amount) if isinstance(outcome, Succeeded) else outcome

    return over(base, confirm_payment=confirm_payment)


@plant("stripe")
def iso_exponents_are_believed(base: Class) -> Class:
    """Amounts are read with ISO's exponents: Ugandan shillings are a hundred times too high."""

    def read(handler: Any, outcome: Any) -> Any:
        if isinstance(outcome, Succeeded) and outcome.amount.currency == "UGX":
            return replace(outcome, amount=Money(outcome.amount.minor * 100, "UGX"))
        return outcome

    return after(base, "confirm_payment", read)


@plant("paystack")
def another_payments_answer_is_taken(base: Class) -> Class:
    """Nothing checks which payment an answer is about."""

    async def verify(self: Any, reference: str) -> Any:
        answer = await self._call("GET", f"/transaction/verify/{reference}")
        data = answer.data.get("data") if isinstance(answer, Answer) else None
        return self.read_transaction(data) if isinstance(data, dict) else await base._verify(self, reference)

    return over(base, _verify=verify)


@plant("paystack")
def provider_id_is_lost(base: Class) -> Class:
    """The provider's id of a paid payment is dropped: it could not be refunded."""
    return after(
        base,
        "confirm_payment",
        lambda _, o: replace(o, provider_transaction_id=None) if isinstance(o, Succeeded) else o,
    )


@plant("stripe")
def hold_is_money(base: Class) -> Class:
    """An authorization is reported as a payment."""
    return after(
        base, "confirm_payment", lambda _, o: replace(o, authorized_only=False) if isinstance(o, Succeeded) else o
    )


@plant("stripe")
def cancel_is_not_final(base: Class) -> Class:
    """A canceled payment is reported as still payable."""
    return after(base, "cancel_payment", lambda _, o: replace(o, final=False) if isinstance(o, Declined) else o)


@plant("paystack")
def secrets_are_kept(base: Class) -> Class:
    """Answers are stored with the authorization codes in them."""
    return after(
        base,
        "confirm_payment",
        lambda _, o: replace(o, response={"authorization_code": "AUTH_x"}) if isinstance(o, Succeeded) else o,
    )


# ── Requests ──


@plant("paystack")
def reference_is_made_up(base: Class) -> Class:
    """The provider receives a random reference: no lookup could find the payment."""
    return sending(
        base, lambda m, u, h, b=None: (m, u, h, b and b.replace(b"01conformance-attempt", b"random-attempt"))
    )


@plant("flutterwave")
def amounts_are_floats(base: Class) -> Class:
    """Amounts are converted to floats on the way."""

    def send(method: str, url: str, headers: Any, body: bytes | None = None) -> tuple[Any, ...]:
        if body and b'"amount"' in body:
            data = json.loads(body)
            data["amount"] = float(data["amount"]) * 1.1 / 1.1  # the result of float arithmetic
            body = json.dumps(data).encode()
        return method, url, headers, body

    return sending(base, send)


@plant("paystack")
def amounts_are_major_units(base: Class) -> Class:
    """Amounts are sent in major units although the provider expects minor units."""

    def send(method: str, url: str, headers: Any, body: bytes | None = None) -> tuple[Any, ...]:
        if body and b'"amount"' in body:
            data = json.loads(body)
            body = json.dumps({**data, "amount": data["amount"] // 100}).encode()
        return method, url, headers, body

    return sending(base, send)


@plant("flutterwave")
def currency_is_left_out(base: Class) -> Class:
    """The currency is left out: the provider charges naira."""

    def send(method: str, url: str, headers: Any, body: bytes | None = None) -> tuple[Any, ...]:
        if body and b'"currency"' in body:
            data = json.loads(body)
            del data["currency"]
            body = json.dumps(data).encode()
        return method, url, headers, body

    return sending(base, send)


@plant("stripe")
def idempotency_key_is_random(base: Class) -> Class:
    """Each request has a new idempotency key: a repeat is a second payment."""
    count = iter(range(10**6))
    return sending(
        base, lambda m, u, h, b=None: (m, u, {**h, "Idempotency-Key": f"{h.get('Idempotency-Key')}-{next(count)}"}, b)
    )


@plant("paystack")
def key_stands_in_the_address(base: Class) -> Class:
    """The key is sent in the address, and so reaches every log on the way."""
    return sending(base, lambda m, u, h, b=None: (m, f"{u}?key={h['Authorization']}".replace("Bearer ", ""), h, b))


@plant("flutterwave")
def keys_go_elsewhere(base: Class) -> Class:
    """Requests go to an undeclared host."""
    return sending(base, lambda m, u, h, b=None: (m, u.replace("api.flutterwave.com", "proxy.example"), h, b))


@plant("stripe")
def too_fine_is_rounded(base: Class) -> Class:
    """An amount with too many decimals is rounded and sent."""
    sound = base.create_payment_intent

    async def create_payment_intent(self: Any, params: Any) -> Any:
        whole = Money(params.amount.minor // 10 * 10, params.amount.currency)
        fitting = replace(params, amount=whole) if params.amount.currency == "KWD" else params
        return await sound(self, fitting)

    return over(base, create_payment_intent=create_payment_intent)


@plant("paystack")
def refund_has_no_reference(base: Class) -> Class:
    """A refund is sent without its reference: no lookup could find it after a lost answer."""
    return sending(base, lambda m, u, h, b=None: (m, u, h, b and b.replace(b"01conformance-refund", b"anonymous")))


@plant("paystack")
def any_refund_will_do(base: Class) -> Class:
    """A refund lookup accepts any refund of the transaction."""
    return after(
        base, "lookup_refund", lambda _, o: Pending(None, "1") if getattr(o, "reason", None) is Reason.not_found else o
    )


@plant("stripe")
def refunds_are_always_full(base: Class) -> Class:
    """A partial refund returns the full amount."""
    sound = base.refund_payment

    async def refund_payment(self: Any, params: Any) -> Any:
        return await sound(self, params if params.full else replace(params, amount=Money(12_345, "USD")))

    return over(base, refund_payment=refund_payment)
