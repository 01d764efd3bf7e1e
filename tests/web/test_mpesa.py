"""M-Pesa through the whole house: a prompt, its callback, a lost answer that only the callback can end."""

from __future__ import annotations

import json

import pytest

from tests.installation import Installation
from tests.web.support import Practice, books_balance

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAYER = {"phone": "0708374149"}
CONFIG = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}


async def practice_of(house: Installation) -> Practice:
    practice = await Practice.make(house, currency="KES")
    await practice.configure("mpesa", ["KES"], config=CONFIG)
    return practice


async def created(practice: Practice, amount: int = 150_000) -> dict[str, object]:
    made = await practice.create(amount, currency="KES", customer=PAYER)
    assert made.status == 201, made.body
    return dict(made.body)


async def test_pay_by_prompt_and_callback(shared: Installation) -> None:
    practice = await practice_of(shared)
    payment = await created(practice)
    assert (payment["status"], payment["providerCode"]) == ("processing", "mpesa")
    [attempt] = payment["attempts"]  # type: ignore[misc]
    asked = await practice.call("POST", f"/payments/{payment['id']}/confirm")
    assert asked.body["status"] == "processing", "the payer is still at it"
    await practice.act(attempt["reference"])
    settled = await practice.settled(str(payment["id"]), status="succeeded")
    [books] = await practice.books()
    assert (settled["amountCaptured"], settled["providerTransactionId"]) == (150_000, books["id"])
    books_balance(await practice.ledger(), [books], "mpesa")


@pytest.mark.parametrize(
    ("outcome", "ended"),
    [
        ("decline", {"status": "failed", "failureReason": "insufficient_funds"}),
        ("abandon", {"status": "canceled", "cancelReason": "canceled"}),
    ],
)
async def test_a_refused_prompt_ends_the_payment(shared: Installation, outcome: str, ended: dict[str, str]) -> None:
    practice = await practice_of(shared)
    payment = await created(practice)
    [attempt] = payment["attempts"]  # type: ignore[misc]
    await practice.act(attempt["reference"], outcome)
    await practice.settled(str(payment["id"]), **ended)
    assert await practice.ledger() == {}


async def test_a_lost_answer_is_found_by_its_callback(shared: Installation) -> None:
    """The answer with the CheckoutRequestID is lost: nobody can be asked, and the payer pays all the same."""
    practice = await practice_of(shared)
    await practice.fault("create", "lose_answer")
    payment = await created(practice)
    [attempt] = payment["attempts"]  # type: ignore[misc]
    assert attempt["status"] == "unknown"
    await practice.act(attempt["reference"])
    settled = await practice.settled(str(payment["id"]), status="succeeded")
    [books] = await practice.books()
    assert settled["providerTransactionId"] == books["id"]
    books_balance(await practice.ledger(), [books], "mpesa")


async def test_a_made_up_callback_moves_nothing(shared: Installation) -> None:
    practice = await practice_of(shared)
    payment = await created(practice)
    [books] = await practice.books()
    call = {"CheckoutRequestID": books["id"], "MerchantRequestID": "x", "ResultCode": 0, "ResultDesc": "ok",
            "CallbackMetadata": {"Item": [{"Name": "Amount", "Value": 1500}]}}  # fmt: skip
    told = await practice.deliver(json.dumps({"Body": {"stkCallback": call}}).encode(), {})
    assert (told.status, told.body["ResultCode"], told.body["ResultDesc"]) == (200, 0, "Accepted")
    assert (await practice.payment(str(payment["id"])))["status"] == "processing"
    assert await practice.ledger() == {}
