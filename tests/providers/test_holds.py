"""Captures of a hold at its edges, at each provider that has holds, against the provider's own books.

Also more captured in the provider's dashboard than was authorized: nothing is booked, and a review case opens.
Source: issue 18, item 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests import calls
from tests.providers.money_scene import MoneyScene, money_scene

from polytill.domain.errors import Conflict, Invalid
from polytill.domain.states import CaptureMode
from polytill.flows.command import Command
from polytill.flows.payments.capture_cancel import cancel
from polytill.simulator.stripe import payments
from polytill.simulator.stripe.payments import StripeRequest
from polytill.storage.payments import Payment

HELD = 9_000
_numbers = count(1)


@pytest.fixture(params=["stripe-JPY", "stripe-KWD", "paypal-JPY"])
async def holds(request: pytest.FixtureRequest, tmp_path: Path, engine_url: str | None) -> AsyncIterator[MoneyScene]:
    code, currency = request.param.split("-")
    async with money_scene(tmp_path, engine_url, code, currency) as scene:
        yield scene


async def _capture(scene: MoneyScene, payment: Payment, amount: int | None) -> Any:
    taken = await calls.capture(
        scene.till, scene.practice_id, payment.id, key=f"capture-{next(_numbers)}", amount=amount
    )
    scene.pass_time()
    await scene.deliver()
    return taken


async def _cancel(scene: MoneyScene, payment: Payment) -> Any:
    key = f"cancel-{next(_numbers)}"
    taken = await cancel(scene.till.context, scene.practice_id, payment.id, Command(key, "test"))
    scene.pass_time()
    await scene.deliver()
    return taken


async def _is(scene: MoneyScene, payment: Payment, status: str, captured: int, refunded: int = 0) -> None:
    fresh = await scene.payment(payment.id)
    assert (fresh.status, fresh.amount_captured, fresh.amount_refunded) == (status, captured, refunded)
    assert await scene.held(payment) == captured - refunded
    assert await scene.cases_of(payment) == []


async def test_more_than_was_authorized_is_refused(holds: MoneyScene) -> None:
    payment = await holds.paid(HELD, capture=CaptureMode.manual)
    with pytest.raises(Invalid):
        await _capture(holds, payment, HELD + 1)
    await _is(holds, payment, "authorized", 0)


async def test_a_part_is_captured_once_and_its_rest_is_released(holds: MoneyScene) -> None:
    payment = await holds.paid(HELD, capture=CaptureMode.manual)
    await _capture(holds, payment, 5_000)
    assert holds.transaction(payment).captured == 5_000
    with pytest.raises(Conflict) as again:
        await _capture(holds, payment, 1_000)
    assert again.value.code == "not_capturable"
    with pytest.raises(Conflict):
        await _cancel(holds, payment)
    await _is(holds, payment, "succeeded", 5_000)
    with pytest.raises(Conflict) as beyond:
        await holds.refund(payment, 6_000)
    assert beyond.value.code == "refund_exceeds_captured"
    await holds.refund(payment, 2_000)
    await holds.refund(payment, 3_000)
    await holds.deliver()
    await _is(holds, payment, "succeeded", 5_000, 5_000)
    assert holds.truly_held(payment) == 0


async def test_two_captures_and_a_cancel_at_once(holds: MoneyScene) -> None:
    payment = await holds.paid(HELD, capture=CaptureMode.manual)
    acts = (_capture(holds, payment, HELD), _capture(holds, payment, HELD), _cancel(holds, payment))
    done = await asyncio.gather(*acts, return_exceptions=True)
    assert all(isinstance(one, Conflict) for one in done if isinstance(one, BaseException)), done
    assert sum(not isinstance(one, BaseException) for one in done) == 1
    await holds.sweep()
    truly = holds.account.transactions[-1].captured
    await _is(holds, payment, "succeeded" if truly else "canceled", truly)


async def test_a_capture_after_the_hold_has_ended_takes_nothing(holds: MoneyScene) -> None:
    payment = await holds.paid(HELD, capture=CaptureMode.manual)
    hold = holds.transaction(payment)
    if holds.code == "stripe":
        holds.pass_time(40 * 86_400)
    else:
        holds.provider.void_hold(holds.account, hold)
    holds.news()  # its webhook is lost
    await _capture(holds, payment, HELD)
    await holds.sweep()
    assert hold.captured == 0
    await _is(holds, payment, "canceled", 0)


async def test_two_refunds_in_the_dashboard_return_all_and_no_more(holds: MoneyScene) -> None:
    payment = await holds.paid(HELD)
    holds.refund_in_dashboard(payment, 5_000)
    holds.refund_in_dashboard(payment, 4_000)
    told = holds.news()
    await holds.deliver(told[::-1])
    await holds.deliver(told)
    await _is(holds, payment, "succeeded", HELD, HELD)
    with pytest.raises(Conflict):
        await holds.refund(payment, 1)


async def test_an_overcapture_in_the_dashboard_waits_for_a_person(holds: MoneyScene) -> None:
    """The providers that have it allow more than was authorized there. Nothing is booked, and staff are told."""
    payment = await holds.paid(HELD, capture=CaptureMode.manual)
    hold, more = holds.transaction(payment), HELD + 500
    if holds.code == "stripe":
        request = StripeRequest(holds.wire.network, holds.account, "http://stripe.example")
        payments._take(request, hold, more)
        request.emit_charge("captured", hold)
        request.emit_intent("succeeded", hold)
    else:
        hold.wire.hold_status = "CAPTURED"
        holds.provider._captured(holds.account, hold, more)
    holds.pass_time()
    await holds.deliver()
    assert "amount_mismatch" in await holds.cases_of(payment)
    assert (await holds.events(payment, "payment."))[-1] == "payment.amount_mismatch"
    assert await holds.held(payment) == 0
