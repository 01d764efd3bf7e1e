"""Saved methods and direct charges as the flows see them: what is kept, what is charged, and what never happens twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid, NotFound, SealBroken
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import Environment
from polytill.flows.command import Command
from polytill.flows.next_action import open_action
from polytill.flows.payments import saved_methods as saving
from polytill.flows.payments.capture_cancel import cancel
from polytill.flows.recovery import checkout, payment_input
from polytill.providers.contract import PaymentFact, RefundFact
from polytill.providers.outcomes import (
    NOTHING_TO_CLOSE,
    Declined,
    NeedsAction,
    NextAction,
    NextKind,
    NotSent,
    Pending,
    Reason,
    SavedMethod,
    Unknown,
    Wants,
)
from polytill.storage import saved_methods
from polytill.storage.saved_methods import StoredMethod
from tests import calls
from tests.flows.scenes import LINK, Scene, keys, paid

LOST, MISSING = Unknown(Reason.timeout), NotSent(Reason.not_found)
CARD = SavedMethod(Secret("token-of-ada"), "card", "visa", "4242", "2031-08", "fp-1", "cus-1")
OTP = NeedsAction(NextAction(NextKind.input, wants=Wants.otp), None, "tx-7")


async def kept(scene: Scene, **more: Any) -> StoredMethod:
    """A method that a payment saved."""
    scene.wire.says("create", replace(paid(), saved_method=CARD))
    made = await scene.pay(save_method=True, **more)
    found = await saved_methods.of_payment(scene.db, made.payment.id)
    assert found is not None
    return found


async def all_kept(scene: Scene) -> list[StoredMethod]:
    return await saved_methods.listed(scene.db, Environment.sandbox, None, None, 9)


async def test_the_token_opens_at_its_own_row_only(scene: Scene) -> None:
    await scene.configure()
    one, two = await kept(scene), await kept(scene)
    token = saved_methods.open_token(scene.db.data_key, one)
    assert token is not None
    assert token.reveal() == "token-of-ada"
    assert "token-of-ada" not in str(one.sealed_token)
    assert (one.kind, one.brand, one.last4, one.expires, one.customer_email) == (
        "card",
        "visa",
        "4242",
        "2031-08",
        "ada@example.com",
    )
    for moved in (replace(one, sealed_token=two.sealed_token), replace(one, environment=Environment.production)):
        with pytest.raises(SealBroken):
            saved_methods.open_token(scene.db.data_key, moved)


async def test_nothing_is_kept_unasked(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", replace(paid(), saved_method=CARD))
    await scene.pay()
    assert await all_kept(scene) == []


async def test_a_mismatch_keeps_nothing(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", replace(paid(999), saved_method=CARD))
    await scene.pay(save_method=True)
    assert await scene.cases() == ["amount_mismatch"]
    assert await all_kept(scene) == []


async def test_told_twice_is_kept_once(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    made = await scene.pay(save_method=True)
    told = replace(paid(), saved_method=CARD)
    for number in (1, 2):
        fact = PaymentFact(told, made.attempts[0].id, "tx-1")
        await scene.delivery(configuration, fact, dedupe_key=f"told-{number}")
    scene.wire.says("confirm", told)
    await calls.confirm(scene.till, scene.practice_id, made.payment.id)
    assert len(await all_kept(scene)) == 1


async def test_what_the_answer_does_not_tell_is_asked_for(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", paid())  # the fee is known, the method is not
    made = await scene.pay(save_method=True)
    assert await all_kept(scene) == []
    scene.wire.says("confirm", replace(paid(), saved_method=CARD))
    await scene.later(120)
    assert [one.payment_id for one in await all_kept(scene)] == [made.payment.id]


async def test_a_provider_that_charges_nobody_again_is_out(scene: Scene) -> None:
    await scene.configure("plain", keys("9"))
    with pytest.raises(Invalid) as refused:
        await scene.pay(save_method=True)
    assert refused.value.errors[0].pointer == "/saveMethod"


async def test_a_charge_goes_to_its_own_provider_and_no_other(scene: Scene) -> None:
    await scene.configure()
    method = await kept(scene)
    await scene.configure("other", keys("2"), priority=99)
    scene.wire.says("charge", NotSent(Reason.unreachable))
    made = await scene.pay(saved_method=method.id)
    assert (made.payment.status, made.payment.provider_code) == ("failed", "scripted")
    assert len(made.attempts) == 1
    again = await checkout.try_again(scene.context, scene.practice_id, made.payment.id)
    assert len(again.attempts) == 1  # its payer never chose to pay here


@pytest.mark.parametrize("outcome", [LOST, Pending(), NeedsAction(None), Declined(Reason.declined, True)])
async def test_a_charge_is_made_once_whatever_comes(scene: Scene, outcome: Any) -> None:
    await scene.configure()
    method = await kept(scene)
    scene.wire.says("charge", outcome)
    made = await scene.pay(saved_method=method.id)
    scene.wire.always("lookup", MISSING)
    scene.wire.always("confirm", outcome)
    for _ in range(4):
        await scene.later(300)
    assert len(scene.wire.of("charge")) == 1
    found = await scene.attempts(made.payment.id)
    assert len(found) == 1
    if outcome is LOST:  # never arrived, beyond every horizon: over, and no other attempt follows
        assert (found[0].state, (await scene.payment(made.payment.id)).status) == ("not_sent", "failed")


async def test_a_lost_charge_that_went_through_is_found(scene: Scene) -> None:
    await scene.configure()
    method = await kept(scene)
    scene.wire.says("charge", LOST)
    made = await scene.pay(saved_method=method.id)
    assert made.payment.status == "processing"
    scene.wire.says("lookup", paid(transaction="tx-8"))
    await scene.later(60)
    assert (await scene.payment(made.payment.id)).status == "succeeded"


async def test_a_removed_method_is_not_charged(scene: Scene) -> None:
    await scene.configure()
    method = await kept(scene)
    await saving.remove(scene.context, scene.practice_id, method.id, "test")
    with pytest.raises(Invalid):
        await scene.pay(saved_method=method.id)
    with pytest.raises(NotFound):
        await saving.remove(scene.context, scene.practice_id, method.id, "test")
    gone = await saved_methods.by_id(scene.db, method.id)
    assert gone is not None
    assert gone.sealed_token is None
    assert len(scene.wire.of("charge")) == 0


# ── Direct charges ──


async def begun(scene: Scene, outcome: Any = OTP) -> Any:
    scene.wire.says("create", outcome)
    return await scene.pay(payment_method="bank_transfer", method_details={"bank": "057"})


async def test_details_reach_the_handler_and_their_lack_is_said_first(scene: Scene) -> None:
    await scene.configure()
    made = await begun(scene)
    assert scene.wire.of("create")[-1].params.method_details == {"bank": "057"}
    assert made.payment.method_details == {"bank": "057"}
    with pytest.raises(Invalid) as refused:
        await scene.pay(payment_method="bank_transfer", method_details={})
    assert refused.value.errors[0].pointer == "/methodDetails/bank"


async def test_a_lost_direct_charge_is_followed_by_none(scene: Scene) -> None:
    await scene.configure()
    made = await begun(scene, LOST)
    scene.wire.always("lookup", MISSING)
    await scene.later(30)
    assert (await scene.payment(made.payment.id)).status == "processing"  # it may still be running at the provider
    for _ in range(3):
        await scene.later(200)
    assert (await scene.payment(made.payment.id)).status == "failed"
    assert len(await scene.attempts(made.payment.id)) == 1
    assert len(scene.wire.of("create")) == 1


async def answer(scene: Scene, payment_id: str, **values: str) -> Any:
    given = {name: Secret(value) for name, value in values.items()}
    return await payment_input.continue_payment(scene.context, scene.practice_id, payment_id, given, "test")


async def test_a_payers_answer_is_passed_on_and_settled(scene: Scene) -> None:
    await scene.configure()
    made = await begun(scene)
    scene.wire.says("continue", paid(transaction="tx-7"))
    found = await answer(scene, made.payment.id, otp="123456")
    assert found.payment.status == "succeeded"
    asked = scene.wire.of("continue")[-1].params
    assert (asked.reference, asked.wants, asked.values["otp"].reveal()) == (made.attempts[0].id, Wants.otp, "123456")


async def test_what_was_typed_is_cut_out_of_what_the_provider_says(scene: Scene) -> None:
    await scene.configure()
    made = await begun(scene)
    quoted = {"message": "918273 is wrong", "tries": ["918273"]}
    scene.wire.says("continue", Declined(Reason.incorrect_details, True, "918273", "918273 is wrong", "tx-7", quoted))
    found = await answer(scene, made.payment.id, otp="918273")
    assert found.payment.status == "failed"
    rows = [await scene.payment(made.payment.id), *await scene.attempts(made.payment.id)]
    assert "918273" not in repr(rows)
    assert "[removed] is wrong" in repr(rows)


async def test_a_lost_answer_is_asked_about_at_once(scene: Scene) -> None:
    await scene.configure()
    made = await begun(scene)
    scene.wire.says("continue", LOST)
    scene.wire.says("confirm", paid(transaction="tx-7"))
    assert (await answer(scene, made.payment.id, otp="123456")).payment.status == "succeeded"
    assert len(scene.wire.of("continue")) == 1


INSTRUCTIONS = NeedsAction(NextAction(NextKind.instructions, instructions="Dial *737#."), None, "tx-7")
PIN = NeedsAction(NextAction(NextKind.input, wants=Wants.pin), None, "tx-7")
UNDER_WAY = Pending(None, "tx-7")


async def asked_of_payer(scene: Scene, payment_id: str) -> NextAction | None:
    [attempt] = await scene.attempts(payment_id)
    return open_action(scene.db, attempt)


@pytest.mark.parametrize("waits", [OTP, INSTRUCTIONS, LINK], ids=["input", "instructions", "redirect"])
async def test_what_the_payer_was_asked_for_stands_while_the_charge_is_under_way(scene: Scene, waits: Any) -> None:
    """By a lookup, by a delivery that is only a hint, by news of a refund, and by one who calls it off."""
    configuration = await scene.configure()
    made = await begun(scene, outcome=waits)
    payment_id, attempt_id = made.payment.id, made.attempts[0].id
    scene.wire.always("confirm", UNDER_WAY)
    await calls.confirm(scene.till, scene.practice_id, payment_id)
    assert await asked_of_payer(scene, payment_id) == waits.action
    await scene.delivery(configuration, PaymentFact(UNDER_WAY, attempt_id, "tx-7"), must_fetch=True)
    assert await asked_of_payer(scene, payment_id) == waits.action
    back = RefundFact("succeeded", None, "r1", provider_transaction_id="tx-7", amount=Money(400, "NGN"))
    await scene.delivery(configuration, back)
    assert await asked_of_payer(scene, payment_id) == waits.action
    scene.wire.says("cancel", NotSent(Reason.invalid_state, NOTHING_TO_CLOSE))
    off = await cancel(scene.context, scene.practice_id, payment_id, Command("stop", "test"))
    assert off.payment.status == "canceled"
    await scene.delivery(configuration, PaymentFact(paid(transaction="tx-7"), attempt_id, "tx-7"))
    assert (await scene.payment(payment_id)).status == "succeeded"


async def test_a_charge_that_its_payer_leaves_alone_expires(scene: Scene) -> None:
    configuration = await scene.configure("plain")
    made = await begun(scene, outcome=INSTRUCTIONS)
    scene.wire.always("confirm", UNDER_WAY)
    for _ in range(5):
        await scene.later(6 * 3600)
    left = await scene.payment(made.payment.id)
    assert (left.status, left.cancel_reason) == ("canceled", "expired")
    await scene.delivery(configuration, PaymentFact(paid(transaction="tx-7"), made.attempts[0].id, "tx-7"))
    assert (await scene.payment(made.payment.id)).status == "succeeded"


async def test_on_a_providers_page_pending_means_that_the_payer_is_done(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    made = await scene.pay()
    scene.wire.says("confirm", Pending(None, "tx-1"))
    found = await calls.confirm(scene.till, scene.practice_id, made.payment.id)
    assert [attempt.state for attempt in found.attempts] == ["pending"]
    assert await asked_of_payer(scene, made.payment.id) is None


@pytest.mark.parametrize("then", [OTP, UNDER_WAY], ids=["asked_more", "under_way"])
@pytest.mark.parametrize("told", [PIN, UNDER_WAY], ids=["pin", "under_way_before"])
@pytest.mark.parametrize("by", ["lookup", "hint"])
async def test_a_lookup_that_was_slower_than_the_payer_takes_no_step_back(
    scene: Scene, then: Any, told: Any, by: str
) -> None:
    configuration = await scene.configure()
    made = await begun(scene, outcome=PIN)
    payment_id, attempt_id = made.payment.id, made.attempts[0].id

    async def meanwhile(_: Any) -> Any:
        scene.wire.says("continue", then)
        await answer(scene, payment_id, pin="1234")
        return told

    scene.wire.says("confirm", meanwhile)
    if by == "lookup":
        await calls.confirm(scene.till, scene.practice_id, payment_id)
    else:
        event = await scene.delivery(configuration, PaymentFact(told, attempt_id, "tx-7"), must_fetch=True)
        assert event is not None
        assert await scene.db.fetch("SELECT id FROM webhook_events WHERE state = 'applied'")
    [attempt] = await scene.attempts(payment_id)
    assert attempt.state == ("pending" if then is UNDER_WAY else "needs_action")
    assert await asked_of_payer(scene, payment_id) == (None if then is UNDER_WAY else OTP.action)


async def test_nothing_is_passed_on_that_is_not_wanted(scene: Scene) -> None:
    await scene.configure()
    made = await begun(scene)
    for values in ({}, {"pin": "1234"}, {"otp": "123456", "pin": "1234"}):
        with pytest.raises(Invalid):
            await answer(scene, made.payment.id, **values)
    scene.wire.says("create", LINK)
    with pytest.raises(Conflict):
        await answer(scene, (await scene.pay()).payment.id, otp="123456")
    assert len(scene.wire.of("continue")) == 0
