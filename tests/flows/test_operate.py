"""Captures and cancels: once, on disk before the call, and found out where the answer was lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, CaptureMode, PaymentStatus
from polytill.flows.command import Command
from polytill.flows.context import Practice
from polytill.flows.payments import capture_cancel
from polytill.flows.payments.reading import PaymentDetails
from polytill.providers.contract import PaymentFact
from polytill.providers.http import AnswerLost
from polytill.providers.outcomes import Declined, NotSent, Reason, Unknown
from polytill.storage import operations
from polytill.storage.payments import Payment
from tests import calls
from tests.flows.scenes import LINK, Scene, held, paid
from tests.flows.scripted import Lost
from tests.storage.making import plain

P = PaymentStatus
CANCELED = Declined(Reason.canceled, True)


async def authorized(scene: Scene, code: str = "scripted") -> Payment:
    await scene.configure(code)
    scene.wire.says("create", held())
    return (await scene.pay(capture=CaptureMode.manual)).payment


async def capture(scene: Scene, payment: Payment, amount: int | None = None, key: str = "take") -> PaymentDetails:
    return await calls.capture(scene.till, scene.practice_id, payment.id, key=key, amount=amount)


async def cancel(scene: Scene, payment: Payment, key: str = "stop") -> PaymentDetails:
    return await capture_cancel.cancel(scene.context, scene.practice_id, payment.id, Command(key, "test"))


@pytest.mark.parametrize("amount", [None, 1000, 400, 1])
async def test_all_or_part_of_what_is_held(scene: Scene, amount: int | None) -> None:
    payment = await authorized(scene)
    assert (payment.status, payment.amount_authorized, payment.amount_captured) == (P.authorized, 1000, 0)
    seen: list[Any] = []

    async def look(made: Any) -> None:
        seen.append(
            await plain(scene.db, "SELECT state, kind FROM payment_operations WHERE id = $1", made.params.reference)
        )

    scene.wire.before = look
    scene.wire.says("capture", paid(amount or 1000))
    taken = await capture(scene, payment, amount)
    assert seen == [[("sent", "capture")]]
    assert (taken.payment.status, taken.payment.amount_captured) == (P.succeeded, amount or 1000)
    [made] = scene.wire.of("capture")
    assert made.params.amount == Money(amount or 1000, "NGN")
    assert await plain(scene.db, "SELECT state FROM payment_operations") == [("succeeded",)]


async def test_no_more_than_is_held(scene: Scene) -> None:
    payment = await authorized(scene)
    for amount in (0, -1, 1001):
        with pytest.raises(Invalid):
            await capture(scene, payment, amount)
    assert scene.wire.of("capture") == []


async def test_only_the_router_lets_manual_capture_through(scene: Scene) -> None:
    await scene.configure("plain")
    with pytest.raises(Invalid, match="No configured provider"):
        await scene.pay(capture=CaptureMode.manual)


async def test_the_same_key_captures_once(scene: Scene) -> None:
    payment = await authorized(scene)
    scene.wire.always("capture", paid(400))
    taken = await asyncio.gather(*(capture(scene, payment, 400) for _ in range(10)))
    assert len(scene.wire.of("capture")) == 1
    assert sum(not one.replayed for one in taken) == 1
    assert (await capture(scene, payment, 400)).replayed
    with pytest.raises(Conflict, match="another request"):
        await capture(scene, payment, 500)
    with pytest.raises(Conflict, match="cannot be captured"):
        await capture(scene, payment, 500, "other")


@pytest.mark.parametrize("kind", ["capture", "cancel"])
@pytest.mark.parametrize("ended", [False, True], ids=["under way", "done"])
async def test_a_repeat_that_read_before_the_first_was_on_disk_is_no_refusal(
    scene: Scene, kind: str, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw no key, and then what the first has done."""
    payment = await authorized(scene)
    answer = (paid(400) if kind == "capture" else CANCELED) if ended else Unknown(Reason.timeout)
    scene.wire.says(kind, answer)
    act = capture if kind == "capture" else cancel
    await act(scene, payment, key="one")
    reading = capture_cancel.operations.by_key
    seen: list[Any] = [None]  # the first time that it is looked for, it is not there yet

    async def by_key(*args: Any) -> Any:
        return seen.pop() if seen else await reading(*args)

    monkeypatch.setattr(capture_cancel.operations, "by_key", by_key)
    assert (await act(scene, payment, key="one")).replayed
    assert len(scene.wire.of(kind)) == 1


async def test_a_key_that_canceled_what_was_canceled_stands_for_that(scene: Scene) -> None:
    payment = await authorized(scene)
    scene.wire.says("cancel", CANCELED)
    await cancel(scene, payment)
    for _ in range(2):
        assert (await cancel(scene, payment, "again")).payment.status is P.canceled
    scene.wire.says("create", held(transaction="tx-2"))
    other = (await scene.pay(capture=CaptureMode.manual)).payment
    with pytest.raises(Conflict, match="another request"):
        await cancel(scene, other, "again")
    assert len(scene.wire.of("cancel")) == 1


@pytest.mark.parametrize("answer", [Unknown(Reason.timeout), Lost(AnswerLost("x"))], ids=lambda v: type(v).__name__)
async def test_a_lost_capture_is_found_out_and_not_repeated(scene: Scene, answer: Any) -> None:
    payment = await authorized(scene)
    scene.wire.says("capture", answer)
    assert (await capture(scene, payment, 400)).payment.status is P.authorized
    with pytest.raises(Conflict, match="under way"):
        await capture(scene, payment, 400, "again")
    scene.wire.always("confirm", paid(400))
    await scene.later(61)
    fresh = await scene.payment(payment.id)
    assert (fresh.status, fresh.amount_captured) == (P.succeeded, 400)
    assert len(scene.wire.of("capture")) == 1


@pytest.mark.parametrize("verb", ["capture", "cancel"])
async def test_the_hold_is_what_is_captured_or_called_off(scene: Scene, verb: str) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout))
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says("lookup", NotSent(Reason.not_found))
    scene.wire.says("create", replace(LINK, provider_transaction_id="tx-2"))
    await scene.later(3)
    first, second = await scene.attempts(payment.id)
    assert (first.state, second.state) == (AttemptState.expired, AttemptState.needs_action)
    scene.wire.says("confirm", held(transaction="tx-1"))  # what is closed here is asked about
    await scene.delivery(configuration, PaymentFact(held(transaction="tx-1"), first.id, "tx-1"))
    payment = await scene.payment(payment.id)
    assert (payment.status, payment.provider_transaction_id) == (P.authorized, "tx-1")
    scene.wire.says(verb, paid(transaction="tx-1") if verb == "capture" else CANCELED)
    await (capture if verb == "capture" else cancel)(scene, payment)
    assert [made.params.provider_transaction_id for made in scene.wire.of(verb)] == ["tx-1"]
    assert (await scene.payment(payment.id)).status is (P.succeeded if verb == "capture" else P.canceled)


async def test_a_lost_capture_that_did_nothing(scene: Scene) -> None:
    payment = await authorized(scene)
    scene.wire.says("capture", Unknown(Reason.timeout))
    await capture(scene, payment, 400)
    scene.wire.always("confirm", held())
    for _ in range(3):
        await scene.later(30)
        assert await plain(scene.db, "SELECT state FROM payment_operations") == [("unknown",)], (
            "it may still be running"
        )
    await scene.later(61)
    assert await plain(scene.db, "SELECT state FROM payment_operations") == [("declined",)]
    scene.wire.says("capture", paid(500))
    assert (await capture(scene, payment, 500, "again")).payment.amount_captured == 500


@pytest.mark.parametrize("told", [CANCELED, held(), Unknown(Reason.timeout)], ids=lambda v: type(v).__name__)
async def test_a_worker_looks_while_the_call_is_under_way(scene: Scene, told: Any) -> None:
    """Its process was slow, so the operation was found overdue: whoever is second reads what the first has written."""
    payment = await authorized(scene)
    scene.wire.always("confirm", told)

    async def slow(_: object) -> object:
        [operation] = await operations.open_of_payment(scene.db, payment.id)
        await capture_cancel.refresh(Practice(scene.context, scene.db), operation)
        return CANCELED

    scene.wire.says("cancel", slow)
    assert (await cancel(scene, payment)).payment.status is P.canceled
    assert await plain(scene.db, "SELECT state FROM payment_operations") == [("succeeded",)]


async def test_a_capture_that_is_refused_leaves_the_hold(scene: Scene) -> None:
    payment = await authorized(scene)
    scene.wire.says("capture", NotSent(Reason.rate_limited))
    assert (await capture(scene, payment)).payment.status is P.authorized
    scene.wire.says("capture", paid())
    assert (await capture(scene, payment, key="again")).payment.status is P.succeeded


async def test_cancel_before_and_after_the_hold(scene: Scene) -> None:
    payment = await authorized(scene)
    scene.wire.says("cancel", CANCELED)
    taken = await cancel(scene, payment)
    assert (taken.payment.status, taken.payment.cancel_reason) == (P.canceled, "canceled")
    assert (await cancel(scene, payment)).payment.status is P.canceled
    scene.wire.says("create", LINK)
    unpaid = (await scene.pay()).payment
    scene.wire.says("cancel", CANCELED)
    assert (await cancel(scene, unpaid, "stop 2")).payment.status is P.canceled
    assert len(scene.wire.of("cancel")) == 2


async def test_what_is_paid_meanwhile_is_not_canceled(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.says("cancel", paid())
    assert (await cancel(scene, payment)).payment.status is P.succeeded
    with pytest.raises(Conflict, match="cannot be canceled"):
        await cancel(scene, payment, "again")


async def test_what_is_not_known_is_not_canceled(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout))
    payment = (await scene.pay()).payment
    with pytest.raises(Conflict) as caught:
        await cancel(scene, payment)
    assert caught.value.code == "outcome_unknown"
    assert scene.wire.of("cancel") == []


async def test_a_provider_that_cannot_cancel_is_asked_whether_it_was_paid(scene: Scene) -> None:
    await scene.configure("plain")
    for answer, status in ((LINK, P.canceled), (paid(), P.succeeded), (Unknown(Reason.timeout), P.requires_action)):
        scene.wire.says("create", LINK)
        payment = (await scene.pay()).payment
        scene.wire.says("confirm", answer)
        assert (await cancel(scene, payment, f"stop {status}")).payment.status is status
    # Canceled here only: a late success is still booked.
    [row] = await scene.db.fetch("SELECT id FROM payments WHERE status = 'canceled'")
    [attempt] = await scene.attempts(row["id"])
    assert attempt.state is AttemptState.canceled
    scene.wire.always("confirm", paid(transaction="late"))
    await scene.later(3601)
    assert (await scene.db.fetch("SELECT COUNT(*) AS n FROM payments WHERE status = 'canceled'"))[0]["n"] == 0


@pytest.mark.parametrize("first", ["capture", "cancel"])
@pytest.mark.parametrize("answer", ["at once", "lost"])
async def test_only_one_operation_is_open_at_a_time(scene: Scene, answer: str, first: str) -> None:
    payment = await authorized(scene)
    scene.wire.always("capture", paid(400) if answer == "at once" else Unknown(Reason.timeout))
    scene.wire.always("cancel", CANCELED if answer == "at once" else Unknown(Reason.timeout))
    asked = [
        *(capture(scene, payment, 400, f"take {n}") for n in range(4)),
        *(cancel(scene, payment, f"stop {n}") for n in range(4)),
    ]
    done = await asyncio.gather(*(asked if first == "capture" else reversed(asked)), return_exceptions=True)
    assert len(scene.wire.of("capture")) + len(scene.wire.of("cancel")) == 1
    # One was begun. A cancel that comes when all is canceled keeps its key and asks nobody: it is done from the first.
    begun = "SELECT id FROM audit_log WHERE action IN ('payment.capture', 'payment.cancel')"
    assert len(await plain(scene.db, begun)) == 1
    still_open = await plain(scene.db, "SELECT id FROM payment_operations WHERE state = 'unknown'")
    assert len(still_open) == (1 if answer == "lost" else 0)
    kept = await plain(scene.db, "SELECT kind FROM payment_operations")
    assert len(kept) == 1 or {kind for (kind,) in kept} == {"cancel"}
    refused = [one for one in done if isinstance(one, Conflict)]
    # Who cancels what is canceled by then has what they want.
    assert len(refused) + sum(isinstance(one, PaymentDetails) for one in done) == 8, done
    assert len(refused) >= 4
    if answer == "lost":
        with pytest.raises(Conflict) as caught:
            await cancel(scene, payment, "later")
        assert (caught.value.code, str(caught.value)) == (
            "operation_under_way",
            "A capture or cancel of this payment is under way.",
        )
