"""Review cases: each shows its evidence, and no resolution doubles or guesses money."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from polytill.domain.errors import Conflict, Invalid, NotFound
from polytill.domain.money import Money
from polytill.domain.states import Environment, RefundState
from polytill.flows.payments import duplicates
from polytill.flows.review import resolve
from polytill.providers.contract import DisputeFact, PaymentFact, RefundFact
from polytill.providers.outcomes import Declined, NotSent, Outcome, Pending, Reason, Unknown
from polytill.storage import audit, cases, disputes, ledger, refunds, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.provider_configs import Configuration
from tests import calls
from tests.flows.scenes import LINK, REFUSED, Scene, paid


async def paid_twice(scene: Scene) -> OperatorCase:
    """A payment whose first attempt was closed, whose second won, and whose first then succeeds after all."""
    configured = {code: await scene.configure(code) for code in ("scripted", "other")}
    scene.wire.says("create", REFUSED, paid(transaction="tx-b"))
    taken = await scene.pay()
    first = configured[taken.attempts[0].provider_code]
    await scene.delivery(first, PaymentFact(paid(transaction="tx-a"), taken.attempts[0].id))
    [case] = await cases.listed(scene.db)
    assert case.kind == "duplicate_payment"
    return case


async def test_a_duplicate_is_refunded_in_one_step(scene: Scene) -> None:
    case = await paid_twice(scene)
    assert await duplicate_held(scene) == 1000
    scene.wire.says("refund", paid(transaction="re-1"))
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert await duplicate_held(scene) == 0
    assert found.case.state == "resolved"
    assert (found.case.resolved_by, found.case.detail["resolution"]["refund"]) == ("ada", found.refunds[0].id)
    assert found.payment is not None
    assert (found.payment.amount_captured, found.payment.amount_refunded, found.payment.duplicate_refunded) == (
        1000,
        0,
        1000,
    )
    [call] = scene.wire.of("refund")
    assert (call.params.payment_reference, call.params.provider_transaction_id) == (case.subject, "tx-a")
    assert await cases.listed(scene.db) == [], "no other case comes of it"
    assert [line["action"] for line in await audit.listed(scene.db, case.id)] == ["case.resolved"]


async def test_an_ordinary_refund_leaves_the_duplicate_alone(scene: Scene) -> None:
    case = await paid_twice(scene)
    scene.wire.says("refund", paid(400, transaction="re-1"), paid(transaction="re-2"))
    await calls.refund(scene.till, scene.practice_id, str(case.payment_id), key="r", amount=400)
    await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    asked = [call.params.provider_transaction_id for call in scene.wire.of("refund")]
    assert asked == ["tx-b", "tx-a"], "a refund goes to the transaction that captured the amount"


async def dashboard(scene: Scene, case: OperatorCase, fact: RefundFact) -> None:
    """News of a refund that was made at the provider, of the second success."""
    [attempt] = [one for one in await scene.attempts(str(case.payment_id)) if one.id == case.subject]
    snapshot = await scene.context.configured(scene.db)
    await scene.delivery(snapshot.configurations[attempt.provider_code], replace(fact, payment_reference=attempt.id))


@pytest.mark.parametrize("told", ["amount", "total"])
async def test_a_duplicate_given_back_at_the_provider_leaves_the_payment_alone(scene: Scene, told: str) -> None:
    case = await paid_twice(scene)
    assert await duplicate_held(scene) == 1000
    scene.wire.says("refund", paid(400, transaction="re-1"))
    await calls.refund(scene.till, scene.practice_id, str(case.payment_id), key="r", amount=400)
    for given in (400, 1000):  # of one refund after the other, or of both together
        amount = Money(given if told == "total" or given == 400 else 600, "NGN")
        fact = RefundFact("succeeded", provider_refund_id=f"dash-{given}", amount=amount)
        await dashboard(scene, case, RefundFact("succeeded", total=amount) if told == "total" else fact)
    payment = await scene.payment(str(case.payment_id))
    assert (payment.amount_refunded, payment.duplicate_refunded) == (400, 1000)
    assert await duplicate_held(scene) == 0
    assert await cases.listed(scene.db) == [], "nobody has to decide any more"
    with pytest.raises(Conflict) as caught:
        await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert caught.value.code == "case_resolved"


async def test_a_refund_of_a_second_success_that_nobody_knew_of(scene: Scene) -> None:
    configured = {code: await scene.configure(code) for code in ("scripted", "other")}
    scene.wire.says("create", REFUSED, paid(transaction="tx-b"))
    taken = await scene.pay()
    first = taken.attempts[0]
    scene.wire.says("confirm", paid(transaction="tx-a"))
    fact = RefundFact("succeeded", payment_reference=first.id, total=Money(1000, "NGN"))
    await scene.delivery(configured[first.provider_code], fact)
    payment = await scene.payment(taken.payment.id)
    assert (payment.amount_captured, payment.amount_refunded, payment.duplicate_refunded) == (1000, 0, 1000)
    assert await duplicate_held(scene) == 0


async def test_what_is_left_of_a_duplicate_is_refunded(scene: Scene) -> None:
    case = await paid_twice(scene)
    await dashboard(scene, case, RefundFact("succeeded", None, "dash-1", amount=Money(300, "NGN")))
    scene.wire.says("refund", paid(700, transaction="re-1"))
    await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    [call] = scene.wire.of("refund")
    assert (call.params.amount, call.params.full) == (Money(700, "NGN"), False)
    assert await duplicate_held(scene) == 0


async def duplicate_held(scene: Scene) -> int:
    """What the ledger says of money that no payment asked for."""
    found = (await ledger.balances(scene.db, Environment.sandbox))["NGN"]
    return -found.get("duplicate_payments", 0)


async def test_two_clicks_are_one_refund(scene: Scene) -> None:
    case = await paid_twice(scene)
    scene.wire.says("refund", paid(transaction="re-1"))
    done = await asyncio.gather(
        *(resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada") for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, resolve.Evidence) for one in done) == 1, done
    assert sum(isinstance(one, Conflict) for one in done) == 4, done
    assert len(scene.wire.of("refund")) == 1


async def test_a_refused_refund_leaves_the_case_open_to_be_tried_again(scene: Scene) -> None:
    case = await paid_twice(scene)
    scene.wire.says("refund", REFUSED, paid(transaction="re-2"))
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert (found.case.state, found.refunds[0].state) == ("open", RefundState.declined)
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert found.case.state == "resolved"
    states = [r.state for r in await refunds.of_payment(scene.db, str(case.payment_id))]
    assert sorted(states) == ["declined", "succeeded"]


async def test_a_case_is_put_away_with_a_note_and_once(scene: Scene) -> None:
    case = await paid_twice(scene)
    with pytest.raises(Invalid):
        await resolve.resolve(scene.context, scene.practice_id, case.id, "  ", "ada")
    found = await resolve.resolve(scene.context, scene.practice_id, case.id, "Refunded in cash, receipt 7", "ada")
    assert found.case.detail["resolution"] == {"action": "resolved", "note": "Refunded in cash, receipt 7"}
    assert found.case.detail["attempt"] == case.subject, "what was seen is kept"
    for way in (resolve.refund_duplicate, resolve.look_up):
        with pytest.raises(Conflict) as refused:
            await way(scene.context, scene.practice_id, case.id, "ada")
        assert refused.value.code == "case_resolved"
    assert scene.wire.of("refund") == []


async def test_looking_up_settles_and_leaves_the_case_to_the_person(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    await scene.delivery(configuration, PaymentFact(paid(900), taken.attempts[0].id))
    [case] = await cases.listed(scene.db)
    assert case.kind == "amount_mismatch"
    scene.wire.says("confirm", paid(1000))
    found = await resolve.look_up(scene.context, scene.practice_id, case.id, "ada")
    assert found.payment is not None
    assert (found.payment.status, found.case.state) == ("succeeded", "open")
    assert len(found.attempts) == 1


async def test_only_a_duplicate_is_refunded_and_only_a_case_is_found(scene: Scene) -> None:
    configuration = await scene.configure()
    await scene.delivery(configuration, PaymentFact(paid(), "nobody"), dedupe_key="n")
    with pytest.raises(NotFound):
        await resolve.evidence(scene.context, scene.practice_id, "nothing")
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    await scene.delivery(configuration, PaymentFact(paid(900), taken.attempts[0].id))
    [case] = await cases.listed(scene.db)
    with pytest.raises(Conflict):
        await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")


async def test_the_platform_sees_where_cases_are(scene: Scene) -> None:
    case = await paid_twice(scene)
    found, following = await resolve.across(scene.context, 0)
    assert [(practice_id, one.id) for practice_id, one in found] == [(scene.practice_id, case.id)]
    assert following is None
    assert await resolve.across(scene.context, scene.practice_id) == ([], None)


# ── A duplicate that has not gone back in the end, and one that the bank took back ──


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Unknown(Reason.timeout), NotSent(Reason.not_found)),
        (Pending(Money(1000, "NGN"), "re-1"), Declined(Reason.declined, True, "failed", None, "re-1")),
    ],
    ids=["never sent", "failed"],
)
async def test_a_duplicate_whose_refund_comes_to_nothing_waits_on(scene: Scene, first: Outcome, then: Outcome) -> None:
    case = await paid_twice(scene)
    scene.wire.says("refund", first)
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert found.case.state == "open", "nothing has gone back yet"
    with pytest.raises(Conflict) as refused:
        await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert refused.value.code == "already_refunded"
    scene.wire.always("lookup_refund", then)
    for _ in range(10):
        await scene.later(200)
    assert await scene.cases() == ["duplicate_payment"]
    scene.wire.says("refund", paid(transaction="re-2"))
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert (found.case.state, found.case.resolved_by) == ("resolved", "ada")
    assert await duplicate_held(scene) == 0
    await scene.books_agree()


async def test_a_duplicate_whose_refund_comes_back_waits_again(scene: Scene) -> None:
    case = await paid_twice(scene)
    scene.wire.says("refund", paid(transaction="re-1"))
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert found.case.state == "resolved"
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "failed", None, "re-1"))
    fact = RefundFact("failed", found.refunds[0].id, "re-1", amount=Money(1000, "NGN"))
    await dashboard(scene, case, fact)
    assert await scene.cases() == ["duplicate_payment", "refund_failed"]
    fresh = await resolve.evidence(scene.context, scene.practice_id, case.id)
    assert fresh.case.detail["ended_before"]["refund"] == found.refunds[0].id
    scene.wire.says("refund", paid(transaction="re-2"))
    await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert await scene.cases() == ["refund_failed"]
    assert await duplicate_held(scene) == 0


@pytest.mark.parametrize("amount", [1000, 400])
async def test_a_lost_dispute_about_a_second_success_costs_the_payment_nothing(scene: Scene, amount: int) -> None:
    case = await paid_twice(scene)
    [attempt] = [one for one in await scene.attempts(str(case.payment_id)) if one.id == case.subject]
    configuration = (await scene.context.configured(scene.db)).configurations[attempt.provider_code]
    lost = DisputeFact("lost", "lost", "d1", payment_reference=attempt.id, amount=Money(amount, "NGN"))
    for _ in range(2):
        await scene.delivery(configuration, lost)
    payment = await scene.payment(str(case.payment_id))
    assert (payment.amount_lost, payment.amount_captured) == (0, 1000)
    assert await duplicate_held(scene) == 1000 - amount
    lines = [one for one in await ledger.of_payment(scene.db, payment.id) if one["fact"] == "dispute_lost"]
    assert {one["account"] for one in lines} == {"duplicate_payments", f"provider:{attempt.provider_code}"}
    if amount == 1000:
        assert await scene.cases() == ["dispute_lost"]
        with pytest.raises(Conflict) as refused:
            await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
        assert refused.value.code == "case_resolved"
    else:
        scene.wire.says("refund", paid(600, transaction="re-1"))
        await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
        assert scene.wire.of("refund")[-1].params.amount == Money(600, "NGN")
        assert await scene.cases() == ["dispute_lost"]
        assert await duplicate_held(scene) == 0
    scene.wire.says("refund", paid(transaction="re-9"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="r", amount=1000)
    assert made.state is RefundState.succeeded, "the payment's own money is all there"


@pytest.mark.parametrize("learnt", ["when asked", "later"])
async def test_a_lost_dispute_that_overtook_the_news_of_its_money_takes_no_other(scene: Scene, learnt: str) -> None:
    """The payer paid a link that was closed here, and another one; the first that is heard is that its dispute is lost."""
    configured = {code: await scene.configure(code) for code in ("scripted", "other")}
    scene.wire.says("create", REFUSED, paid(transaction="tx-b"))
    taken = await scene.pay()
    first = taken.attempts[0]
    scene.wire.always("confirm", paid(transaction="tx-a") if learnt == "when asked" else Unknown(Reason.timeout))
    lost = DisputeFact("lost", "lost", "d1", payment_reference=first.id, amount=Money(1000, "NGN"))
    await scene.delivery(configured[first.provider_code], lost)
    if learnt == "later":
        assert (await scene.payment(taken.payment.id)).amount_lost == 0, "what it took is not known of yet"
        assert await scene.cases() == ["dispute_open"], "a person hears of it"
        await scene.delivery(configured[first.provider_code], PaymentFact(paid(transaction="tx-a"), first.id))
    [row] = await disputes.of_payment(scene.db, taken.payment.id)
    assert (row.state.value, row.amount, row.attempt_id) == ("lost", 1000, first.id)
    payment = await scene.payment(taken.payment.id)
    assert (payment.amount_lost, payment.amount_captured) == (0, 1000)
    assert await duplicate_held(scene) == 0
    assert sorted({*await scene.cases()} - {"dispute_open"}) == ["dispute_lost"], (
        "nothing of the duplicate is left to refund"
    )
    assert await webhook_events.listed(scene.db, "received", payment.id) == []
    await scene.books_agree()


async def paid_thrice(scene: Scene) -> tuple[Configuration, str, dict[str, Attempt]]:
    """A link that was paid three times, and its attempts by what the provider calls them. The first has the payment."""
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    for name in ("tx-1", "tx-2", "tx-3"):
        if name != "tx-1":
            scene.wire.says("confirm", paid(transaction=name))
        await scene.delivery(configuration, PaymentFact(paid(transaction=name), taken.attempts[0].id, name))
    found = {str(one.provider_transaction_id): one for one in await scene.attempts(taken.payment.id)}
    assert (sorted(found), await scene.cases()) == (
        ["tx-1", "tx-2", "tx-3"],
        ["duplicate_payment", "duplicate_payment"],
    )
    return configuration, taken.payment.id, found


async def bank_takes(
    scene: Scene, configuration: Configuration, payment_id: str, transaction: str, amount: int = 1000
) -> None:
    [first, *_] = await scene.attempts(payment_id)
    lost = DisputeFact(
        "lost",
        "lost",
        f"d-{transaction}",
        payment_reference=first.id,
        provider_transaction_id=transaction,
        amount=Money(amount, "NGN"),
    )
    await scene.delivery(configuration, lost)


async def test_of_two_second_successes_only_the_one_that_was_disputed_is_lost(scene: Scene) -> None:
    configuration, payment_id, attempts = await paid_thrice(scene)
    await bank_takes(scene, configuration, payment_id, "tx-2")
    [case] = await cases.listed(scene.db, kind="duplicate_payment")
    assert case.subject == attempts["tx-3"].id, "the other one has ended"
    await bank_takes(scene, configuration, payment_id, "tx-1", 300)
    scene.wire.says("refund", paid(transaction="re-1"))
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert found.case.state == "resolved"
    [call] = scene.wire.of("refund")
    assert (call.params.provider_transaction_id, call.params.amount) == ("tx-3", Money(1000, "NGN"))
    assert (await scene.payment(payment_id)).amount_lost == 300
    assert await duplicate_held(scene) == 0


async def test_each_of_two_second_successes_ends_by_its_own_dispute(scene: Scene) -> None:
    configuration, payment_id, attempts = await paid_thrice(scene)
    await bank_takes(scene, configuration, payment_id, "tx-2", 600)
    assert await scene.cases() == ["dispute_lost", "duplicate_payment", "duplicate_payment"]
    await bank_takes(scene, configuration, payment_id, "tx-3", 500)
    assert await scene.cases() == ["dispute_lost", "dispute_lost", "duplicate_payment", "duplicate_payment"], (
        "neither is gone as a whole"
    )
    disputed = await disputes.of_payment(scene.db, payment_id)
    left = [duplicates.left(attempts[name], [], disputed) for name in ("tx-2", "tx-3")]
    assert left == [400, 500]
