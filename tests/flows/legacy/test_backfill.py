"""Batches of past payments: rows about one payment in one batch, and writers that are there meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from polytill.domain.past_payments import BackfillAction, Certainty, Doubt
from polytill.domain.states import Environment
from polytill.flows.legacy.backfill import Backfill, NumberedRow, Verdict
from polytill.flows.legacy.past_check import Checker
from polytill.flows.legacy.past_rows import PastMapping, RowReader
from tests.flows import scenes
from tests.flows.scenes import Scene, paid
from tests.flows.scripted import HANDLERS
from tests.storage.making import plain, run
from tests.web.support import fresh

pytestmark = pytest.mark.asyncio(loop_scope="module")
C, A = Certainty, BackfillAction
OF = {"provider": "scripted", "amount": 1000, "currency": "NGN", "paidAt": "2025-03-04T10:00:00Z"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(file_engine_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path_factory.mktemp("backfill"), file_engine_url) as made:
        await made.configure()
        yield made


async def taken_over(scene: Scene, *rows: Any, check: bool = False) -> list[Verdict]:
    """Take over rows, each of which says what differs from a plain payment."""
    mapping = PastMapping(amounts="minor", environment=Environment.sandbox, providers={code: code for code in HANDLERS})

    async def at_once(_: float) -> None:
        return None

    reader = RowReader(mapping, scene.context.world.now())
    checker = Checker(1000, at_once) if check else None
    backfill = Backfill(scene.context, reader, "test", scene.practice_id, False, checker)
    return await backfill.rows([NumberedRow(number, {**OF, **row}) for number, row in enumerate(rows, 1)])


async def test_a_later_row_of_the_batch_ends_a_doubt_of_an_earlier_one(shared: Scene) -> None:
    name, transaction = fresh("host-"), fresh("t-")
    rows = [{"id": name}, {"id": name, "providerTransactionId": transaction}, {"providerTransactionId": transaction}]
    first, second, third = await taken_over(shared, *rows)
    assert (first.certainty, first.reasons, first.action) == (C.uncertain, (Doubt.no_transaction_id,), A.created)
    assert (second.certainty, second.reasons, second.action) == (C.recorded, (), A.changed)
    assert (third.certainty, third.action) == (C.recorded, A.unchanged)
    assert first.payment_id == second.payment_id == third.payment_id is not None
    payment = await shared.payment(str(first.payment_id))
    assert (payment.certainty, payment.doubts, payment.provider_transaction_id) == (C.recorded, None, transaction)
    [attempt] = await shared.attempts(payment.id)
    assert attempt.provider_transaction_id == transaction
    again = await taken_over(shared, *rows)
    assert [(v.certainty, v.action) for v in again] == [(C.recorded, A.unchanged)] * 3


async def test_a_transaction_id_that_was_learned_names_its_payment_for_the_rest_of_the_batch(shared: Scene) -> None:
    name, transaction = fresh("host-"), fresh("t-")
    [first] = await taken_over(shared, {"id": name})
    second, third = await taken_over(
        shared, {"id": name, "providerTransactionId": transaction}, {"id": "new", "providerTransactionId": transaction}
    )
    assert (second.action, third.action) == (A.changed, A.unchanged)
    assert first.payment_id == second.payment_id == third.payment_id


async def test_a_provider_is_asked_once_whoever_else_writes(shared: Scene) -> None:
    """A fee that somebody else has stored during the call is kept, and the row's verdict is what was done with it."""
    name, transaction = fresh("host-"), fresh("t-")

    async def answer(_: Any) -> Any:
        await run(
            shared.db,
            "UPDATE payments SET provider_fee = 7, provider_fee_currency = 'NGN', version = version + 1"
            f" WHERE provider_transaction_id = '{transaction}'",
        )
        return paid(fee=15, transaction=transaction)

    asked = len(shared.wire.of("confirm"))
    shared.wire.says("confirm", answer)
    [verdict] = await taken_over(shared, {"id": name, "providerTransactionId": transaction}, check=True)
    assert len(shared.wire.of("confirm")) == asked + 1
    assert (verdict.certainty, verdict.action) == (C.verified, A.created)
    payment = await shared.payment(str(verdict.payment_id))
    assert (payment.certainty, payment.provider_fee) == (C.verified, 7)
    booked = await plain(shared.db, f"SELECT count(*) FROM ledger_lines WHERE payment_id = '{payment.id}'")
    assert booked == [(2,)], "one entry: the payment itself"
