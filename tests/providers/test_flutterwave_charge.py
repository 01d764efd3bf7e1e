"""Flutterwave's direct charges and saved cards against the simulator, which shares no code with the handler."""

from dataclasses import replace
from typing import Any

import pytest
from tests.providers.in_process import NGN, House, flutterwave_house

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import ContinuePaymentParams
from polytill.providers.flutterwave.reading import read_transaction
from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextKind,
    NotSent,
    Outcome,
    Pending,
    Succeeded,
    Unknown,
    Wants,
)


@pytest.fixture
def house() -> House:
    return flutterwave_house()


@pytest.mark.parametrize(
    ("amount", "details"),
    [
        (Money(5_000, "GHS"), {"provider": "mtn"}),
        (Money(5_000, "GHS"), {"provider": "vodafone", "voucher": "143256"}),
        (Money(5_000, "UGX"), {"provider": "airtel"}),
        (Money(5_000, "RWF"), {}),
        (Money(5_000, "XOF"), {"provider": "mtn", "country": "CI"}),
    ],
)
async def test_mobile_money_sends_the_payer_to_confirm(house: House, amount: Money, details: dict[str, str]) -> None:
    reference, outcome = await house.begin(amount, "mobile_money", **details)
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.redirect
    assert isinstance(await house.ask(reference, amount), Pending)
    house.pay(reference)
    paid = await house.ask(reference, amount)
    assert isinstance(paid, Succeeded)
    assert (paid.amount, paid.saved_method) == (amount, None)


async def test_mpesa_prompts_the_phone(house: House) -> None:
    amount = Money(50_000, "KES")
    reference, outcome = await house.begin(amount, "mobile_money")
    assert isinstance(outcome, Pending)
    assert outcome.provider_transaction_id
    house.pay(reference, "decline")
    refused = await house.ask(reference, amount)
    assert isinstance(refused, Declined)
    assert refused.final  # nobody holds a link on which to try again


XOF = Money(5_000, "XOF")


def typed(reference: str, asked: Outcome, password: str, amount: Money = XOF) -> ContinuePaymentParams:
    """The payer's answer to a question, with what came with the question."""
    assert isinstance(asked, NeedsAction)
    assert asked.action is not None
    assert (asked.action.kind, asked.action.wants, asked.action.url) == (NextKind.input, Wants.otp, None)
    return ContinuePaymentParams(
        reference,
        asked.provider_transaction_id,
        amount,
        Wants.otp,
        {"otp": Secret(password)},
        "op-1",
        asked.action.continuation or {},
    )


async def test_a_wallet_that_wants_a_password(house: House) -> None:
    reference, asked = await house.begin(XOF, "mobile_money", provider="orange", country="CI")
    assert isinstance(await house.ask(reference, XOF), Pending)
    paid = await house.handler.continue_payment(typed(reference, asked, "123456"))
    assert isinstance(paid, Succeeded)
    assert (paid.amount, await house.ask(reference, XOF)) == (XOF, paid)
    again = await house.handler.continue_payment(typed(reference, asked, "123456"))
    assert isinstance(again, Unknown), "a password that was used proves nothing of the charge"


async def test_a_wrong_password_ends_the_charge(house: House) -> None:
    reference, asked = await house.begin(XOF, "mobile_money", provider="orange", country="CI")
    assert isinstance(await house.handler.continue_payment(typed(reference, asked, "000000")), Unknown)
    refused = await house.ask(reference, XOF)
    assert isinstance(refused, Declined)
    assert refused.final


async def test_a_bank_that_wants_a_password_for_a_saved_card(house: House) -> None:
    token = await house.saved_card("ada+otp@example.com")
    reference, asked = await house.charge(token, "ada+otp@example.com")
    body = typed(reference, asked, "12345", NGN)
    assert body.continuation["payment_type"] == "card"
    assert isinstance(await house.handler.continue_payment(body), Succeeded)


@pytest.mark.parametrize(
    "change",
    [{"wants": Wants.pin, "values": {"pin": Secret("1234")}}, {"values": {}}, {"continuation": {}}],
    ids=["another question", "nothing typed", "no name"],
)
async def test_what_is_no_password_is_not_sent(house: House, change: dict[str, Any]) -> None:
    reference, asked = await house.begin(XOF, "mobile_money", provider="orange", country="CI")
    before = len(house.wire.calls)
    outcome = await house.handler.continue_payment(replace(typed(reference, asked, "123456"), **change))
    assert isinstance(outcome, NotSent)
    assert len(house.wire.calls) == before


@pytest.mark.parametrize("card", [None, {}, {"token": ""}, {"token": "[removed]"}, {"last_4digits": "1"}])
def test_without_a_token_nothing_is_saved(card: Any) -> None:
    outcome = read_transaction({"status": "successful", "id": 1, "amount": 5, "currency": "NGN", "card": card})
    assert isinstance(outcome, Succeeded)
    assert outcome.saved_method is None
