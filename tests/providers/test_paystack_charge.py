"""Paystack's direct charges and saved cards, step by step against the simulator, which shares no code with the handler."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.providers.in_process import NGN, House, paystack_house

from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.providers.contract import ChargeSavedMethodParams, ContinuePaymentParams, Customer, LookupParams
from polytill.providers.http import Http
from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextKind,
    NotSent,
    Pending,
    Reason,
    Succeeded,
    Unknown,
    Wants,
)
from polytill.providers.paystack.handler import PaystackProvider
from polytill.providers.paystack.reading import is_direct

GHS, KES = Money(5_000, "GHS"), Money(50_000, "KES")


@pytest.fixture
def house() -> House:
    return paystack_house()


async def goes_on(house: House, reference: str, wants: Wants, value: str) -> Any:
    values = {wants.value: Secret(value)}
    return await house.handler.continue_payment(ContinuePaymentParams(reference, None, NGN, wants, values, "op-1"))


def wanted(outcome: Any) -> Wants:
    assert isinstance(outcome, NeedsAction), outcome
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.input
    assert outcome.action.wants is not None
    return outcome.action.wants


async def test_a_bank_account_asks_for_birthday_and_otp(house: House) -> None:
    reference, outcome = await house.begin(NGN, "bank", code="057", account_number="0000000000")
    assert wanted(outcome) is Wants.birthday
    assert wanted(await house.ask(reference)) is Wants.birthday
    assert wanted(await goes_on(house, reference, Wants.birthday, "1995-12-23")) is Wants.otp
    paid = await goes_on(house, reference, Wants.otp, "123456")
    assert isinstance(paid, Succeeded)
    assert (paid.amount, paid.provider_transaction_id is not None) == (NGN, True)
    assert await house.ask(reference) == replace(paid, response=(await house.ask(reference)).response)


async def test_a_wrong_otp_ends_the_charge(house: House) -> None:
    reference, _ = await house.begin(GHS, "mobile_money", provider="vod")
    refused = await goes_on(house, reference, Wants.otp, "999999")
    assert isinstance(refused, Declined)
    assert (refused.final, refused.reason) == (True, Reason.incorrect_details)
    again = await goes_on(house, reference, Wants.otp, "123456")
    assert isinstance(again, Declined)
    assert again.final


async def test_a_lost_step_is_found_out_by_the_reference(house: House) -> None:
    reference, _ = await house.begin(GHS, "mobile_money", provider="vod")
    house.wire.loses_next = True
    assert isinstance(await goes_on(house, reference, Wants.otp, "123456"), Unknown)
    assert isinstance(await house.ask(reference), Succeeded)
    # What is sent once more does not pay once more.
    again = await goes_on(house, reference, Wants.otp, "123456")
    assert isinstance(again, Succeeded)
    assert len([tx for tx in house.wire.network.account("paystack", house.key).transactions if tx.captured]) == 1


@pytest.mark.parametrize(("amount", "provider"), [(GHS, "mtn"), (KES, "mpesa")])
async def test_mobile_money_waits_for_the_phone_and_keeps_its_words(house: House, amount: Money, provider: str) -> None:
    reference, outcome = await house.begin(amount, "mobile_money", provider=provider)
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.instructions
    meanwhile = await house.ask(reference)
    assert isinstance(meanwhile, NeedsAction)
    assert meanwhile.action is None  # nothing new: the words that the payer has stay
    house.pay(reference)
    paid = await house.ask(reference)
    assert isinstance(paid, Succeeded)
    assert (paid.amount, paid.saved_method) == (amount, None)  # a wallet cannot be charged again


async def test_ussd_and_bank_transfer_tell_a_program_what_to_show(house: House) -> None:
    _, dial = await house.begin(NGN, "ussd", type="737")
    assert dial.action.offline.ussd_code.startswith("*737*")
    assert dial.action.offline.ussd_code in dial.action.instructions
    _, transfer = await house.begin(NGN, "bank_transfer")
    told = transfer.action.offline
    assert (told.bank, told.account_name, len(told.account_number)) == ("Test Bank", "PAYSTACK CHECKOUT", 10)
    assert told.expires_at


async def test_a_declined_charge_is_final_since_nobody_holds_a_link(house: House) -> None:
    reference, _ = await house.begin(KES, "mobile_money", provider="mpesa")
    house.pay(reference, "decline")
    refused = await house.ask(reference)
    assert isinstance(refused, Declined)
    assert refused.final


async def test_a_saved_card_is_charged_once_under_its_reference(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    reference, outcome = await house.charge(token, "ada@example.com")
    assert isinstance(outcome, Succeeded)
    again = ChargeSavedMethodParams(reference, "pay-2", NGN, Customer("ada@example.com"), token)
    assert isinstance(await house.handler.charge_saved_method(again), Unknown)  # duplicate: looked up, not charged


@pytest.mark.parametrize("kind", ["processor_error", "api_error"])
async def test_a_refusal_by_the_bank_proves_nothing(house: House, kind: str) -> None:
    class Refusing:
        async def send(self, *_: Any) -> Any:
            return 400, {}, json.dumps({"status": False, "message": "No", "type": kind, "code": "x"}).encode()

    house.handler.http = Http(Refusing())
    _, outcome = await house.charge(Secret("AUTH_x"), "ada@example.com")
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("change", "saved"),
    [({}, True), ({"reusable": False}, False), ({"reusable": 1}, False), ({"authorization_code": "[removed]"}, False)],
)
def test_only_a_reusable_card_is_saved(change: dict[str, Any], saved: bool) -> None:
    held = {
        "authorization_code": "AUTH_1",
        "reusable": True,
        "exp_month": 8,
        "exp_year": "2030",
        "brand": "visa",
        "last4": "4081",
        "channel": "card",
        "signature": "SIG_1",
        **change,
    }
    data = {"status": "success", "amount": 100, "currency": "NGN", "id": 1, "authorization": held}
    outcome = PaystackProvider.read_transaction(data)
    assert isinstance(outcome, Succeeded)
    assert (outcome.saved_method is not None) is saved
    if outcome.saved_method is not None:
        assert (outcome.saved_method.expires, outcome.saved_method.fingerprint) == ("2030-08", "SIG_1")


@pytest.mark.parametrize("metadata", ['{"polytill_charge": "direct"}', {"polytill_charge": "direct"}])
def test_a_direct_charge_is_known_by_its_metadata(metadata: Any) -> None:
    assert is_direct({"metadata": metadata})
    assert not any(is_direct({"metadata": other}) for other in (0, "", None, "text", {"polytill_charge": "x"}))


@pytest.mark.parametrize("status", ["pending", "ongoing", "processing", "abandoned"])
@pytest.mark.parametrize(
    "answer",
    [(404, {"status": False, "message": "Charge not found"}), (400, {"status": False, "message": "No"}), (502, {})],
)
async def test_a_charge_that_was_found_stays_found(status: str, answer: tuple[int, Any]) -> None:
    """``verify`` knows it; that ``/charge`` cannot tell its step proves nothing about its money."""
    data = {
        "reference": "att-9",
        "id": 9,
        "status": status,
        "amount": 500_000,
        "currency": "NGN",
        "metadata": {"polytill_charge": "direct"},
    }

    class Knowing:
        async def send(self, method: str, url: str, *_: Any) -> Any:
            known, refused = (200, {"status": True, "data": data}), (400, {"status": False, "message": "No"})
            code, told = known if "/transaction/verify/" in url else refused if method == "POST" else answer
            return code, {}, json.dumps(told).encode()

    house = paystack_house()
    house.handler.http = Http(Knowing())
    outcome = await house.handler.lookup_payment(LookupParams("att-9", None, NGN, None, 5.0))
    assert isinstance(outcome, NeedsAction if status == "abandoned" else Pending)
    assert outcome.provider_transaction_id == "9"
    token, customer = Secret("AUTH_x"), Customer("ada@example.com")
    charged = await house.handler.charge_saved_method(ChargeSavedMethodParams("att-9", "pay-2", NGN, customer, token))
    assert not isinstance(charged, NotSent)
