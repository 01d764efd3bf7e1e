"""The practice's review cases: the page shows the evidence and offers only safe actions."""

from __future__ import annotations

import pytest

from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.storage import cases
from tests.installation import Installation
from tests.web.browsing import Browser, person
from tests.web.support import Practice, until
from tests.wording import said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def paid_twice(house: Installation) -> tuple[Practice, str]:
    """A practice whose payer paid a link that nobody should have; the case."""
    practice = await Practice.make(house, "paystack")
    await practice.fault("create", "lose_answer")
    made = await practice.create()
    found = await practice.call("POST", f"/payments/{made.body['id']}/confirm")
    first, second = (attempt["reference"] for attempt in found.body["attempts"])
    await practice.act(second)
    await practice.settled(made.body["id"], status="succeeded")
    await practice.act(first)
    db = await practice.db
    [case] = await until(lambda: cases.listed(db), lambda listed: len(listed) == 1)
    return practice, case.id


async def test_a_duplicate_is_seen_and_given_back_once(shared: Installation) -> None:
    practice, case_id = await paid_twice(shared)
    door = f"/practice/{practice.id}/attention"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        assert said("case.duplicate_payment") in (await browser.get(door)).text
        sure = await browser.get(f"{door}/{case_id}/refund")
        assert said("refund.sure", amount="NGN 5,000.00", whom="ada@example.com") in sure.text
        address = f"{door}/{case_id}"
        given = sure.forms[address]
        assert [(await browser.post(address, given)).status for _ in range(2)] == [303, 409]
        rows = await until(practice.books, lambda rows: sum(row["refunded"] for row in rows) == 500_000)
        assert sorted(row["refunded"] for row in rows) == [0, 500_000]
        # The provider's books are ahead of its news, and the case ends with the news.
        await until(lambda: browser.get(door), lambda page: said("attention.none") in page.text)
        assert f"{case_id}/refund" not in (await browser.get(f"{door}/{case_id}")).html
        assert said("case.duplicate_payment") in (await browser.get(f"{door}?closed=true")).text


async def test_a_case_is_put_away_with_a_note_by_an_admin_only(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    db, context, door = await practice.db, shared.till.context, f"/practice/{practice.id}/attention"
    async with db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(context.world),
            practice.id,
            Environment.sandbox,
            cases.NewCase("notice", "event-1", None, {"type": "<b>transfer.failed</b>", "ours": {"amount": 12345}}),
            context.world.now(),
        )
    [case] = await cases.listed(db)
    await person(shared, db, "pat@example.com")
    await person(shared, db, "vic@example.com", role="viewer")
    async with Browser(shared) as viewer:
        await viewer.sign_in(f"/practice/{practice.id}", "vic@example.com")
        seen = await viewer.get(f"{door}/{case.id}")
        assert f"{said('case_detail.ours')} · {said('case_detail.amount')}" in seen.text
        assert "<b>transfer" not in seen.html
        assert not [action for action in seen.forms if "attention" in action]
        [token] = next(form["form_token"] for form in seen.forms.values() if "form_token" in form)
        sent = await viewer.post(f"{door}/{case.id}", {"form_token": token, "action": "resolve", "note": "Seen"})
        assert sent.status == 403
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        address = f"{door}/{case.id}"
        seen_open = await browser.get(address)
        assert (await browser.send(address, address, action="resolve", note="  ")).status == 422
        assert (await browser.send(address, address, action="refund_duplicate")).status == 409
        assert (await browser.send(address, address, action="look_up")).status == 409
        assert (await browser.send(address, address, action="same_account", note="Asked")).status == 409
        assert (await cases.listed(db))[0].state == "open"
        done = await browser.send(address, address, action="resolve", note="Called the bank")
        assert (done.headers["Location"], done.done) == (address, "resolved")
        assert "Called the bank" in (await browser.get(address)).text
        [token] = next(form["form_token"] for form in seen_open.forms.values() if "form_token" in form)
        again = {"form_token": token, "action": "resolve", "note": "again"}
        assert (await browser.post(address, again)).status == 409
        assert (await browser.get(f"{door}/nothing")).status == 404


async def test_a_parked_delivery_is_seen_and_tried_again(shared: Installation) -> None:
    practice = await Practice.make(shared, "paystack")
    door = f"/practice/{practice.id}/attention"
    await person(shared, await practice.db, "pat@example.com")
    await practice.paid()
    db = await practice.db
    async with db.transaction() as tx:
        tx.add("UPDATE webhook_events SET state = 'parked', reason = 'amount_mismatch'")
    [event] = (await practice.call("GET", "/webhook-events?status=parked")).body
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        assert "charge.success" in (await browser.get(door)).text
        done = await browser.send(door, f"{door}/webhooks/{event['id']}")
        assert (done.headers["Location"], done.done) == (door, "applied")
    assert (await practice.call("GET", "/webhook-events?status=parked")).body == []


async def lost_prompt(house: Installation) -> tuple[Practice, str, str, str]:
    """A prompt of M-Pesa's whose answer was lost, long ago: the payment, its attempt and the case."""
    practice = await Practice.make(house, currency="KES")
    config = {"shortCode": "174379", "passkey": "passkey0123456789abcdef"}
    await practice.configure("mpesa", ["KES"], config=config)
    await practice.fault("create", "lose_answer")
    made = await practice.create(150_000, currency="KES", customer={"phone": "0708374149"})
    attempt = made.body["attempts"][0]["reference"]
    db, world = await practice.db, house.till.context.world
    async with db.transaction() as tx:
        cases.open_case(
            tx,
            new_id(world),
            practice.id,
            Environment.sandbox,
            cases.NewCase("unresolved", attempt, made.body["id"], {"attempt": attempt}),
            world.now(),
        )
    [case] = await cases.listed(db)
    return practice, made.body["id"], attempt, case.id


async def test_a_prompt_that_nobody_can_find_is_called_off(shared: Installation) -> None:
    practice, payment_id, attempt, case_id = await lost_prompt(shared)
    address = f"/practice/{practice.id}/attention/{case_id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        assert said("attention.mark_not_paid") in (await browser.get(address)).text
        refused = await browser.send(address, address, action="mark_not_paid", note=" ")
        assert refused.status == 422
        assert said("fault.say_how_not_paid") in refused.text
        done = await browser.send(address, address, action="mark_not_paid", note="Not on the statement")
        assert (done.headers["Location"], done.done) == (address, "marked_not_paid")
        seen = await browser.get(done.headers["Location"])
        assert seen.said[0] == "marked_not_paid"
        assert said("attention.mark_not_paid") not in seen.text
    assert (await practice.payment(payment_id))["status"] == "canceled"
    await practice.act(attempt)  # and now the phone answers all the same
    await practice.settled(payment_id, status="succeeded")


async def test_what_its_provider_knows_is_not_called_off(shared: Installation) -> None:
    practice, payment_id, attempt, case_id = await lost_prompt(shared)
    await practice.act(attempt)
    await practice.settled(payment_id, status="succeeded")
    address = f"/practice/{practice.id}/attention/{case_id}"
    await person(shared, await practice.db, "pat@example.com")
    async with Browser(shared) as browser:
        await browser.sign_in(f"/practice/{practice.id}", "pat@example.com")
        assert said("attention.mark_not_paid") not in (await browser.get(address)).text
    body = {"action": "mark_not_paid", "note": "I think so"}
    refused = await practice.call("POST", f"/cases/{case_id}/resolve", body)
    assert (refused.status, refused.body["code"]) == (409, "case_resolved")
    assert (await practice.payment(payment_id))["status"] == "succeeded"
