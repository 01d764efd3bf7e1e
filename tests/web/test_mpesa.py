"""M-Pesa through the whole house: a prompt, its callback, a lost answer that only the callback can end."""

from __future__ import annotations

import json

import pytest

from polytill.flows.webhooks import unsigned
from polytill.flows.worker.sweep import sweep_practice
from polytill.storage import webhook_events
from polytill.storage.units import Unit
from tests.installation import TEST_KEYS, Installation
from tests.web.support import Practice, books_balance, is_problem

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
        ("abandon", {"status": "failed", "failureReason": "canceled"}),
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


async def misdelivered(practice: Practice, checkout_id: str, reference: str, shillings: int) -> None:
    """Somebody who knows our address says that this prompt was paid, and was of that attempt."""
    call = {
        "CheckoutRequestID": checkout_id,
        "MerchantRequestID": "x",
        "ResultCode": 0,
        "ResultDesc": "ok",
        "CallbackMetadata": {"Item": [{"Name": "Amount", "Value": shillings}]},
    }
    url = practice.configuration["webhookUrl"].removeprefix(practice.house.url) + f"?reference={reference}"
    told = await practice.house.call("POST", url, raw=json.dumps({"Body": {"stkCallback": call}}).encode(), headers={})
    assert told.status == 200


async def parked(practice: Practice) -> list[str]:
    return [event["reason"] for event in (await practice.call("GET", "/webhook-events?status=parked")).body]


@pytest.mark.parametrize("lost", [True, False])
async def test_a_prompt_pays_only_its_own_payment(shared: Installation, lost: bool) -> None:
    """The CheckoutRequestID is another attempt's than the reference in the address: nothing is booked."""
    practice = await practice_of(shared)
    paid = await created(practice)
    [theirs] = paid["attempts"]  # type: ignore[misc]
    await practice.act(theirs["reference"])
    paid = await practice.settled(str(paid["id"]), status="succeeded")
    if lost:
        await practice.fault("create", "lose_answer")
    victim = await created(practice)
    [attempt] = victim["attempts"]  # type: ignore[misc]
    await misdelivered(practice, str(paid["providerTransactionId"]), attempt["reference"], 1_500)
    assert await parked(practice) == ["reference_mismatch"]
    assert (await practice.payment(str(victim["id"])))["status"] == "processing"
    assert (await practice.payment(str(paid["id"])))["amountCaptured"] == 150_000
    books_balance(await practice.ledger(), [row for row in await practice.books() if row["captured"]], "mpesa")


async def test_a_prompt_that_is_none_of_ours_pays_nothing(shared: Installation) -> None:
    """A prompt of another system at the same short code: known to M-Pesa, paid, and not ours."""
    practice, stranger = await practice_of(shared), await practice_of(shared)
    await stranger.fault("create", "lose_answer")
    strange = await created(stranger, 100)
    [row] = await stranger.books()
    await stranger.act(strange["attempts"][0]["reference"])  # type: ignore[index]
    known = await created(practice)
    await misdelivered(practice, row["id"], known["attempts"][0]["reference"], 1)  # type: ignore[index]
    await practice.fault("create", "lose_answer")
    lost = await created(practice)
    await misdelivered(practice, row["id"], lost["attempts"][0]["reference"], 1)  # type: ignore[index]
    assert await parked(practice) == ["reference_mismatch"] * 2
    assert await practice.ledger() == {}


async def test_a_made_up_callback_moves_nothing(shared: Installation) -> None:
    practice = await practice_of(shared)
    payment = await created(practice)
    [books] = await practice.books()
    call = {
        "CheckoutRequestID": books["id"],
        "MerchantRequestID": "x",
        "ResultCode": 0,
        "ResultDesc": "ok",
        "CallbackMetadata": {"Item": [{"Name": "Amount", "Value": 1500}]},
    }
    told = await practice.deliver(json.dumps({"Body": {"stkCallback": call}}).encode(), {})
    assert (told.status, told.body["ResultCode"], told.body["ResultDesc"]) == (200, 0, "Accepted")
    assert (await practice.payment(str(payment["id"])))["status"] == "processing"
    assert await practice.ledger() == {}


@pytest.mark.parametrize("kind", ["junk", "unreadable", "other"])
async def test_what_nobody_signed_and_nobody_can_use_is_bounded(
    shared: Installation, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whoever knows the address can send any number of them: neither rows nor words to the platform without end."""
    monkeypatch.setattr(unsigned, "OF_NO_PAYMENT", 5)
    practice = await practice_of(shared)
    sent = [
        {"junk": b"junk %d", "unreadable": b'{"x": %d}', "other": b'{"TransID": "%d"}'}[kind] % number
        for number in range(8)
    ]
    assert [(await practice.deliver(body, {})).status for body in sent] == [200] * 5 + [429] * 3
    assert (await practice.deliver(sent[0], {})).status == 200, "a repeat of one that is known"
    known = await webhook_events.listed(await practice.db)
    assert [event.must_fetch for event in known] == [True] * 5
    state, reason = ("ignored", None) if kind == "other" else ("parked", "unreadable: not")
    assert {event.state.value for event in known} == {state}
    assert all((event.reason or "").startswith(reason or "") for event in known)
    assert [event.body is not None for event in known] == [kind != "junk"] * 5
    told = await (await practice.db).fetch("SELECT id FROM events WHERE type = 'webhook.parked'")
    assert len(told) == (0 if kind == "other" else 5)
    replayed = await practice.call("POST", f"/webhook-events/{known[0].id}/replay")
    assert replayed.body["status"] == state
    # Webhooks about a known payment are counted separately.
    payment = await created(practice)
    [attempt] = payment["attempts"]  # type: ignore[misc]
    await practice.act(attempt["reference"])
    await practice.settled(str(payment["id"]), status="succeeded")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["passkey", "shortCode"]),
        ({"config": {}}, ["passkey", "shortCode"]),
        ({"config": {"shortCode": "174379"}}, ["passkey"]),
    ],
)
async def test_a_short_code_and_its_passkey_are_needed(
    shared: Installation, given: dict[str, object], missing: list[str]
) -> None:
    practice = await Practice.make(shared, currency="KES")
    body = {"providerCode": "mpesa", "environment": "sandbox", "isEnabled": True, **TEST_KEYS["mpesa"], **given}
    refused = await practice.call("POST", "/payment-providers", body)
    is_problem(refused, 422)
    assert sorted(error["pointer"] for error in refused.body["errors"]) == [f"/config/{name}" for name in missing]
    assert (await practice.call("GET", "/payment-providers")).body == []
    made = await practice.call("POST", "/payment-providers", {**body, "config": CONFIG})
    assert made.status == 201, made.body
    # A later change that says nothing of the settings leaves them as they are.
    changed = await practice.call("PATCH", "/payment-providers/mpesa", {"priority": 3})
    assert (changed.status, changed.body["config"]["shortCode"]) == (200, "174379")


@pytest.mark.parametrize("number", ["1e400", "1e5000", "1e-5000", "1e999999"])
async def test_a_number_that_no_database_holds_harms_nobody(shared: Installation, number: str) -> None:
    """Nobody signs this: it is stored at most as something that cannot be read, and all else goes on."""
    practice = await practice_of(shared)
    await practice.fault("lookup", "error_500", count=50)
    payment = await created(practice)
    db = await practice.db
    row = await db.one(
        "SELECT provider_transaction_id AS id FROM payment_attempts WHERE payment_id = $1", payment["id"]
    )
    assert row is not None
    for prompt in (row["id"], "ws_CO_nobodys"):
        call = f'{{"CheckoutRequestID":"{prompt}","ResultCode":0,"ResultDesc":"x","x":{number}}}'
        for _ in range(2):
            told = await practice.deliver(f'{{"Body":{{"stkCallback":{call}}}}}'.encode(), {})
            assert told.status == 200, told.body
    unit = Unit()
    unit.add("UPDATE webhook_events SET received_at = $1", shared.till.context.world.after(-20))
    await db.commit(unit)
    await sweep_practice(shared.till.context, practice.id, None)
    assert (await practice.call("GET", "/webhook-events")).status == 200
    assert (await practice.call("POST", f"/payments/{payment['id']}/confirm")).status == 200
