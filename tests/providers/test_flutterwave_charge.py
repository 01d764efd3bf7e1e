"""Flutterwave's direct charges and saved cards against the simulator, which shares no code with the handler."""

import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from tests.providers.in_process import SIMULATOR, InProcess

from polytill.domain.clock import World
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.providers.contract import (
    ChargeSavedMethodParams,
    ConfirmPaymentParams,
    ContinuePaymentParams,
    CreatePaymentParams,
    Customer,
    LookupParams,
    ProviderConfig,
)
from polytill.providers.flutterwave.reading import read_transaction
from polytill.providers.flutterwave.v3 import FlutterwaveProvider
from polytill.providers.http import Http
from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextKind,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
    Wants,
)

KEY = "FLWSECK_TEST-0123456789abcdef0123456789abcdef-X"
NGN = Money(500_000, "NGN")
_numbers = count(1)


PHONES = {
    "GHS": "+233551234987",
    "KES": "+254712345678",
    "UGX": "+256772123456",
    "RWF": "+250788123456",
    "XOF": "+2250700123456",
}


class House:
    """One practice at the simulated Flutterwave."""

    def __init__(self) -> None:
        self.wire = InProcess()
        config = ProviderConfig(Environment.sandbox, f"{SIMULATOR}/flutterwave/v3", None, Secret(KEY))
        self.handler = FlutterwaveProvider(config, Http(self.wire), World(time_s=lambda: 1_800_000_000))

    async def begin(self, amount: Money, **details: str) -> tuple[str, Outcome]:
        params = CreatePaymentParams(
            f"att-{next(_numbers)}",
            "pay-1",
            amount,
            Customer("ada@example.com", phone=PHONES.get(amount.currency)),
            "https://x.example",
            "mobile_money",
            method_details=details,
        )
        return params.reference, await self.handler.create_payment_intent(params)

    async def ask(self, reference: str, amount: Money = NGN) -> Outcome:
        return await self.handler.confirm_payment(ConfirmPaymentParams(reference, None, amount))

    async def saved_card(self, email: str) -> Secret:
        """A card that paid once on Flutterwave's page."""
        params = CreatePaymentParams(f"att-{next(_numbers)}", "pay-0", NGN, Customer(email), "https://x.example")
        await self.handler.create_payment_intent(params)
        self.wire.pay("flutterwave", KEY, params.reference)
        paid = await self.ask(params.reference)
        assert isinstance(paid, Succeeded)
        saved = paid.saved_method
        assert saved is not None
        assert (saved.kind, saved.brand, saved.last4, saved.expires) == ("card", "MASTERCARD", "2950", "2032-09")
        return saved.token

    async def charge(self, token: Secret, email: str) -> tuple[str, Outcome]:
        reference = f"att-{next(_numbers)}"
        params = ChargeSavedMethodParams(reference, "pay-2", NGN, Customer(email, "Ada Payer"), token)
        return reference, await self.handler.charge_saved_method(params)


@pytest.fixture
def house() -> House:
    return House()


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
    reference, outcome = await house.begin(amount, **details)
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.redirect
    assert isinstance(await house.ask(reference, amount), Pending)
    house.wire.pay("flutterwave", KEY, reference)
    paid = await house.ask(reference, amount)
    assert isinstance(paid, Succeeded)
    assert (paid.amount, paid.saved_method) == (amount, None)


async def test_mpesa_prompts_the_phone(house: House) -> None:
    amount = Money(50_000, "KES")
    reference, outcome = await house.begin(amount)
    assert isinstance(outcome, Pending)
    assert outcome.provider_transaction_id
    house.wire.pay("flutterwave", KEY, reference, "decline")
    refused = await house.ask(reference, amount)
    assert isinstance(refused, Declined)
    assert refused.final  # nobody holds a link on which to try again


@pytest.mark.parametrize(
    ("amount", "details", "code"),
    [
        (NGN, {}, "method"),
        (Money(5_000, "GHS"), {}, "provider"),
        (Money(5_000, "XOF"), {"provider": "orange"}, "country"),
        (Money(5_000, "GHS"), {"provider": "vodafone"}, "voucher"),
    ],
)
async def test_what_cannot_be_charged_directly_is_not_sent(
    house: House, amount: Money, details: dict[str, str], code: str
) -> None:
    _, outcome = await house.begin(amount, **details)
    assert isinstance(outcome, NotSent)
    assert outcome.code == code
    assert house.wire.calls == []


async def test_a_saved_card_is_charged(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    reference, outcome = await house.charge(token, "ada@example.com")
    assert isinstance(outcome, Succeeded)
    assert outcome.amount == NGN
    assert token.reveal() not in repr(outcome) + json.dumps(outcome.response, default=str)
    found = await house.ask(reference)
    assert isinstance(found, Succeeded)
    assert found.provider_transaction_id == outcome.provider_transaction_id


async def test_a_bank_that_wants_the_payer_gives_a_link(house: House) -> None:
    token = await house.saved_card("ada+2fa@example.com")
    reference, outcome = await house.charge(token, "ada+2fa@example.com")
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.url is not None
    house.wire.pay("flutterwave", KEY, reference)
    assert isinstance(await house.ask(reference), Succeeded)


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
    reference, asked = await house.begin(XOF, provider="orange", country="CI")
    assert isinstance(await house.ask(reference, XOF), Pending)
    paid = await house.handler.continue_payment(typed(reference, asked, "123456"))
    assert isinstance(paid, Succeeded)
    assert (paid.amount, await house.ask(reference, XOF)) == (XOF, paid)
    again = await house.handler.continue_payment(typed(reference, asked, "123456"))
    assert isinstance(again, Unknown), "a password that was used proves nothing of the charge"


async def test_a_wrong_password_ends_the_charge(house: House) -> None:
    reference, asked = await house.begin(XOF, provider="orange", country="CI")
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
    reference, asked = await house.begin(XOF, provider="orange", country="CI")
    before = len(house.wire.calls)
    outcome = await house.handler.continue_payment(replace(typed(reference, asked, "123456"), **change))
    assert isinstance(outcome, NotSent)
    assert len(house.wire.calls) == before


async def test_a_declined_card_and_another_mans_card(house: House) -> None:
    token = await house.saved_card("ada+nofunds@example.com")
    reference, outcome = await house.charge(token, "ada+nofunds@example.com")
    for refused in (outcome, await house.ask(reference)):
        assert isinstance(refused, Declined)
        assert refused.final
        assert refused.reason is Reason.insufficient_funds
    reference, other = await house.charge(token, "bob@example.com")
    assert isinstance(other, NotSent)
    assert house.wire.calls[-1] == "GET /transactions/verify_by_reference"  # and there is no charge


async def test_a_lost_charge_is_looked_up_by_its_reference(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    house.wire.loses_next = True
    reference, outcome = await house.charge(token, "ada@example.com")
    assert isinstance(outcome, Unknown)
    before = len(house.wire.calls)
    found = await house.handler.lookup_payment(LookupParams(reference, None, NGN, None, 5.0))
    assert isinstance(found, Succeeded)
    assert all(call.startswith("GET") for call in house.wire.calls[before:])


@pytest.mark.parametrize("card", [None, {}, {"token": ""}, {"token": "[removed]"}, {"last_4digits": "1"}])
def test_without_a_token_nothing_is_saved(card: Any) -> None:
    outcome = read_transaction({"status": "successful", "id": 1, "amount": 5, "currency": "NGN", "card": card})
    assert isinstance(outcome, Succeeded)
    assert outcome.saved_method is None
