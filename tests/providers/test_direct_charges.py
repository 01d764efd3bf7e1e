"""Direct charges and saved cards of every provider that has both, against simulators that share no code with handlers."""

import json
from collections.abc import Callable

import pytest
from tests.providers.in_process import NGN, SIMULATOR, House, flutterwave_house, paystack_house

from polytill.domain.money import Money
from polytill.providers.contract import LookupParams
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Reason, Succeeded, Unknown

CARDS = {"paystack": ("card", "visa", "4081", "2030-12"), "flutterwave": ("card", "MASTERCARD", "2950", "2032-09")}
GHS, XOF = Money(5_000, "GHS"), Money(5_000, "XOF")


@pytest.fixture(params=[paystack_house, flutterwave_house])
def house(request: pytest.FixtureRequest) -> House:
    return request.param()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("house_of", "amount", "method", "details", "code"),
    [
        (paystack_house, NGN, "mobile_money", {"provider": "mtn"}, "method"),
        (paystack_house, GHS, "mobile_money", {}, "provider"),
        (paystack_house, NGN, "card", {"number": "5060666666666666666"}, "method"),
        (paystack_house, NGN, "bank", {"code": "057"}, "account_number"),
        (flutterwave_house, NGN, "mobile_money", {}, "method"),
        (flutterwave_house, GHS, "mobile_money", {}, "provider"),
        (flutterwave_house, XOF, "mobile_money", {"provider": "orange"}, "country"),
        (flutterwave_house, GHS, "mobile_money", {"provider": "vodafone"}, "voucher"),
    ],
)
async def test_what_cannot_be_charged_directly_is_not_sent(
    house_of: Callable[[], House], amount: Money, method: str, details: dict[str, str], code: str
) -> None:
    house = house_of()
    _, outcome = await house.begin(amount, method, **details)
    assert isinstance(outcome, NotSent)
    assert outcome.code == code
    assert house.wire.calls == []


async def test_a_saved_card_is_charged(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    saved = house.saved[token]
    assert (saved.kind, saved.brand, saved.last4, saved.expires) == CARDS[house.code]
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
    assert outcome.action.url.startswith(f"{SIMULATOR}/{house.code}/")
    house.pay(reference)
    assert isinstance(await house.ask(reference), Succeeded)


async def test_a_declined_card_and_another_mans_card(house: House) -> None:
    token = await house.saved_card("ada+nofunds@example.com")
    reference, outcome = await house.charge(token, "ada+nofunds@example.com")
    for refused in (outcome, await house.ask(reference)):
        assert isinstance(refused, Declined)
        assert (refused.final, refused.reason) == (True, Reason.insufficient_funds)
    reference, other = await house.charge(token, "bob@example.com")
    assert isinstance(other, NotSent)
    assert other.reason is Reason.validation
    # There is no charge.
    lookups = {"paystack": f"/transaction/verify/{reference}", "flutterwave": "/transactions/verify_by_reference"}
    assert house.wire.calls[-1] == f"GET {lookups[house.code]}"


async def test_a_lost_charge_is_looked_up_by_its_reference(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    house.wire.loses_next = True
    reference, outcome = await house.charge(token, "ada@example.com")
    assert isinstance(outcome, Unknown)
    before = len(house.wire.calls)
    found = await house.handler.lookup_payment(LookupParams(reference, None, NGN, None, 5.0))
    assert isinstance(found, Succeeded)
    assert all(call.startswith("GET") for call in house.wire.calls[before:])
