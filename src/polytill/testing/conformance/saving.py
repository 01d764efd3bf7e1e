"""Checks of saving and charging methods, and of charges that need a payment input."""

from __future__ import annotations

import json
from dataclasses import replace

from polytill.providers.outcomes import NeedsAction, NextKind, NotSent, Pending, Succeeded, Unknown
from polytill.testing.conformance.fixture import INPUT, OTHER_REFERENCE, REFERENCE, TOKEN
from polytill.testing.conformance.paying import amounts_in, decline_of
from polytill.testing.conformance.register import check
from polytill.testing.conformance.wire import Asked, Stand, expect

SAVING = "saves"
saves = check(SAVING, verb="charge_saved_method")


async def charged(stand: Stand, reference: str = REFERENCE) -> tuple[object, Asked]:
    """Charge a saved method. Returns the outcome and the request that was sent."""
    wire = stand.wire("charged")
    outcome = await stand.handler(wire).charge_saved_method(stand.charge(reference))
    asked = [one for one in wire.payments if one.method != "GET"]
    assert len(asked) == 1, f"one charge sent {len(asked)} requests that may move money"
    return outcome, asked[0]


@saves
async def a_method_is_saved(stand: Stand) -> None:
    """The outcome of a paid payment with a saved method has its token and a description that the customer recognizes."""
    outcome = expect(Succeeded, await stand.read("saved"), "a paid payment")
    saved = outcome.saved_method
    assert saved is not None, "the saved method is lost"
    assert saved.token.reveal() == TOKEN, "the token is wrong"
    assert saved.kind, "the kind of method is lost"
    assert saved.last4, "the last four digits of the method are lost"


@saves
async def a_token_is_nowhere_else(stand: Stand) -> None:
    """The token of a saved method is in no repr and not in the stored answer."""
    outcome = await stand.read("saved")
    assert TOKEN not in repr(outcome), "the token is shown"
    assert TOKEN not in json.dumps(outcome.response, default=str), "the token would be stored in the clear"


@saves
async def a_method_is_charged_under_our_reference(stand: Stand) -> None:
    """One request charges the method, with the token, our reference, and the exact amount."""
    charge, asked = await charged(stand)
    outcome = expect(Succeeded, charge, "a successful charge")
    assert outcome.amount == stand.first.money, f"the charge is read as {outcome.amount}"
    assert TOKEN in asked.body.decode(), "the token is not sent"
    assert TOKEN not in asked.url, "an address contains the token"
    assert REFERENCE in asked.text, "our reference is not sent"
    found = amounts_in(asked, stand.fixture.amount_field)
    assert found == [stand.first.sent], f"{stand.first.money} is sent as {found}"
    _, other = await charged(stand, OTHER_REFERENCE)
    assert REFERENCE not in other.text, "another charge is sent under our reference"


@saves
async def a_refused_charge_is_no_success(stand: Stand) -> None:
    """A charge that the bank rejected is ``Declined``, or waits for the customer with the decline."""
    decline_of(await stand.call("charge_saved_method", "charge_declined"), "a declined charge")


@saves
async def a_lost_charge_is_looked_up_not_repeated(stand: Stand) -> None:
    """A charge with a lost answer is looked up; it is not sent again."""
    wire = stand.wire("missing")
    outcome = await stand.handler(wire).lookup_payment(replace(stand.lost(), create=None))
    assert isinstance(outcome, NotSent | Unknown), f"a charge that was never created is {outcome!r}"
    assert wire.payments, "no request was sent"
    assert all(TOKEN not in one.body.decode() for one in wire.payments), "the lookup charges the method again"


@check(SAVING, verb="continue_payment")
async def a_question_to_the_payer_is_named(stand: Stand) -> None:
    """A charge that needs a payment input names it, from the closed list."""
    outcome = expect(NeedsAction, await stand.call("continue_payment", "asked"), "a charge that needs a payment input")
    assert outcome.action is not None, "the next action is lost"
    assert outcome.action.kind is NextKind.input, f"the next action is {outcome.action.kind}"
    assert outcome.action.wants is not None, "the next action does not name the payment input"


@check(SAVING, verb="continue_payment")
async def what_a_payer_typed_is_not_kept(stand: Stand) -> None:
    """The customer's input is sent once, in a body, and neither shown nor stored."""
    wire = stand.wire("continued")
    outcome = await stand.call("continue_payment", wire)
    assert isinstance(outcome, Succeeded | Pending), f"a continued charge is {outcome!r}"
    carrying = [one for one in wire.payments if INPUT in one.text]
    assert len(carrying) == 1, f"{len(carrying)} requests contain the customer's input"
    assert INPUT not in carrying[0].url, "an address contains the customer's input"
    names = (REFERENCE, *stand.fixture.continuation.values())
    assert any(name in carrying[0].text for name in names), "the request does not name its charge"
    shown = repr(outcome) + json.dumps(getattr(outcome, "response", None), default=str)
    assert INPUT not in shown, "the customer's input would be stored or shown"
