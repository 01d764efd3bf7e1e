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
    assert len(asked) == 1, f"one charge made {len(asked)} requests that may move money"
    return outcome, asked[0]


@check(SAVING, verb="charge_saved_method")
async def a_method_is_saved(stand: Stand) -> None:
    """The outcome of a paid payment with a saved method has its token and a description that the customer recognizes."""
    outcome = await read(stand, "saved")
    assert isinstance(outcome, Succeeded), f"a paid payment is {outcome!r}"
    saved = outcome.saved_method
    assert saved is not None, "the saved method is lost"
    assert saved.token.reveal() == TOKEN, "the token is another"
    assert saved.kind, "the kind of method is lost"
    assert saved.last4, "the payer could not tell which method it is"


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
    assert isinstance(outcome, Succeeded), f"a charge that went through is {outcome!r}"
    assert outcome.amount == stand.first.money, f"the charge is read as {outcome.amount}"
    assert TOKEN in asked.body.decode(), "the token is not sent"
    assert TOKEN not in asked.url, "the token stands in an address"
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
    assert isinstance(decline, Declined), f"a refused charge is {outcome!r}"
    assert isinstance(decline.reason, Reason), "the reason is none of the closed list"


@check(SAVING, verb="charge_saved_method")
async def a_lost_charge_is_looked_up_not_repeated(stand: Stand) -> None:
    """A charge with a lost answer is looked up; it is not sent again."""
    wire = stand.wire("missing")
    lost = stand.lost()
    asked = type(lost)(lost.reference, None, lost.amount, None, lost.age_s, lost.created_at_s)
    outcome = await stand.handler(wire).lookup_payment(asked)
    assert isinstance(outcome, NotSent | Unknown), f"a charge that was never made is {outcome!r}"
    assert wire.payments, "nobody was asked"
    assert all(TOKEN not in one.body.decode() for one in wire.payments), "the lookup charges the method once more"


@check(SAVING, verb="continue_payment")
async def a_question_to_the_payer_is_named(stand: Stand) -> None:
    """A charge that needs a payment input names it, from the closed list."""
    outcome = await stand.handler(stand.wire("asked")).continue_payment(stand.answered())
    assert isinstance(outcome, NeedsAction), f"a question is {outcome!r}"
    assert outcome.action is not None, "the question is lost"
    assert outcome.action.kind is NextKind.input, f"a question is {outcome.action.kind}"
    assert outcome.action.wants is not None, "the payer is not told what is wanted"


@check(SAVING, verb="continue_payment")
async def what_a_payer_typed_is_not_kept(stand: Stand) -> None:
    """The customer's input is sent once, in a body, and neither shown nor stored."""
    wire = stand.wire("continued")
    outcome = await stand.handler(wire).continue_payment(stand.answered())
    assert isinstance(outcome, Succeeded | Pending), f"a charge that went on is {outcome!r}"
    carrying = [one for one in wire.payments if INPUT in one.text]
    assert len(carrying) == 1, f"{len(carrying)} requests carry what the payer typed"
    assert INPUT not in carrying[0].url, "what the payer typed stands in an address"
    names = (REFERENCE, *stand.fixture.continuation.values())
    assert any(name in carrying[0].text for name in names), "the answer does not say which charge it is about"
    shown = repr(outcome) + json.dumps(getattr(outcome, "response", None), default=str)
    assert INPUT not in shown, "what the payer typed would be stored"
