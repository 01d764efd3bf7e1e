"""Payments that were taken before polytill: taken over, then refunded, disputed and found like any other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from polytill.domain.past_payments import BackfillAction, Certainty, Doubt, Rejection
from polytill.domain.states import Environment
from polytill.flows.legacy.backfill import Backfill, NumberedRow, Verdict
from polytill.flows.legacy.past_check import Checker
from polytill.flows.legacy.past_rows import PastMapping, RowReader
from polytill.flows.reconciliation.payments import reconcile
from tests.installation import Installation
from tests.web.support import CURRENCY, PROVIDERS, Json, Practice, books_balance, fresh, is_problem, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
C, A = Certainty, BackfillAction


async def at_once(_: float) -> None:
    """The pause of a checker that need not wait."""


@dataclass
class Taken:
    """A practice that takes over what old code took with the same account."""

    practice: Practice
    old: Practice

    @classmethod
    async def make(cls, house: Installation, code: str) -> Taken:
        old = await Practice.make(house, code)
        practice = await Practice.make(house)
        practice.code, practice.keys = code, old.keys
        return cls(practice, old)

    async def configure(self) -> None:
        code = self.old.code
        house, keys = self.practice.house, self.old.keys
        self.practice.configuration = await house.configure(
            self.practice.id, self.practice.key, code, [CURRENCY[code]], keys
        )

    async def run(self, *rows: Json | None, check: bool = False, dry: bool = False, **mapping: Any) -> list[Verdict]:
        """Take over rows."""
        context = self.practice.house.till.context
        reader = RowReader(
            PastMapping(amounts="minor", environment=Environment.sandbox, **mapping), context.world.now()
        )
        checker = Checker(1000, at_once) if check else None
        backfill = Backfill(context, reader, "test", self.practice.id, dry, checker)
        return await backfill.rows([NumberedRow(number, row) for number, row in enumerate(rows, 1)])

    async def row(self, payment: Json, **more: Any) -> Json:
        """A payment of the old code as its host has it."""
        reference = payment["attempts"][0]["reference"]
        return {
            "id": fresh("host-"),
            "provider": self.old.code,
            "providerTransactionId": payment["providerTransactionId"],
            "providerReference": reference,
            "reference": fresh("INV-"),
            "amount": payment["amount"],
            "currency": payment["currency"],
            "fee": sum(one["fee"] for one in await self.old.books() if one["reference"] == reference),
            "paid_at": "2025-03-04T10:00:00Z",
            "customerEmail": "ada@example.com",
            **more,
        }


@pytest.fixture(params=PROVIDERS)
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_past_payment_is_shown_refunded_and_disputed(shared: Installation, code: str) -> None:
    taken = await Taken.make(shared, code)
    practice, old = taken.practice, taken.old
    paid = await old.paid()
    before = (await old.refund(paid["id"], 100_000)).body
    await until(lambda: old.payment(paid["id"]), lambda p: p["amountRefunded"] == 100_000)
    disputed = await old.paid()
    paid, disputed = await old.payment(paid["id"]), await old.payment(disputed["id"])
    await taken.configure()
    refunds = [{"id": before["providerRefundId"], "amount": 100_000, "createdAt": "2025-04-01"}]
    first, second = await taken.row(paid, refunds=refunds), await taken.row(disputed)
    verdicts = await taken.run(first, second)
    assert [(v.certainty, v.action, v.reasons) for v in verdicts] == [(C.recorded, A.created, ())] * 2
    books_balance(await practice.ledger(), await practice.books(), code)

    mine = str(verdicts[0].payment_id)
    shown = await practice.payment(mine)
    assert (shown["status"], shown["amountRefunded"], shown["certainty"]) == ("succeeded", 100_000, "recorded")
    assert (shown["createdAt"], shown["reference"]) == ("2025-03-04T10:00:00.000Z", first["reference"])
    for sought in (paid["providerTransactionId"], first["reference"], "ada@example.com"):
        found = (await practice.call("GET", f"/payments?search={sought}&environment=sandbox")).body["data"]
        assert mine in [one["id"] for one in found], sought
    march = (await practice.call("GET", "/ledger?environment=sandbox&from=2025-03-01&to=2025-03-31")).body["balances"]
    assert march[CURRENCY[code]]["payments"] == -1_000_000
    assert "refunds" not in march[CURRENCY[code]], "refunded in April"

    verified = await taken.run(first, second, check=True)
    assert [(v.certainty, v.action, v.payment_id) for v in verified] == [
        (C.verified, A.changed, one.payment_id) for one in verdicts
    ]
    assert [v.action for v in await taken.run(first, second, check=True)] == [A.unchanged] * 2

    refunded = await practice.refund(mine, 50_000)
    assert refunded.status == 201, refunded.body
    await until(lambda: practice.payment(mine), lambda p: p["amountRefunded"] == 150_000)
    is_problem(await practice.refund(mine, 400_000), 409, "refund_exceeds_captured")
    reference = paid["attempts"][0]["reference"]
    account = {"provider": code, "account": old.keys["secretKey"]}
    await shared.network("POST", f"/refund/{reference}", {**account, "amount": 30_000})  # in the dashboard
    theirs = str(verdicts[1].payment_id)
    await shared.network("POST", f"/dispute/{disputed['attempts'][0]['reference']}", {**account, "outcome": "open"})
    if code == "flutterwave":  # it sends no webhooks about these: its listings have them
        await reconcile(shared.till.context, practice.id)
    await until(lambda: practice.payment(theirs), lambda p: len(p["disputes"]) == 1)
    await until(lambda: practice.payment(mine), lambda p: p["amountRefunded"] == 180_000)
    assert (await practice.refund(mine)).body["amount"] == 320_000
    await until(lambda: practice.payment(mine), lambda p: p["amountRefunded"] == 500_000)
    books_balance(await practice.ledger(), await practice.books(), code)


async def test_an_account_that_is_not_set_up(shared: Installation) -> None:
    taken = await Taken.make(shared, "paystack")
    practice = taken.practice
    paid = await taken.old.paid()
    row = await taken.row(paid)
    [verdict] = await taken.run(row, check=True)
    assert (verdict.certainty, verdict.reasons, verdict.action) == (C.uncertain, (Doubt.not_configured,), A.created)
    mine = str(verdict.payment_id)
    is_problem(await practice.refund(mine, 100), 409, "past_payment_not_configured")
    assert (await practice.call("GET", "/payment-providers")).body == [], "nothing is configured by it"
    await taken.configure()
    assert (await practice.refund(mine, 100)).status == 201
    [verdict] = await taken.run(row)
    assert (verdict.certainty, verdict.reasons, verdict.action) == (C.recorded, (), A.changed)
    [verdict] = await taken.run(row, check=True)
    assert (verdict.certainty, verdict.payment_id) == (C.verified, mine)


async def test_the_verdict_of_each_row(shared: Installation) -> None:
    taken = await Taken.make(shared, "paystack")
    await taken.configure()
    paid = await taken.old.paid()
    paid = await taken.old.payment(paid["id"])
    other = await taken.old.payment((await taken.old.paid())["id"])
    third = await taken.old.payment((await taken.old.paid())["id"])
    unpaid = (await taken.old.create()).body
    good = await taken.row(paid)
    ours = await taken.practice.paid()
    rows: list[tuple[Json | None, Certainty, tuple[Any, ...], BackfillAction]] = [
        (good, C.verified, (), A.created),
        ({**good, "id": "another"}, C.verified, (), A.unchanged),  # by the transaction id
        ({**good, "providerTransactionId": ""}, C.verified, (), A.unchanged),  # by the references
        ({**good, "amount": 1}, C.rejected, (Rejection.contradicts_known,), A.none),
        (None, C.rejected, (Rejection.row_unreadable,), A.none),
        (await taken.row(other, amount=1), C.uncertain, (Doubt.other_amount,), A.created),
        (await taken.row(third, currency="GHS"), C.uncertain, (Doubt.other_currency,), A.created),
        (await taken.row(unpaid, providerTransactionId=None), C.uncertain, (Doubt.not_paid,), A.created),
        (await taken.row(other, providerTransactionId="99", providerReference="none"), C.uncertain,
         (Doubt.not_found,), A.created),
        (await taken.row(other, providerTransactionId="98", providerReference=paid["attempts"][0]["reference"]),
         C.rejected, (Rejection.reference_taken,), A.none),
        ({**await taken.row(ours), "id": "ours"}, C.verified, (), A.unchanged),
        ({**good, "currency": None}, C.rejected, (Rejection.currency_missing,), A.none),
    ]  # fmt: skip
    given = [row for row, *_ in rows]
    before = (await taken.practice.call("GET", "/payments?environment=sandbox")).body["data"]
    dry = await taken.run(*given, dry=True)
    assert (await taken.practice.call("GET", "/payments?environment=sandbox")).body["data"] == before
    assert [v.certainty for v in dry if v.certainty is C.rejected] == [C.rejected] * 4
    verdicts = await taken.run(*given, check=True)
    for verdict, (row, *wanted) in zip(verdicts, rows, strict=True):
        assert [verdict.certainty, verdict.reasons, verdict.action] == wanted, row
    again = await taken.run(*given, check=True)
    assert [(v.certainty, v.reasons, v.payment_id) for v in again] == [
        (v.certainty, v.reasons, v.payment_id) for v in verdicts
    ]
    uncertain = str(verdicts[5].payment_id)
    is_problem(await taken.practice.refund(uncertain, 1), 409, "past_payment_uncertain")
    assert verdicts[10].payment_id == ours["id"]


async def test_what_the_provider_knows_better_is_learned(shared: Installation) -> None:
    taken = await Taken.make(shared, "paystack")
    await taken.configure()
    paid = await taken.old.payment((await taken.old.paid())["id"])
    row = await taken.row(paid, providerTransactionId=None)
    fee, row["fee"] = row["fee"], None
    [verdict] = await taken.run(row)
    assert verdict.reasons == (Doubt.no_transaction_id,)
    [verdict] = await taken.run(row, check=True)
    shown = await taken.practice.payment(str(verdict.payment_id))
    assert (verdict.certainty, shown["providerTransactionId"]) == (C.verified, paid["providerTransactionId"])
    assert (shown["providerFee"], shown["doubts"]) == (fee, [])
    books_balance(await taken.practice.ledger(), await taken.practice.books(), "paystack")


async def test_practices_are_named_by_their_external_id(shared: Installation) -> None:
    context = shared.till.context
    reader = RowReader(PastMapping(amounts="major"), datetime(2026, 1, 1, tzinfo=UTC))
    backfill = Backfill(context, reader, "test")
    rows = [{"practice": "nobody", "amount": "1"}, {"amount": "1"}]
    verdicts = await backfill.rows([NumberedRow(number, row) for number, row in enumerate(rows, 1)])
    assert [(v.reasons, v.practice) for v in verdicts] == [
        ((Rejection.practice_unknown,), one) for one in ("nobody", None)
    ]
