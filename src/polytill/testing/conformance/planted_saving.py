"""Faults in saving and charging methods, and in sending the customer's input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextAction,
    NextKind,
    NotSent,
    Pending,
    Succeeded,
    Unknown,
)
from polytill.testing.conformance.planting import Class, misread, over, plant


@misread("stripe", "confirm_payment")
def token_is_kept_in_the_clear(outcome: Any) -> Any:
    """The token of a saved method stays in the stored answer."""
    saved = getattr(outcome, "saved_method", None)
    return replace(outcome, response={"method": saved.token.reveal()}) if saved else outcome


@misread("paystack", "confirm_payment", Succeeded)
def saved_method_is_dropped(outcome: Succeeded) -> Succeeded:
    """The method that a payment saved is not reported."""
    return replace(outcome, saved_method=None)


@misread("flutterwave", "charge_saved_method", Unknown)
def lost_charge_is_failure(outcome: Unknown) -> NotSent:
    """A charge with a lost answer is reported as "not sent": the customer would be charged again."""
    return NotSent(outcome.reason, outcome.code)


@plant("flutterwave")
def charge_is_sent_twice(base: Class) -> Class:
    """A charge with a lost answer is repeated at once."""

    async def twice(self: Any, params: Any) -> Any:
        await base.charge_saved_method(self, params)
        return await base.charge_saved_method(self, params)

    return over(base, charge_saved_method=twice)


@plant("stripe")
def lookup_charges_again(base: Class) -> Class:
    """A lookup of a lost charge repeats the charge."""

    async def again(self: Any, params: Any) -> Any:
        await self._call("POST", "/v1/payment_intents", [("payment_method", "method-token-of-the-payer")], "again")
        return await base.lookup_payment(self, params)

    return over(base, lookup_payment=again)


@misread("paystack", "charge_saved_method", NeedsAction | Pending | Declined)
def refused_charge_is_success(outcome: Any) -> Succeeded:
    """The envelope's "status: true" of a charge is read as success."""
    return Succeeded(getattr(outcome, "amount", None), "1")  # type: ignore[arg-type]


@plant("paystack")
def typed_pin_is_kept(base: Class) -> Class:
    """The customer's input is stored with the answer."""

    async def keeping(self: Any, params: Any) -> Any:
        outcome = await base.continue_payment(self, params)
        typed = {name: value.reveal() for name, value in params.values.items()}
        return replace(outcome, response=typed) if isinstance(outcome, Succeeded) else outcome

    return over(base, continue_payment=keeping)


@misread("paystack", "continue_payment", NeedsAction)
def question_to_the_payer_is_lost(outcome: NeedsAction) -> NeedsAction:
    """A charge needs a payment input, and nothing shows the customer which one."""
    return replace(outcome, action=NextAction(NextKind.instructions, instructions="Go on."))
