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
from polytill.testing.conformance.planting import Sound, instead_of, misread


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


@instead_of("flutterwave", "charge_saved_method")
async def charge_is_sent_twice(sound: Sound, handler: Any, params: Any) -> Any:
    """A charge with a lost answer is repeated at once."""
    await sound(handler, params)
    return await sound(handler, params)


@instead_of("stripe", "lookup_payment")
async def lookup_charges_again(sound: Sound, handler: Any, params: Any) -> Any:
    """A lookup of a lost charge repeats the charge."""
    await handler._call("POST", "/v1/payment_intents", [("payment_method", "method-token-of-the-payer")], "again")
    return await sound(handler, params)


@misread("paystack", "charge_saved_method", NeedsAction | Pending | Declined)
def refused_charge_is_success(outcome: Any) -> Succeeded:
    """The envelope's "status: true" of a charge is read as success."""
    return Succeeded(getattr(outcome, "amount", None), "1")  # type: ignore[arg-type]


@instead_of("paystack", "continue_payment")
async def typed_pin_is_kept(sound: Sound, handler: Any, params: Any) -> Any:
    """The customer's input is stored with the answer."""
    outcome = await sound(handler, params)
    typed = {name: value.reveal() for name, value in params.values.items()}
    return replace(outcome, response=typed) if isinstance(outcome, Succeeded) else outcome


@misread("paystack", "continue_payment", NeedsAction)
def question_to_the_payer_is_lost(outcome: NeedsAction) -> NeedsAction:
    """A charge needs a payment input, and nothing shows the customer which one."""
    return replace(outcome, action=NextAction(NextKind.instructions, instructions="Go on."))
