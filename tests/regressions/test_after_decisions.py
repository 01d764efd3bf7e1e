"""Lookups and unsigned webhooks about what staff have decided: nothing is sent again, booked twice or reversed.

Source: the simulated world, seeds 66001528, 66005142 and 68002130.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, EventState, RefundState
from polytill.flows.context import Practice
from polytill.flows.refunds import create as refunding
from polytill.flows.webhooks.apply import MAX_TRIES, TAKEN_UP_AT_S
from polytill.providers.contract import Idempotency, PaymentFact, WebhookProof
from polytill.providers.outcomes import Declined, Reason, Succeeded
from polytill.storage import cases, payment_identifiers, provider_configs, refunds, webhook_events
from tests.flows.scenes import Scene
from tests.flows.scripted import Scripted
from tests.regressions.test_staff_decisions import NOBODY, decide, mark, paid_payment, stuck_payment, stuck_refund

WINDOW_S = 86_400
REJECTED = Declined(Reason.disputed, True, "charge_disputed", "The charge has an open dispute.")


# ── Refunds ──


async def refund_of(scene: Scene, payment_id: str) -> Any:
    """The only refund of a payment."""
    [refund] = await refunds.of_payment(scene.db, payment_id)
    return refund


@pytest.mark.parametrize("is_decided", [True, False])
async def test_a_lookup_never_repeats_a_refund_that_staff_called_done(
    scene: Scene, is_decided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have refunded it in the dashboard: the request, sent again, would refund it a second time."""
    monkeypatch.setattr(Scripted, "idempotency", Idempotency.key)
    monkeypatch.setattr(Scripted, "idempotency_window_s", WINDOW_S)
    monkeypatch.setattr(Scripted, "lookup_repeats_refund", True)
    case, payment = await stuck_refund(scene)
    if is_decided:
        await decide(scene, case, is_done=True)
    await refunding.refresh(Practice(scene.context, scene.db), await refund_of(scene, payment.id))
    asked = scene.wire.of("lookup_refund")[-1].params
    assert (asked.age_s < WINDOW_S) is not is_decided


async def test_a_rejection_contradicts_a_refund_that_staff_called_done(scene: Scene) -> None:
    case, payment = await stuck_refund(scene)
    await decide(scene, case, is_done=True)
    scene.wire.always("lookup_refund", REJECTED)
    for _ in range(2):
        await refunding.refresh(Practice(scene.context, scene.db), await refund_of(scene, payment.id))
    assert (await refund_of(scene, payment.id)).state is RefundState.succeeded
    assert (await scene.payment(payment.id)).amount_refunded == 400
    [found] = await cases.listed(scene.db)
    assert (found.kind, found.detail["provider"]["says"]) == ("staff_contradicted", "declined")


async def test_a_refund_that_staff_called_done_and_that_failed_later_is_reversed(scene: Scene) -> None:
    """Its provider names it, so it was made."""
    case, payment = await stuck_refund(scene)
    await decide(scene, case, is_done=True)
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "failed", None, "re-1"))
    await refunding.refresh(Practice(scene.context, scene.db), await refund_of(scene, payment.id))
    assert (await refund_of(scene, payment.id)).state is RefundState.failed
    assert (await scene.payment(payment.id)).amount_refunded == 0


# ── Payments: receipts that only an unsigned webhook contains ──

ANSWER = Succeeded(Money(1000, "NGN"), "prompt-1", Money(15, "NGN"), response={})


@pytest.fixture
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider whose webhooks nobody signs, and whose lookups tell no receipt, as M-Pesa's."""

    def read(_: Any, response: Any) -> dict[IdentifierKind, tuple[str, ...]]:
        return {IdentifierKind.receipt: (response["receipt"],)} if "receipt" in response else {}

    monkeypatch.setattr(Scripted, "webhook_proof", WebhookProof.address)
    monkeypatch.setattr(Scripted, "read_identifiers", classmethod(read))


async def told(scene: Scene, payment_id: str, receipt: str | None) -> None:
    """A webhook reports the attempt's prompt as paid, with this receipt."""
    configuration = (await provider_configs.all_of(scene.db))["mover"]
    attempt = (await scene.attempts(payment_id))[0]
    said = Succeeded(Money(1000, "NGN"), "prompt-1", response={"receipt": receipt} if receipt else {})
    await scene.delivery(configuration, PaymentFact(said, attempt.id, "prompt-1"), must_fetch=True)


@pytest.mark.usefixtures("unsigned")
@pytest.mark.parametrize(("receipt", "kinds"), [("TX-77", []), (None, []), ("MADEUP", ["staff_contradicted"])])
async def test_an_unproven_receipt_books_no_second_payment(scene: Scene, receipt: str | None, kinds: list[str]) -> None:
    _, payment = await paid_payment(scene)
    scene.wire.always("confirm", ANSWER)
    await told(scene, payment.id, receipt)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.provider_transaction_id) == (AttemptState.succeeded, "prompt-1")
    after = await scene.payment(payment.id)
    assert (after.amount_captured, after.provider_fee) == (1000, 15)
    assert await scene.cases() == kinds
    named = (await payment_identifiers.of_payments(scene.db, [payment.id]))[attempt.id]
    assert set(named[IdentifierKind.transaction]) == {"TX-77", "prompt-1"}


@pytest.mark.usefixtures("unsigned")
async def test_a_lookup_that_fails_once_books_no_second_payment(scene: Scene) -> None:
    _, payment = await paid_payment(scene)
    scene.wire.always("confirm", ANSWER)
    scene.wire.says("confirm", NOBODY)
    await told(scene, payment.id, "TX-77")
    for _ in range(3):
        await scene.later(60)
    assert [one.provider_transaction_id for one in await scene.attempts(payment.id)] == ["prompt-1"]
    assert await scene.cases() == []


@pytest.mark.usefixtures("unsigned")
async def test_a_decision_uses_up_no_try_of_a_webhook_that_waits(scene: Scene) -> None:
    """It was applied once more with the decision, and then parked long before its last age (seed 68002130)."""
    case = await stuck_payment(scene)
    await told(scene, str(case.payment_id), "MADEUP")
    for age_s, next_s in pairwise((0, *TAKEN_UP_AT_S[:-1])):
        await scene.later(next_s - age_s)
    await mark(scene, case)
    [event] = await webhook_events.listed(scene.db, payment_id=str(case.payment_id))
    assert (event.state, event.tries) == (EventState.received, MAX_TRIES - 1)
    scene.wire.always("confirm", ANSWER)
    await scene.later(TAKEN_UP_AT_S[-1] - TAKEN_UP_AT_S[-2])
    [event] = await webhook_events.listed(scene.db, payment_id=event.payment_id)
    assert event.state is EventState.applied
    found = [case.detail["provider"]["transaction"] for case in await cases.listed(scene.db, kind="staff_contradicted")]
    assert "MADEUP" in found


@pytest.mark.usefixtures("unsigned")
async def test_a_decision_during_the_lookup_of_a_webhook_books_no_second_payment(scene: Scene) -> None:
    case = await stuck_payment(scene)

    async def meanwhile(_: Any) -> Any:
        await mark(scene, case)
        return ANSWER

    scene.wire.always("confirm", ANSWER)
    scene.wire.says("confirm", meanwhile)
    scene.wire.says("lookup", meanwhile)
    await told(scene, str(case.payment_id), "TX-77")
    assert [one.state for one in await scene.attempts(str(case.payment_id))] == [AttemptState.succeeded]
    assert (await scene.payment(str(case.payment_id))).amount_captured == 1000
    assert await scene.cases() == []
