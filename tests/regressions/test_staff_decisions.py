"""Staff resolve what stays unknown: an attempt as paid, and a refund, capture or cancel as done or not done.

Source: issue 18, item 4 ("If the outcome stays unknown, a review case opens ... with an audited way to resolve it"); the
referee's report on the handlers, D4 (an attempt without a transaction id stayed unknown for days).
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid
from polytill.domain.identifiers import IdentifierKind
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, CaptureMode, OperationState, PaymentStatus, RefundState
from polytill.flows.command import Command
from polytill.flows.payments.capture_cancel import cancel, capture
from polytill.flows.review import resolve
from polytill.flows.review import staff_decisions as review_staff_decisions
from polytill.flows.review.staff_decisions import Proof
from polytill.flows.unresolved import UNRESOLVED_AFTER
from polytill.providers.contract import PaymentFact, RefundFact
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.storage import cases, ledger, operations, payment_identifiers, provider_configs, refunds, staff_decisions
from polytill.storage.cases import OperatorCase
from polytill.storage.payments import Payment
from tests import calls
from tests.flows.scenes import Scene, held, paid
from tests.flows.scripted import Scripted
from tests.storage.making import plain

HOUR = UNRESOLVED_AFTER.total_seconds()
SILENT = Unknown(Reason.timeout)
NOBODY = Unknown(Reason.provider_unavailable, "503", "Down.")
NOTE = "On the provider's statement of 30 November"


async def stuck_payment(scene: Scene, code: str = "mover") -> OperatorCase:
    """A charge whose answer was lost, for an hour."""
    await scene.configure(code)
    scene.wire.says("create", SILENT)
    await scene.pay()
    return await waited(scene)


async def waited(scene: Scene) -> OperatorCase:
    """Its provider says nothing for an hour."""
    for verb in ("lookup", "lookup_refund", "confirm"):
        scene.wire.always(verb, NOBODY)
    for seconds in (HOUR - 60, 90, 90):
        await scene.later(seconds)
    [case] = await cases.listed(scene.db, kind="unresolved")
    return case


async def mark(scene: Scene, case: OperatorCase, transaction: str = "TX-77", amount: int = 1000, **more: Any) -> Any:
    """Staff mark it as paid."""
    who = more.get("actor", "user:1")
    return await review_staff_decisions.mark_paid(
        scene.context, scene.practice_id, case.id, Proof(more.get("note", NOTE), transaction, amount), who
    )


async def events(scene: Scene, kind: str) -> int:
    """How many events of a type there are."""
    return len([row for row in await plain(scene.db, "SELECT type FROM events") if row[0] == kind])


async def told(scene: Scene, case: OperatorCase, outcome: Any, transaction: str | None, code: str = "mover") -> None:
    """A webhook tells this of the case's attempt."""
    configuration = (await provider_configs.all_of(scene.db))[code]
    [attempt, *_] = await scene.attempts(str(case.payment_id))
    await scene.delivery(configuration, PaymentFact(outcome, attempt.id, transaction))


async def paid_payment(scene: Scene) -> tuple[OperatorCase, Payment]:
    """One that staff have marked as paid."""
    case = await stuck_payment(scene)
    await mark(scene, case)
    return case, await scene.payment(str(case.payment_id))


# ── Paid ──


async def test_staff_mark_an_unknown_attempt_as_paid(scene: Scene) -> None:
    case = await stuck_payment(scene)
    found = await mark(scene, case, "  tx-77\u200b ")
    payment = await scene.payment(str(case.payment_id))
    [attempt] = await scene.attempts(payment.id)
    assert (payment.status, payment.amount_captured) == (PaymentStatus.succeeded, 1000)
    assert (attempt.state, attempt.provider_transaction_id) == (AttemptState.succeeded, "tx-77")
    assert (payment.provider_code, payment.provider_transaction_id) == ("mover", "tx-77")
    assert (found.case.state, found.case.resolved_by) == ("resolved", "user:1")
    assert found.case.detail["resolution"] == {"action": "marked_paid", "note": NOTE, "transaction": "tx-77"}
    lines = {(one["account"], one["amount"]) for one in await ledger.of_payment(scene.db, payment.id)}
    assert lines == {("payments", -1000), ("provider:mover", 1000)}
    assert await events(scene, "payment.succeeded") == 1
    audited = await plain(scene.db, "SELECT actor, action FROM audit_log ORDER BY id")
    assert ("user:1", "payment.marked_paid") in audited
    assert ("staff", "payment.succeeded") in audited
    named = await payment_identifiers.of_payments(scene.db, [payment.id])
    assert named == {attempt.id: {IdentifierKind.transaction: ("tx-77",)}}
    [decision] = await staff_decisions.of_attempt(scene.db, attempt.id)
    assert (decision.transaction_id, decision.amount, decision.decided_by) == ("tx-77", 1000, "user:1")
    with pytest.raises(Conflict) as again:
        await mark(scene, case)
    assert again.value.code == "case_resolved"


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"transaction": " \u200b"}, "/transactionId"),
        ({"transaction": "-"}, "/transactionId"),
        ({"transaction": "1" * 201}, "/transactionId"),
        ({"amount": 999}, "/amount"),
        ({"amount": 0}, "/amount"),
        ({"note": " "}, "/note"),
    ],
)
async def test_what_staff_give_is_checked(scene: Scene, more: dict[str, Any], pointer: str) -> None:
    case = await stuck_payment(scene)
    with pytest.raises(Invalid) as caught:
        await mark(scene, case, **more)
    assert caught.value.errors[0].pointer == pointer
    payment = await scene.payment(str(case.payment_id))
    assert (payment.status, payment.amount_captured) == (PaymentStatus.processing, 0)
    assert (await resolve.evidence(scene.context, scene.practice_id, case.id)).case.state == "open"


@pytest.mark.parametrize("state", ["pending", "needs_action"])
async def test_only_an_unknown_outcome_is_decided(scene: Scene, state: str) -> None:
    """A pending attempt of three days has a case, but its provider knows its outcome."""
    await scene.configure("mover")
    said = Pending(None, "tx-1") if state == "pending" else NeedsAction(None, None, "tx-1")
    scene.wire.says("create", Pending(None, "tx-1"))
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", Pending(None, "tx-1"))
    await scene.later(5 * 86_400)
    await scene.later(90)
    [case] = await cases.listed(scene.db)
    scene.wire.always("confirm", said)
    await scene.later(90)
    with pytest.raises(Conflict) as caught:
        await mark(scene, case)
    assert caught.value.code in ("outcome_known", "case_resolved")
    with pytest.raises(Conflict):
        await review_staff_decisions.decide(scene.context, scene.practice_id, case.id, True, Proof(NOTE), "user:1")
    assert (await scene.payment(payment.id)).amount_captured == 0


async def test_answers_that_nobody_understands_leave_an_outcome_unknown(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", Pending(None, "tx-1"))
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", Unknown(Reason.unreadable, "LEVITATING", "The payment is levitating."))
    for _ in range(62):
        await scene.later(60)
    [case] = await cases.listed(scene.db)
    await mark(scene, case, "RECEIPT 9")
    [attempt] = await scene.attempts(payment.id)
    assert (attempt.state, attempt.provider_transaction_id) == (AttemptState.succeeded, "tx-1"), "the id stays"
    named = await payment_identifiers.of_payments(scene.db, [payment.id])
    assert named[attempt.id][IdentifierKind.receipt] == ("RECEIPT 9",)
    assert (await scene.payment(payment.id)).amount_captured == 1000


async def test_one_transaction_pays_one_attempt(scene: Scene) -> None:
    case = await stuck_payment(scene)
    scene.wire.says("create", paid(transaction="TX-5"))
    other = (await scene.pay()).payment
    with pytest.raises(Conflict) as caught:
        await mark(scene, case, "tx 5")
    assert (caught.value.code, caught.value.about["payment"]) == ("transaction_recorded", other.number)
    assert (await scene.payment(str(case.payment_id))).amount_captured == 0


async def test_two_who_mark_two_payments_by_one_transaction_pay_one(scene: Scene) -> None:
    first = await stuck_payment(scene)
    scene.wire.says("create", SILENT)
    await scene.pay()
    for seconds in (HOUR - 60, 90, 90):
        await scene.later(seconds)
    found = await cases.listed(scene.db, kind="unresolved")
    assert len(found) == 2
    assert first.id in {case.id for case in found}
    done = await asyncio.gather(*(mark(scene, case) for case in found), return_exceptions=True)
    refused = [one for one in done if isinstance(one, Conflict)]
    assert [one.code for one in refused] == ["transaction_recorded"], done
    taken = [(await scene.payment(str(case.payment_id))).amount_captured for case in found]
    assert sorted(taken) == [0, 1000]


async def test_two_who_mark_one_payment_at_once_book_it_once(scene: Scene) -> None:
    case = await stuck_payment(scene)
    done = await asyncio.gather(*(mark(scene, case, actor=who) for who in ("user:1", "user:2")), return_exceptions=True)
    assert len([one for one in done if isinstance(one, Conflict)]) == 1, done
    assert (await scene.payment(str(case.payment_id))).amount_captured == 1000
    assert await events(scene, "payment.succeeded") == 1


async def test_the_providers_success_of_the_same_transaction_is_not_booked_twice(scene: Scene) -> None:
    case, payment = await paid_payment(scene)
    await told(scene, case, paid(transaction="TX-77"), "TX-77")
    scene.wire.always("confirm", paid(transaction="TX-77"))
    await scene.later(3600)
    after = await scene.payment(payment.id)
    assert (after.amount_captured, after.provider_fee) == (1000, 15)
    assert len(await scene.attempts(payment.id)) == 1
    assert await scene.cases() == []


async def test_the_providers_own_id_of_a_receipt_is_adopted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staff gave the receipt number of the customer's SMS; the provider's id of the same transaction is another."""

    def read(_: Any, response: Any) -> dict[IdentifierKind, tuple[str, ...]]:
        return {IdentifierKind.receipt: (response["receipt"],)} if "receipt" in response else {}

    monkeypatch.setattr(Scripted, "read_identifiers", classmethod(read))
    case, payment = await paid_payment(scene)
    said = Succeeded(Money(1000, "NGN"), "own-1", Money(15, "NGN"), response={"receipt": "TX-77"})
    await told(scene, case, said, "own-1")
    [attempt] = await scene.attempts(payment.id)
    after = await scene.payment(payment.id)
    assert (attempt.provider_transaction_id, after.provider_transaction_id) == ("own-1", "own-1")
    assert (after.amount_captured, after.provider_fee) == (1000, 15)
    assert await scene.cases() == []


async def test_the_providers_success_of_another_transaction_is_a_duplicate_payment(scene: Scene) -> None:
    case, payment = await paid_payment(scene)
    scene.wire.always("confirm", paid(transaction="tx-other"))
    await told(scene, case, paid(transaction="tx-other"), "tx-other")
    assert (await scene.payment(payment.id)).amount_captured == 1000
    states = [(one.state, one.provider_transaction_id) for one in await scene.attempts(payment.id)]
    assert states == [(AttemptState.succeeded, "TX-77"), (AttemptState.succeeded, "tx-other")]
    assert await scene.cases() == ["duplicate_payment", "staff_contradicted"], (
        "the id that staff gave may be the wrong one"
    )


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Declined(Reason.declined, True, "51", "No."), "declined"),
        (Declined(Reason.declined, False), "declined"),
        (paid(900, transaction="TX-77"), "other_amount"),
        (held(transaction="TX-77"), "not_captured"),
        (NeedsAction(None, None, "TX-77"), "not_paid"),
        (NotSent(Reason.not_found, "404"), "not_found"),
    ],
)
@pytest.mark.parametrize("source", ["webhook", "lookup"])
async def test_a_contradiction_opens_a_case_and_reverses_nothing(
    scene: Scene, outcome: Any, says: str, source: str
) -> None:
    case, payment = await paid_payment(scene)
    is_final = isinstance(outcome, Declined) and outcome.final
    if source == "lookup" or not (is_final or says == "other_amount"):  # by webhook, anything else may be old
        scene.wire.always("confirm", outcome)
        scene.wire.always("lookup", NotSent(Reason.not_found))  # nor is it found by our reference
        await scene.later(3600)
        await scene.later(3600)
    else:
        await told(scene, case, outcome, "TX-77")
        await told(scene, case, outcome, "TX-77")
    after = await scene.payment(payment.id)
    assert (after.status, after.amount_captured) == (PaymentStatus.succeeded, 1000)
    [found] = [one for one in await cases.listed(scene.db) if one.kind == "staff_contradicted"]
    assert (found.detail["provider"]["says"], found.detail["decided_by"], found.payment_id) == (
        says,
        "user:1",
        payment.id,
    )
    assert await events(scene, "payment.staff_contradicted") == 1


@pytest.mark.parametrize("outcome", [NeedsAction(None, None, "TX-77"), held(), Declined(Reason.declined, False)])
async def test_a_webhook_from_before_the_payment_contradicts_nothing(scene: Scene, outcome: Any) -> None:
    """It may be delivered late: a payment was open, held or declined once before it was paid."""
    case, payment = await paid_payment(scene)
    await told(scene, case, outcome, "TX-77")
    assert await scene.cases() == []
    assert await events(scene, "payment.staff_contradicted") == 0
    assert (await scene.payment(payment.id)).amount_captured == 1000


async def test_an_outage_or_a_silence_contradicts_nothing(scene: Scene) -> None:
    _, payment = await paid_payment(scene)
    for said in (NOBODY, SILENT, Unknown(Reason.config, "401"), Pending(None, "TX-77")):
        scene.wire.always("confirm", said)
        await scene.later(3600)
    assert await scene.cases() == []
    assert (await scene.payment(payment.id)).amount_captured == 1000


async def test_a_payment_that_the_provider_confirmed_is_not_held_against_staff(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    [attempt] = await scene.attempts(payment.id)
    await scene.delivery(
        configuration, PaymentFact(Declined(Reason.declined, True), attempt.id, attempt.provider_transaction_id)
    )
    assert await scene.cases() == []


async def test_a_payment_that_staff_marked_as_paid_is_refunded_as_any_other(scene: Scene) -> None:
    _, payment = await paid_payment(scene)
    scene.wire.says("refund", Succeeded(Money(400, "NGN"), "re-1"))
    await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="refund-key")
    assert scene.wire.of("refund")[0].params.provider_transaction_id == "TX-77"
    assert (await scene.payment(payment.id)).amount_refunded == 400


# ── Refunds, captures, cancels ──


async def stuck_refund(scene: Scene, amount: int = 400) -> tuple[OperatorCase, Payment]:
    """A refund whose answer was lost, for an hour."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", SILENT)
    await calls.refund(scene.till, scene.practice_id, payment.id, amount=amount, key="stuck")
    return await waited(scene), payment


async def decide(scene: Scene, case: OperatorCase, is_done: bool, **more: Any) -> Any:
    """Staff decide it."""
    return await review_staff_decisions.decide(
        scene.context, scene.practice_id, case.id, is_done, Proof(NOTE, **more), "user:1"
    )


@pytest.mark.parametrize("is_done", [True, False])
async def test_staff_decide_a_refund(scene: Scene, is_done: bool) -> None:
    case, payment = await stuck_refund(scene)
    with pytest.raises(Invalid) as caught:
        await review_staff_decisions.decide(scene.context, scene.practice_id, case.id, is_done, Proof(" "), "user:1")
    assert caught.value.errors[0].pointer == "/note"
    found = await decide(scene, case, is_done)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    after = await scene.payment(payment.id)
    assert refund.state is (RefundState.succeeded if is_done else RefundState.not_sent)
    assert (after.amount_refunded, after.refund_reserved) == (400 if is_done else 0, 0)
    action = "marked_done" if is_done else "marked_not_done"
    assert found.case.detail["resolution"] == {"action": action, "note": NOTE}
    assert await events(scene, "refund.succeeded" if is_done else "refund.failed") == 1
    audited = await plain(scene.db, "SELECT actor FROM audit_log WHERE action LIKE 'refund.marked%'")
    assert audited == [("user:1",)]
    with pytest.raises(Conflict):
        await decide(scene, case, not is_done)


async def test_a_refund_that_was_not_done_can_be_made_again(scene: Scene) -> None:
    case, payment = await stuck_refund(scene, 1000)
    await decide(scene, case, is_done=False)
    scene.wire.says("refund", Succeeded(Money(1000, "NGN"), "re-2"))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="again")
    assert (await scene.payment(payment.id)).amount_refunded == 1000


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("again", [True, False])
async def test_a_denied_refund_that_succeeded_opens_a_case(scene: Scene, named: bool, again: bool) -> None:
    """By our reference, or only as a refund of the same amount; and also where it was made again meanwhile."""
    case, payment = await stuck_refund(scene)
    await decide(scene, case, is_done=False)
    if again:
        scene.wire.says("refund", Succeeded(Money(400, "NGN"), "re-2"))
        await calls.refund(scene.till, scene.practice_id, payment.id, amount=400, key="again")
    [denied, *_] = await refunds.of_payment(scene.db, payment.id)
    configuration = (await provider_configs.all_of(scene.db))["scripted"]
    scene.wire.always("lookup_refund", Succeeded(Money(400, "NGN"), "re-1"))
    fact = RefundFact(
        "succeeded",
        denied.id if named else None,
        "re-1",
        provider_transaction_id=payment.provider_transaction_id,
        amount=Money(400, "NGN"),
    )
    await scene.delivery(configuration, fact)
    after = await scene.payment(payment.id)
    assert after.amount_refunded == (800 if again else 400), "the money that went is booked"
    [found] = [one for one in await cases.listed(scene.db) if one.kind == "staff_contradicted"]
    assert (found.detail["provider"]["says"], found.detail["decided_on"]) == ("refunded", "refund")


async def test_a_refund_that_staff_called_done_is_booked_once(scene: Scene) -> None:
    case, payment = await stuck_refund(scene)
    await decide(scene, case, is_done=True)
    configuration = (await provider_configs.all_of(scene.db))["scripted"]
    [refund] = await refunds.of_payment(scene.db, payment.id)
    fact = RefundFact(
        "succeeded",
        refund.id,
        "re-1",
        provider_transaction_id=payment.provider_transaction_id,
        amount=Money(400, "NGN"),
    )
    await scene.delivery(configuration, fact)
    assert (await scene.payment(payment.id)).amount_refunded == 400
    assert [one.provider_refund_id for one in await refunds.of_payment(scene.db, payment.id)] == ["re-1"]
    assert await scene.cases() == []


async def stuck_operation(scene: Scene, kind: str) -> tuple[OperatorCase, Payment]:
    """A capture or cancel whose answer was lost, for an hour."""
    await scene.configure()
    scene.wire.says("create", held())
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says(kind, SILENT)
    if kind == "capture":
        await capture(scene.context, scene.practice_id, payment.id, None, Command("op", "user:1"))
    else:
        await cancel(scene.context, scene.practice_id, payment.id, Command("op", "user:1"))
    return await waited(scene), payment


@pytest.mark.parametrize("kind", ["capture", "cancel"])
@pytest.mark.parametrize("is_done", [True, False])
async def test_staff_decide_a_capture_or_a_cancel(scene: Scene, kind: str, is_done: bool) -> None:
    case, payment = await stuck_operation(scene, kind)
    await decide(scene, case, is_done)
    after = await scene.payment(payment.id)
    [operation] = await operations.of_payment(scene.db, payment.id)
    assert operation.state is (OperationState.succeeded if is_done else OperationState.not_sent)
    ended = PaymentStatus.succeeded if kind == "capture" else PaymentStatus.canceled
    assert after.status is (ended if is_done else PaymentStatus.authorized)
    assert after.amount_captured == (1000 if is_done and kind == "capture" else 0)
    assert await scene.cases() == []
    if not is_done:
        scene.wire.says("capture", paid())
        await capture(scene.context, scene.practice_id, payment.id, None, Command("op-2", "user:1"))
        assert (await scene.payment(payment.id)).amount_captured == 1000
        assert await scene.cases() == []


@pytest.mark.parametrize(
    ("kind", "is_done", "outcome", "says"),
    [
        ("capture", True, Declined(Reason.canceled, True), "declined"),
        ("capture", False, paid(), "captured"),
        ("cancel", True, paid(), "paid"),
        ("cancel", False, Declined(Reason.canceled, True), "canceled"),
    ],
)
async def test_a_contradicted_capture_or_cancel_opens_a_case(
    scene: Scene, kind: str, is_done: bool, outcome: Any, says: str
) -> None:
    case, payment = await stuck_operation(scene, kind)
    await decide(scene, case, is_done)
    await told(scene, case, outcome, "tx-1", "scripted")
    [found] = [one for one in await cases.listed(scene.db) if one.kind == "staff_contradicted"]
    assert (found.detail["provider"]["says"], found.detail["decided_on"]) == (says, kind)
    taken = {"declined": 1000, "captured": 1000, "paid": 1000, "canceled": 0}[says]
    assert (await scene.payment(payment.id)).amount_captured == taken


async def test_two_who_decide_a_refund_at_once_decide_it_once(scene: Scene) -> None:
    case, payment = await stuck_refund(scene)
    done = await asyncio.gather(decide(scene, case, True), decide(scene, case, False), return_exceptions=True)
    assert len([one for one in done if isinstance(one, Conflict)]) == 1, done
    assert (await scene.payment(payment.id)).refund_reserved == 0
    audited = await plain(scene.db, "SELECT action FROM audit_log WHERE action LIKE 'refund.marked%'")
    assert len(audited) == 1
