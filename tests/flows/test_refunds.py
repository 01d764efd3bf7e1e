"""Giving money back: never more than came, held by the database, and followed until it is certain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Invalid, Stale
from polytill.domain.money import Money
from polytill.domain.states import REFUND_NEXT, Environment, EventState, PaymentStatus, RefundState
from polytill.flows.refunds import create as refunding
from polytill.flows.refunds.write import decide_refund
from polytill.providers.contract import DisputeFact, RefundFact
from polytill.providers.http import AnswerLost, ConnectionNotMade
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.storage import disputes, refunds
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from tests import calls
from tests.flows.scenes import Scene, refund_in
from tests.flows.scripted import Lost
from tests.storage.making import plain

R = RefundState
OUTCOMES: dict[str, Any] = {
    "succeeded": Succeeded(Money(100, "NGN"), "r1"),
    "pending": Pending(None, "r1"),
    "needs action": NeedsAction(None, None, "r1"),
    "declined": Declined(Reason.declined, True),
    "not sent": NotSent(Reason.validation),
    "unknown": Unknown(Reason.timeout),
}
# Before: after each outcome, in the order above; "-" is no news.
DECIDED = """
sent      succeeded pending pending declined not_sent unknown
pending   succeeded -       -       failed   -        -
unknown   succeeded pending pending declined not_sent -
succeeded -         -       -       failed   -        -
declined  succeeded -       -       -        -        -
not_sent  succeeded -       -       -        -        -
failed    succeeded -       -       -        -        -
"""


@pytest.mark.parametrize("line", DECIDED.strip().splitlines(), ids=lambda line: line.split()[0])
def test_what_an_outcome_means(line: str) -> None:
    before, *after = line.split()
    found = [decide_refund(refund_in(R(before)), outcome) for outcome in OUTCOMES.values()]
    assert [state.value if state else "-" for state in found] == after


@pytest.mark.parametrize(("state", "name"), list(product(R, OUTCOMES)))
def test_no_illegal_step(state: RefundState, name: str) -> None:
    after = decide_refund(refund_in(state), OUTCOMES[name])
    assert after is None or after in REFUND_NEXT[state]


def given(amount: int, number: str = "r1") -> Succeeded:
    return Succeeded(Money(amount, "NGN"), number)


async def refunded(scene: Scene, payment: Payment, amount: int | None, answer: Any, key: str = "back") -> Refund:
    scene.wire.says("refund", answer)
    return await calls.refund(scene.till, scene.practice_id, payment.id, key=key, amount=amount)


async def amounts(scene: Scene, payment: Payment) -> tuple[int, int]:
    fresh = await scene.payment(payment.id)
    return fresh.amount_refunded, fresh.refund_reserved


STATES = [
    (given(400), R.succeeded, (400, 0)),
    (Pending(None, "r1"), R.pending, (0, 400)),
    (Unknown(Reason.timeout), R.unknown, (0, 400)),
    (Lost(AnswerLost("x")), R.unknown, (0, 400)),
    (RuntimeError("x"), R.unknown, (0, 400)),
    (Lost(ConnectionNotMade("x")), R.not_sent, (0, 0)),
    (NotSent(Reason.validation), R.not_sent, (0, 0)),
    (Declined(Reason.declined, True), R.declined, (0, 0)),
]


@pytest.mark.parametrize(("answer", "state", "after"), STATES, ids=lambda v: type(v).__name__)
async def test_every_outcome(scene: Scene, answer: Any, state: RefundState, after: tuple[int, int]) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    made = await refunded(scene, payment, 400, answer)
    assert made.state is state
    assert await refunds.by_id(scene.db, made.id) == made
    assert await amounts(scene, payment) == after
    assert (await scene.payment(payment.id)).status is PaymentStatus.succeeded


async def test_on_disk_and_reserved_before_the_call(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    seen: list[Any] = []

    async def look(made: Any) -> None:
        seen.append(await plain(scene.db, "SELECT state, amount FROM refunds WHERE id = $1", made.params.reference))
        seen.append(await amounts(scene, payment))

    scene.wire.before = look
    await refunded(scene, payment, 400, given(400))
    assert seen == [[("sent", 400)], (0, 400)]
    [call] = scene.wire.of("refund")
    assert (call.params.amount, call.params.full) == (Money(400, "NGN"), False)


async def test_fifty_at_once_never_exceed_the_capture(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded(1000)
    most = 0

    async def give(params: Any) -> Any:
        nonlocal most
        fresh = await scene.payment(payment.id)
        most = max(most, fresh.amount_refunded + fresh.refund_reserved)
        return given(params.amount.minor, f"r-{params.reference}")

    scene.wire.always("refund", give)
    done = await asyncio.gather(
        *(calls.refund(scene.till, scene.practice_id, payment.id, key=f"k{n}", amount=70) for n in range(50)),
        return_exceptions=True,
    )
    made = [one for one in done if isinstance(one, Refund)]
    refused = [one for one in done if not isinstance(one, Refund)]
    assert len(made) == len(scene.wire.of("refund")) == 14
    assert all(isinstance(one, Conflict) and one.code == "refund_exceeds_captured" for one in refused), refused
    assert await amounts(scene, payment) == (980, 0)
    assert most <= 980
    assert (await refunded(scene, payment, None, given(20, "rest"), "rest")).amount == 20


@pytest.mark.parametrize("amount", [100, 600, 1000])
async def test_the_same_key_gives_back_once(scene: Scene, amount: int) -> None:
    """Also where the first has reserved so much that a second would be too much: it is no second."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("refund", given(amount))
    made = await asyncio.gather(
        *(calls.refund(scene.till, scene.practice_id, payment.id, key="one", amount=amount) for _ in range(20))
    )
    assert len({one.id for one in made}) == len(scene.wire.of("refund")) == 1
    assert await amounts(scene, payment) == (amount, 0)
    with pytest.raises(Conflict) as caught:
        await calls.refund(scene.till, scene.practice_id, payment.id, key="one", amount=200)
    assert caught.value.code == "idempotency_key_reused"


def before_it_is_on_disk(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    """Something happens between a refund's decision and its being put on disk, once."""
    commit, waiting = scene.db.commit, [happens]

    async def interrupted(unit: Any) -> list[int]:
        if waiting:
            await asyncio.create_task(waiting.pop()(), context=Context())  # by another, who has nothing open
        return await commit(unit)

    monkeypatch.setattr(scene.db, "commit", interrupted)


@pytest.mark.parametrize("amount", [600, None])
async def test_a_write_that_gave_way_to_another_exceeds_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, amount: int | None
) -> None:
    """A server ends one of two transactions in a deadlock; or what was reserved is free again by the time it is read."""
    await scene.configure()
    payment = await scene.succeeded()

    async def gives_way() -> None:
        raise Stale

    before_it_is_on_disk(scene, monkeypatch, gives_way)
    made = await refunded(scene, payment, amount, given(amount or 1000))
    assert (made.state, made.amount) == (R.succeeded, amount or 1000)
    assert await amounts(scene, payment) == (amount or 1000, 0)
    assert len(scene.wire.of("refund")) == 1


async def test_all_that_is_left_is_what_another_refund_has_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", given(400, "first"))
    before_it_is_on_disk(
        scene, monkeypatch, lambda: calls.refund(scene.till, scene.practice_id, payment.id, key="first", amount=400)
    )
    made = await refunded(scene, payment, None, given(600, "rest"), "rest")
    assert (made.state, made.amount) == (R.succeeded, 600)
    assert await amounts(scene, payment) == (1000, 0)


async def test_what_another_refund_has_taken_meanwhile_exceeds(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", given(400, "first"))
    before_it_is_on_disk(
        scene, monkeypatch, lambda: calls.refund(scene.till, scene.practice_id, payment.id, key="first", amount=400)
    )
    with pytest.raises(Conflict, match=r"No more than 6\.00 NGN"):
        await calls.refund(scene.till, scene.practice_id, payment.id, key="second", amount=700)
    assert len(scene.wire.of("refund")) == 1


async def test_what_cannot_be_refunded(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    for amount in (0, -1, 10**16):
        with pytest.raises(Invalid):
            await calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=amount)
    with pytest.raises(Conflict, match=r"No more than 10\.00 NGN"):
        await calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=1001)
    scene.wire.says("create", Pending(None, "t"))
    unpaid = (await scene.pay()).payment
    with pytest.raises(Conflict, match="Nothing was captured"):
        await calls.refund(scene.till, scene.practice_id, unpaid.id, key="k", amount=1)
    assert scene.wire.of("refund") == []


# ── An answer that was lost ──


async def test_unknown_keeps_its_reservation_until_it_is_certain(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    made = await refunded(scene, payment, 700, Unknown(Reason.timeout))
    with pytest.raises(Conflict, match=r"No more than 3\.00 NGN"):
        await calls.refund(scene.till, scene.practice_id, payment.id, key="more", amount=301)
    scene.wire.says("lookup_refund", NotSent(Reason.not_found), NotSent(Reason.unreachable), Unknown(Reason.timeout))
    for _ in range(3):  # before the horizon "not found" proves nothing, and a question that got lost never does
        await scene.later(35)
        assert await amounts(scene, payment) == (0, 700)
    scene.wire.says("lookup_refund", NotSent(Reason.not_found))
    await scene.later(60)
    assert await amounts(scene, payment) == (0, 0)
    found = await refunds.by_id(scene.db, made.id)
    assert found is not None
    assert (found.state, found.next_lookup_at) == (R.not_sent, None)
    assert len(scene.wire.of("refund")) == 1, "an unknown refund is never sent again"


async def test_unknown_that_turns_out_well(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    made = await refunded(scene, payment, 700, Unknown(Reason.timeout))
    scene.wire.says("lookup_refund", given(700))
    await scene.later(35)
    assert await amounts(scene, payment) == (700, 0)
    [asked] = scene.wire.of("lookup_refund")
    assert (asked.params.reference, asked.params.amount) == (made.id, Money(700, "NGN"))


async def test_pending_is_looked_up_until_it_ends(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    await refunded(scene, payment, 700, Pending(None, "r1"))
    scene.wire.says("lookup_refund", Pending(None, "r1"), Pending(None, "r1"), Declined(Reason.declined, True))
    for _ in range(3):
        await scene.later(3600)
    assert await amounts(scene, payment) == (0, 0)
    assert [r.state for r in await refunds.of_payment(scene.db, payment.id)] == [R.failed]
    before = len(scene.wire.calls)
    await scene.later(7 * 24 * 3600)
    assert len(scene.wire.calls) == before


# ── What the provider tells us ──


async def test_a_refund_that_fails_after_all_lowers_the_total(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await refunded(scene, payment, 700, given(700))
    fact = RefundFact(
        "failed", None, "r1", provider_transaction_id=payment.provider_transaction_id, amount=Money(700, "NGN")
    )
    await scene.delivery(configuration, fact)
    assert await amounts(scene, payment) == (0, 0)
    assert await scene.cases() == ["refund_failed"]
    assert (await refunded(scene, payment, 1000, given(1000, "r2"), "again")).state is R.succeeded


@pytest.mark.parametrize("name", ["r1", None], ids=["named", "by amount"])
@pytest.mark.parametrize("told", ["succeeded", "pending"])
async def test_older_news_of_a_refund_that_has_failed_changes_nothing(
    scene: Scene, told: str, name: str | None
) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await refunded(scene, payment, 700, given(700))
    about = RefundFact(
        "failed", None, name, provider_transaction_id=payment.provider_transaction_id, amount=Money(700, "NGN")
    )
    told_by_id = Declined(Reason.declined, True, "failed", None, "r1")
    scene.wire.says("lookup_refund", *[told_by_id] * (1 if name else 2))
    await scene.delivery(configuration, about)
    scene.wire.always("lookup_refund", NotSent(Reason.not_found))  # nor is there another one of this amount
    event = await scene.delivery(configuration, replace(about, state=told))
    [refund] = await refunds.of_payment(scene.db, payment.id)
    assert refund.state is R.failed
    assert await amounts(scene, payment) == (0, 0)
    assert event is not None
    assert (event.state, event.reason) == (EventState.applied, "looked_up")


async def test_a_refund_made_in_the_providers_dashboard_is_adopted(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    fact = RefundFact(
        "succeeded", None, "dash-1", provider_transaction_id=payment.provider_transaction_id, amount=Money(300, "NGN")
    )
    for _ in range(2):  # told twice, adopted once
        await scene.delivery(configuration, fact)
    [adopted] = await refunds.of_payment(scene.db, payment.id)
    assert (adopted.origin, adopted.state, adopted.amount) == ("provider", R.succeeded, 300)
    assert await amounts(scene, payment) == (300, 0)


async def test_more_given_back_than_came_is_booked_and_shown_to_a_person(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await refunded(scene, payment, 800, given(800))
    fact = RefundFact(
        "succeeded", None, "dash-1", provider_transaction_id=payment.provider_transaction_id, amount=Money(500, "NGN")
    )
    await scene.delivery(configuration, fact)
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_refunded, fresh.duplicate_refunded) == (1000, 300)
    assert await scene.cases() == ["over_returned"]


async def test_a_cumulative_fact_counts_what_is_known(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await refunded(scene, payment, 300, given(300))
    total = RefundFact("succeeded", provider_transaction_id=payment.provider_transaction_id, total=Money(300, "NGN"))
    await scene.delivery(configuration, total)
    assert await amounts(scene, payment) == (300, 0)
    scene.clock.at_s += 1
    more = RefundFact("succeeded", provider_transaction_id=payment.provider_transaction_id, total=Money(450, "NGN"))
    await scene.delivery(configuration, more)
    assert await amounts(scene, payment) == (450, 0)
    assert [r.origin for r in await refunds.of_payment(scene.db, payment.id)] == ["api", "provider"]


async def test_another_amount_than_asked_for_is_parked(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    made = await refunded(scene, payment, 300, given(299))
    assert made.state is R.sent
    assert await amounts(scene, payment) == (0, 300)
    assert await scene.cases() == ["refund_mismatch"]


@pytest.mark.parametrize("ends", ["won", "lost"])
async def test_the_host_hears_how_a_dispute_ends(scene: Scene, ends: str) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    for state in ("open", ends, ends):
        about = payment.provider_transaction_id
        fact = DisputeFact(state, state, "d1", provider_transaction_id=about, amount=Money(600, "NGN"))
        await scene.delivery(configuration, fact)
    told = await plain(scene.db, "SELECT type FROM events WHERE type LIKE 'dispute.%' ORDER BY id")
    assert told == [("dispute.opened",), (f"dispute.{ends}",)]
    lines = await plain(scene.db, "SELECT action FROM audit_log WHERE action LIKE 'dispute.%' ORDER BY id")
    assert lines == [("dispute.open",), (f"dispute.{ends}",)]


@pytest.mark.parametrize(("other", "kind"), [("won", "dispute_won"), ("closed", "dispute_closed")])
async def test_a_lost_dispute_lowers_what_can_be_refunded(scene: Scene, other: str, kind: str) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()

    def fact(state: str) -> DisputeFact:
        return DisputeFact(
            state, state, "d1", provider_transaction_id=payment.provider_transaction_id, amount=Money(600, "NGN")
        )

    await scene.delivery(configuration, fact("open"))
    assert refunding.refundable(await scene.payment(payment.id)) == 1000
    for _ in range(2):
        await scene.delivery(configuration, fact("lost"))
    await scene.delivery(configuration, fact("open"))  # an older delivery, come late
    assert await scene.cases() == ["dispute_lost"]
    await scene.delivery(configuration, fact(other))  # decided once: that it is decided otherwise, a person hears
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_lost, refunding.refundable(fresh)) == (600, 400)
    assert [d.state for d in await disputes.of_payment(scene.db, payment.id)] == ["lost"]
    assert sorted(await scene.cases()) == sorted(["dispute_lost", kind])
    with pytest.raises(Conflict, match=r"No more than 4\.00 NGN"):
        await calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=401)
    assert (await scene.payment(payment.id)).environment is Environment.sandbox


async def test_what_a_dispute_took_is_booked_once_also_when_its_amount_comes_late(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    about = payment.provider_transaction_id
    told = [("lost", None), ("lost", 600), ("lost", 700), ("open", 800), ("lost", None)]
    for state, amount in told:
        money = None if amount is None else Money(amount, "NGN")
        await scene.delivery(
            configuration, DisputeFact(state, state, "d1", provider_transaction_id=about, amount=money)
        )
    (row,) = await disputes.of_payment(scene.db, payment.id)
    assert (row.state, row.provider_state, row.amount) == ("lost", "lost", 600)
    assert (await scene.payment(payment.id)).amount_lost == 600
    assert await scene.cases() == ["dispute_lost"]
    await scene.books_agree()


async def test_a_won_dispute_changes_nothing(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    won = DisputeFact(
        "won", "won", "d1", provider_transaction_id=payment.provider_transaction_id, amount=Money(600, "NGN")
    )
    await scene.delivery(configuration, won)
    assert (await scene.payment(payment.id)).amount_lost == 0
