"""Refunds and disputes in the provider's listing, and the listings of keys that were replaced."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from polytill.background import sweep
from polytill.domain.audit_actions import AuditAction
from polytill.domain.money import Money
from polytill.domain.sources import Source
from polytill.domain.states import Environment, EventState
from polytill.flows.listing import KEYS_TRIED_AGAIN_S, MAX_PAGES, REPLACED_KEYS_COUNT
from polytill.flows.reconciliation.disputes import CLOCKS_DIFFER, LONGEST_DISPUTE
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.refunds.listed import LOOKED_UP_AGAIN_AT
from polytill.providers.contract import DisputeFact, Page, PaymentFact, RefundFact
from polytill.providers.outcomes import Declined, NotSent, Pending, Reason, Succeeded, Unknown
from polytill.storage import audit, disputes, listings, refunds, webhook_events
from tests import calls
from tests.flows.scenes import LINK, Scene, keys, paid
from tests.flows.scripted import HANDLERS

HOUR, DAY = 3600.0, 86_400.0
REFUSED = NotSent(Reason.config, "401", "No such key.")


class Lists:
    """What the provider lists, by verb and secret key: facts, each from the moment that it is filed under."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], list[tuple[float, Any]]] = defaultdict(list)
        self.refused: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def put(self, verb: str, at_s: float, fact: Any, key: str = "sk_test_1") -> None:
        self.held[verb, key].append((at_s, fact))

    def page(self, verb: str, key: str, since_s: int, until_s: int) -> Any:
        self.asked.append((verb, key))
        if key in self.refused:
            return REFUSED
        return Page(tuple(fact for at_s, fact in self.held[verb, key] if since_s <= at_s <= until_s))


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Lists:
    made = Lists()

    def method(verb: str) -> Any:
        async def call(self: Any, since_s: int, until_s: int, cursor: str | None) -> Any:
            return made.page(verb, self.config.secret_key.reveal(), since_s, until_s)

        return call

    for verb in ("transactions", "refunds", "disputes"):
        monkeypatch.setattr(HANDLERS["scripted"], f"list_{verb}", method(verb))
    return made


async def run(scene: Scene, seconds: float = HOUR) -> int:
    """Time passes, and the comparison runs."""
    scene.clock.at_s += seconds
    return await reconcile(scene.context, scene.practice_id)


async def given_back(scene: Scene, payment: Any) -> list[tuple[str, str, str | None]]:
    """Its refunds: by whom, how they stand, and what the provider calls them."""
    found = await refunds.of_payment(scene.db, payment.id)
    return sorted((r.origin, r.state.value, r.provider_refund_id) for r in found)


# ── A link that was paid twice, and refunds of money that is not booked yet ──


async def paid_twice(scene: Scene, lists: Lists) -> Any:
    """The first delivery came, the second was lost."""
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    await scene.delivery(configuration, PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    for transaction in ("tx-1", "tx-2"):
        told = PaymentFact(paid(transaction=transaction), taken.attempts[0].id, transaction)
        lists.put("transactions", scene.clock.at_s, told)
    return taken.payment


async def test_a_listed_second_success_is_asked_about_until_the_provider_answers(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    await run(scene)
    payment = await paid_twice(scene, lists)
    scene.wire.always("confirm", Unknown(Reason.timeout))
    for _ in range(2):
        await run(scene)
    assert await scene.cases() == []
    scene.wire.always("confirm", paid(transaction="tx-2"))
    await run(scene)
    assert [one.provider_transaction_id for one in await scene.attempts(payment.id)] == ["tx-1", "tx-2"]
    assert await scene.cases() == ["duplicate_payment"]


async def test_a_listed_second_success_of_which_nothing_is_said_holds_up_no_more_than_a_day(
    scene: Scene, lists: Lists
) -> None:
    configuration = await scene.configure()
    await run(scene)
    await paid_twice(scene, lists)
    scene.wire.always("confirm", Unknown(Reason.timeout))
    for _ in range(30):
        await run(scene)
    assert await scene.cases() == ["listing_missing_here"]
    until = await listings.kept(scene.db, configuration.id, Environment.sandbox)
    assert until is not None
    assert until.timestamp() > scene.clock.at_s - DAY


async def test_a_refund_of_a_payment_that_could_not_be_asked_about_is_not_forgotten(scene: Scene, lists: Lists) -> None:
    """Paid, and refunded in the dashboard; all webhooks were lost."""
    await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    lists.put("transactions", scene.clock.at_s, PaymentFact(paid(), taken.attempts[0].id, "tx-1"))
    lists.put("refunds", scene.clock.at_s, RefundFact("succeeded", None, "r1", provider_transaction_id="tx-1"))
    scene.wire.always("lookup_refund", Succeeded(Money(1000, "NGN"), "r1"))
    scene.wire.always("confirm", Unknown(Reason.timeout))
    await run(scene)
    scene.wire.always("confirm", paid())
    await sweep(scene.till.context)
    await run(scene)
    payment = await scene.payment(taken.payment.id)
    assert (payment.amount_captured, payment.amount_refunded) == (1000, 1000)


# ── Refunds ──


async def listed_refund(scene: Scene, lists: Lists, payment: Any, state: str, key: str = "sk_test_1") -> None:
    """A refund as listings have it: with an id, and without an amount."""
    fact = RefundFact(state, None, "r1", provider_transaction_id=payment.provider_transaction_id)
    lists.put("refunds", scene.clock.at_s, fact, key)


async def given_back_without_a_name(scene: Scene) -> Any:
    """A payment of 1000, and a refund of 700 whose success was told without the provider's name for it."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", Pending(None))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=700)
    about = payment.provider_transaction_id
    told = RefundFact("succeeded", provider_transaction_id=about, amount=Money(700, "NGN"))
    await scene.delivery(configuration, told)
    return payment


async def test_a_refund_that_is_known_without_a_name_is_not_booked_again(scene: Scene, lists: Lists) -> None:
    """World seed 200332: its process died before the call, and one of the same amount was made in the dashboard."""
    payment = await given_back_without_a_name(scene)
    assert await given_back(scene, payment) == [("api", "succeeded", None)]
    await listed_refund(scene, lists, payment, "succeeded")
    scene.wire.always("lookup_refund", Succeeded(Money(700, "NGN"), "r1"))
    scene.wire.always("confirm", paid())
    await run(scene)
    assert await given_back(scene, payment) == [("api", "succeeded", "r1")]
    assert (await scene.payment(payment.id)).amount_refunded == 700


async def test_a_refund_of_money_that_is_not_booked_holds_nothing_up(scene: Scene, lists: Lists) -> None:
    """Another amount was paid than asked for; a person was told so, and gave it back in the dashboard."""
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    await scene.delivery(configuration, PaymentFact(paid(amount=900), taken.attempts[0].id, "tx-1"))
    assert await scene.cases() == ["amount_mismatch"]
    lists.put("refunds", scene.clock.at_s, RefundFact("succeeded", None, "r0", provider_transaction_id="tx-1"))
    scene.wire.always("confirm", paid(amount=900))
    scene.wire.always("cancel", NotSent(Reason.invalid_state))
    scene.wire.says("lookup_refund", Succeeded(Money(900, "NGN"), "r0"))
    await run(scene)
    until = await listings.kept(scene.db, configuration.id, Environment.sandbox)
    assert until is not None
    assert until.timestamp() > scene.clock.at_s - HOUR
    assert await refunds.of_payment(scene.db, taken.payment.id) == []


async def test_a_nameless_success_that_came_back_is_taken_back(scene: Scene, lists: Lists) -> None:
    """World seed 200653: the delivery of its failure was lost."""
    payment = await given_back_without_a_name(scene)
    await listed_refund(scene, lists, payment, "failed")
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "failed", None, "r1"))
    scene.wire.always("confirm", paid())
    await run(scene)
    assert await given_back(scene, payment) == [("api", "failed", "r1")]
    assert (await scene.payment(payment.id)).amount_refunded == 0
    assert await scene.cases() == ["refund_failed"]


async def test_a_refund_that_only_a_listing_told_is_recorded_as_looked_up(scene: Scene, lists: Lists) -> None:
    """Its audit line named a webhook that never came."""
    await scene.configure()
    payment = await scene.succeeded()
    about = {"provider_transaction_id": payment.provider_transaction_id}
    lists.put("refunds", scene.clock.at_s, RefundFact("succeeded", None, "r0", amount=Money(300, "NGN"), **about))
    scene.wire.always("lookup_refund", Succeeded(Money(300, "NGN"), "r0"))
    scene.wire.always("confirm", paid())
    await run(scene)
    assert await given_back(scene, payment) == [("provider", "succeeded", "r0")]
    lines = await audit.listed(scene.db, payment.id)
    assert [line["actor"] for line in lines if line["action"] == AuditAction.refund_succeeded] == [Source.lookup]


async def test_a_refund_in_the_dashboard_that_failed_gave_nothing_back(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    await listed_refund(scene, lists, payment, "failed")
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "failed", None, "r1"))
    scene.wire.always("confirm", paid())
    await run(scene)
    assert await given_back(scene, payment) == []
    assert lists.asked.count(("disputes", "sk_test_1")) > 0, "the reconciliation continued"
    assert (await scene.payment(payment.id)).amount_refunded == 0


CAME_BACK = Declined(Reason.declined, True, "failed", None, "r1")


async def test_a_total_does_not_ask_about_a_refund_that_is_under_way(scene: Scene, lists: Lists) -> None:
    """To ask might repeat its call (world seed 11034728); the delivery waits until its answer is there."""
    configuration = await scene.configure()
    payment = await scene.succeeded()
    seen: list[Any] = []

    async def meanwhile(params: Any) -> Succeeded:
        await listed_refund(scene, lists, payment, "succeeded")
        about = payment.provider_transaction_id
        total = RefundFact("succeeded", provider_transaction_id=about, total=Money(700, "NGN"))
        seen.append((await scene.delivery(configuration, total), scene.wire.of("lookup_refund")))
        return Succeeded(Money(700, "NGN"), "r1")

    scene.wire.says("refund", meanwhile)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=700)
    ((event, asked),) = seen
    assert event is not None
    assert asked == []
    await scene.later(60)
    assert await given_back(scene, payment) == [("api", "succeeded", "r1")]
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is EventState.applied


async def given_back_and_compared(scene: Scene) -> Any:
    """A payment of 1000 with a refund of 700 that is done, in a window that has been compared."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    scene.wire.says("refund", Succeeded(Money(700, "NGN"), "r1"))
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=700)
    await run(scene)
    await run(scene)
    assert await given_back(scene, payment) == [("api", "succeeded", "r1")]
    assert scene.wire.of("lookup_refund") == [], "it is young"
    return payment


async def days_pass(scene: Scene, days: int) -> None:
    """Compared every six hours."""
    for _ in range(days * 4):
        await run(scene, DAY / 4)


@pytest.mark.parametrize("after_days", [1, 6, 30])
async def test_a_refund_that_comes_back_late_is_found_without_a_delivery(
    scene: Scene, lists: Lists, after_days: int
) -> None:
    payment = await given_back_and_compared(scene)
    scene.wire.always("lookup_refund", Succeeded(Money(700, "NGN"), "r1"))
    await days_pass(scene, after_days)
    assert await given_back(scene, payment) == [("api", "succeeded", "r1")]
    scene.wire.always("lookup_refund", CAME_BACK)
    await days_pass(scene, 2)
    assert await given_back(scene, payment) == [("api", "failed", "r1")]
    assert (await scene.payment(payment.id)).amount_refunded == 0
    assert await scene.cases() == ["refund_failed"]
    await scene.books_agree()


@pytest.mark.parametrize("answer", [Unknown(Reason.timeout), NotSent(Reason.not_found), REFUSED, Pending(None)])
async def test_only_the_provider_s_no_takes_a_refund_back(scene: Scene, lists: Lists, answer: Any) -> None:
    """And it is asked about a few times in all, however often the comparison runs."""
    payment = await given_back_and_compared(scene)
    scene.wire.always("lookup_refund", answer)
    await days_pass(scene, 40)
    assert await given_back(scene, payment) == [("api", "succeeded", "r1")]
    assert (await scene.payment(payment.id)).amount_refunded == 700
    assert await scene.cases() == []
    assert len(LOOKED_UP_AGAIN_AT) <= len(scene.wire.of("lookup_refund")) <= 2 * len(LOOKED_UP_AGAIN_AT)


async def test_a_listing_that_is_too_long_does_not_stop_the_comparison(
    scene: Scene, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    pages = 0

    async def endless(self: Any, since_s: int, until_s: int, cursor: str | None) -> Any:
        nonlocal pages
        pages += 1
        return Page((), "more")

    monkeypatch.setattr(HANDLERS["scripted"], "list_refunds", endless)
    lists.put("disputes", scene.clock.at_s, dispute(payment, "open"))
    await run(scene)
    await run(scene)
    assert pages > MAX_PAGES, "the second window was compared too"
    assert await disputed(scene, payment) == [("open", 1000)]


# ── Disputes ──


def dispute(payment: Any, state: str, amount: Money | None = None) -> DisputeFact:
    return DisputeFact(
        state,
        provider_state=state,
        provider_dispute_id="d1",
        provider_transaction_id=payment.provider_transaction_id,
        amount=amount or Money(1000, "NGN"),
    )


async def disputed(scene: Scene, payment: Any) -> list[tuple[str, int | None]]:
    return [(d.state.value, d.amount) for d in await disputes.of_payment(scene.db, payment.id)]


async def test_a_dispute_that_no_delivery_told_is_booked_and_followed_to_its_end(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    opened_s = scene.clock.at_s
    lists.put("disputes", opened_s, dispute(payment, "open"))
    await run(scene)
    assert await disputed(scene, payment) == [("open", 1000)]
    assert await scene.cases() == ["dispute_open"]
    lists.held.clear()
    lists.put("disputes", opened_s, dispute(payment, "lost"))  # filed under the day on which it was opened
    await run(scene, 5 * DAY)
    await run(scene)
    assert await disputed(scene, payment) == [("lost", 1000)]
    assert (await scene.payment(payment.id)).amount_lost == 1000
    lists.held.clear()
    lists.put("disputes", scene.clock.at_s, dispute(payment, "open"))
    await run(scene)
    assert await disputed(scene, payment) == [("lost", 1000)], "it was decided once"


@pytest.mark.parametrize(("first", "then"), [("lost", "won"), ("won", "lost")])
async def test_a_dispute_that_is_listed_with_another_decision_is_booked_as_listed(
    scene: Scene, lists: Lists, first: str, then: str
) -> None:
    """Won on appeal: a listing is what the provider says now. (Of two deliveries nobody can tell which came last.)"""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    lists.put("disputes", scene.clock.at_s, dispute(payment, first))
    await run(scene)
    lists.held.clear()
    lists.put("disputes", scene.clock.at_s, dispute(payment, then))
    for _ in range(2):
        await run(scene)
    assert await disputed(scene, payment) == [(then, 1000)]
    assert (await scene.payment(payment.id)).amount_lost == (1000 if then == "lost" else 0)
    assert await scene.cases() == (["dispute_lost"] if then == "lost" else [])
    await scene.books_agree()


async def test_what_a_dispute_took_may_be_listed_later_than_that_it_was_lost(scene: Scene, lists: Lists) -> None:
    configuration = await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    about = payment.provider_transaction_id
    lost = DisputeFact("lost", "lost", "d1", provider_transaction_id=about)
    await scene.delivery(configuration, lost)
    assert (await scene.payment(payment.id)).amount_lost == 0
    lists.put("disputes", scene.clock.at_s, replace(lost, amount=Money(400, "NGN")))
    for _ in range(2):
        await run(scene)
        assert (await scene.payment(payment.id)).amount_lost == 400


async def test_a_listed_loss_of_money_that_is_not_known_of_is_asked_for_until_it_is(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    await run(scene)
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    named = replace(payment, provider_transaction_id=None)
    told = replace(dispute(named, "lost"), payment_reference=(await scene.attempts(payment.id))[0].id)
    lists.put("disputes", scene.clock.at_s, told)
    scene.wire.always("confirm", Unknown(Reason.timeout))
    await run(scene)
    assert await disputed(scene, payment) == [("open", 1000)]
    assert (await scene.payment(payment.id)).amount_lost == 0
    scene.wire.always("confirm", paid())
    await run(scene, 5 * DAY)
    await run(scene)
    assert await disputed(scene, payment) == [("lost", 1000)]
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_captured, fresh.amount_lost) == (1000, 1000)
    await scene.books_agree()


async def test_a_dispute_in_another_currency_or_of_another_shop_changes_nothing(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    lists.put("disputes", scene.clock.at_s, dispute(payment, "lost", Money(1000, "USD")))
    other = DisputeFact("lost", "lost", "d2", provider_transaction_id="tx-of-a-shop", amount=Money(5, "NGN"))
    lists.put("disputes", scene.clock.at_s, other)
    await run(scene)
    assert await disputed(scene, payment) == []
    assert (await scene.payment(payment.id)).amount_lost == 0


def test_open_disputes_are_asked_for_no_longer_than_old_keys_count() -> None:
    assert CLOCKS_DIFFER < LONGEST_DISPUTE <= REPLACED_KEYS_COUNT


# ── Keys that were replaced ──


async def test_what_happens_in_an_account_that_was_left_is_still_found(scene: Scene, lists: Lists) -> None:
    """The secret of its deliveries has ended with the overlap; the old account takes disputes for months."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("create", LINK)
    late = await scene.pay()
    await scene.configure("scripted", keys("2"))
    await run(scene, 30 * DAY)
    scene.wire.always("confirm", paid())
    scene.wire.always("lookup_refund", Succeeded(Money(300, "NGN"), "r1"))
    lists.put("transactions", scene.clock.at_s, PaymentFact(paid(), late.attempts[0].id, "tx-1"))
    lists.put("disputes", scene.clock.at_s, dispute(payment, "lost", Money(200, "NGN")))
    await listed_refund(scene, lists, payment, "succeeded")
    for _ in range(5):
        await run(scene)
    after = await scene.payment(payment.id)
    assert (after.amount_refunded, after.amount_lost) == (300, 200)
    assert (await scene.payment(late.payment.id)).status == "succeeded"
    assert {call.key for call in scene.wire.of("lookup_refund")} == {"sk_test_1"}


async def test_replaced_keys_that_are_refused_stop_nothing_and_are_spared_for_a_day(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    await scene.configure("scripted", keys("2"))
    lists.refused.add("sk_test_1")
    await run(scene)
    assert lists.asked.count(("transactions", "sk_test_1")) == 1
    assert ("refunds", "sk_test_1") not in lists.asked
    lists.asked.clear()
    await run(scene)
    assert {key for _, key in lists.asked} == {"sk_test_2"}
    lists.put("transactions", scene.clock.at_s, PaymentFact(LINK, "order-1", "tx-5"), "sk_test_2")
    assert await run(scene) == 1, "its period continued"
    lists.asked.clear()
    await run(scene, KEYS_TRIED_AGAIN_S)
    assert ("transactions", "sk_test_1") in lists.asked
    lists.asked.clear()
    await run(scene, REPLACED_KEYS_COUNT.total_seconds())
    assert {key for _, key in lists.asked} == {"sk_test_2"}, "too long ago to matter"


async def test_a_listing_tells_the_name_of_what_was_paid_under_a_lost_answer(scene: Scene, lists: Lists) -> None:
    """World seed 10002572: asked without the provider's id, a provider that knows payments by it alone has no answer."""
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout), LINK)
    taken = await scene.pay()
    scene.wire.says("lookup", NotSent(Reason.not_found))
    await scene.later(200)
    lost, _ = await scene.attempts(taken.payment.id)
    assert (lost.state, lost.provider_transaction_id) == ("expired", None)

    async def by_its_name(params: Any) -> Any:
        return paid(transaction="tx-7") if params.provider_transaction_id == "tx-7" else Unknown(Reason.not_found)

    lists.put("transactions", scene.clock.at_s, PaymentFact(paid(transaction="tx-7"), lost.id, "tx-7"))
    scene.wire.always("confirm", by_its_name)
    await run(scene)
    assert (await scene.attempts(taken.payment.id))[0].state == "succeeded"
    assert (await scene.payment(taken.payment.id)).status == "succeeded"


async def test_while_the_newest_keys_are_refused_no_window_is_called_compared(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    lists.refused.add("sk_test_1")
    assert await run(scene) == 0
    lists.refused.clear()
    lists.put("transactions", scene.clock.at_s - 1800, PaymentFact(LINK, "order-1", "tx-5"))
    assert await run(scene) == 1


async def test_keys_that_did_not_change_are_asked_once(scene: Scene, lists: Lists) -> None:
    await scene.configure()
    await scene.configure("scripted", keys("1"))  # another webhook secret would be a new version as well
    await run(scene)
    windows = lists.asked.count(("transactions", "sk_test_1"))
    assert windows == lists.asked.count(("refunds", "sk_test_1")) == 2


async def test_the_keys_between_are_asked_before_the_newest(scene: Scene) -> None:
    """World seed 212984: the keys were rotated once, and the practice moved to another account afterwards."""
    await scene.configure("mover")
    scene.wire.says("create", Unknown(Reason.timeout))
    taken = await scene.pay()
    await scene.configure("mover", keys("2"))
    await scene.configure("mover", keys("3"))
    scene.wire.says("lookup", REFUSED, paid())
    await scene.later(200)
    assert [call.key for call in scene.wire.of("lookup")] == ["sk_test_1", "sk_test_2"]
    payment = await scene.payment(taken.payment.id)
    assert payment.status == "succeeded"
    scene.wire.says("refund", REFUSED, NotSent(Reason.not_found), Succeeded(Money(1000, "NGN"), "r1"))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="back")
    assert made.state == "succeeded"
    assert [call.key for call in scene.wire.of("refund")] == ["sk_test_1", "sk_test_2", "sk_test_3"]


# ── What is listed, and what nobody can say more of ──


async def test_a_listed_refund_that_we_took_for_never_sent_is_booked(scene: Scene, lists: Lists) -> None:
    """Its answer was lost, "not found" was believed after the horizon, and it was made all the same."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    scene.wire.says("refund", Unknown(Reason.timeout))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="a", amount=500)
    scene.wire.always("lookup_refund", NotSent(Reason.not_found))
    for _ in range(10):
        await scene.later(30)
    assert await given_back(scene, payment) == [("api", "not_sent", None)]
    told = RefundFact("succeeded", made.id, "r1", provider_transaction_id=payment.provider_transaction_id)
    lists.put("refunds", scene.clock.at_s, told)
    scene.wire.always("lookup_refund", Succeeded(Money(500, "NGN"), "r1"))
    await run(scene)
    assert await given_back(scene, payment) == [("api", "succeeded", "r1")]
    assert (await scene.payment(payment.id)).amount_refunded == 500
    await scene.books_agree()


@pytest.mark.parametrize("answer", [Unknown(Reason.unreadable), NotSent(Reason.not_found)], ids=["unread", "missing"])
async def test_a_listed_refund_of_which_nothing_is_said_holds_up_nothing_for_long(
    scene: Scene, lists: Lists, answer: Any
) -> None:
    configuration = await scene.configure()
    await run(scene)
    scene.wire.always("confirm", paid())
    about = (await scene.succeeded()).provider_transaction_id
    lists.put("refunds", scene.clock.at_s, RefundFact("succeeded", None, "r1", provider_transaction_id=about))
    scene.wire.always("lookup_refund", answer)
    lists.put("disputes", scene.clock.at_s, DisputeFact("open", "open", "d1", provider_transaction_id=about))
    await run(scene)
    assert await scene.cases() == ["dispute_open"], "disputes do not wait for it"
    for _ in range(30):
        await run(scene)
    assert await scene.cases() == ["dispute_open", "refund_unclear"]
    until = await listings.kept(scene.db, configuration.id, Environment.sandbox)
    assert until is not None
    assert until.timestamp() > scene.clock.at_s - DAY


@pytest.mark.parametrize("what", ["refunds", "disputes"])
async def test_what_is_listed_in_another_currency_is_put_before_a_person(scene: Scene, lists: Lists, what: str) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.always("confirm", paid())
    about, dollars = payment.provider_transaction_id, Money(300, "USD")
    scene.wire.always("lookup_refund", Succeeded(dollars, "r1"))
    told: Any = RefundFact("succeeded", None, "r1", provider_transaction_id=about)
    lists.put(what, scene.clock.at_s, told if what == "refunds" else dispute(payment, "lost", dollars))
    for _ in range(2):
        await run(scene)
    fresh = await scene.payment(payment.id)
    assert (fresh.amount_refunded, fresh.amount_lost) == (0, 0)
    assert await given_back(scene, payment) == []
    assert await scene.cases() == ["currency_mismatch"]
