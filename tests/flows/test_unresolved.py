"""What stays unknown: in a person's queue after an hour, out of it once it is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid, NotNow
from polytill.domain.money import Money
from polytill.domain.states import CaptureMode, OperationState, PaymentStatus, RefundState
from polytill.flows.command import Command
from polytill.flows.payments.capture_cancel import capture
from polytill.flows.review import resolve
from polytill.flows.unresolved import PENDING_AFTER, UNRESOLVED_AFTER
from polytill.providers.contract import PaymentFact, RefundFact
from polytill.providers.outcomes import NotSent, Pending, Reason, Unknown
from polytill.storage import cases, operations, provider_configs, refunds
from polytill.storage.cases import OperatorCase
from polytill.storage.units import work_is_open
from tests import calls
from tests.flows.scenes import LINK, Scene, held, paid
from tests.storage.making import plain

HOUR = UNRESOLVED_AFTER.total_seconds()
SILENT, UNDER_WAY = Unknown(Reason.timeout), Pending(None, "tx-1")


async def queue(scene: Scene, state: str = "open") -> list[OperatorCase]:
    return await cases.listed(scene.db, state)


async def told(scene: Scene) -> int:
    return len(await plain(scene.db, "SELECT id FROM events WHERE type = 'payment.unresolved'"))


async def asked_for(scene: Scene, silence: Any) -> None:
    """Less than an hour, then more than one, and then some."""
    for verb in ("lookup", "lookup_refund", "confirm"):
        scene.wire.always(verb, silence)
    await scene.later(HOUR - 60)
    assert await queue(scene) == []
    for _ in range(3):
        await scene.later(90)


@pytest.mark.parametrize("silence", [SILENT, NotSent(Reason.config, "401", "No such key.")], ids=["silent", "refused"])
async def test_a_payment(scene: Scene, silence: Any) -> None:
    await scene.configure()
    scene.wire.says("create", SILENT)
    payment = (await scene.pay()).payment
    await asked_for(scene, silence)
    [case] = await queue(scene)
    [attempt] = await scene.attempts(payment.id)
    assert (case.kind, case.payment_id, case.detail["attempt"]) == ("unresolved", payment.id, attempt.id)
    assert await told(scene) == 1
    scene.wire.always("lookup", paid())
    found = await resolve.look_up(scene.context, scene.practice_id, case.id, "staff")
    assert found.payment is not None
    assert found.payment.status is PaymentStatus.succeeded
    [ended] = await queue(scene, "resolved")
    assert (ended.id, ended.detail["resolution"]) == (case.id, {"action": "found_out"})


async def test_a_refund(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", SILENT)
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    await asked_for(scene, SILENT)
    [case] = await queue(scene)
    assert (case.kind, case.detail["refund"]) == ("unresolved", made.id)
    assert await told(scene) == 1
    scene.wire.always("lookup_refund", NotSent(Reason.not_found))
    await scene.later(60)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert refund.state is RefundState.not_sent
    assert await queue(scene) == []


async def test_a_capture(scene: Scene) -> None:
    """It holds up every further capture and cancel: somebody must hear of it, and can have it asked about."""
    await scene.configure()
    scene.wire.says("create", held())
    payment = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says("capture", SILENT)
    await capture(scene.context, scene.practice_id, payment.id, 400, Command("take", "test"))
    await asked_for(scene, SILENT)
    [case] = await queue(scene)
    operation = await operations.by_key(scene.db, "take")
    assert operation is not None
    assert (case.kind, case.detail["operation"]) == ("unresolved", operation.id)
    assert await told(scene) == 1
    scene.wire.always("confirm", paid(400))
    await resolve.look_up(scene.context, scene.practice_id, case.id, "staff")
    operation = await operations.by_key(scene.db, "take")
    assert operation is not None
    assert operation.state is OperationState.succeeded
    assert await queue(scene) == []


@pytest.mark.parametrize("says", [UNDER_WAY, SILENT], ids=["pending", "silent"])
async def test_a_payment_that_its_provider_works_on_for_days(scene: Scene, says: Any) -> None:
    """A bank debit may take days; after three more than the payer had, somebody looks."""
    await scene.configure()
    scene.wire.says("create", UNDER_WAY)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", says)
    assert payment.expires_at is not None
    due_s = payment.expires_at.timestamp() + PENDING_AFTER.total_seconds()
    await scene.later(due_s - scene.clock() - 60)
    assert await queue(scene) == []
    for _ in range(3):
        await scene.later(HOUR)
    [case] = await queue(scene)
    [attempt] = await scene.attempts(payment.id)
    assert (case.kind, case.payment_id, case.detail["attempt"]) == ("unresolved", payment.id, attempt.id)
    assert await told(scene) == 1
    scene.wire.always("confirm", paid())
    found = await resolve.look_up(scene.context, scene.practice_id, case.id, "staff")
    assert found.payment is not None
    assert found.payment.status is PaymentStatus.succeeded
    assert (await queue(scene), await told(scene)) == ([], 1)


async def test_what_was_unknown_and_is_pending_for_days_is_in_the_queue_again(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", SILENT)
    await scene.pay()
    await asked_for(scene, SILENT)
    assert len(await queue(scene)) == 1
    scene.wire.always("lookup", UNDER_WAY)
    scene.wire.always("confirm", UNDER_WAY)
    await scene.later(60)
    assert await queue(scene) == []
    await scene.later(PENDING_AFTER.total_seconds() + 25 * HOUR)
    assert [case.kind for case in await queue(scene)] == ["unresolved"]
    assert await told(scene) == 2


async def test_a_case_that_a_person_has_put_away_stays_away(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", SILENT)
    await scene.pay()
    await asked_for(scene, SILENT)
    [case] = await queue(scene)
    await resolve.resolve(scene.context, scene.practice_id, case.id, "The bank shows nothing.", "staff")
    await scene.later(90)
    assert await queue(scene) == []
    assert await told(scene) == 1


async def test_what_a_delivery_settles_while_it_is_asked_about_is_no_case(scene: Scene) -> None:
    """The provider is back: its deliveries arrive while lookups still hang."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", SILENT)
    back = await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    scene.wire.says("create", SILENT)
    taken = await scene.pay()
    facts = {
        "lookup": PaymentFact(paid(transaction="tx-l"), taken.attempts[0].id, "tx-l"),
        "lookup_refund": RefundFact(
            "succeeded",
            back.id,
            "r1",
            provider_transaction_id=payment.provider_transaction_id,
            amount=Money(400, "NGN"),
        ),
    }
    for verb, fact in facts.items():

        async def meanwhile(_: Any, fact: Any = fact) -> Unknown:
            await scene.delivery(configuration, fact)
            return SILENT

        scene.wire.says(verb, meanwhile)
        scene.wire.always(verb, SILENT)
    await scene.later(HOUR + 60)
    assert (await scene.payment(taken.payment.id)).status is PaymentStatus.succeeded
    assert (await scene.payment(payment.id)).amount_refunded == 400
    assert await queue(scene) == []
    assert await told(scene) == 0


async def away(*_: Any, **__: Any) -> Any:
    raise NotNow


async def for_ever(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("queue_is", "error"), [(away, NotNow), (for_ever, TimeoutError)])
async def test_what_is_broken_off_leaves_no_work_open(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, queue_is: Any, error: type[Exception]
) -> None:
    await scene.configure()
    scene.wire.says("create", SILENT, LINK)
    unknown = (await scene.pay()).payment
    scene.wire.says("lookup", paid())
    with monkeypatch.context() as patch:
        patch.setattr("polytill.flows.unresolved.cases.listed", queue_is)
        with pytest.raises(error):
            async with asyncio.timeout(0.5):
                await calls.confirm(scene.till, scene.practice_id, unknown.id)
    assert not work_is_open()
    assert (await scene.pay()).payment.status is PaymentStatus.requires_action


async def unfindable(scene: Scene) -> OperatorCase:
    """A prompt whose answer was lost: its provider cannot be asked about it."""
    await scene.configure("mover")
    scene.wire.says("create", SILENT)
    await scene.pay()
    await asked_for(scene, Unknown(Reason.not_found, "no_name"))
    [case] = await queue(scene)
    return case


async def test_a_charge_that_nobody_can_find_is_called_off_by_who_knows(scene: Scene) -> None:
    case = await unfindable(scene)
    with pytest.raises(Invalid) as caught:
        await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, " ", "ada")
    assert caught.value.errors[0].pointer == "/note"
    found = await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Not on the statement", "ada")
    assert found.payment is not None
    assert (found.payment.status, found.payment.cancel_reason) == (PaymentStatus.canceled, "canceled")
    assert (found.case.state, found.case.resolved_by) == ("resolved", "ada")
    assert found.case.detail["resolution"] == {"action": "marked_not_paid", "note": "Not on the statement"}
    said = await plain(scene.db, "SELECT actor FROM audit_log WHERE action IN ('case.resolved', 'payment.canceled')")
    assert sorted(said) == [("ada",), ("staff",)]
    with pytest.raises(Conflict) as again:
        await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Again", "ada")
    assert again.value.code == "case_resolved"


async def test_what_was_called_off_and_is_paid_all_the_same_is_booked(scene: Scene) -> None:
    case = await unfindable(scene)
    await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Not on the statement", "ada")
    [attempt] = await scene.attempts(str(case.payment_id))
    configuration = (await provider_configs.all_of(scene.db))["mover"]
    await scene.delivery(configuration, PaymentFact(paid(), attempt.id, "tx-late"))
    found = await resolve.evidence(scene.context, scene.practice_id, case.id)
    assert found.payment is not None
    assert (found.payment.status, found.payment.amount_captured) == (PaymentStatus.succeeded, found.payment.amount)


async def test_two_who_call_it_off_at_once_do_it_once(scene: Scene) -> None:
    case = await unfindable(scene)
    calls = [resolve.mark_not_paid(scene.context, scene.practice_id, case.id, who, who) for who in ("ada", "bob")]
    done = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one for one in done if isinstance(one, Conflict)]
    assert len(refused) == 1, done
    assert len(await plain(scene.db, "SELECT id FROM audit_log WHERE action = 'case.resolved'")) == 1


@pytest.mark.parametrize("what", ["found out", "a link", "pending"])
async def test_what_can_be_found_is_not_called_off(scene: Scene, what: str) -> None:
    """Its provider is asked all the time, and knows: what it says decides, and no person."""
    await scene.configure("scripted" if what == "a link" else "mover")
    scene.wire.says("create", UNDER_WAY if what == "pending" else SILENT)
    payment = (await scene.pay()).payment
    silence = UNDER_WAY if what == "pending" else SILENT
    for verb in ("lookup", "confirm"):
        scene.wire.always(verb, silence)
    await scene.later(5 * 86_400 if what == "pending" else HOUR + 60)
    await scene.later(90)
    [case] = await queue(scene)
    if what == "found out":
        scene.wire.always("lookup", paid())
        await calls.confirm(scene.till, scene.practice_id, payment.id)
    with pytest.raises(Conflict) as caught:
        await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "I think so", "ada")
    assert caught.value.code == ("case_resolved" if what == "found out" else "can_be_found")
    assert (await scene.payment(payment.id)).status is not PaymentStatus.canceled


async def test_what_is_found_out_while_it_is_called_off_counts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await unfindable(scene)
    [attempt] = await scene.attempts(str(case.payment_id))
    configuration = (await provider_configs.all_of(scene.db))["mover"]
    real = resolve.unfindable

    async def slow(*asked: Any) -> Any:
        found = await real(*asked)
        await scene.delivery(configuration, PaymentFact(paid(), attempt.id, "tx-late"))
        return found

    monkeypatch.setattr(resolve, "unfindable", slow)
    with pytest.raises(Conflict) as caught:
        await resolve.mark_not_paid(scene.context, scene.practice_id, case.id, "Not on the statement", "ada")
    assert caught.value.code == "case_resolved"
    assert (await scene.payment(attempt.payment_id)).status is PaymentStatus.succeeded
