"""Checks of saving and charging methods, and of charges that need a payment input."""

from __future__ import annotations

import json

from polytill.providers.outcomes import Declined, NeedsAction, NextKind, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.testing.conformance.fixture import INPUT, OTHER_REFERENCE, REFERENCE, TOKEN
from polytill.testing.conformance.paying import amounts_in, read
from polytill.testing.conformance.register import check
from polytill.testing.conformance.wire import Asked, Stand

SAVING = "saves"


async def charged(stand: Stand, reference: str = REFERENCE) -> tuple[object, Asked]:
    """Charge a saved method. Returns the outcome and the request that was sent."""
    wire = stand.wire("charged")
    outcome = await stand.handler(wire).charge_saved_method(stand.charge(reference))
    asked = [one for one in wire.payments if one.method != "GET"]
    assert len(asked) == 1, f"one charge sent {len(asked)} requests that may move money"
    return outcome, asked[0]


@check(SAVING, verb="charge_saved_method")
async def a_method_is_saved(stand: Stand) -> None:
    """The outcome of a paid payment with a saved method has its token and a description that the customer recognizes."""
    outcome = await read(stand, "saved")
    assert isinstance(outcome, Succeeded), f"a paid payment is {outcome!r}"
    saved = outcome.saved_method
    assert saved is not None, "the saved method is lost"
    assert saved.token.reveal() == TOKEN, "the token is wrong"
    assert saved.kind, "the kind of method is lost"
    assert saved.last4, "the last four digits of the method are lost"


@check(SAVING, verb="charge_saved_method")
async def a_token_is_nowhere_else(stand: Stand) -> None:
    """The token of a saved method is in no repr and not in the stored answer."""
    outcome = await read(stand, "saved")
    assert TOKEN not in repr(outcome), "the token is shown"
    assert TOKEN not in json.dumps(outcome.response, default=str), "the token would be stored in the clear"


@check(SAVING, verb="charge_saved_method")
async def a_method_is_charged_under_our_reference(stand: Stand) -> None:
    """One request charges the method, with the token, our reference, and the exact amount."""
    outcome, asked = await charged(stand)
    assert isinstance(outcome, Succeeded), f"a successful charge is {outcome!r}"
    assert outcome.amount == stand.first.money, f"the charge is read as {outcome.amount}"
    assert TOKEN in asked.body.decode(), "the token is not sent"
    assert TOKEN not in asked.url, "an address contains the token"
    assert REFERENCE in asked.text, "our reference is not sent"
    found = amounts_in(asked, stand.fixture.amount_field)
    assert found == [stand.first.sent], f"{stand.first.money} is sent as {found}"
    _, other = await charged(stand, OTHER_REFERENCE)
    assert REFERENCE not in other.text, "another charge is sent under our reference"


@check(SAVING, verb="charge_saved_method")
async def a_refused_charge_is_no_success(stand: Stand) -> None:
    """A charge that the bank rejected is ``Declined``, or waits for the customer with the decline."""
    outcome = await stand.handler(stand.wire("charge_declined")).charge_saved_method(stand.charge())
    decline = outcome.last_decline if isinstance(outcome, NeedsAction) else outcome
    assert isinstance(decline, Declined), f"a declined charge is {outcome!r}"
    assert isinstance(decline.reason, Reason), "the reason is not from the closed list"


@check(SAVING, verb="charge_saved_method")
async def a_lost_charge_is_looked_up_not_repeated(stand: Stand) -> None:
    """A charge with a lost answer is looked up; it is not sent again."""
    wire = stand.wire("missing")
    lost = stand.lost()
    asked = type(lost)(lost.reference, None, lost.amount, None, lost.age_s, lost.created_at_s)
    outcome = await stand.handler(wire).lookup_payment(asked)
    assert isinstance(outcome, NotSent | Unknown), f"a charge that was never created is {outcome!r}"
    assert wire.payments, "no request was sent"
    assert all(TOKEN not in one.body.decode() for one in wire.payments), "the lookup charges the method again"


@check(SAVING, verb="continue_payment")
async def a_question_to_the_payer_is_named(stand: Stand) -> None:
    """A charge that needs a payment input names it, from the closed list."""
    outcome = await stand.handler(stand.wire("asked")).continue_payment(stand.answered())
    assert isinstance(outcome, NeedsAction), f"a charge that needs a payment input is {outcome!r}"
    assert outcome.action is not None, "the next action is lost"
    assert outcome.action.kind is NextKind.input, f"the next action is {outcome.action.kind}"
    assert outcome.action.wants is not None, "the next action does not name the payment input"


@check(SAVING, verb="continue_payment")
async def what_a_payer_typed_is_not_kept(stand: Stand) -> None:
    """The customer's input is sent once, in a body, and neither shown nor stored."""
    wire = stand.wire("continued")
    outcome = await stand.handler(wire).continue_payment(stand.answered())
    assert isinstance(outcome, Succeeded | Pending), f"a continued charge is {outcome!r}"
    carrying = [one for one in wire.payments if INPUT in one.text]
    assert len(carrying) == 1, f"{len(carrying)} requests contain the customer's input"
    assert INPUT not in carrying[0].url, "an address contains the customer's input"
    names = (REFERENCE, *stand.fixture.continuation.values())
    assert any(name in carrying[0].text for name in names), "the request does not name its charge"
    shown = repr(outcome) + json.dumps(getattr(outcome, "response", None), default=str)
    assert INPUT not in shown, "the customer's input would be stored or shown"
