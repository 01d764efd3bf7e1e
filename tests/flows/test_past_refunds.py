"""Refunds of before a past payment was taken over, that its host knows as a sum: named later, and never booked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from polytill.domain.errors import Conflict
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.flows.legacy.backfill import Backfill, NumberedRow
from polytill.flows.legacy.past_files import rows_in_database
from polytill.flows.legacy.past_rows import PastMapping, RowReader
from polytill.providers.contract import DisputeFact, Fact, RefundFact
from polytill.providers.outcomes import Succeeded
from polytill.storage import refunds
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import Scene
from tests.storage.making import plain, run

pytestmark = pytest.mark.asyncio(loop_scope="module")
BEFORE, SINCE, NEAR = timedelta(days=-40), timedelta(days=2), timedelta(seconds=5)
WORDS = {"scripted": "scripted"}
_numbers = count(1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path_factory.mktemp("past"), file_engine_url) as made:
        await made.configure()
        yield made


class Past:
    """A past payment of 1,000 that was refunded before, and what its provider says of that later."""

    def __init__(self, scene: Scene, payment_id: str, name: str) -> None:
        self.scene, self.payment_id, self.name = scene, payment_id, name
        self.at = scene.context.world.now()

    @classmethod
    async def taken_over(cls, scene: Scene, age: timedelta = timedelta(0), **row: Any) -> Past:
        await run(scene.db, "DELETE FROM operator_cases")
        name = f"past-{next(_numbers)}"
        now = scene.context.world.now()
        reader = RowReader(PastMapping(amounts="minor", environment=Environment.sandbox, providers=WORDS), now)
        given = {"id": name, "provider": "scripted", "providerTransactionId": name, "amount": 1000, "currency": "NGN"}
        rows = [NumberedRow(1, {**given, "paidAt": "2025-03-04T10:00:00Z", **row})]
        [verdict] = await Backfill(scene.context, reader, "test", scene.practice_id, as_of=now - age).rows(rows)
        assert verdict.payment_id is not None, verdict
        return cls(scene, verdict.payment_id, name)

    def dispute(self, amount: int, state: str = "lost") -> DisputeFact:
        """What the provider says of a dispute of it."""
        said = Money(amount, "NGN")
        return DisputeFact(state, state, f"{self.name}-d{amount}", provider_transaction_id=self.name, amount=said)

    async def returned(self) -> tuple[int, int]:
        payment = await self.scene.payment(self.payment_id)
        return payment.amount_refunded, payment.amount_lost

    def fact(self, amount: int, when: timedelta | None, state: str = "succeeded", named: str | None = "") -> RefundFact:
        number = f"{self.name}-r{amount}" if named == "" else named
        at = None if when is None else (self.at + when).astimezone(UTC).isoformat()
        return RefundFact(
            state, None, number, provider_transaction_id=self.name, amount=Money(amount, "NGN"), made_at=at
        )

    async def told(self, *facts: Fact) -> int:
        """The provider's webhooks arrive, each twice. Returns what is refunded afterwards."""
        configuration = await self.scene.configure()
        for fact in [*facts, *facts]:
            await self.scene.delivery(configuration, fact)
        return await self.refunded()

    async def refunded(self) -> int:
        return (await self.scene.payment(self.payment_id)).amount_refunded

    async def rows(self) -> list[tuple[int, str]]:
        found = await refunds.of_payment(self.scene.db, self.payment_id)
        return sorted((r.amount, (r.provider_refund_id or "sum").split("-")[-1]) for r in found)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_named_parts_of_the_sum_are_booked_once_in_any_order(shared: Scene, order: tuple[int, ...]) -> None:
    past = await Past.taken_over(shared, refunded=800)
    facts = [past.fact(500, BEFORE), past.fact(300, BEFORE), past.fact(100, SINCE)]
    assert await past.told(*(facts[at] for at in order)) == 900
    assert await past.rows() == [(100, "r100"), (300, "r300"), (500, "r500")]
    assert await shared.cases() == []


async def test_a_refund_of_the_same_amount_that_was_made_since_is_another(shared: Scene) -> None:
    past = await Past.taken_over(shared, refunded=300)
    assert await past.told(past.fact(300, SINCE)) == 600
    assert await past.told(past.fact(300, BEFORE, named="old-r1")) == 600


async def test_what_was_refunded_beyond_the_sum_is_booked_and_shown_to_staff(shared: Scene) -> None:
    past = await Past.taken_over(shared, refunds=[{"amount": 150}, {"amount": 50}, {"id": "known", "amount": 100}])
    assert await past.rows() == [(100, "known"), (200, "sum")]
    assert await past.told(past.fact(120, BEFORE), past.fact(180, BEFORE)) == 400
    assert await past.rows() == [(100, "known"), (120, "r120"), (180, "r180")]
    assert await shared.cases() == ["refund_unclear"]


@pytest.mark.parametrize("when", [None, NEAR, -NEAR])
async def test_if_nothing_tells_when_it_was_made_staff_decide(shared: Scene, when: timedelta | None) -> None:
    past = await Past.taken_over(shared, refunded=800)
    assert await past.told(past.fact(500, when)) == 800
    assert await shared.cases() == ["refund_unclear"]
    assert await past.rows() == [(800, "sum")]


@pytest.mark.parametrize("listed", [False, True])
async def test_a_refund_that_was_made_after_the_export_is_not_taken_for_the_sum(shared: Scene, listed: bool) -> None:
    """The old code made refunds while the file waited to be taken over."""
    known: dict[str, Any] = {"refunds": [{"amount": 500}, {"amount": 300}]} if listed else {"refunded": 800}
    past = await Past.taken_over(shared, timedelta(hours=3), **known)
    assert await past.told(past.fact(100, timedelta(hours=-1))) == 800
    assert (await past.rows(), await shared.cases()) == ([(800, "sum")], ["refund_unclear"])
    assert await past.told(past.fact(500, timedelta(hours=-4)), past.fact(150, SINCE)) == 950
    assert await past.rows() == [(150, "r150"), (300, "sum"), (500, "r500")]


async def test_a_database_row_is_as_of_the_reading_of_its_page() -> None:
    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        yield [{"id": 1}, {"id": 2}]
        yield [{"id": 3}]

    at = iter(datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 5))
    read = [row async for row in rows_in_database(pages(), lambda: next(at))]
    assert [(row.number, row.as_of.day if row.as_of else None) for row in read] == [(1, 1), (2, 1), (3, 2)]


async def test_an_unnamed_refund_and_one_that_failed_are_not_taken_for_the_sum(shared: Scene) -> None:
    past = await Past.taken_over(shared, refunded=500)
    assert await past.told(past.fact(500, BEFORE, named=None)) == 500
    assert await past.told(past.fact(400, BEFORE, "failed")) == 500
    assert await shared.cases() == ["refund_unclear", "refund_unclear"]


async def test_a_part_that_comes_back_is_released(shared: Scene) -> None:
    past = await Past.taken_over(shared, refunded=800)
    await past.told(past.fact(500, BEFORE))
    assert await past.told(past.fact(500, BEFORE, "failed")) == 300
    assert await shared.cases() == ["refund_failed"]


async def test_two_processes_name_parts_at_once(shared: Scene) -> None:
    past = await Past.taken_over(shared, refunded=800)
    facts = [past.fact(amount, BEFORE) for amount in (100, 200, 300)]
    await asyncio.gather(*(past.told(fact) for fact in facts))
    assert await past.refunded() == 800
    assert await past.rows() == [(100, "r100"), (200, "r200"), (200, "sum"), (300, "r300")]


async def test_each_earlier_refund_is_booked_by_its_own_date(shared: Scene) -> None:
    listed = [{"amount": 150, "createdAt": "2025-05-01"}, {"amount": 50, "createdAt": "2025-06-01"}]
    past = await Past.taken_over(shared, refunds=listed)
    booked = await plain(
        shared.db,
        "SELECT created_at, amount FROM ledger_lines WHERE account = 'refunds' AND fact = 'opening_refund'"
        f" AND payment_id = '{past.payment_id}'",
    )
    assert sorted((str(at)[:7], amount) for at, amount in booked) == [("2025-05", 150), ("2025-06", 50)]


@pytest.mark.parametrize(
    ("row", "lost", "returned", "is_unclear"),
    [
        ({"status": "disputed", "refunded": 1000}, 1000, (1000, 0), False),
        ({"status": "disputed", "refunded": 300}, 300, (300, 0), True),
        ({"status": "disputed", "refunded": 300}, 500, (300, 200), True),
        ({"status": "disputed"}, 1000, (0, 1000), False),
        ({"refunded": 800}, 500, (800, 200), True),
        ({"refunded": 300}, 300, (300, 300), False),
        ({"refunds": [{"id": "known", "amount": 800}]}, 500, (800, 500), False),
    ],
)
async def test_a_chargeback_that_the_host_recorded_as_refunded_is_counted_once(
    shared: Scene, row: dict[str, Any], lost: int, returned: tuple[int, int], is_unclear: bool
) -> None:
    past = await Past.taken_over(shared, **row)
    await past.told(past.dispute(lost))
    assert await past.returned() == returned
    assert ("refund_or_dispute" in await shared.cases()) is is_unclear


@pytest.mark.parametrize(("named", "left"), [(300, 0), (100, 200)])
async def test_a_refund_that_the_provider_names_was_not_the_chargeback(shared: Scene, named: int, left: int) -> None:
    past = await Past.taken_over(shared, status="disputed", refunded=300)
    await past.told(past.dispute(300))
    assert await past.told(past.fact(named, BEFORE)) == 300
    assert await past.returned() == (300, 300 - left)


async def test_what_a_known_dispute_leaves_can_be_refunded(shared: Scene) -> None:
    past = await Past.taken_over(shared, status="disputed")
    with pytest.raises(Conflict) as refused:
        await calls.refund(shared.till, shared.practice_id, past.payment_id, key=past.name, amount=100)
    assert refused.value.code == "past_payment_uncertain"
    await past.told(past.dispute(600))
    with pytest.raises(Conflict) as refused:
        await calls.refund(shared.till, shared.practice_id, past.payment_id, key=past.name, amount=500)
    assert refused.value.code == "refund_exceeds_captured"
    shared.wire.says("refund", Succeeded(Money(400, "NGN"), past.name))
    await calls.refund(shared.till, shared.practice_id, past.payment_id, key=past.name, amount=400)
    assert await past.returned() == (400, 600)
