"""Cash and bank transfers: only staff confirm them, once, with a note in the audit log."""

from __future__ import annotations

import asyncio

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict, Invalid
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.admin import provider_configs
from polytill.flows.admin.credentials import Keys
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.command import Command
from polytill.flows.next_action import open_action
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.manual import Received, confirm_manual_payment
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.recovery import lookup
from polytill.providers.contract import Customer
from polytill.storage import audit, ledger
from tests import calls

BANK = {"bank": "Example Bank", "accountName": "Clinic", "accountNumber": "0123456789", "instructions": "Thank you."}


async def clinic(till: Polytill, config: dict[str, str] | None = None) -> int:
    practice, _ = await calls.create_practice(till, "Clinic", "NGN")
    wish = Wish(
        "manual",
        Environment.sandbox,
        Keys(config=BANK if config is None else config),
        is_enabled=True,
        supported_currencies=["NGN"],
    )
    await provider_configs.configure(till.context, practice.id, wish, "test")
    return practice.id


async def asked(till: Polytill, practice_id: int, method: str | None = None, key: str = "k") -> PaymentDetails:
    request = PaymentRequest(Money(500_000, "NGN"), payment_method=method)
    return await create_payment(till.context, practice_id, request, Command(key, "test"))


async def confirmed(till: Polytill, practice_id: int, payment_id: str, amount: int = 500_000) -> PaymentDetails:
    return await confirm_manual_payment(
        till.context, practice_id, payment_id, Received(amount, "Counted it", "R-17"), "key:7"
    )


@pytest.mark.parametrize(
    ("config", "method", "text", "number"),
    [
        (
            BANK,
            "bank_transfer",
            "Thank you. Transfer NGN 5,000.00 to 0123456789. Give the payment number as the reference: ",
            "0123456789",
        ),
        (BANK, "cash", "Thank you. Pay NGN 5,000.00 at the desk. Payment number: ", None),
        ({}, None, "Pay NGN 5,000.00 at the desk. Payment number: ", None),
    ],
)
async def test_the_payer_is_told_how(
    till: Polytill, config: dict[str, str], method: str | None, text: str, number: str | None
) -> None:
    practice_id = await clinic(till, config)
    taken = await asked(till, practice_id, method)
    assert taken.payment.status.value == "requires_action"
    action = open_action(await till.context.opening.practice(practice_id), taken.attempts[0])
    assert action is not None
    assert (action.kind, action.url, action.provider_token, action.wants) == ("instructions", None, None, None)
    told, offline = action.instructions, action.offline
    assert told is not None
    assert told.startswith(text)
    assert told.rstrip(".").endswith(str(taken.payment.number))
    assert (offline.account_number if offline else None) == number


async def test_staff_confirm_it_once(till: Polytill) -> None:
    practice_id = await clinic(till)
    payment = (await asked(till, practice_id)).payment
    found = await confirmed(till, practice_id, payment.id)
    again = await confirmed(till, practice_id, payment.id)
    for one in (found, again):
        assert (one.payment.status.value, one.payment.amount_captured) == ("succeeded", 500_000)
    assert found.payment.provider_fee == 0
    practice = await till.context.practice(practice_id)
    lines = await ledger.of_payment(practice.db, payment.id)
    assert sorted(line["amount"] for line in lines) == [-500_000, 500_000]
    kept = [
        line for line in await audit.listed(practice.db, limit=50) if line["action"] == "payment.confirmed_manually"
    ]
    assert len(kept) == 1
    assert kept[0]["actor"] == "key:7"
    assert "Counted it" in str(kept[0])
    assert "R-17" in str(kept[0])


async def test_two_people_at_once_book_it_once(till: Polytill) -> None:
    practice_id = await clinic(till)
    payment = (await asked(till, practice_id)).payment
    await asyncio.gather(*(confirmed(till, practice_id, payment.id) for _ in range(4)))
    practice = await till.context.practice(practice_id)
    assert len(await ledger.of_payment(practice.db, payment.id)) == 2
    actions = [line["action"] for line in await audit.listed(practice.db, limit=50)]
    assert actions.count("payment.confirmed_manually") == 1, "one person's word booked it, and that is on record"


async def test_asking_pays_nothing(till: Polytill) -> None:
    practice_id = await clinic(till)
    payment = (await asked(till, practice_id)).payment
    found = await lookup.confirm(till.context, practice_id, payment.id)
    assert (found.payment.status.value, found.payment.amount_captured) == ("requires_action", 0)
    practice = await till.context.practice(practice_id)
    assert open_action(practice.db, found.attempts[0]) is not None, "the payer can still read how to pay"


async def test_another_amount_settles_nothing(till: Polytill) -> None:
    practice_id = await clinic(till)
    payment = (await asked(till, practice_id)).payment
    for amount in (499_999, 500_001, 50):
        with pytest.raises(Invalid):
            await confirmed(till, practice_id, payment.id, amount)
    with pytest.raises(Invalid):
        await confirm_manual_payment(till.context, practice_id, payment.id, Received(500_000, "  ", None), "key:7")
    assert (await lookup.confirm(till.context, practice_id, payment.id)).payment.amount_captured == 0


async def test_a_refund_is_staffs_word_too(till: Polytill) -> None:
    practice_id = await clinic(till)
    payment = (await asked(till, practice_id)).payment
    with pytest.raises(Conflict):
        await calls.refund(till, practice_id, payment.id, key="early")
    await confirmed(till, practice_id, payment.id)
    made = await calls.refund(till, practice_id, payment.id, key="r", amount=200_000, reason="Half a visit")
    assert (made.state.value, made.amount) == ("succeeded", 200_000)


async def test_what_a_provider_knows_is_not_confirmed_by_hand(till: Polytill) -> None:
    practice, _ = await calls.create_practice(till, "Clinic", "NGN")
    keys = Keys("pk_test_0123456789", Secret("sk_test_0123456789abcdef0123456789"))
    wish = Wish("paystack", Environment.sandbox, keys, is_enabled=True, supported_currencies=["NGN"])
    await provider_configs.configure(till.context, practice.id, wish, "test")
    till.context.http.transport = Unreachable()
    request = PaymentRequest(Money(500_000, "NGN"), customer=Customer("ada@example.com"))
    payment = (await create_payment(till.context, practice.id, request, Command("k", "test"))).payment
    with pytest.raises(Conflict) as caught:
        await confirmed(till, practice.id, payment.id)
    assert caught.value.code == "not_manual"


class Unreachable:
    """A transport whose answers never come."""

    async def send(self, *_: object) -> tuple[int, dict[str, str], bytes]:
        return 500, {}, b"{}"
