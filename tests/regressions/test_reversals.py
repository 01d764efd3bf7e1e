"""A reversal whose dispute was won: the provider took the money when it was disputed, and returned it in the end.

Source: the closing note of the session before this one (a PayPal dispute that was won after its money was reversed booked
nothing back and opened no case); PayPal's ``customer_disputes_v1.json`` (``money_movements``).
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polytill.storage import cases, refunds
from polytill.storage.payments import Payment
from tests.providers.money_scene import MoneyScene, News, money_scene

ORDERS = list(itertools.permutations(range(3)))
WHOLE = 5000


@pytest.fixture
async def paypal(tmp_path: Path, engine_url: str | None) -> AsyncIterator[MoneyScene]:
    async with money_scene(tmp_path, engine_url, "paypal", "JPY") as scene:
        yield scene


async def _story(scene: MoneyScene, shows_money: bool, outcome: str = "won") -> tuple[Payment, list[News]]:
    """Disputed, reversed at once, and decided. The three webhooks, not delivered yet."""
    payment = await scene.paid(WHOLE)
    scene.dispute(payment, "open", with_reversal=True, shows_money=shows_money)
    scene.dispute(payment, outcome)
    told = scene.news()
    assert sorted(one.event for one in told) == [
        "CUSTOMER.DISPUTE.CREATED",
        "CUSTOMER.DISPUTE.RESOLVED",
        "PAYMENT.CAPTURE.REVERSED",
    ]
    return payment, told


async def _figures(scene: MoneyScene, payment: Payment) -> tuple[int, int, int, int]:
    fresh = await scene.payment(payment.id)
    assert fresh.amount_disputed == 0
    return fresh.amount_captured, fresh.amount_refunded, fresh.amount_lost, await scene.held(payment)


async def test_money_that_came_back_is_booked_back(paypal: MoneyScene) -> None:
    """PayPal shows a debit and a credit: nothing is gone, in whichever order it is told, and however often."""
    for order in ORDERS:
        payment, told = await _story(paypal, shows_money=True)
        await paypal.deliver([told[place] for place in order])
        await paypal.deliver(told)
        assert await _figures(paypal, payment) == (WHOLE, 0, 0, WHOLE), order
        assert paypal.truly_held(payment) == WHOLE
        assert await paypal.cases() == [], order
        assert (await paypal.events(payment, "dispute."))[-1:] == ["dispute.won"]
        assert (await paypal.refund(payment, WHOLE)).state == "succeeded", "it can be refunded like any other money"


async def test_money_that_is_not_shown_again_waits_for_a_person_or_for_news(paypal: MoneyScene) -> None:
    """PayPal says "won" and shows no money: a case, until PayPal's details of the dispute show it."""
    for order in ORDERS:
        payment, told = await _story(paypal, shows_money=False)
        await paypal.deliver([told[place] for place in order])
        await paypal.deliver(told)
        assert await _figures(paypal, payment) == (WHOLE, WHOLE, 0, 0), order
        assert await paypal.cases() == ["reversed_and_won"], order
        [case] = await cases.listed(paypal.db)
        assert (case.detail["reversed"], case.detail["currency"]) == (WHOLE, "JPY")
        paypal.dispute(payment, "won", again=True, shows_money=True)
        paypal.news()  # the webhook of it is lost
        await paypal.sweep()
        assert await _figures(paypal, payment) == (WHOLE, 0, 0, WHOLE), order
        assert await paypal.cases() == []


@pytest.mark.parametrize("shows_money", [True, False])
async def test_a_reversal_of_a_lost_dispute_stays_booked_once(paypal: MoneyScene, shows_money: bool) -> None:
    for order in ORDERS:
        payment, told = await _story(paypal, shows_money, "lost")
        await paypal.deliver([told[place] for place in order])
        await paypal.deliver(told)
        captured, refunded, lost, held = await _figures(paypal, payment)
        assert (captured, refunded + lost, held) == (WHOLE, WHOLE, 0), order
        for case in await cases.listed(paypal.db):
            assert case.kind == "dispute_lost"


async def test_a_refund_by_the_practice_is_not_what_a_won_dispute_returns(paypal: MoneyScene) -> None:
    """Refunded in the dashboard, so the customer withdrew the dispute: that money is gone."""
    payment = await paypal.paid(WHOLE)
    paypal.dispute(payment, "open")
    paypal.refund_in_dashboard(payment, WHOLE)
    paypal.dispute(payment, "closed")
    await paypal.deliver()
    assert await _figures(paypal, payment) == (WHOLE, WHOLE, 0, 0)
    assert await paypal.cases() == []


async def test_a_reversal_is_not_taken_for_a_refund_of_ours(paypal: MoneyScene) -> None:
    """Our refund of the same amount is not known yet: the reversal is another one."""
    payment = await paypal.paid(WHOLE)
    paypal.wire.loses_next = "/refund"
    ours = await paypal.refund(payment, 2000)
    assert ours.state == "unknown"
    refunded = paypal.news()
    paypal.dispute(payment, "open", amount=2000, with_reversal=True)
    await paypal.deliver()
    made = await refunds.of_payment(paypal.db, payment.id)
    assert [(r.origin, r.is_reversal, r.state) for r in made] == [
        ("api", False, "unknown"),
        ("provider", True, "succeeded"),
    ]
    await paypal.deliver(refunded)
    assert (await paypal.payment(payment.id)).amount_refunded == 4000
    assert await paypal.held(payment) == paypal.truly_held(payment) == 1000


async def test_won_on_appeal_after_it_was_lost(paypal: MoneyScene) -> None:
    payment, told = await _story(paypal, True, "lost")
    await paypal.deliver(told)
    paypal.dispute(payment, "won", again=True)
    await paypal.deliver()
    await paypal.sweep()
    assert await _figures(paypal, payment) == (WHOLE, 0, 0, WHOLE)
    assert paypal.truly_held(payment) == WHOLE
    assert await paypal.cases() == []


@pytest.mark.parametrize(
    ("code", "currency"),
    [("stripe", "KWD"), ("paystack", "XOF"), ("paypal", "JPY")],  # Flutterwave makes a chargeback of its own of it
)
@pytest.mark.parametrize("ends", [("lost", "won"), ("won", "lost"), ("lost", "won", "lost")])
async def test_a_later_decision_of_the_same_dispute_is_booked(
    tmp_path: Path, engine_url: str | None, code: str, currency: str, ends: tuple[str, ...]
) -> None:
    """The bank decides again. The webhook alone does not say which end is current; the next listing does."""
    async with money_scene(tmp_path, engine_url, code, currency) as scene:
        payment = await scene.paid(WHOLE)
        scene.dispute(payment, "open")
        for number, end in enumerate(ends):
            scene.dispute(payment, end, again=number > 0)
            await scene.deliver()
            await scene.sweep()
            lost = WHOLE if end == "lost" else 0
            assert await _figures(scene, payment) == (WHOLE, 0, lost, WHOLE - lost), ends[: number + 1]
            assert scene.truly_held(payment) == WHOLE - lost
            assert await scene.cases() == (["dispute_lost"] if lost else [])
