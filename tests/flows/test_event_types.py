"""Facts about a payment become the events that the host application acts on."""

from __future__ import annotations

from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.domain.states import CaptureMode
from polytill.providers.contract import DisputeFact, PaymentFact
from polytill.providers.outcomes import Succeeded
from tests.flows.scenes import REFUSED, Scene, held, paid
from tests.storage.making import plain


async def events(scene: Scene) -> list[str]:
    """The types of all events, in order."""
    return [type_ for (type_,) in await plain(scene.db, "SELECT type FROM events ORDER BY id")]


async def test_a_declined_payment(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", REFUSED)
    await scene.pay()
    assert await events(scene) == ["payment.failed"]


async def test_an_authorized_payment_of_which_a_part_is_captured(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", held())
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    [attempt] = await scene.attempts(payment.id)
    part = Succeeded(Money(600, "NGN"), "tx-1", authorized_only=True, captured=Money(400, "NGN"))
    await scene.delivery(configuration, PaymentFact(part, attempt.id, "tx-1"))
    assert await events(scene) == ["payment.authorized", "payment.partially_captured"]
    await scene.delivery(configuration, PaymentFact(paid(fee=None), attempt.id, "tx-1"))
    assert (await events(scene))[2:] == ["payment.succeeded"]


async def test_a_second_authorization(scene: Scene) -> None:
    configured = {code: await scene.configure(code) for code in ("scripted", "other")}
    scene.wire.says("create", REFUSED, held(transaction="tx-2"))
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    first, _ = await scene.attempts(payment.id)
    scene.wire.says("confirm", held())  # a hold of a closed attempt is looked up
    await scene.delivery(configured[first.provider_code], PaymentFact(held(), first.id, "tx-1"))
    assert (await events(scene))[-1] == "payment.duplicate_authorization"
    assert "duplicate_authorization" in await scene.cases()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("inquiry", ["inquiry.opened", "inquiry.updated", "inquiry.closed"]),
        ("chargeback", ["dispute.opened", "dispute.updated", "dispute.closed"]),
    ],
)
async def test_a_dispute_that_ends_without_a_decision(scene: Scene, kind: str, expected: list[str]) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    about: dict[str, Any] = {"provider_transaction_id": payment.provider_transaction_id, "kind": kind}
    for state, due in (("open", "2026-12-24T00:00:00Z"), ("open", "2026-12-31T00:00:00Z"), ("closed", None)):
        fact = DisputeFact(state, state, "d1", amount=Money(1000, "NGN"), due_at=due, **about)
        await scene.delivery(configuration, fact)
    assert (await events(scene))[1:] == expected
