"""News of refunds that come early, late, without a name, as totals, or under a clock that is wrong."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from polytill.domain.money import Money
from polytill.domain.states import EventState, RefundState
from polytill.flows.context import Practice
from polytill.flows.refunds import create as refunding
from polytill.flows.webhooks import receive
from polytill.flows.webhooks.dismiss import dismiss
from polytill.providers.contained import ProcessStopped
from polytill.providers.contract import DisputeFact, Fact, Idempotency, PaymentFact, RefundFact
from polytill.providers.outcomes import Declined, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.storage import disputes, refunds, webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.webhook_events import Which
from tests import calls
from tests.flows.scenes import LINK, Scene, paid
from tests.flows.scripted import Scripted
from tests.storage.making import plain

R = RefundState
FAILED = Declined(Reason.declined, True, "failed", None, "r1")
NOWHERE = NotSent(Reason.not_found)


def given(amount: int, number: str = "r1") -> Succeeded:
    return Succeeded(Money(amount, "NGN"), number)


async def refunded(scene: Scene, amount: int, answer: Any) -> Any:
    """A configuration, a payment of 1000, and a refund of it that got this answer."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", answer)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=amount)
    return configuration, payment


def of(payment: Any, state: str, amount: int | None = None, total: int | None = None) -> RefundFact:
    return RefundFact(
        state,
        provider_transaction_id=payment.provider_transaction_id,
        amount=None if amount is None else Money(amount, "NGN"),
        total=None if total is None else Money(total, "NGN"),
    )


async def states(scene: Scene, payment: Any) -> list[tuple[str, str, int]]:
    return sorted((r.origin, r.state.value, r.amount) for r in await refunds.of_payment(scene.db, payment.id))


@pytest.mark.parametrize(("answered", "ours"), [("r1", "declined"), ("r2", "succeeded")], ids=["itself", "another"])
async def test_an_answer_that_is_older_than_the_news_of_its_end_changes_nothing(
    scene: Scene, answered: str, ours: str
) -> None:
    """A refund that came back while its own call was still answering (world seed 9038308)."""
    configuration = await scene.configure()
    payment = await scene.succeeded()

    async def comes_back(params: Any) -> Succeeded:
        told = replace(of(payment, "failed", 700), reference=params.reference, provider_refund_id="r1")
        await scene.delivery(configuration, told)
        return given(700, answered)

    scene.wire.says("refund", comes_back)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=700)
    assert await states(scene, payment) == [("api", ours, 700)]
    assert (await scene.payment(payment.id)).amount_refunded == (700 if ours == "succeeded" else 0)


async def test_not_sent_proves_nothing_once_another_has_asked(scene: Scene) -> None:
    """Who asks may repeat the call: ours was refused for its rate, and the other's was not (world seed 11034728)."""
    await scene.configure()
    payment = await scene.succeeded()
    asked: list[str] = []

    async def meanwhile(params: Any) -> NotSent:
        refund = await refunds.by_id(scene.db, params.reference)
        assert refund is not None
        scene.wire.says("lookup_refund", Unknown(Reason.timeout))
        asked.append((await refunding.refresh(Practice(scene.context, scene.db), refund)).state.value)
        return NotSent(Reason.rate_limited)

    scene.wire.says("refund", meanwhile)
    done = await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=700)
    assert (asked, done.state) == (["unknown"], R.unknown)
    assert (await scene.payment(payment.id)).refund_reserved == 700
    scene.wire.always("lookup_refund", given(700))
    await scene.later(60)
    assert await states(scene, payment) == [("api", "succeeded", 700)]
    rows = await plain(scene.db, "SELECT action FROM audit_log WHERE action = 'refund.not_sent'")
    assert rows == []


async def test_a_total_that_is_older_than_a_failure_is_not_adopted(scene: Scene) -> None:
    configuration, payment = await refunded(scene, 700, given(700))
    scene.wire.says("lookup_refund", FAILED, FAILED)
    await scene.delivery(configuration, of(payment, "failed", 700))
    event = await scene.delivery(configuration, of(payment, "succeeded", total=700))
    assert event is not None
    assert await states(scene, payment) == [("api", "failed", 700)]
    # It may also be a new refund of the same amount: that a person can see, and nobody can compute.
    assert await scene.cases() == ["refund_failed", "refund_unclear"]
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is EventState.applied


@pytest.mark.parametrize(("answer", "ours"), [(given(100), "succeeded"), (NOWHERE, "not_sent")], ids=["in", "not in"])
async def test_a_total_beside_an_open_refund_waits_until_that_is_certain(scene: Scene, answer: Any, ours: str) -> None:
    configuration, payment = await refunded(scene, 100, Unknown(Reason.timeout))
    scene.wire.says("lookup_refund", Unknown(Reason.timeout))
    event = await scene.delivery(configuration, of(payment, "succeeded", total=400))
    assert event is not None
    assert await states(scene, payment) == [("api", "unknown", 100)]
    scene.wire.always("lookup_refund", answer)
    await scene.later(121)
    await scene.later(6)
    made_there = 300 if ours == "succeeded" else 400
    assert await states(scene, payment) == [("api", ours, 100), ("provider", "succeeded", made_there)]


async def test_a_late_success_without_a_name_is_no_second_refund(scene: Scene) -> None:
    configuration, payment = await refunded(scene, 700, Unknown(Reason.timeout))
    scene.wire.says("lookup_refund", FAILED)
    await scene.delivery(configuration, of(payment, "failed", 700))
    assert await states(scene, payment) == [("api", "declined", 700)]
    scene.wire.says("lookup_refund", FAILED, NOWHERE)
    event = await scene.delivery(configuration, of(payment, "succeeded", 700))
    assert event is not None
    assert event.reason == "looked_up"
    assert await states(scene, payment) == [("api", "declined", 700)]


@pytest.mark.parametrize("named", [True, False])
async def test_a_failure_is_not_believed_of_a_refund_whose_answer_was_lost(scene: Scene, named: bool) -> None:
    """It may be about a refund that staff made at the provider: to set the amount free would invite a second refund."""
    configuration, payment = await refunded(scene, 700, Unknown(Reason.timeout))
    scene.wire.says("lookup_refund", Unknown(Reason.timeout))
    told = of(payment, "failed", 700)
    event = await scene.delivery(configuration, replace(told, provider_refund_id="dash-1") if named else told)
    assert event is not None
    assert event.reason == "not_borne_out"
    assert await states(scene, payment) == [("api", "unknown", 700)]
    scene.wire.always("lookup_refund", given(700))
    await scene.later(121)
    await scene.later(121)
    assert ("api", "succeeded", 700) in await states(scene, payment)


@pytest.mark.parametrize("second", [Unknown(Reason.timeout), given(300, "r2")], ids=["lost", "done"])
async def test_a_failure_without_a_name_is_of_the_refund_that_the_provider_says(scene: Scene, second: Any) -> None:
    """Two refunds of one amount, and one of them comes back: found by seeds 8017058 and 8030057."""
    configuration, payment = await refunded(scene, 300, given(300))
    scene.wire.says("refund", second)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="again", amount=300)

    async def by_id(params: Any) -> Any:
        return FAILED if params.provider_refund_id == "r1" else NOWHERE if params.provider_refund_id is None else second

    scene.wire.always("lookup_refund", by_id)
    await scene.delivery(configuration, of(payment, "failed", 300))
    found = {r.idempotency_key: r.state for r in await refunds.of_payment(scene.db, payment.id)}
    assert found == {"back": R.failed, "again": R.succeeded if isinstance(second, Succeeded) else R.unknown}


@pytest.mark.parametrize(("before", "answer"), [("failed", FAILED), ("succeeded", given(500))])
async def test_a_dashboard_refund_without_a_name_is_found_beside_one_of_ours(
    scene: Scene, before: str, answer: Any
) -> None:
    configuration, payment = await refunded(scene, 500, given(500))
    if before == "failed":
        scene.wire.says("lookup_refund", FAILED)
        await scene.delivery(configuration, of(payment, "failed", 500))
    scene.wire.says("lookup_refund", answer, given(500, "dash-1"))
    await scene.delivery(configuration, of(payment, "succeeded", 500))
    assert await states(scene, payment) == [("api", before, 500), ("provider", "succeeded", 500)]
    asked = scene.wire.of("lookup_refund")[-1].params
    assert (asked.reference, asked.amount, asked.known) == ("", Money(500, "NGN"), frozenset({"r1"}))


async def test_a_provider_with_keys_is_never_asked_for_a_refund_without_its_id(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "idempotency", Idempotency.key)
    configuration, payment = await refunded(scene, 500, given(500))
    scene.wire.says("lookup_refund", FAILED, FAILED)
    await scene.delivery(configuration, of(payment, "failed", 500))
    await scene.delivery(configuration, of(payment, "succeeded", 500))
    assert [call.params.provider_refund_id for call in scene.wire.of("lookup_refund")] == ["r1", "r1"]
    assert await scene.cases() == ["refund_failed", "refund_unclear"]


async def test_a_wrong_clock_makes_no_refund_not_sent(scene: Scene) -> None:
    """The node that makes it is an hour slow; the one that looks it up, while the call is under way, is right."""

    async def arrives_late(params: Any) -> Any:
        scene.wire.says("lookup_refund", NOWHERE)
        await scene.later(3700)
        return given(700)

    _, payment = await refunded(scene, 700, arrives_late)
    assert await states(scene, payment) == [("api", "succeeded", 700)]
    written = await plain(scene.db, "SELECT action FROM audit_log WHERE action LIKE 'refund.%' ORDER BY id")
    assert [row[0] for row in written] == ["refund.created", "refund.unknown", "refund.succeeded"]


async def test_news_of_a_payment_whose_id_was_not_known_yet_is_taken_up(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    await plain(scene.db, "UPDATE payment_attempts SET provider_transaction_id = NULL")
    news = RefundFact("succeeded", None, "dash-1", provider_transaction_id="tx-1", amount=Money(300, "NGN"))
    event = await scene.delivery(configuration, news)
    assert event is not None
    assert (event.state, event.reason) == (EventState.parked, "unknown_reference")
    await scene.delivery(configuration, PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    assert (await scene.payment(taken.payment.id)).amount_refunded == 300


@pytest.mark.parametrize("told", ["amount", "total", "failed", "dispute"])
async def test_news_in_another_currency_is_put_before_a_person(scene: Scene, told: str) -> None:
    configuration, payment = await refunded(scene, 300, given(300))
    dollars, there = Money(300, "USD"), {"provider_transaction_id": payment.provider_transaction_id}
    fact: Fact = {
        "amount": RefundFact("succeeded", None, "dash-1", amount=dollars, **there),
        "total": RefundFact("succeeded", total=Money(900, "USD"), **there),
        "failed": RefundFact("failed", None, "r1", amount=dollars, **there),
        "dispute": DisputeFact("lost", "lost", "d1", amount=dollars, **there),
    }[told]
    for number in range(2):  # a further delivery about it is no further case
        event = await scene.delivery(configuration, fact, dedupe_key=f"event-{number}")
        assert event is not None
        assert (event.state, event.reason) == (EventState.parked, "currency_mismatch")
        await receive.replay(scene.context, scene.practice_id, event.id)
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_refunded, fresh.amount_lost, fresh.refund_reserved) == (300, 0, 0)
    assert await states(scene, payment) == [("api", "succeeded", 300)]
    assert await disputes.of_payment(scene.db, payment.id) == []
    assert await scene.cases() == ["currency_mismatch"]


async def test_a_refund_that_is_fetched_in_another_currency_is_put_before_a_person(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("lookup_refund", Succeeded(Money(300, "USD"), "dash-1"))
    fact = RefundFact("succeeded", None, "dash-1", provider_transaction_id=payment.provider_transaction_id)
    await scene.delivery(configuration, fact, must_fetch=True)
    assert await states(scene, payment) == []
    assert await scene.cases() == ["currency_mismatch"]


@pytest.mark.parametrize("currency", ["NGN", "USD"])
async def test_a_dispute_that_nothing_proves_is_parked(scene: Scene, currency: str) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    there = payment.provider_transaction_id
    fact = DisputeFact("lost", "lost", "d1", provider_transaction_id=there, amount=Money(300, currency))
    event = await scene.delivery(configuration, fact, must_fetch=True)
    assert event is not None
    assert (event.state, event.reason) == (EventState.parked, "not_proven")
    assert (await scene.payment(payment.id)).amount_lost == 0
    assert await disputes.of_payment(scene.db, payment.id) == []
    assert await scene.cases() == []


async def test_an_answer_in_another_currency_is_parked(scene: Scene) -> None:
    _, payment = await refunded(scene, 300, Succeeded(Money(300, "USD"), "r1"))
    assert await states(scene, payment) == [("api", "sent", 300)]
    assert await scene.cases() == ["refund_mismatch"]


class Died(ProcessStopped):
    """The process is gone, in the midst of it."""


@pytest.mark.parametrize("news", ["total", "named"])
async def test_a_crash_at_any_write_loses_no_refund_made_over_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, news: str
) -> None:
    configuration = await scene.configure()
    commit = PracticeDb.commit
    for writes in range(4):
        payment = await scene.succeeded()
        fact = of(payment, "succeeded", total=300) if news == "total" else of(payment, "succeeded", 300)
        if news == "named":
            fact = replace(fact, provider_refund_id=f"dash-{writes}")
        left = [writes]

        async def dies(db: PracticeDb, unit: Any, left: list[int] = left) -> Any:
            if left[0] == 0:
                unit.take()
                raise Died
            left[0] -= 1
            return await commit(db, unit)

        with monkeypatch.context() as dying, contextlib.suppress(Died):
            dying.setattr(PracticeDb, "commit", dies)
            await scene.delivery(configuration, fact, dedupe_key=f"event-of-{writes}")
        await scene.delivery(configuration, fact, dedupe_key=f"event-of-{writes}")  # the provider repeats it
        assert await states(scene, payment) == [("provider", "succeeded", 300)], f"after {writes} writes"
        assert (await scene.payment(payment.id)).amount_refunded == 300


async def test_a_refund_that_gets_another_id_on_its_way_is_ours_by_our_reference(scene: Scene) -> None:
    """It was answered under the name of a conversation, and is delivered under the one of a transfer."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Pending(Money(400, "NGN"), "conversation-1"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    about = payment.provider_transaction_id
    told = RefundFact("succeeded", made.id, "transfer-9", provider_transaction_id=about, amount=Money(400, "NGN"))
    for _ in range(2):
        await scene.delivery(configuration, told)
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert (refund.state, refund.provider_refund_id) == ("succeeded", "transfer-9")
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_refunded, fresh.refund_reserved) == (400, 0)


# ── Refunds that were taken for never sent ──


async def test_a_refund_that_was_set_free_does_not_take_from_another(scene: Scene) -> None:
    """Its amount may be promised again by the time it is heard of: it is booked when the money has gone back."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", NotSent(Reason.validation))
    first = await calls.refund(scene.till, scene.practice_id, payment.id, key="a", amount=500)
    there = {"reference": first.id, "provider_refund_id": "r1", "provider_transaction_id": "tx-1"}
    news = RefundFact("pending", amount=Money(500, "NGN"), **there)
    scene.wire.always("lookup_refund", Pending(Money(500, "NGN"), "r1"))
    await scene.delivery(configuration, news)
    scene.wire.says("refund", Pending(Money(1000, "NGN"), "r2"))
    second = await calls.refund(scene.till, scene.practice_id, payment.id, key="b", amount=1000)
    scene.wire.always("lookup_refund", Succeeded(Money(500, "NGN"), "r1"))
    await scene.delivery(configuration, replace(news, state="succeeded"))
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_refunded, fresh.duplicate_refunded, fresh.refund_reserved) == (0, 500, 1000)
    scene.wire.always("lookup_refund", Succeeded(Money(1000, "NGN"), "r2"))
    late = replace(news, reference=second.id, provider_refund_id="r2", amount=Money(1000, "NGN"), state="succeeded")
    await scene.delivery(configuration, late)
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_refunded, fresh.duplicate_refunded, fresh.refund_reserved) == (1000, 500, 0)
    assert await scene.cases() == ["over_returned"]
    await scene.books_agree()


async def test_an_answer_that_names_anothers_refund_is_put_before_a_person(scene: Scene) -> None:
    """One refund at the provider cannot be two of our refunds."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    about = payment.provider_transaction_id
    fact = RefundFact("succeeded", None, "r1", provider_transaction_id=about, amount=Money(300, "NGN"))
    await scene.delivery(configuration, fact)
    scene.wire.says("refund", Unknown(Reason.timeout))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="a", amount=400)
    scene.wire.always("lookup_refund", Succeeded(Money(400, "NGN"), "r1"))
    for _ in range(5):
        await scene.later(120)
    assert await states(scene, payment) == [("api", "unknown", 400), ("provider", "succeeded", 300)]
    assert (await scene.payment(payment.id)).refund_reserved == 400
    assert "refund_mismatch" in await scene.cases()


@pytest.mark.parametrize("is_dismissed", [False, True])
async def test_news_that_came_long_before_their_payment_are_applied_when_it_is_known(
    scene: Scene, is_dismissed: bool
) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    scene.wire.always("confirm", Unknown(Reason.provider_unavailable, "503"))
    fact = RefundFact("succeeded", None, "r1", provider_transaction_id="tx-1", amount=Money(300, "NGN"))
    event = await scene.delivery(configuration, fact)
    assert event is not None
    for _ in range(30):
        await scene.later(2)
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is EventState.received, "a minute is not long"
    for _ in range(12):
        await scene.later(3600)
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.parked, "payment_not_captured")
    if is_dismissed:  # together with what nobody needs
        assert await dismiss(scene.context, scene.practice_id, Which(), "Old code", "staff:1") == 1
    scene.wire.always("confirm", paid())
    await scene.later(3600)
    assert (await scene.payment(taken.payment.id)).amount_refunded == 300
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is EventState.applied
