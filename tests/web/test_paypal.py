"""PayPal through the whole house: approved, captured by whoever asks, held, refunded, disputed; deliveries verified."""

from __future__ import annotations

import json

import pytest

from tests.installation import Installation
from tests.web.support import Json, Practice, books_balance, fresh, is_problem, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def practice_of(house: Installation) -> Practice:
    practice = await Practice.make(house, currency="USD")
    await practice.configure("paypal", ["USD"])
    return practice


async def created(practice: Practice, **more: object) -> tuple[Json, str]:
    made = await practice.create(12_345, currency="USD", **more)
    assert made.status == 201, made.body
    assert made.body["status"] == "requires_action"
    assert made.body["nextAction"]["type"] == "redirect"
    return made.body, made.body["attempts"][0]["reference"]


async def test_the_approval_is_captured_and_refunded(shared: Installation) -> None:
    practice = await practice_of(shared)
    payment, reference = await created(practice)
    await practice.act(reference)
    settled = await practice.settled(payment["id"], status="succeeded")
    [books] = await practice.books()
    assert (settled["amountCaptured"], settled["providerTransactionId"]) == (12_345, books["id"])
    assert settled["providerFee"] == books["fee"] == 480
    refund = await practice.refund(payment["id"], 2_345)
    assert refund.status == 201, refund.body
    await practice.settled(payment["id"], amountRefunded=2_345)
    [books] = await practice.books()
    assert (books["captured"], books["refunded"]) == (12_345, 2_345)
    books_balance(await practice.ledger(), [books], "paypal")
    assert (await practice.call("GET", "/webhook-events?status=parked")).body == []


async def test_the_return_visit_alone_captures(shared: Installation) -> None:
    practice = await practice_of(shared)
    await practice.fault("webhook", "drop", count=None)
    payment, reference = await created(practice)
    await practice.act(reference, "decline")
    back = await shared.call("GET", f"/pay/{payment['clientToken']}/return")
    assert back.status == 303
    assert (await practice.payment(payment["id"]))["status"] == "requires_action"
    await practice.act(reference)
    await shared.call("GET", f"/pay/{payment['clientToken']}/return")
    assert (await practice.payment(payment["id"]))["status"] == "succeeded"
    books_balance(await practice.ledger(), await practice.books(), "paypal")


@pytest.mark.parametrize("fault", ["lose_answer", "error_500", "error_500_after", "truncate"])
async def test_a_lost_capture_is_done_once(shared: Installation, fault: str) -> None:
    practice = await practice_of(shared)
    payment, reference = await created(practice)
    await practice.fault("confirm", fault)
    await practice.act(reference)
    await until(
        lambda: practice.call("POST", f"/payments/{payment['id']}/confirm"), lambda a: a.body["status"] == "succeeded"
    )
    [books] = await practice.books()
    assert books["captured"] == 12_345
    books_balance(await practice.ledger(), [books], "paypal")


@pytest.mark.parametrize("fault", ["lose_answer", "error_500", "error_500_after", "truncate"])
async def test_a_lost_order_is_had_again_under_its_request_id(shared: Installation, fault: str) -> None:
    practice = await practice_of(shared)
    await practice.fault("create", fault)
    made = await practice.create(12_345, currency="USD")
    payment = (await practice.call("POST", f"/payments/{made.body['id']}/confirm")).body
    assert payment["status"] == "requires_action"
    assert len(await practice.books()) == 1
    await practice.act(payment["attempts"][-1]["reference"])
    await practice.settled(payment["id"], status="succeeded")


async def test_held_then_taken_in_part(shared: Installation) -> None:
    practice = await practice_of(shared)
    payment, reference = await created(practice, capture="manual")
    await practice.act(reference)
    await practice.settled(payment["id"], status="authorized", amountAuthorized=12_345)
    taken = await practice.call("POST", f"/payments/{payment['id']}/capture", {"amount": 10_000}, idempotency="c-1")
    assert taken.status == 200, taken.body
    await practice.settled(payment["id"], status="succeeded", amountCaptured=10_000)
    [books] = await practice.books()
    assert books["captured"] == 10_000
    books_balance(await practice.ledger(), [books], "paypal")


async def test_refunds_of_the_dashboard_are_adopted(shared: Installation) -> None:
    practice = await practice_of(shared)
    payment, reference = await created(practice)
    await practice.act(reference)
    await practice.settled(payment["id"], status="succeeded")
    await shared.network("POST", f"/refund/{reference}", {"amount": 345, "provider": "paypal"})
    await practice.settled(payment["id"], amountRefunded=345)
    books_balance(await practice.ledger(), await practice.books(), "paypal")


async def test_an_altered_delivery_is_refused(shared: Installation) -> None:
    practice = await practice_of(shared)
    _, reference = await created(practice)
    await practice.act(reference)
    body, headers = practice.delivery()
    is_problem(await practice.deliver(body + b" ", headers), 401, "bad_signature")
    is_problem(
        await practice.deliver(body, {**headers, "PAYPAL-CERT-URL": "https://evil.example/c"}), 401, "bad_signature"
    )
    assert (await practice.deliver(body, headers)).status == 200


@pytest.mark.parametrize("capture", ["automatic", "manual"])
async def test_an_unpaid_order_is_called_off_and_a_late_approval_takes_nothing(
    shared: Installation, capture: str
) -> None:
    practice = await practice_of(shared)
    payment, reference = await created(practice, capture=capture)
    done = await practice.call("POST", f"/payments/{payment['id']}/cancel", {}, idempotency="stop")
    assert (done.status, done.body["status"], done.body["nextAction"]) == (200, "canceled", None)
    await practice.act(reference)  # PayPal's page is still there
    await until(lambda: practice.call("GET", "/webhook-events"), lambda a: [e["status"] for e in a.body] == ["applied"])
    await shared.call("GET", f"/pay/{payment['clientToken']}/return")
    await practice.call("POST", f"/payments/{payment['id']}/confirm")
    assert (await practice.payment(payment["id"]))["status"] == "canceled"
    [books] = await practice.books()
    assert (books["captured"], books["status"]) == (0, "processing")


async def test_what_is_approved_and_not_taken_yet_can_be_called_off(shared: Installation) -> None:
    practice = await practice_of(shared)
    await practice.fault("webhook", "drop", count=None)
    payment, reference = await created(practice)
    await practice.act(reference)
    done = await practice.call("POST", f"/payments/{payment['id']}/cancel", {}, idempotency="stop-1")
    assert done.body["status"] == "canceled"
    assert [books["captured"] for books in await practice.books()] == [0]
    paid, reference = await created(practice)
    await practice.act(reference)
    await practice.call("POST", f"/payments/{paid['id']}/confirm")
    refused = await practice.call("POST", f"/payments/{paid['id']}/cancel", {}, idempotency="stop-2")
    is_problem(refused, 409, "not_cancelable")


def told(practice: Practice, kind: str, resource: Json) -> tuple[bytes, dict[str, str]]:
    """A delivery of PayPal's, rightly signed."""
    body = json.dumps({"id": f"WH-{fresh('own')}", "event_type": kind, "resource": resource}).encode()
    paypal = practice.house.simulator.network.providers["paypal"]
    return body, paypal.sign(practice.keys["secretKey"], practice.keys["webhookSecret"], body)


async def test_news_that_name_only_the_capture_find_their_payment(shared: Installation) -> None:
    """What is done at PayPal itself names the capture alone: a refund in a link, a dispute as the seller's transaction."""
    practice = await practice_of(shared)
    for _ in range(2):  # two payments: the right one of them
        payment, reference = await created(practice)
        await practice.act(reference)
        await practice.settled(payment["id"], status="succeeded")
    account = shared.simulator.network.account("paypal", practice.keys["secretKey"])
    capture = account.transactions[0].wire.capture
    first = (await practice.call("GET", "/payments")).body["data"][-1]["id"]

    def refund(of: str) -> Json:
        links = [
            {"href": f"https://api.paypal.com/v2/payments/captures/{of}", "rel": "up"},
            {"href": "https://api.paypal.com/v2/payments/refunds/1Y107995YT783435V", "rel": "self"},
        ]
        money = {"currency_code": "USD", "value": "0.99"}
        return {"id": "1Y107995YT783435V", "status": "COMPLETED", "amount": money, "links": links}

    for of in (capture.lower(), capture[:-1], "%", capture.replace(capture[3], "_")):
        assert (await practice.deliver(*told(practice, "PAYMENT.CAPTURE.REFUNDED", refund(of)))).body[
            "status"
        ] == "parked"
    assert (await practice.deliver(*told(practice, "PAYMENT.CAPTURE.REFUNDED", refund(capture)))).status == 200
    await practice.settled(first, amountRefunded=99)
    dispute = {
        "dispute_id": "PP-D-27803",
        "status": "RESOLVED",
        "disputed_transactions": [{"seller_transaction_id": capture}],
        "dispute_amount": {"currency_code": "USD", "value": "10.00"},
        "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR"},
    }
    assert (await practice.deliver(*told(practice, "CUSTOMER.DISPUTE.RESOLVED", dispute))).status == 200
    await practice.settled(first, amountLost=1_000, amountRefunded=99)
    assert (await practice.payment(payment["id"]))["amountRefunded"] == 0


@pytest.mark.parametrize(("currency", "amount"), [("HUF", 50_000), ("TWD", 70_100), ("JPY", 701)])
async def test_currencies_without_decimals_at_paypal(shared: Installation, currency: str, amount: int) -> None:
    practice = await Practice.make(shared, currency=currency)
    await practice.configure("paypal", [currency])
    payment = await practice.paid(amount, currency=currency)
    assert payment["amountCaptured"] == amount
    made = await practice.refund(payment["id"])
    assert (made.status, made.body["amount"]) == (201, amount)
    await practice.settled(payment["id"], amountRefunded=amount)
    [books] = await practice.books()
    assert payment["providerFee"] == books["fee"] > 0
    books_balance(await practice.ledger(), [books], "paypal")
