"""Payment input of a direct charge: a PIN, a one-time password, a birthday. It is passed on once and never stored.

A charge is one reference, which can be paid once. If the provider's answer to an input is lost, the input is not sent
again: the charge is looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.contacts import InvalidContact, read_code, read_phone, without_invisible
from polytill.domain.errors import Conflict, FieldError, Invalid, Stale
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.sources import Source
from polytill.domain.text import visible
from polytill.flows.context import Context, Practice
from polytill.flows.finding import Finding
from polytill.flows.lease import may_begin
from polytill.flows.next_action import open_action
from polytill.flows.payments import customers
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find
from polytill.flows.payments.settle import settle
from polytill.flows.practice_state import may_go_on
from polytill.flows.provider_calls import call_for
from polytill.flows.recovery import lookup
from polytill.providers.contract import ContinuePaymentParams
from polytill.providers.outcomes import NeedsAction, Outcome, Unknown, Wants
from polytill.storage import anchors, attempts, audit, payments
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

FIELDS: Mapping[Wants, tuple[str, ...]] = {
    Wants.pin: ("pin",),
    Wants.otp: ("otp",),
    Wants.phone: ("phone",),
    Wants.birthday: ("birthday",),
    Wants.address: ("address", "city", "state", "zipCode"),
}


async def continue_payment(
    context: Context, practice_id: int, payment_id: str, values: Mapping[str, Secret], actor: str
) -> PaymentDetails:
    """Send the customer's payment input to the provider, and settle by the answer. The values are not stored."""
    practice, payment = await find(context, practice_id, payment_id)
    attempt = current_attempt(payment, await attempts.of_payment(practice.db, payment_id))
    action = open_action(practice.db, attempt)
    if action is None or action.wants is None:
        raise Conflict("This payment needs no payment input now.", code="nothing_wanted")
    wants = action.wants
    _check(wants, values)
    values = await _in_normal_form(practice, payment, wants, values)
    await may_go_on(context, practice_id)
    await may_begin(context, practice_id, payment.environment)
    now = context.world.now()
    unit = Unit()
    anchors.hold(unit, practice.db.anchor)
    payments.guard(unit, payment, now)
    audit.append(
        unit, now, actor, AuditAction.payment_continued, payment.id, {"attempt": attempt.id, "wants": wants.value}
    )
    try:
        await practice.db.commit(unit)
    except Stale:
        raise Conflict("This payment has just changed. Read it again.", code="payment_changed") from None
    params = ContinuePaymentParams(
        attempt.id,
        attempt.provider_transaction_id,
        Money(attempt.amount, attempt.currency),
        wants,
        values,
        new_id(context.world),
        action.continuation or {},
    )
    return await asyncio.shield(_pass_on(practice, payment, attempt, params))


def _check(wants: Wants, values: Mapping[str, Secret]) -> None:
    needed = FIELDS[wants]
    # A blank value is a missing one, also if it consists of invisible characters.
    missing = [name for name in needed if name not in values or not visible(values[name].reveal())]
    errors = [FieldError(f"/values/{name}", "This field is required.") for name in missing]
    errors += [FieldError(f"/values/{name}", "This is not wanted now.") for name in values if name not in needed]
    if errors:
        raise Invalid(errors, f"Send all required values: {', '.join(needed)}.")


async def _in_normal_form(
    practice: Practice, payment: Payment, wants: Wants, values: Mapping[str, Secret]
) -> Mapping[str, Secret]:
    """Return the phone number in E.164, and codes in ASCII digits without blanks. ``Invalid`` if only blanks were
    typed."""
    if wants is Wants.phone:
        place = (await practice.context.configured(practice.db)).place
        try:
            phone = read_phone(values["phone"].reveal(), customers.countries_of(place, payment.currency))
        except InvalidContact as error:
            raise Invalid([customers.wrong("/values/phone", error)], str(error)) from None
        if phone is None:
            raise Invalid([FieldError("/values/phone", "This field is required.")])
        return {"phone": Secret(phone.e164)}
    read = read_code if wants in (Wants.pin, Wants.otp) else without_invisible
    found = {name: Secret(read(value.reveal())) for name, value in values.items()}
    if blank := [
        FieldError(f"/values/{name}", "This field is required.") for name, value in found.items() if not value.reveal()
    ]:
        raise Invalid(blank, f"Send all required values: {', '.join(FIELDS[wants])}.")
    return found


async def _pass_on(
    practice: Practice, payment: Payment, attempt: Attempt, params: ContinuePaymentParams
) -> PaymentDetails:
    outcome = await call_for(practice, attempt, "continue_payment", params)
    if isinstance(outcome, Unknown):
        return await details_of(practice.db, await lookup.refresh(practice, payment, attempt))
    finding = Finding(_forgetful(outcome, params.values), Source.answer)
    payment, _ = await settle(practice, payment, attempt, finding)
    return await details_of(practice.db, payment)


def _forgetful(outcome: Outcome, values: Mapping[str, Secret]) -> Outcome:
    """Return the outcome without the payment input: a provider may quote the very PIN that it declines."""
    words = [value.reveal() for value in values.values() if len(value.reveal()) >= 3]
    changes = {
        name: _without(getattr(outcome, name), words)
        for name in ("code", "detail", "response")
        if getattr(outcome, name, None) is not None
    }
    if isinstance(outcome, NeedsAction) and outcome.action is not None:
        told = _without(outcome.action.instructions, words)
        changes["action"] = replace(outcome.action, instructions=told)
    return replace(outcome, **changes)


def _without(value: Any, words: list[str]) -> Any:
    if isinstance(value, str):
        for word in words:
            value = value.replace(word, "[removed]")
        return value
    if isinstance(value, dict):
        return {name: _without(inner, words) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, words) for inner in value]
    return value
