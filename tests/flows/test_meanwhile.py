"""What others did while a call or a question was under way, and what somebody read before that and acts on afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from polytill.background import sweep
from polytill.domain.event_types import EventType
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, CaptureMode, DisputeKind, OperationState, PaymentStatus, RefundState
from polytill.flows.command import Command
from polytill.flows.context import Practice
from polytill.flows.next_action import open_action
from polytill.flows.payments.capture_cancel import cancel
from polytill.flows.recovery import lookup
from polytill.flows.refunds import create as refunding
from polytill.flows.webhooks import receive
from polytill.providers.contract import DisputeFact, Idempotency, PaymentFact, RefundFact
from polytill.providers.outcomes import (
    NOTHING_TO_CLOSE,
    Declined,
    NeedsAction,
    NotSent,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.storage import attempts as storage_attempts
from polytill.storage import cases, disputes, ledger, operations, refunds, webhook_events
from polytill.storage.units import Unit
from tests import calls
from tests.flows.scenes import LINK, REFUSED, Scene, held, paid
from tests.flows.scripted import Scripted
from tests.storage.making import plain

A, P, R = AttemptState, PaymentStatus, RefundState
OVERDUE_S = 45.0
TOO_MANY = NotSent(Reason.rate_limited, "429", "Not now.")


async def refunds_of(scene: Scene, payment: Any) -> list[tuple[str, str, str | None]]:
    """Its refunds: by whom, how they stand, and what the provider calls them."""
    found = await refunds.of_payment(scene.db, payment.id)
    return sorted((r.origin, r.state.value, r.provider_refund_id) for r in found)


async def every_call_has_a_row(scene: Scene) -> bool:
    made = [call.params.reference for call in scene.wire.of("create")]
    return None not in [await storage_attempts.by_id(scene.db, reference) for reference in made]


# ── Payments ──


async def test_no_second_provider_is_called_where_a_delivery_has_ended_the_attempt(scene: Scene) -> None:
    """The signed final decline overtakes the answer: the next attempt was never put on disk, and may not be called."""
    configuration = await scene.configure(priority=5)
    await scene.configure("other")

    async def told_first(params: Any) -> Declined:
        await scene.delivery(configuration, PaymentFact(REFUSED, params.reference, None))
        return REFUSED

    scene.wire.says("create", told_first)
    taken = await scene.pay()
    assert [attempt.state for attempt in taken.attempts] == [A.declined]
    assert taken.payment.status is P.failed
    assert len(scene.wire.of("create")) == 1


@pytest.mark.parametrize(
    ("found", "state"), [(Pending(None, "tx-1"), A.pending), (Unknown(Reason.timeout), A.unknown)], ids=["made", "lost"]
)
async def test_not_sent_proves_nothing_once_others_have_repeated_the_call(
    scene: Scene, found: Any, state: AttemptState
) -> None:
    """A slow call is asked about, which repeats it; that the call itself then did not get there closes nothing."""
    await scene.configure(priority=5)
    await scene.configure("other")

    async def slow(_: Any) -> NotSent:
        scene.clock.at_s += OVERDUE_S
        scene.wire.says("lookup", found)
        await sweep(scene.till.context)
        return TOO_MANY

    scene.wire.says("create", slow)
    taken = await scene.pay()
    [attempt] = await scene.attempts(taken.payment.id)
    assert attempt.state is state
    assert (await scene.payment(taken.payment.id)).status is P.processing
    assert len(scene.wire.of("create")) == 1


async def test_not_sent_proves_nothing_while_others_ask(scene: Scene) -> None:
    """The answer comes while the question is on its way: the question may yet make the payment."""
    await scene.configure(priority=5)
    await scene.configure("other")
    called, asked, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> NotSent:
        scene.clock.at_s += OVERDUE_S
        called.set()
        await asked.wait()
        return TOO_MANY

    async def repeated(_: Any) -> Pending:
        asked.set()
        await answered.wait()
        return Pending(None, "tx-1")

    scene.wire.says("create", slow)
    scene.wire.says("lookup", repeated)
    paying = asyncio.create_task(scene.pay())
    await called.wait()
    looking = asyncio.create_task(sweep(scene.till.context))
    taken = await paying
    answered.set()
    await looking
    [attempt] = await scene.attempts(taken.payment.id)
    assert (attempt.state, attempt.provider_transaction_id) == (A.pending, "tx-1")
    assert len(scene.wire.of("create")) == 1


async def test_a_link_that_arrives_during_the_lookup_is_not_lost(scene: Scene) -> None:
    """The payer holds one by the time that the lookup finds none: there is no second."""
    await scene.configure()
    called, asked, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> NeedsAction:
        scene.clock.at_s += OVERDUE_S
        called.set()
        await asked.wait()
        return LINK

    async def finds_none(_: Any) -> NeedsAction:
        asked.set()
        await answered.wait()
        return NeedsAction(None)

    scene.wire.says("create", slow)
    scene.wire.says("lookup", finds_none)
    paying = asyncio.create_task(scene.pay())
    await called.wait()
    looking = asyncio.create_task(sweep(scene.till.context))
    taken = await paying
    answered.set()
    await looking
    [attempt] = await scene.attempts(taken.payment.id)
    assert attempt.state is A.needs_action
    assert open_action(scene.db, attempt) is not None
    assert len(scene.wire.of("create")) == 1


@pytest.mark.parametrize("known", ["tx-1", None], ids=["by its id", "after the keys' time"])
async def test_a_refused_question_is_no_refused_repeat(
    scene: Scene, known: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the payment's id is known, or its key has had its time, the lookup repeats nothing: "no" is about itself."""
    monkeypatch.setattr(Scripted, "idempotency", Idempotency.key)
    monkeypatch.setattr(Scripted, "idempotency_window_s", 3600 if known else 0)
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout))
    taken = await scene.pay()
    unit = Unit()
    unit.add("UPDATE payment_attempts SET provider_transaction_id = $1", known)
    await scene.db.commit(unit)
    scene.wire.says("lookup", NotSent(Reason.validation, "400", "No such field."))
    await scene.later(5)
    [attempt] = await scene.attempts(taken.payment.id)
    assert attempt.state is A.unknown


async def test_a_cancel_that_an_authorization_overtakes_has_not_come_about(scene: Scene) -> None:
    """At the lookup there was nothing to cancel; at the time of writing, the amount is authorized."""
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay(capture=CaptureMode.manual)

    async def meanwhile(_: Any) -> NeedsAction:
        await scene.delivery(configuration, PaymentFact(held(), taken.attempts[0].id, "tx-1"))
        return NeedsAction(None)

    scene.wire.says("cancel", NotSent(Reason.invalid_state, NOTHING_TO_CLOSE))
    scene.wire.says("confirm", meanwhile)
    canceled = await cancel(scene.context, scene.practice_id, taken.payment.id, Command("off", "test"))
    assert canceled.payment.status is P.authorized
    operation = await operations.by_key(scene.db, "off")
    assert operation is not None
    assert operation.state is OperationState.declined


async def test_an_expiry_that_an_authorization_overtakes_cancels_nothing(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay(capture=CaptureMode.manual)

    async def meanwhile(_: Any) -> NotSent:
        await scene.delivery(configuration, PaymentFact(held(), taken.attempts[0].id, "tx-1"))
        return NotSent(Reason.invalid_state)

    scene.wire.says("confirm", NeedsAction(None))
    scene.wire.says("cancel", meanwhile)
    await lookup.expire(Practice(scene.context, scene.db), taken.payment)
    assert (await scene.payment(taken.payment.id)).status is P.authorized


@pytest.mark.parametrize("answer", ["canceled", "held", "none"])
async def test_news_of_a_hold_that_comes_after_its_end_is_asked_about(scene: Scene, answer: str) -> None:
    """The first webhook was delayed at the provider; the host has canceled the payment since."""
    configuration = await scene.configure()
    scene.wire.says("create", held())
    taken = await scene.pay(capture=CaptureMode.manual)
    canceled = Declined(Reason.canceled, True, "canceled", None, "tx-1")
    scene.wire.says("cancel", canceled)
    await cancel(scene.context, scene.practice_id, taken.payment.id, Command("off", "test"))
    said = {"canceled": canceled, "held": held(), "none": Unknown(Reason.timeout)}[answer]
    scene.wire.says("confirm", said)
    late = await scene.delivery(configuration, PaymentFact(held(), taken.attempts[0].id, "tx-1"))
    [asked] = scene.wire.of("confirm")
    assert asked.params.only_ask
    payment = await scene.payment(taken.payment.id)
    assert payment.status is (P.authorized if answer == "held" else P.canceled), (
        "it may be authorized again: it was canceled here"
    )
    if answer == "none":
        assert late is not None
        stored = await webhook_events.by_id(scene.db, late.id)
        assert stored is not None
        assert (stored.state, stored.reason) == ("received", "timeout")
        scene.wire.says("confirm", canceled)
        await scene.later(11)
    assert [event.state for event in await webhook_events.listed(scene.db)] == ["applied"]
    assert (await scene.payment(taken.payment.id)).status is payment.status


async def test_a_hold_that_ends_while_its_news_is_applied_is_asked_about(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay(capture=CaptureMode.manual)
    canceled = Declined(Reason.canceled, True, "canceled", None, "tx-1")
    scene.wire.says("cancel", canceled)
    scene.wire.says("confirm", canceled)
    settled = receive.settle

    async def called_off_first(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(receive, "settle", settled)
        await cancel(scene.context, scene.practice_id, taken.payment.id, Command("off", "test"))
        return await settled(*given, **more)

    monkeypatch.setattr(receive, "settle", called_off_first)
    await scene.delivery(configuration, PaymentFact(held(), taken.attempts[0].id, "tx-1"))
    assert (await scene.payment(taken.payment.id)).status is P.canceled
    assert [event.state for event in await webhook_events.listed(scene.db)] == ["applied"]


# ── A link that was paid twice ──


async def test_a_second_success_that_is_told_twice_at_once_is_booked_once(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    reference = taken.attempts[0].id
    await scene.delivery(configuration, PaymentFact(paid(), reference, "tx-1"))
    called, other = asyncio.Event(), asyncio.Event()

    async def late(_: Any) -> Succeeded:
        called.set()
        await other.wait()
        return paid(transaction="tx-2")

    scene.wire.says("confirm", late, paid(transaction="tx-2"))
    fact = PaymentFact(paid(transaction="tx-2"), reference, "tx-2")
    slow = asyncio.create_task(scene.delivery(configuration, fact))
    await called.wait()
    await scene.delivery(configuration, fact)
    other.set()
    await slow
    scene.wire.always("confirm", paid(transaction="tx-2"))
    await scene.later(10)
    attempts = await scene.attempts(taken.payment.id)
    assert [(a.state, a.provider_transaction_id) for a in attempts] == [(A.succeeded, "tx-1"), (A.succeeded, "tx-2")]
    lines = await ledger.of_payment(scene.db, taken.payment.id)
    assert sum(line["amount"] for line in lines if line["account"] == "duplicate_payments") == -1000
    assert await scene.cases() == ["duplicate_payment"]


async def test_a_second_success_whose_booker_died_is_booked_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt that is its own comes with the money: nothing is left that could be asked about under an unknown name."""
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    fact = PaymentFact(paid(transaction="tx-2"), taken.attempts[0].id, "tx-2")
    await scene.delivery(configuration, PaymentFact(paid(), taken.attempts[0].id, "tx-1"))

    async def dies(*_: Any) -> None:
        raise ConnectionError

    scene.wire.always("confirm", paid(transaction="tx-2"))
    with monkeypatch.context() as dying:
        dying.setattr("polytill.flows.payments.second_transactions.settle", dies)
        await scene.delivery(configuration, fact)
    assert [a.state for a in await scene.attempts(taken.payment.id)] == [A.succeeded]
    await scene.later(10)
    attempts = await scene.attempts(taken.payment.id)
    assert [(a.state, a.provider_transaction_id) for a in attempts] == [(A.succeeded, "tx-1"), (A.succeeded, "tx-2")]
    assert await scene.cases() == ["duplicate_payment"]


async def test_a_second_success_of_another_amount_is_put_before_a_person(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    reference = taken.attempts[0].id
    await scene.delivery(configuration, PaymentFact(paid(), reference, "tx-1"))
    scene.wire.always("confirm", paid(900, transaction="tx-2"))
    for number in range(2):
        fact = PaymentFact(paid(900, transaction="tx-2"), reference, "tx-2")
        await scene.delivery(configuration, fact, dedupe_key=f"again-{number}")
    [case] = await cases.listed(scene.db)
    assert (case.kind, case.detail["transaction"]) == ("amount_mismatch", "tx-2")
    assert case.detail["provider"] == {"amount": 900, "currency": "NGN"}
    assert [a.state for a in await scene.attempts(taken.payment.id)] == [A.succeeded]
    told = await plain(scene.db, "SELECT type FROM events ORDER BY id")
    assert told == [("payment.succeeded",), ("payment.amount_mismatch",)]


@pytest.mark.parametrize("fee", [15, None])
async def test_a_second_success_that_the_first_overtakes_is_booked_beside_it(scene: Scene, fee: int | None) -> None:
    """It was asked about while nothing was paid yet. The first, found by a lookup, keeps its name and its own fee."""
    configuration = await scene.configure()
    scene.wire.says("create", replace(LINK, provider_transaction_id=None))
    taken = await scene.pay()
    reference = taken.attempts[0].id

    async def overtaken(_: Any) -> Succeeded:
        await lookup.refresh(Practice(scene.context, scene.db), taken.payment, taken.attempts[0])
        return paid(transaction="tx-2", fee=20)

    scene.wire.says("confirm", overtaken, paid(fee=fee), paid(transaction="tx-2", fee=20))
    await scene.delivery(configuration, PaymentFact(paid(transaction="tx-2"), reference, "tx-2"), must_fetch=True)
    attempts = await scene.attempts(taken.payment.id)
    assert [(a.state, a.provider_transaction_id) for a in attempts] == [(A.succeeded, "tx-1"), (A.succeeded, "tx-2")]
    payment = await scene.payment(taken.payment.id)
    assert (payment.provider_transaction_id, payment.provider_fee) == ("tx-1", fee)
    assert await scene.cases() == ["duplicate_payment"]


# ── Refunds ──


async def test_a_refund_in_the_dashboard_that_is_taken_for_ours_does_not_hide_ours(scene: Scene) -> None:
    """Its delivery, with the same amount and no reference, comes while our own call is under way."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    about = payment.provider_transaction_id

    async def overtaken(_: Any) -> Succeeded:
        fact = RefundFact("succeeded", None, "re_dash", None, about, Money(400, "NGN"))
        await scene.delivery(configuration, fact)
        return Succeeded(Money(400, "NGN"), "re_ours")

    scene.wire.says("refund", overtaken)
    made, _ = await refunding.create_refund(
        scene.context, scene.practice_id, payment.id, refunding.RefundRequest(400), Command("back", "test")
    )
    both = [("api", "succeeded", "re_dash"), ("provider", "succeeded", "re_ours")]
    assert await refunds_of(scene, payment) == both
    ours = RefundFact("succeeded", made.id, "re_ours", None, about, Money(400, "NGN"))
    await scene.delivery(configuration, ours)
    assert {event.state.value for event in await webhook_events.listed(scene.db)} == {"applied"}
    assert await refunds_of(scene, payment) == both
    assert (await scene.payment(payment.id)).amount_refunded == 800


async def test_a_refund_of_ours_whose_answer_was_lost_is_found_beside_its_double(scene: Scene) -> None:
    """The delivery that carries our reference is about another refund than the one that was taken for ours."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    about = payment.provider_transaction_id
    scene.wire.says("refund", Unknown(Reason.timeout))
    made, _ = await refunding.create_refund(
        scene.context, scene.practice_id, payment.id, refunding.RefundRequest(400), Command("back", "test")
    )
    await scene.delivery(configuration, RefundFact("succeeded", None, "re_dash", None, about, Money(400, "NGN")))
    await scene.delivery(configuration, RefundFact("succeeded", made.id, "re_ours", None, about, Money(400, "NGN")))
    assert await refunds_of(scene, payment) == [("api", "succeeded", "re_dash"), ("provider", "succeeded", "re_ours")]
    assert (await scene.payment(payment.id)).amount_refunded == 800


async def test_a_named_delivery_that_is_about_none_of_those_asked_is_still_applied(scene: Scene) -> None:
    """Two refunds of one amount are open; the provider names both otherwise, so the delivery's is a third."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    for key in ("one", "two"):
        scene.wire.says("refund", Unknown(Reason.timeout))
        await calls.refund(scene.till, scene.practice_id, payment.id, key=key, amount=300)
    scene.wire.says("lookup_refund", Succeeded(Money(300, "NGN"), "re_1"), Succeeded(Money(300, "NGN"), "re_2"))
    fact = RefundFact("succeeded", None, "re_3", None, payment.provider_transaction_id, Money(300, "NGN"))
    await scene.delivery(configuration, fact)
    assert await refunds_of(scene, payment) == [
        ("api", "succeeded", "re_1"),
        ("api", "succeeded", "re_2"),
        ("provider", "succeeded", "re_3"),
    ]
    [event] = await webhook_events.listed(scene.db)
    assert event.state == "applied"


async def test_a_refund_that_was_not_sent_is_not_asked_about(scene: Scene) -> None:
    """Its caller was told so, and to ask may be to send it: whoever read it before must look again first."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", TOO_MANY)
    made, _ = await refunding.create_refund(
        scene.context, scene.practice_id, payment.id, refunding.RefundRequest(400), Command("back", "test")
    )
    assert made.state is R.not_sent
    for as_it_was_read in (R.sent, R.unknown):
        settled = await refunding.refresh(Practice(scene.context, scene.db), replace(made, state=as_it_was_read))
        assert settled.state is R.not_sent
    assert scene.wire.of("lookup_refund") == []


@pytest.mark.parametrize(("repeats", "ends"), [(True, R.not_sent), (False, R.unknown)])
async def test_only_a_refused_repeat_proves_that_a_refund_was_not_made(
    scene: Scene, repeats: bool, ends: RefundState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a lookup only reads, "no" is about the question."""
    monkeypatch.setattr(Scripted, "idempotency", Idempotency.key)
    monkeypatch.setattr(Scripted, "idempotency_window_s", 3600)
    monkeypatch.setattr(Scripted, "lookup_repeats_refund", repeats)
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Unknown(Reason.timeout))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    scene.wire.says("lookup_refund", NotSent(Reason.validation, "400", "No such field."))
    await scene.later(5)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert refund.state is ends
    reserved = (await scene.payment(payment.id)).refund_reserved
    assert reserved == (0 if ends is R.not_sent else 400)


# ── Disputes ──


async def test_news_of_a_new_dispute_that_come_at_once_are_all_applied(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    [attempt] = await scene.attempts(payment.id)
    opened = DisputeFact("open", "needs_response", "d1", payment_reference=attempt.id, amount=Money(1000, "NGN"))
    await asyncio.gather(*(scene.delivery(configuration, opened) for _ in range(4)))
    assert [event.state for event in await webhook_events.listed(scene.db)] == ["applied"] * 4
    assert await scene.cases() == ["dispute_open"]
    assert len(await disputes.of_payment(scene.db, payment.id)) == 1


async def test_an_inquiry_that_becomes_a_chargeback_is_reported_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """World seed 68004135: two webhooks told it at once, and each recorded that a dispute was opened."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    [attempt] = await scene.attempts(payment.id)
    asked = DisputeFact(
        "open", "warning", "d1", payment_reference=attempt.id, amount=Money(1000, "NGN"), kind="inquiry"
    )
    await scene.delivery(configuration, asked)
    claimed = replace(asked, kind="chargeback", provider_state="needs_response")
    read, meanwhile = disputes.of_payment, [replace(claimed, funds_withdrawn=True)]

    async def read_before_the_other(*args: Any) -> Any:
        found = await read(*args)
        if meanwhile:
            await scene.delivery(configuration, meanwhile.pop())
        return found

    monkeypatch.setattr(disputes, "of_payment", read_before_the_other)
    await scene.delivery(configuration, claimed)
    told = Counter(row[0] for row in await plain(scene.db, "SELECT type FROM events"))
    assert (told[EventType.inquiry_opened], told[EventType.dispute_opened]) == (1, 1)
    [dispute] = await read(scene.db, payment.id)
    assert dispute.kind is DisputeKind.chargeback
