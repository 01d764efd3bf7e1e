"""Faults in saving and charging methods, and in sending the customer's input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polytill.providers.outcomes import NeedsAction, NextAction, NextKind, NotSent, Succeeded, Unknown
from polytill.testing.conformance.planting import Class, after, over, plant


@plant("stripe")
def token_is_kept_in_the_clear(base: Class) -> Class:
    """The token of a saved method stays in the stored answer."""

    def leak(_: Any, outcome: Any) -> Any:
        saved = getattr(outcome, "saved_method", None)
        return replace(outcome, response={"method": saved.token.reveal()}) if saved else outcome

    return after(base, "confirm_payment", leak)


@plant("paystack")
def saved_method_is_dropped(base: Class) -> Class:
    """The method that a payment saved is not reported."""
    return after(base, "confirm_payment", lambda _, o: replace(o, saved_method=None) if isinstance(o, Succeeded) else o)


@plant("flutterwave")
def lost_charge_is_failure(base: Class) -> Class:
    """A charge with a lost answer is reported as "not sent": the customer would be charged again."""
    return after(base, "charge_saved_method", lambda _, o: NotSent(o.reason, o.code) if isinstance(o, Unknown) else o)


@plant("flutterwave")
def charge_is_sent_twice(base: Class) -> Class:
    """A charge with a lost answer is repeated at once."""
    sound = base.charge_saved_method

    async def twice(self: Any, params: Any) -> Any:
        await sound(self, params)
        return await sound(self, params)

    return over(base, charge_saved_method=twice)


@plant("stripe")
def lookup_charges_again(base: Class) -> Class:
    """A lookup of a lost charge repeats the charge."""
    sound = base.lookup_payment

    async def again(self: Any, params: Any) -> Any:
        await self._call("POST", "/v1/payment_intents", [("payment_method", "method-token-of-the-payer")], "again")
        return await sound(self, params)

    return over(base, lookup_payment=again)


@plant("paystack")
def refused_charge_is_success(base: Class) -> Class:
    """The envelope's "status: true" of a charge is read as success."""

    def paid(handler: Any, outcome: Any) -> Any:
        amount = getattr(outcome, "amount", None)
        return outcome if isinstance(outcome, Succeeded | Unknown | NotSent) else Succeeded(amount, "1")  # type: ignore[arg-type]

    return after(base, "charge_saved_method", paid)


@plant("paystack")
def typed_pin_is_kept(base: Class) -> Class:
    """The customer's input is stored with the answer."""
    sound = base.continue_payment

    async def keeping(self: Any, params: Any) -> Any:
        outcome = await sound(self, params)
        typed = {name: value.reveal() for name, value in params.values.items()}
        return replace(outcome, response=typed) if isinstance(outcome, Succeeded) else outcome

    return over(base, continue_payment=keeping)


@plant("paystack")
def question_to_the_payer_is_lost(base: Class) -> Class:
    """A charge needs a payment input, and nothing shows the customer which one."""

    def mute(_: Any, outcome: Any) -> Any:
        if isinstance(outcome, NeedsAction):
            return replace(outcome, action=NextAction(NextKind.instructions, instructions="Go on."))
        return outcome

    return after(base, "continue_payment", mute)
