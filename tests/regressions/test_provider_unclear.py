"""An outcome whose words nobody knows: kept on the attempt, never settled, and a review case within the hour.

Source: issue 18, item 4; the referee's report on the handlers, D4 (an unknown outcome that stayed for days).
"""

from __future__ import annotations

import pytest

from polytill.domain.errors import Conflict
from polytill.domain.states import AttemptState, CaptureMode, PaymentStatus, RefundState
from polytill.flows.command import Command
from polytill.flows.payments.capture_cancel import cancel, capture
from polytill.flows.provider_messages import messages_of
from polytill.flows.review import resolve
from polytill.providers.outcomes import Declined, NotSent, Pending, Reason, Unknown
from polytill.storage import cases, operations, refunds
from polytill.storage.units import Unit
from tests import calls
from tests.flows.scenes import LINK, Scene, held, paid

STRANGE = Unknown(Reason.unreadable, "LEVITATING", "The payment is levitating.")
MINUTE = 60.0


async def test_a_status_that_nobody_knows_reaches_a_person_within_the_hour(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Pending(None, "tx-1"))
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", STRANGE)
    for _ in range(3):
        await scene.later(MINUTE)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.raw_code, attempt.detail) == (AttemptState.pending, "LEVITATING", STRANGE.detail)
    assert (await scene.payment(payment.id)).status is PaymentStatus.processing
    assert await cases.listed(scene.db) == []
    for _ in range(57):
        await scene.later(MINUTE)
    [case] = await cases.listed(scene.db)
    assert (case.kind, case.payment_id) == ("unresolved", payment.id)
    told = {name: case.detail[name] for name in ("attempt", "code", "message", "transaction", "provider")}
    assert told == {
        "attempt": attempt.id,
        "code": "LEVITATING",
        "message": STRANGE.detail,
        "transaction": "tx-1",
        "provider": "scripted",
    }
    assert case.detail["lookups"] > 1
    scene.wire.always("confirm", paid())
    for _ in range(6):
        await scene.later(MINUTE)
    assert (await scene.payment(payment.id)).status is PaymentStatus.succeeded
    assert await cases.listed(scene.db) == []
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.raw_code, attempt.unclear_since) == (None, None)


async def test_a_link_whose_provider_answers_in_new_words_is_neither_paid_nor_closed(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", STRANGE)
    for _ in range(62):
        await scene.later(MINUTE)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.raw_code) == (AttemptState.needs_action, "LEVITATING")
    [case] = await cases.listed(scene.db)
    await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Not on the provider's statement.", "staff")
    assert (await scene.payment(payment.id)).status is PaymentStatus.canceled
    [ended] = await cases.listed(scene.db, "resolved")
    assert (ended.resolved_by, ended.detail["resolution"]["note"]) == ("staff", "Not on the provider's statement.")
    scene.wire.always("confirm", paid())
    await scene.later(2 * 3600)
    assert (await scene.payment(payment.id)).status is PaymentStatus.succeeded, "the provider's word counts"


async def test_an_outage_is_not_an_unknown_word(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", Unknown(Reason.provider_unavailable, "503", "Down."))
    for _ in range(62):
        await scene.later(MINUTE)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.raw_code, attempt.unclear_since) == (None, None)
    assert await cases.listed(scene.db) == []


async def test_a_lost_answer_keeps_the_words_of_the_lookups(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout, "TimeoutError"))
    payment = (await scene.pay()).payment
    scene.wire.always("lookup", STRANGE)
    await scene.later(MINUTE)
    scene.wire.always("lookup", Unknown(Reason.timeout, "TimeoutError"))
    for _ in range(61):
        await scene.later(MINUTE)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.raw_code) == (AttemptState.unknown, "LEVITATING")
    [case] = await cases.listed(scene.db)
    assert (case.detail["code"], case.detail["message"]) == ("LEVITATING", STRANGE.detail)


async def test_a_refused_capture_says_why_on_its_attempt(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", held())
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says("capture", NotSent(Reason.validation, "LEVITATION", "Not while levitating."))
    await capture(scene.context, scene.practice_id, payment.id, 400, Command("take", "test"))
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.raw_code, attempt.detail) == (
        AttemptState.authorized,
        "LEVITATION",
        "Not while levitating.",
    )


async def test_a_decline_under_a_new_code_closes_the_attempt(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Pending(None, "tx-1"))
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", Declined(Reason.declined, True, "7777", "Not allowed.", "tx-1"))
    await scene.later(2 * MINUTE)
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.raw_code, attempt.detail) == (AttemptState.declined, "7777", "Not allowed.")
    assert (await scene.payment(payment.id)).status is PaymentStatus.failed


def test_what_is_logged_of_it_holds_nothing_about_a_person() -> None:
    told = messages_of(Declined(Reason.declined, True, "51", "ada@example.com, +254 712 345 678, sk_test_abc: no."))
    assert told == {"reason": "declined", "code": "51", "message": "[email] [number], [removed]: no."}


async def test_a_refund_whose_status_nobody_knows_reaches_a_person_within_the_hour(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Pending(None, "r1"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="back")
    scene.wire.always("lookup_refund", STRANGE)
    for _ in range(3):
        await scene.later(MINUTE)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert (refund.state, refund.raw_code, refund.detail) == (RefundState.pending, "LEVITATING", STRANGE.detail)
    assert await cases.listed(scene.db) == []
    for _ in range(57):
        await scene.later(MINUTE)
    [case] = await cases.listed(scene.db)
    assert (case.kind, case.subject) == ("unresolved", f"{made.id}:unclear")
    names = ("refund", "amount", "code", "message", "transaction", "provider")
    assert {name: case.detail[name] for name in names} == {
        "refund": made.id,
        "amount": 400,
        "code": "LEVITATING",
        "message": STRANGE.detail,
        "transaction": "r1",
        "provider": "scripted",
    }
    assert case.detail["lookups"] > 1
    after = await scene.payment(payment.id)
    assert (after.amount_refunded, after.refund_reserved) == (0, 400)
    # An outage neither replaces the words nor ends the case; a word that is known ends both.
    scene.wire.always("lookup_refund", Unknown(Reason.provider_unavailable, "503", "Down."))
    await scene.later(6 * MINUTE)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert (refund.raw_code, len(await cases.listed(scene.db))) == ("LEVITATING", 1)
    scene.wire.always("lookup_refund", Pending(None, "r1"))
    await scene.later(6 * MINUTE)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert (refund.state, refund.raw_code, refund.unclear_since) == (RefundState.pending, None, None)
    assert await cases.listed(scene.db) == []


async def test_a_lost_answer_to_a_refund_keeps_the_words_of_the_lookups(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Unknown(Reason.timeout, "TimeoutError"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="back")
    scene.wire.always("lookup_refund", STRANGE)
    for _ in range(61):
        await scene.later(MINUTE)
    [case] = await cases.listed(scene.db)
    assert (case.subject, case.detail["code"], case.detail["message"]) == (made.id, "LEVITATING", STRANGE.detail)


@pytest.mark.parametrize("kind", ["capture", "cancel"])
async def test_a_capture_or_cancel_that_nobody_understands_reaches_a_person(scene: Scene, kind: str) -> None:
    await scene.configure()
    scene.wire.says("create", held())
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says(kind, Pending(None, "tx-1"))
    if kind == "capture":
        await capture(scene.context, scene.practice_id, payment.id, 400, Command("op", "test"))
    else:
        await cancel(scene.context, scene.practice_id, payment.id, Command("op", "test"))
    scene.wire.always("confirm", STRANGE)
    for _ in range(62):
        await scene.later(MINUTE)
    [operation] = await operations.of_payment(scene.db, payment.id)
    about = [case for case in await cases.listed(scene.db) if case.detail.get("operation") == operation.id]
    [case] = about
    told = {name: case.detail[name] for name in ("type", "code", "message", "provider")}
    assert told == {"type": kind, "code": "LEVITATING", "message": STRANGE.detail, "provider": "scripted"}


async def test_an_unknown_attempt_whose_provider_is_not_understood_for_a_day_can_be_ended(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout, "TimeoutError"))
    payment = (await scene.pay()).payment
    unit = Unit()
    unit.add("UPDATE payment_attempts SET provider_transaction_id = 'tx-1' WHERE payment_id = $1", payment.id)
    await scene.db.commit(unit)
    scene.wire.always("lookup", STRANGE)
    scene.wire.always("confirm", STRANGE)
    for _ in range(61):
        await scene.later(MINUTE)
    [case] = await cases.listed(scene.db)
    with pytest.raises(Conflict):
        await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Not on the statement.", "staff")
    await scene.later(24 * 60 * MINUTE)
    await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Not on the statement.", "staff")
    assert (await scene.payment(payment.id)).status is PaymentStatus.canceled
    scene.wire.always("confirm", paid())
    scene.wire.always("lookup", paid())
    await scene.later(2 * 3600)
    assert (await scene.payment(payment.id)).amount_captured == 1000, "the provider's word counts"
