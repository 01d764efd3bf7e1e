"""A refund and a dispute about the same money are booked once; a disputed payment is not refunded unawares.

Sources: cases 15 and 16 of the faults that public trackers led to; D2 and D6 of the referee's list of provider faults;
D3 of the list of page defects.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from polytill.domain.errors import Conflict
from polytill.domain.money import Money
from polytill.domain.states import Environment
from polytill.flows.context import Practice
from polytill.flows.refunds import create as refunding
from polytill.flows.refunds.disputes import DisputeFinding
from polytill.flows.review import resolve
from polytill.flows.webhooks.receive import apply_dispute
from polytill.providers.contract import DisputeFact, RefundFact
from polytill.providers.outcomes import Declined, Reason, Succeeded
from polytill.storage import attempts, cases, disputes, ledger, refunds
from polytill.storage.payments import Payment
from tests import calls
from tests.flows.scenes import Scene, paid
from tests.flows.scripted import Scripted
from tests.flows.test_operator import paid_twice


@pytest.fixture(params=[True, False], ids=["pays-disputes-by-refunds", "withdraws"])
def are_refunded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways in which providers pay a lost dispute."""
    monkeypatch.setattr(Scripted, "disputes_are_refunded", request.param)
    return bool(request.param)


@pytest.fixture
def by_refunds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that pays a lost dispute by a refund, as PayPal and Paystack do."""
    monkeypatch.setattr(Scripted, "disputes_are_refunded", True)


def dispute(payment: Payment, state: str, amount: int | None, **more: Any) -> DisputeFact:
    """What a delivery says of a dispute."""
    money = None if amount is None else Money(amount, "NGN")
    given = {"provider_dispute_id": "d1", "provider_transaction_id": payment.provider_transaction_id, **more}
    return DisputeFact(state, state, amount=money, **given)


def refund(payment: Payment, amount: int, name: str = "r1", **more: Any) -> RefundFact:
    """What a delivery says of a refund that was made at the provider."""
    return RefundFact(
        "succeeded",
        None,
        name,
        provider_transaction_id=payment.provider_transaction_id,
        amount=Money(amount, "NGN"),
        **more,
    )


async def booked(scene: Scene, payment: Payment) -> tuple[int, int, int]:
    """Refunded, lost, and what the ledger says that the provider holds."""
    fresh = await scene.payment(payment.id)
    lines = await ledger.of_payment(scene.db, payment.id)
    held = sum(line["amount"] for line in lines if line["account"].startswith("provider:"))
    return fresh.amount_refunded + fresh.duplicate_refunded, fresh.amount_lost, held


async def ours(scene: Scene, payment: Payment, amount: int, name: str = "ours", **more: Any) -> None:
    """The practice refunds."""
    scene.wire.says("refund", Succeeded(Money(amount, "NGN"), name))
    await calls.refund(scene.till, scene.practice_id, payment.id, key=name, amount=amount, **more)


# ── The same money ──


@pytest.mark.usefixtures("by_refunds")
@pytest.mark.parametrize("order", [0, 1], ids=["refund-first", "dispute-first"])
@pytest.mark.parametrize("amount", [1000, 400])
@pytest.mark.parametrize("named", [True, False])
async def test_the_refund_that_pays_a_lost_dispute_is_booked_once(
    scene: Scene, order: int, amount: int, named: bool
) -> None:
    """D2: captured 50, refunded 50 and lost 50 at once."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    link = {"provider_dispute_id": "d1"} if named else {}
    facts = [refund(payment, amount, **link), dispute(payment, "lost", amount)]
    await scene.delivery(configuration, dispute(payment, "open", amount))
    for fact in facts[::-1] if order else facts:
        await scene.delivery(configuration, fact)
    assert await booked(scene, payment) == (amount, 0, 1000 - amount - 15)
    kinds = {*await scene.cases()} - {"dispute_lost"}
    # Of a part, nothing but the equal amount says so: a person hears of both facts.
    assert kinds == (set() if named or amount == 1000 else {"refund_or_dispute"})
    await scene.books_agree()


@pytest.mark.usefixtures("by_refunds")
@pytest.mark.parametrize(
    ("told", "payout", "total", "unclear"),
    [
        (70, 70, (100, 0), False),  # the rest, and how it was paid
        (100, 70, (100, 0), True),  # all of it is disputed, the rest was paid
        (40, 40, (70, 0), False),  # of 30 + 40 + 40 no more than 100 can have gone: it is the same 40
        (40, None, (30, 40), False),
        (70, None, (30, 70), False),
        (100, None, (30, 70), True),  # what was refunded before is not lost once more
    ],
)
async def test_a_refund_of_ours_and_a_dispute_of_the_rest(
    scene: Scene, told: int, payout: int | None, total: tuple[int, int], unclear: bool
) -> None:
    configuration = await scene.configure()
    for facts in itertools.permutations(["lost", *(["payout"] if payout else [])]):
        payment = await scene.succeeded(100_00, fee=None)
        await ours(scene, payment, 30_00, f"ours-{payment.id}")
        for fact in facts:
            about = {"provider_dispute_id": f"d-{payment.id}"}
            if fact == "lost":
                await scene.delivery(configuration, dispute(payment, "lost", told * 100, **about))
            else:
                await scene.delivery(configuration, refund(payment, (payout or 0) * 100, f"r-{payment.id}"))
        refunded, lost, held = await booked(scene, payment)
        assert (refunded, lost) == (total[0] * 100, total[1] * 100)
        assert held == 100_00 - refunded - lost
        found = [case for case in await cases.listed(scene.db, kind="refund_or_dispute")]
        assert (payment.id in {case.payment_id for case in found}) is unclear
    await scene.books_agree()


async def test_a_dispute_and_a_refund_that_are_two_payments_are_both_booked(scene: Scene, are_refunded: bool) -> None:
    """Where a chargeback is money of its own, both are gone, and a person hears that more went back than was taken."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await ours(scene, payment, 800)
    await scene.delivery(configuration, dispute(payment, "lost", 1000))
    if are_refunded:
        assert await booked(scene, payment) == (800, 200, -15)
        assert sorted(await scene.cases()) == ["dispute_lost", "refund_or_dispute"]
        return
    assert await booked(scene, payment) == (800, 1000, 1000 - 1800 - 15)
    [case] = await cases.listed(scene.db, kind="over_returned")
    assert (case.detail["captured"], case.detail["refunded"], case.detail["lost"]) == (1000, 800, 1000)
    assert case.detail["beyond"] == 800
    await scene.delivery(configuration, dispute(payment, "lost", 1000))
    assert sorted(await scene.cases()) == ["dispute_lost", "over_returned"], "told twice, one case"


async def test_a_refund_that_comes_back_ends_the_case(scene: Scene) -> None:
    """The case ends by facts, and opens again with them."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "lost", 700))
    await scene.delivery(configuration, refund(payment, 600))
    assert await scene.cases() == ["dispute_lost", "over_returned"]
    [made] = await refunds.of_payment(scene.db, payment.id)
    back = RefundFact(
        "failed", None, "r1", provider_transaction_id=payment.provider_transaction_id, amount=Money(600, "NGN")
    )
    await scene.delivery(configuration, back)
    assert await scene.cases() == ["dispute_lost", "refund_failed"]
    await scene.delivery(configuration, refund(payment, 600, "r2"))
    assert await scene.cases() == ["dispute_lost", "over_returned", "refund_failed"]
    assert made.id
    await scene.books_agree()


@pytest.mark.usefixtures("by_refunds")
async def test_a_loss_comes_back_with_the_failure_of_its_refund(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, refund(payment, 1000))
    await scene.delivery(configuration, dispute(payment, "lost", 1000))
    assert await booked(scene, payment) == (1000, 0, -15)
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "failed", None, "r1"))
    back = RefundFact(
        "failed", None, "r1", provider_transaction_id=payment.provider_transaction_id, amount=Money(1000, "NGN")
    )
    await scene.delivery(configuration, back)
    assert await booked(scene, payment) == (0, 1000, -15)
    await scene.books_agree()


@pytest.mark.usefixtures("by_refunds")
@pytest.mark.parametrize("order", [0, 1])
async def test_a_duplicate_payment_is_returned_once(scene: Scene, order: int) -> None:
    """The second success has its own refund and its own dispute; the payment itself has lost nothing."""
    case = await paid_twice(scene)
    attempt = await attempts.by_id(scene.db, case.subject)
    assert attempt is not None
    configuration = (await scene.context.configured(scene.db)).configurations[attempt.provider_code]
    about = {"provider_transaction_id": attempt.provider_transaction_id}
    lost = DisputeFact("lost", "lost", "d1", amount=Money(1000, "NGN"), **about)
    facts = [RefundFact("succeeded", None, "r1", amount=Money(1000, "NGN"), **about), lost]
    for fact in facts[::-1] if order else facts:
        await scene.delivery(configuration, fact)
    payment = await scene.payment(attempt.payment_id)
    assert (payment.amount_refunded, payment.amount_lost, payment.duplicate_refunded) == (0, 0, 1000)
    lines = await ledger.of_payment(scene.db, payment.id)
    assert sum(line["amount"] for line in lines if line["account"] == "duplicate_payments") == 0
    assert await scene.cases() == ["dispute_lost"]
    await scene.books_agree()


# ── Refusing a refund ──


async def test_a_disputed_payment_is_refunded_only_by_who_accepts_the_risk(scene: Scene) -> None:
    """Case 15: 201 during the dispute, and in the end twice the money was gone."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", 700, funds_withdrawn=True))
    assert (await scene.payment(payment.id)).amount_disputed == 700
    for amount in (None, 301, 1000):
        with pytest.raises(Conflict, match=r"3\.00 NGN of it is not disputed") as refused:
            await calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=amount)
        assert refused.value.code == "payment_disputed"
    assert await refunds.of_payment(scene.db, payment.id) == [], "the key is free"
    await ours(scene, payment, 300, "k")  # nobody disputes this part
    await ours(scene, payment, 700, "k2", accept_dispute_risk=True)
    assert (await booked(scene, payment))[:2] == (1000, 0)


async def test_a_dispute_without_an_amount_is_about_all_of_it(scene: Scene) -> None:
    """D6: it is stored, has a case, and blocks refunds."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", None))
    assert await scene.cases() == ["dispute_open"]
    with pytest.raises(Conflict) as refused:
        await calls.refund(scene.till, scene.practice_id, payment.id, key="k", amount=1)
    assert refused.value.code == "payment_disputed"


async def test_an_amount_without_a_currency_is_in_the_attempts(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", None, bare_amount=(600, 2)))
    assert [d.amount for d in await disputes.of_payment(scene.db, payment.id)] == [600]


@pytest.mark.parametrize("ends", ["won", "closed"])
async def test_after_the_dispute_a_refund_is_free_again(scene: Scene, ends: str) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", 1000))
    await scene.delivery(configuration, dispute(payment, ends, 1000))
    assert await scene.cases() == []
    await ours(scene, payment, 1000)
    assert await booked(scene, payment) == (1000, 0, -15)


async def test_a_dispute_that_arrives_during_the_request_counts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the first write: the row of the payment decides, not what was read before."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    is_first = itertools.count()

    async def late(context: Any, practice_id: int, environment: Environment) -> None:
        if not next(is_first):
            await scene.delivery(configuration, dispute(payment, "open", 1000))

    monkeypatch.setattr(refunding, "may_begin", late)
    with pytest.raises(Conflict) as refused:
        await calls.refund(scene.till, scene.practice_id, payment.id, key="k")
    assert refused.value.code == "payment_disputed"
    assert scene.wire.of("refund") == []


async def test_a_disputed_duplicate_payment_is_refunded_only_by_who_accepts_the_risk(scene: Scene) -> None:
    case = await paid_twice(scene)
    attempt = await attempts.by_id(scene.db, case.subject)
    assert attempt is not None
    configuration = (await scene.context.configured(scene.db)).configurations[attempt.provider_code]
    fact = DisputeFact("open", "open", "d1", provider_transaction_id=attempt.provider_transaction_id)
    await scene.delivery(configuration, fact)
    assert (await scene.payment(attempt.payment_id)).amount_disputed == 0, "the payment's own money is not disputed"
    with pytest.raises(Conflict) as refused:
        await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada")
    assert refused.value.code == "payment_disputed"
    scene.wire.says("refund", paid(transaction="re-1"))
    found = await resolve.refund_duplicate(scene.context, scene.practice_id, case.id, "ada", accept_dispute_risk=True)
    assert found.case.state == "resolved"


async def test_twenty_refunds_and_a_dispute_at_once(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("refund", _given)

    async def disputed() -> None:
        await asyncio.sleep(0)
        await scene.delivery(configuration, dispute(payment, "open", 500))

    asked = [calls.refund(scene.till, scene.practice_id, payment.id, key=f"k{n}", amount=70) for n in range(20)]
    done = await asyncio.gather(*asked, disputed(), return_exceptions=True)
    codes = {one.code for one in done if isinstance(one, Conflict)}
    assert codes <= {"payment_disputed", "refund_exceeds_captured"}, codes
    assert not [one for one in done if isinstance(one, BaseException) and not isinstance(one, Conflict)]
    await scene.books_agree()


async def _given(params: Any) -> Any:
    return Succeeded(Money(params.amount.minor, "NGN"), f"r-{params.reference}")


# ── Inquiries, cases and events ──


async def _events(scene: Scene) -> list[tuple[str, Any]]:
    rows = await scene.db.fetch(
        "SELECT type, data FROM events WHERE type LIKE 'dispute.%' OR type LIKE 'inquiry.%' ORDER BY id"
    )
    return [(row["type"], json.loads(row["data"])) for row in rows]


async def test_an_inquiry_is_no_chargeback(scene: Scene) -> None:
    """Case 16: the same events for a question as for a chargeback, and a case that stayed open after its end."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    given = {"kind": "inquiry", "reason": "fraudulent", "provider_reason": "4853", "due_at": "2026-12-24T00:00:00Z"}
    await scene.delivery(configuration, dispute(payment, "open", 1000, **given))
    assert await scene.cases() == ["inquiry_open"]
    [(kind, data)] = await _events(scene)
    assert kind == "inquiry.opened"
    assert {name: data[name] for name in ("kind", "reason", "providerReason", "dueAt", "fundsWithdrawn", "amount")} == {
        "kind": "inquiry",
        "reason": "fraudulent",
        "providerReason": "4853",
        "dueAt": "2026-12-24T00:00:00Z",
        "fundsWithdrawn": False,
        "amount": 1000,
    }
    assert (await scene.payment(payment.id)).amount_disputed == 0
    await ours(scene, payment, 100)  # a refund is the usual answer
    await scene.delivery(configuration, dispute(payment, "closed", 1000, **given))
    assert await scene.cases() == []
    assert [kind for kind, _ in await _events(scene)] == ["inquiry.opened", "inquiry.closed"]
    assert (await booked(scene, payment))[:2] == (100, 0)


@pytest.mark.parametrize("closed_between", [False, True])
async def test_an_inquiry_that_becomes_a_chargeback_is_told(scene: Scene, closed_between: bool) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", 1000, kind="inquiry"))
    if closed_between:
        await scene.delivery(configuration, dispute(payment, "closed", 1000, kind="inquiry"))
    await scene.delivery(configuration, dispute(payment, "open", 1000, funds_withdrawn=True))
    await scene.delivery(configuration, dispute(payment, "open", 1000, kind="inquiry"))  # an older delivery
    assert await scene.cases() == ["dispute_open"]
    told = await _events(scene)
    assert (told[-1][0], told[-1][1]["wasInquiry"], told[-1][1]["fundsWithdrawn"]) == ("dispute.opened", True, True)
    with pytest.raises(Conflict):
        await calls.refund(scene.till, scene.practice_id, payment.id, key="k")


@pytest.mark.parametrize(("ends", "open_cases"), [("won", []), ("closed", []), ("lost", ["dispute_lost"])])
async def test_the_case_of_a_dispute_ends_with_it(scene: Scene, ends: str, open_cases: list[str]) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", 1000))
    await scene.delivery(configuration, dispute(payment, ends, 1000))
    assert await scene.cases() == open_cases
    [ended] = await cases.listed(scene.db, "resolved", "dispute_open")
    assert ended.detail["resolution"] == {"action": f"dispute_{ends}"}
    assert [kind for kind, _ in await _events(scene)] == ["dispute.opened", f"dispute.{ends}"]


async def test_a_new_deadline_is_told(scene: Scene) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    await scene.delivery(configuration, dispute(payment, "open", 1000, due_at="2026-12-24T00:00:00Z"))
    await scene.delivery(configuration, dispute(payment, "open", 1000, due_at="2026-12-31T00:00:00Z"))
    await scene.delivery(configuration, dispute(payment, "open", 1000, due_at="2026-12-31T00:00:00Z"))
    kinds = [(kind, data["dueAt"]) for kind, data in await _events(scene)]
    assert kinds == [("dispute.opened", "2026-12-24T00:00:00Z"), ("dispute.updated", "2026-12-31T00:00:00Z")]


async def test_a_dispute_that_is_won_later_gives_the_loss_back(scene: Scene) -> None:
    """Reinstated on appeal, as a listing says now: of two deliveries nobody can tell which came last."""
    await scene.configure()
    payment = await scene.succeeded()
    [attempt] = await scene.attempts(payment.id)
    for state, source in (("lost", "webhook"), ("won", "lookup")):
        finding = DisputeFinding(dispute(payment, state, 600), source)
        await apply_dispute(Practice(scene.context, scene.db), payment, attempt, finding, lambda _: None)
    assert await booked(scene, payment) == (0, 0, 985)
    assert await scene.cases() == []
    await scene.books_agree()


# ── In any order ──


def _stories() -> Iterator[list[tuple[str, int]]]:
    """What may happen to 100.00: refunds here and there, disputes of parts, ends, and reversals."""
    amounts = (100_00, 70_00, 40_00, 30_00)
    for first, second in itertools.product(amounts, amounts):
        yield [("dashboard", first), ("lost", second)]
        yield [("dashboard", first), ("open", second), ("lost", second)]
        yield [("dashboard", first), ("payout", second), ("lost", second)]
        yield [("dashboard", first), ("reversed", first), ("lost", second)]
        yield [("open", first), ("won", first), ("dashboard", second)]
    yield [("dashboard", 30_00), ("dashboard", 40_00), ("lost", 100_00), ("open", 100_00)]


@pytest.mark.parametrize("engine_url", [None], ids=["sqlite"])
async def test_every_order_of_the_same_facts_books_the_same(
    scene: Scene, are_refunded: bool, engine_url: str | None
) -> None:
    """The books are a function of the facts, not of their order; nothing is booked twice, and more than was taken is a
    case."""
    configuration = await scene.configure()
    for story in _stories():
        ends = set()
        for order in {*itertools.permutations(range(len(story)))}:
            if "reversed" in (words := [story[n][0] for n in order]) and words.index("reversed") < words.index(
                "dashboard"
            ):
                continue
            payment = await scene.succeeded(100_00, fee=None)
            for place in order:
                await scene.delivery(configuration, _fact(payment, place, *story[place]))
            refunded, lost, held = await booked(scene, payment)
            assert held == 100_00 - refunded - lost
            known = [case.kind for case in await cases.listed(scene.db, limit=1000) if case.payment_id == payment.id]
            assert ("over_returned" in known) == (refunded + lost > 100_00), story
            told = [amount for word, amount in story if word == "lost"]
            if are_refunded and told:
                assert lost <= max(0, 100_00 - refunded), story
            ends.add((refunded, lost))
        assert len(ends) == 1, (story, ends)
    await scene.books_agree()


def _fact(payment: Payment, place: int, word: str, amount: int) -> Any:
    name = f"{payment.id}-{place}"
    if word in ("open", "won", "lost"):
        return dispute(payment, word, amount, provider_dispute_id=f"d-{payment.id}")
    if word == "reversed":
        name = f"{payment.id}-0"
        about = payment.provider_transaction_id
        return RefundFact("failed", None, name, provider_transaction_id=about, amount=Money(amount, "NGN"))
    link = {"provider_dispute_id": f"d-{payment.id}"} if word == "payout" else {}
    return refund(payment, amount, name, **link)
