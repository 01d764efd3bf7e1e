"""Disputes that no webhook told of are found in the listings of PayPal and of Flutterwave v3 and v4, to their end.

Sources: issue 18, item 5; customer_disputes_v1.json of paypal/paypal-rest-api-specifications (Feb 2024);
https://developer.flutterwave.com/reference/endpoints/charge-backs;
https://flutterwaveinc.mintlify.app/v4-api-reference/chargebacks/list-chargebacks; the sample of PAYMENT.CAPTURE.REVERSED at
https://developer.paypal.com/api/rest/webhooks/event-names/ (``resource_type: refund``, its capture in a link).
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.flows.reconciliation.payments import reconcile
from polytill.providers.flutterwave.chargebacks import bare, page_of, read_chargeback
from polytill.providers.flutterwave.v4_reading import read_event
from polytill.providers.paypal.disputes import dispute_in, items_in, next_query, query, read_dispute
from polytill.providers.paypal.webhooks import read_event as read_paypal
from tests.installation import Installation
from tests.web.support import Clock, Json, Practice, books_balance, fresh, until

AN_HOUR_S = 3600.0
pytestmark = pytest.mark.asyncio(loop_scope="module")
CURRENCIES = {"paypal": "USD", "flutterwave": "NGN", "flutterwave_v4": "NGN"}


# ── Readers ──


def _usd(value: str) -> Json:
    return {"currency_code": "USD", "value": value}


def _move(kind: str, value: str, party: str = "SELLER", **more: str) -> Json:
    return {"affected_party": party, "type": kind, "amount": _usd(value), **more}


FEE = {"reason": "CHARGEBACK_FEE"}


@pytest.mark.parametrize(
    ("outcome", "moves", "state", "amount"),
    [
        ("RESOLVED_BUYER_FAVOUR", None, "lost", 5000),
        ("RESOLVED_BUYER_FAVOUR", [_move("DEBIT", "20.00"), _move("DEBIT", "15.00", **FEE)], "lost", 2000),
        ("RESOLVED_SELLER_FAVOUR", None, "won", 5000),
        ("CANCELED_BY_BUYER", None, "won", 5000),
        ("NONE", None, "closed", 5000),
        ("RESOLVED_WITH_PAYOUT", [_move("CREDIT", "50.00", "BUYER")], "won", 5000),
        ("RESOLVED_WITH_PAYOUT", [_move("DEBIT", "50.00"), _move("CREDIT", "50.00")], "won", 5000),
        ("ACCEPTED", [_move("DEBIT", "50.00")], "lost", 5000),
        ("DENIED", [_move("DEBIT", "15.00", **FEE)], "won", 5000),
    ],
)
async def test_every_end_of_a_paypal_dispute_is_read(outcome: str, moves: Any, state: str, amount: int) -> None:
    told = {"dispute_id": "PP-D-1", "status": "RESOLVED", "dispute_outcome": {"outcome_code": outcome}}
    told["dispute_amount"] = _usd("50.00")
    fact = dispute_in({**told, "money_movements": moves})
    assert fact is not None
    assert (fact.state, fact.amount, fact.funds_withdrawn) == (state, Money(amount, "USD"), state == "lost")


@pytest.mark.parametrize(
    "moves",
    [
        [],
        [{"affected_party": "SELLER", "type": "DEBIT"}],
        [_move("DEBIT", "fifty")],
        [_move("SEIZED", "50.00")],
        [_move("DEBIT", "50.00", "ADVERSARY")],
        [_move("DEBIT", "50.00", reason="LEVITATION")],
        [{**_move("DEBIT", "50.00"), "amount": {"currency_code": "EUR", "value": "45.00"}}],
        [_move("CREDIT", "50.00"), _move("SEIZED", "50.00")],
    ],
)
async def test_a_movement_that_cannot_be_read_does_not_make_a_dispute_won(moves: Any) -> None:
    told = {"dispute_id": "PP-D-1", "status": "RESOLVED", "dispute_outcome": {"outcome_code": "ACCEPTED"}}
    told |= {"dispute_amount": _usd("50.00"), "money_movements": moves}
    assert dispute_in(told) is None
    fact = read_dispute(told)
    assert fact is not None
    assert (fact.state, fact.understood, fact.funds_withdrawn) == ("open", False, False)


@pytest.mark.parametrize("outcome", ["RESOLVED_WITH_PAYOUT", "ACCEPTED", "LEVITATED"])
async def test_an_end_that_says_nothing_of_the_money_is_for_a_person(outcome: str) -> None:
    told = {"dispute_id": "PP-D-1", "status": "RESOLVED", "dispute_outcome": {"outcome_code": outcome}}
    assert dispute_in(told) is None
    fact = read_dispute(told)
    assert fact is not None
    assert (fact.state, fact.understood, fact.provider_state) == ("open", False, outcome)


async def test_a_new_status_of_a_dispute_is_open_and_not_understood() -> None:
    fact = read_dispute({"dispute_id": "PP-D-1", "status": "LEVITATING"})
    assert fact is not None
    assert (fact.state, fact.understood, fact.provider_state) == ("open", False, "LEVITATING")


async def test_only_the_query_of_the_next_page_is_followed() -> None:
    def link(href: str) -> Json:
        return {"links": [{"rel": "self", "href": "x"}, {"rel": "next", "href": href}]}

    assert next_query(link("https://evil.example/v1/customer/disputes?next_page_token=Mg%3D%3D&page_size=50")) == (
        "next_page_token=Mg%3D%3D&page_size=50"
    )
    assert next_query(link("https://api-m.paypal.com/v1/customer/disputes?page=2")) == "page=2"
    assert next_query(link("https://api-m.paypal.com/v1/customer/disputes")) is None
    assert next_query(link("https://api-m.paypal.com/v1/else?page=2")) is None
    assert next_query({"links": None}) is None
    assert "update_time_after=2023-05-18" in query(0, 1_700_000_000, 1_700_000_000, None), "no more than 180 days ago"
    assert (items_in({"items": None, "links": []}), items_in({}), items_in({"items": "x"})) == ([], None, None)


@pytest.mark.parametrize(
    ("status", "state", "withdrawn"),
    [
        ("initiated", "open", True),
        ("declined", "open", False),
        ("accepted", "lost", True),
        ("lost", "lost", True),
        ("won", "won", False),
        ("new", "open", False),
        ("pending", "open", False),
    ],
)
async def test_every_status_of_a_flutterwave_chargeback_is_read(status: str, state: str, withdrawn: bool) -> None:
    entry = {"id": 1390, "amount": 100.5, "status": status, "transaction_id": 1554166, "tx_ref": "10", "comment": "no"}
    fact = read_chargeback({**entry, "amount": Decimal("100.5"), "due_date": "2026-09-23T15:59:59.000Z"})
    assert fact is not None
    assert (fact.state, fact.funds_withdrawn, fact.bare_amount) == (state, withdrawn, (1005, 1))
    assert (fact.provider_dispute_id, fact.provider_transaction_id, fact.payment_reference) == ("1390", "1554166", "10")
    assert (fact.due_at, fact.provider_reason, fact.understood) == ("2026-09-23T15:59:59.000Z", "no", True)


async def test_flutterwaves_new_words_and_amounts_are_not_guessed() -> None:
    entry = {"id": 1, "charge_id": "chg_1", "amount": 10, "status": "reversed"}
    fact = read_chargeback(entry)
    assert fact is not None
    assert (fact.state, fact.understood) == ("open", False)
    assert read_chargeback({"id": 1, "status": "lost"}) is None, "it does not say whose money"
    assert [bare(value) for value in (10, "10.25", "1e5000", None, True, "-1", 0.5)] == [
        (10, 0),
        (1025, 2),
        None,
        None,
        None,
        None,
        None,
    ]


async def test_a_chargeback_that_is_raised_again_ends_the_one_that_was_contested() -> None:
    """The two entries of Flutterwave's own sample: 2209 was declined, 2221 is about the same transaction."""
    first = {"id": 2209, "amount": 3000, "status": "declined", "stage": "new", "transaction_id": 674630970}
    again = {"id": 2221, "amount": 3000, "status": "lost", "stage": "pre-arbitration", "transaction_id": 674630970}
    assert [fact.state for fact in page_of([again, first], None).facts] == ["lost", "closed"]
    assert [fact.state for fact in page_of([first], None).facts] == ["open"]


async def test_a_signed_chargeback_of_v4_is_read_or_reaches_a_person() -> None:
    data = {"id": 1, "charge_id": "chg_1", "amount": 10, "status": "initiated"}
    event = {"webhook_id": "w1", "type": "chargeback.created", "data": data}
    result = read_event(json.dumps(event).encode())
    assert (result.action, [fact.provider_transaction_id for fact in result.facts]) == ("apply", ["chg_1"])
    result = read_event(json.dumps({**event, "data": {"id": 1, "status": "levitating"}}).encode())
    assert result.action == "notify"


async def test_a_reversal_is_read_as_the_refund_that_it_is() -> None:
    """PayPal's own sample names the capture in a link; as the capture itself, it names no refund."""
    links = [{"rel": "up", "href": "https://api.paypal.com/v2/payments/captures/4L335234718889942", "method": "GET"}]
    refund = {"id": "09E71677NS257044M", "amount": _usd("2.51"), "status": "COMPLETED", "links": links}
    event = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.REVERSED", "resource_type": "refund", "resource": refund}
    result = read_paypal(json.dumps(event).encode())
    [fact] = result.facts
    assert (fact.state, fact.provider_refund_id, fact.provider_charge_id, fact.amount) == (  # type: ignore[union-attr]
        "succeeded",
        "09E71677NS257044M",
        "4L335234718889942",
        Money(251, "USD"),
    )
    capture = {"id": "4L335234718889942", "amount": _usd("2.51"), "custom_id": "r"}
    assert read_paypal(json.dumps({**event, "resource": capture}).encode()).action == "notify"


# ── Through the service ──


@pytest.fixture
def one_clock(shared: Installation, clock: Clock) -> Clock:
    """The provider's clock moves with ours, so that what happens later lies in a later window."""
    shared.simulator.network.clock = clock.now
    return clock


async def _paid(house: Installation, code: str, amount: int = 500_000) -> tuple[Practice, Json, str]:
    practice = await Practice.make(house, currency=CURRENCIES[code])
    await practice.configure(code, [CURRENCIES[code]])
    made = await practice.create(amount, currency=CURRENCIES[code], idempotency=fresh())
    assert made.status == 201, made.body
    reference = made.body["attempts"][-1]["reference"]
    await practice.act(reference)
    settled = await practice.settled(made.body["id"], status="succeeded")
    await practice.fault("webhook", "drop", count=None)
    return practice, settled, reference


async def _dispute(practice: Practice, reference: str, **story: Any) -> None:
    body = {"provider": practice.code, "account": practice.keys["secretKey"], **story}
    await practice.house.network("POST", f"/dispute/{reference}", body)


async def _compare(practice: Practice, clock: Clock) -> None:
    clock.advance(AN_HOUR_S)  # what is younger may still be under way
    await reconcile(practice.house.till.context, practice.id)


async def _open_cases(practice: Practice) -> list[str]:
    return sorted(case["kind"] for case in (await practice.call("GET", "/cases?status=open")).body)


@pytest.mark.parametrize("ending", ["lost", "won"])
@pytest.mark.parametrize("code", ["paypal", "flutterwave", "flutterwave_v4"])
async def test_a_dispute_is_found_and_followed_without_webhooks(
    shared: Installation, one_clock: Clock, code: str, ending: str
) -> None:
    practice, payment, reference = await _paid(shared, code)
    await _dispute(practice, reference, outcome="open", amount=200_000)
    await _compare(practice, one_clock)
    found = await practice.payment(payment["id"])
    assert [(d["status"], d["kind"], d["amount"]) for d in found["disputes"]] == [("open", "chargeback", 200_000)]
    assert (found["amountDisputed"], found["amountLost"]) == (200_000, 0)
    assert await _open_cases(practice) == ["dispute_open"]
    refused = await practice.refund(payment["id"])
    assert (refused.status, refused.body["code"]) == (409, "payment_disputed")
    await _dispute(practice, reference, outcome=ending)
    await _compare(practice, one_clock)
    await _compare(practice, one_clock)
    found = await practice.payment(payment["id"])
    lost = 200_000 if ending == "lost" else 0
    assert [d["status"] for d in found["disputes"]] == [ending]
    assert (found["amountDisputed"], found["amountLost"]) == (0, lost)
    assert await _open_cases(practice) == (["dispute_lost"] if lost else [])
    books = [{**row, "fee": row["fee"] if code != "flutterwave_v4" else 0} for row in await practice.books()]
    books_balance(await practice.ledger(), books, code)  # v4 does not tell its fee


async def test_more_disputes_than_one_page_are_found(shared: Installation, one_clock: Clock) -> None:
    """PayPal lists no more than fifty at once, newest first."""
    practice, payment, reference = await _paid(shared, "paypal")
    for _ in range(53):
        await _dispute(practice, reference, outcome="open", amount=100)
        await _dispute(practice, reference, outcome="won")
    await _compare(practice, one_clock)
    assert len((await practice.payment(payment["id"]))["disputes"]) == 53


async def test_an_account_without_the_permission_to_read_disputes_loses_nothing(
    shared: Installation, one_clock: Clock
) -> None:
    """Disputes is a feature that the app needs: PayPal answers 403 until it is switched on."""
    practice, payment, reference = await _paid(shared, "paypal")
    await _dispute(practice, reference, outcome="open")
    refusal = {"name": "NOT_AUTHORIZED", "message": "Authorization failed due to insufficient permissions."}
    await practice.fault("lookup", "answer", status=403, body=refusal)
    await _compare(practice, one_clock)
    assert (await practice.payment(payment["id"]))["disputes"] == []
    await _compare(practice, one_clock)
    assert len((await practice.payment(payment["id"]))["disputes"]) == 1


@pytest.mark.parametrize("amount", [500_000, 200_000])
async def test_a_reversal_and_the_dispute_of_the_same_money_are_booked_once(
    shared: Installation, one_clock: Clock, amount: int
) -> None:
    """A notice was all that came of PAYMENT.CAPTURE.REVERSED, although the money was withdrawn."""
    practice, payment, reference = await _paid(shared, "paypal")
    await practice.house.network("DELETE", "/faults")
    await _dispute(practice, reference, outcome="open", amount=amount)
    await _dispute(practice, reference, outcome="lost", withReversal=True)
    settled = await until(
        lambda: practice.payment(payment["id"]),
        lambda p: p["amountRefunded"] == amount and p["disputes"] and p["disputes"][0]["status"] == "lost",
    )
    assert (settled["amountRefunded"], settled["amountLost"]) == (amount, 0)
    books_balance(await practice.ledger(), await practice.books(), "paypal")
    assert "over_returned" not in await _open_cases(practice)
