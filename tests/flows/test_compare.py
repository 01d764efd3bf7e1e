"""The provider's listing against our rows: what is proven by asking is settled, what is left goes to a person."""

from __future__ import annotations

from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.domain.states import CaptureMode
from polytill.flows.reconciliation.payments import reconcile
from polytill.providers.contract import Page, PaymentFact
from polytill.providers.outcomes import NotSent, Reason, Succeeded
from polytill.storage import cases
from tests import calls
from tests.flows.scenes import LINK, Scene, held, paid
from tests.flows.scripted import HANDLERS


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[PaymentFact]:
    """What the provider lists, a page of two at a time."""
    facts: list[PaymentFact] = []

    async def list_transactions(self: Any, since_s: int, until_s: int, cursor: str | None) -> Page[PaymentFact]:
        if until_s < self.world.time_s() - 3600:
            return Page(())  # an earlier window
        number = int(cursor or 1)
        return Page(tuple(facts[2 * (number - 1) : 2 * number]), str(number + 1) if len(facts) > 2 * number else None)

    monkeypatch.setattr(HANDLERS["scripted"], "list_transactions", list_transactions)
    return facts


async def later(scene: Scene) -> int:
    """The comparison runs when everything is old enough to count."""
    scene.clock.at_s += 1800
    return await reconcile(scene.context, scene.practice_id)


async def test_a_success_that_nobody_told_us_is_settled_by_asking(scene: Scene, listed: list[PaymentFact]) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    listed.append(PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    scene.wire.says("confirm", paid())
    assert await later(scene) == 1
    assert (await scene.payment(taken.payment.id)).status == "succeeded"
    assert await scene.cases() == []


async def test_what_the_provider_holds_and_we_do_not(scene: Scene, listed: list[PaymentFact]) -> None:
    await scene.configure()
    lost = "01hzy3k9w8q2v5n7m4x6c0b1da"
    listed += [
        PaymentFact(paid(), lost, "tx-9"),
        PaymentFact(paid(), "order-77", "tx-10"),
        PaymentFact(LINK, lost, "x"),
    ]
    assert await later(scene) == 3
    [case] = await cases.listed(scene.db)
    assert case.kind == "listing_missing_here"
    assert case.detail["provider"]["reference"] == lost
    assert case.detail["provider"]["amount"] == 1000
    await later(scene)
    assert len(await cases.listed(scene.db)) == 1, "a run may be repeated"


async def test_what_we_hold_and_the_provider_does_not(scene: Scene, listed: list[PaymentFact]) -> None:
    await scene.configure()
    mine, other = await scene.succeeded(), await scene.succeeded()
    listed.append(PaymentFact(paid(), (await scene.attempts(other.id))[0].id, other.provider_transaction_id))
    scene.wire.says("confirm", NotSent(Reason.not_found))
    await later(scene)
    [case] = await cases.listed(scene.db)
    assert (case.kind, case.payment_id) == ("listing_missing_there", mine.id)
    assert (await scene.payment(mine.id)).status == "succeeded", "nothing is taken back by a listing"


async def test_an_amount_that_differs_reaches_a_person(scene: Scene, listed: list[PaymentFact]) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    more = Succeeded(Money(2500, "NGN"), payment.provider_transaction_id)
    listed.append(PaymentFact(more, (await scene.attempts(payment.id))[0].id, payment.provider_transaction_id))
    scene.wire.says("confirm", more)
    await later(scene)
    assert await scene.cases() == ["listing_amount_differs"]
    assert (await scene.payment(payment.id)).amount_captured == 1000


async def test_a_status_that_differs_reaches_a_person(scene: Scene, listed: list[PaymentFact]) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    listed.append(PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    scene.wire.always("confirm", LINK)
    await later(scene)
    assert await scene.cases() == ["listing_status_differs"]
    assert (await scene.payment(taken.payment.id)).amount_captured == 0


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        (paid(400), []),
        (paid(1000), ["listing_amount_differs"]),
        (paid(399), ["listing_amount_differs"]),
        (paid(400, "USD"), ["listing_amount_differs"]),
    ],
    ids=["what was taken", "what was held", "less", "other currency"],
)
async def test_a_part_that_was_captured_is_compared_with_what_was_taken(
    scene: Scene, listed: list[PaymentFact], told: Succeeded, kinds: list[str]
) -> None:
    await scene.configure()
    scene.wire.says("create", held())
    scene.wire.says("capture", paid(400))
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    await calls.capture(scene.till, scene.practice_id, payment.id, key="take", amount=400)
    listed.append(PaymentFact(told, (await scene.attempts(payment.id))[0].id, "tx-1"))
    scene.wire.always("confirm", paid(400))
    await later(scene)
    assert await scene.cases() == kinds


@pytest.mark.parametrize("told", [paid(999), paid(1000, "USD"), held(900)], ids=["less", "other currency", "held"])
async def test_less_than_was_taken_differs(scene: Scene, listed: list[PaymentFact], told: Succeeded) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    if told.authorized_only:
        scene.wire.says("create", held())
        payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.always("confirm", held() if told.authorized_only else paid())
    listed.append(PaymentFact(told, (await scene.attempts(payment.id))[0].id, payment.provider_transaction_id))
    await later(scene)
    differing = [case for case in await cases.listed(scene.db) if case.payment_id == payment.id]
    assert [case.kind for case in differing] == ["listing_amount_differs"]


async def test_a_run_goes_on_where_the_last_one_ended(scene: Scene, listed: list[PaymentFact]) -> None:
    await scene.configure()
    await later(scene)
    assert await reconcile(scene.context, scene.practice_id) == 0
    listed.append(PaymentFact(LINK, "order-1", "tx-5"))
    assert await reconcile(scene.context, scene.practice_id) == 0, "the window was compared already"
    assert await later(scene) == 1
