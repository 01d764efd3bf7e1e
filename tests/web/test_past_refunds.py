"""What was refunded before a payment was taken over, and then in the provider's dashboard: each is booked once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.refunds import past
from tests.installation import Installation
from tests.web.support import PROVIDERS, Clock, books_balance, until
from tests.web.test_backfill import Taken

pytestmark = pytest.mark.asyncio(loop_scope="module")


# What is stored is tried on both engines in tests/flows/test_past_refunds.py; here it is what the providers tell.
@pytest.mark.parametrize("file_engine_url", ["sqlite"], indirect=True, scope="module")
@pytest.mark.parametrize("code", PROVIDERS)
async def test_a_sum_its_parts_and_a_refund_since(
    shared: Installation, clock: Clock, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "NEAR", timedelta(0))  # one clock tells all times here
    clock.offset_s = 0.0
    taken = await Taken.make(shared, code)
    practice, old = taken.practice, taken.old
    paid = await old.paid()
    for amount in (50_000, 30_000):
        assert (await old.refund(paid["id"], amount)).status == 201
    await until(lambda: old.payment(paid["id"]), lambda p: p["amountRefunded"] == 80_000)
    paid = await old.payment(paid["id"])
    pause_s = 1.0 if code == "stripe" else 0.05  # Stripe tells whole seconds
    await asyncio.sleep(pause_s)
    await taken.configure()
    [verdict] = await taken.run(await taken.row(paid, refunded=80_000))
    mine = str(verdict.payment_id)
    await asyncio.sleep(pause_s)
    account = {"provider": code, "account": old.keys["secretKey"]}
    await shared.network("POST", f"/refund/{paid['attempts'][0]['reference']}", {**account, "amount": 10_000})
    if code != "flutterwave":  # it sends no webhook about it
        await until(lambda: practice.payment(mine), lambda p: p["amountRefunded"] == 90_000)
    clock.advance(1500)
    for _ in range(2):
        await reconcile(shared.till.context, practice.id)
        assert (await practice.payment(mine))["amountRefunded"] == 90_000
    named = (await practice.call("GET", f"/payments/{mine}/refunds")).body
    assert sorted(one["amount"] for one in named) == [10_000, 30_000, 50_000]
    assert all(one["providerRefundId"] for one in named)
    books_balance(await practice.ledger(), await practice.books(), code)
