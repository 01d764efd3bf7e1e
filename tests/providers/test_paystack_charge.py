"""Paystack's direct charges and saved cards, step by step against the simulator, which shares no code with the handler."""

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

KEY = "sk_test_0123456789abcdef0123456789abcdef01234567"
NGN, GHS, KES = Money(500_000, "NGN"), Money(5_000, "GHS"), Money(50_000, "KES")
_numbers = count(1)


class House:
    """One practice at the simulated Paystack."""

    def __init__(self) -> None:
        self.wire = InProcess()
        config = ProviderConfig(Environment.sandbox, f"{SIMULATOR}/paystack", None, Secret(KEY))
        self.handler = PaystackProvider(config, Http(self.wire), World(time_s=lambda: 1_800_000_000))

    async def begin(self, amount: Money, method: str, **details: str) -> tuple[CreatePaymentParams, Any]:
        params = CreatePaymentParams(
            f"att-{next(_numbers)}",
            "pay-1",
            amount,
            Customer("ada@example.com", phone="0551234987"),
            "https://x.example",
            method,
            method_details=details,
        )
        return params, await self.handler.create_payment_intent(params)

    async def goes_on(self, params: CreatePaymentParams, wants: Wants, **values: str) -> Any:
        kept = {name: Secret(value) for name, value in values.items()}
        return await self.handler.continue_payment(
            ContinuePaymentParams(params.reference, None, params.amount, wants, kept, "op-1")
        )

    async def ask(self, params: CreatePaymentParams) -> Any:
        return await self.handler.confirm_payment(ConfirmPaymentParams(params.reference, None, params.amount))

    async def saved_card(self, email: str) -> Secret:
        """A card that paid once on Paystack's page."""
        params = CreatePaymentParams(f"att-{next(_numbers)}", "pay-0", NGN, Customer(email), "https://x.example")
        await self.handler.create_payment_intent(params)
        self.wire.pay("paystack", KEY, params.reference)
        paid = await self.ask(params)
        assert isinstance(paid, Succeeded)
        assert paid.saved_method is not None
        return paid.saved_method.token

    async def charge(self, token: Secret, email: str) -> tuple[str, Any]:
        reference = f"att-{next(_numbers)}"
        params = ChargeSavedMethodParams(reference, "pay-2", NGN, Customer(email), token)
        return reference, await self.handler.charge_saved_method(params)


@pytest.fixture
def house() -> House:
    return House()


def wanted(outcome: Any) -> Wants:
    assert isinstance(outcome, NeedsAction), outcome
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.input
    assert outcome.action.wants is not None
    return outcome.action.wants


async def test_a_bank_account_asks_for_birthday_and_otp(house: House) -> None:
    params, outcome = await house.begin(NGN, "bank", code="057", account_number="0000000000")
    assert wanted(outcome) is Wants.birthday
    assert wanted(await house.ask(params)) is Wants.birthday
    assert wanted(await house.goes_on(params, Wants.birthday, birthday="1995-12-23")) is Wants.otp
    paid = await house.goes_on(params, Wants.otp, otp="123456")
    assert isinstance(paid, Succeeded)
    assert (paid.amount, paid.provider_transaction_id is not None) == (NGN, True)
    assert await house.ask(params) == replace(paid, response=(await house.ask(params)).response)


async def test_a_wrong_otp_ends_the_charge(house: House) -> None:
    params, _ = await house.begin(GHS, "mobile_money", provider="vod")
    refused = await house.goes_on(params, Wants.otp, otp="999999")
    assert isinstance(refused, Declined)
    assert (refused.final, refused.reason) == (True, Reason.incorrect_details)
    again = await house.goes_on(params, Wants.otp, otp="123456")
    assert isinstance(again, Declined)
    assert again.final


async def test_a_lost_step_is_found_out_by_the_reference(house: House) -> None:
    params, _ = await house.begin(GHS, "mobile_money", provider="vod")
    house.wire.loses_next = True
    assert isinstance(await house.goes_on(params, Wants.otp, otp="123456"), Unknown)
    assert isinstance(await house.ask(params), Succeeded)
    # What is sent once more does not pay once more.
    again = await house.goes_on(params, Wants.otp, otp="123456")
    assert isinstance(again, Succeeded)
    assert len([tx for tx in house.wire.network.account("paystack", KEY).transactions if tx.captured]) == 1


@pytest.mark.parametrize(("amount", "provider"), [(GHS, "mtn"), (KES, "mpesa")])
async def test_mobile_money_waits_for_the_phone_and_keeps_its_words(house: House, amount: Money, provider: str) -> None:
    params, outcome = await house.begin(amount, "mobile_money", provider=provider)
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.kind is NextKind.instructions
    meanwhile = await house.ask(params)
    assert isinstance(meanwhile, NeedsAction)
    assert meanwhile.action is None  # nothing new: the words that the payer has stay
    house.wire.pay("paystack", KEY, params.reference)
    paid = await house.ask(params)
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
    params, _ = await house.begin(KES, "mobile_money", provider="mpesa")
    house.wire.pay("paystack", KEY, params.reference, "decline")
    refused = await house.ask(params)
    assert isinstance(refused, Declined)
    assert refused.final


@pytest.mark.parametrize(
    ("amount", "method", "details", "code"),
    [
        (NGN, "mobile_money", {"provider": "mtn"}, "method"),
        (GHS, "mobile_money", {}, "provider"),
        (NGN, "card", {"number": "5060666666666666666"}, "method"),
        (NGN, "bank", {"code": "057"}, "account_number"),
    ],
)
async def test_what_cannot_be_charged_directly_is_not_sent(
    house: House, amount: Money, method: str, details: dict[str, str], code: str
) -> None:
    _, outcome = await house.begin(amount, method, **details)
    assert isinstance(outcome, NotSent)
    assert outcome.code == code
    assert house.wire.calls == []


async def test_a_saved_card_is_charged_once_under_its_reference(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    reference, outcome = await house.charge(token, "ada@example.com")
    assert isinstance(outcome, Succeeded)
    assert outcome.amount == NGN
    assert token.reveal() not in repr(outcome) + json.dumps(outcome.response, default=str)
    again = ChargeSavedMethodParams(reference, "pay-2", NGN, Customer("ada@example.com"), token)
    assert isinstance(await house.handler.charge_saved_method(again), Unknown)  # duplicate: looked up, not charged
    found = await house.handler.lookup_payment(LookupParams(reference, None, NGN, None, 5.0))
    assert isinstance(found, Succeeded)
    assert found.provider_transaction_id == outcome.provider_transaction_id


async def test_a_paused_charge_sends_its_owner_to_confirm(house: House) -> None:
    token = await house.saved_card("ada+2fa@example.com")
    reference, outcome = await house.charge(token, "ada+2fa@example.com")
    assert isinstance(outcome, NeedsAction)
    assert outcome.action is not None
    assert outcome.action.url is not None
    assert outcome.action.url.startswith(f"{SIMULATOR}/paystack/pay/")
    house.wire.pay("paystack", KEY, reference)
    found = await house.handler.lookup_payment(LookupParams(reference, None, NGN, None, 5.0))
    assert isinstance(found, Succeeded)


async def test_a_declined_card_and_another_mans_card(house: House) -> None:
    token = await house.saved_card("ada+nofunds@example.com")
    _, outcome = await house.charge(token, "ada+nofunds@example.com")
    assert isinstance(outcome, Declined)
    assert (outcome.final, outcome.reason) == (True, Reason.insufficient_funds)
    reference, other = await house.charge(token, "bob@example.com")
    assert isinstance(other, NotSent)
    assert other.reason is Reason.validation
    assert house.wire.calls[-1] == f"GET /transaction/verify/{reference}"  # and there is no charge


async def test_a_lost_charge_is_looked_up(house: House) -> None:
    token = await house.saved_card("ada@example.com")
    house.wire.loses_next = True
    reference, outcome = await house.charge(token, "ada@example.com")
    assert isinstance(outcome, Unknown)
    assert isinstance(await house.handler.lookup_payment(LookupParams(reference, None, NGN, None, 5.0)), Succeeded)


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

    house = House()
    house.handler.http = Http(Knowing())
    outcome = await house.handler.lookup_payment(LookupParams("att-9", None, NGN, None, 5.0))
    assert isinstance(outcome, NeedsAction if status == "abandoned" else Pending)
    assert outcome.provider_transaction_id == "9"
    token, customer = Secret("AUTH_x"), Customer("ada@example.com")
    charged = await house.handler.charge_saved_method(ChargeSavedMethodParams("att-9", "pay-2", NGN, customer, token))
    assert not isinstance(charged, NotSent)
