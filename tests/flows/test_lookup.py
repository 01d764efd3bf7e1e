"""Lookups of calls whose answer was lost, for as long as needed; and payments that nobody finishes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from polytill.background import sweep
from polytill.domain.errors import Conflict, Invalid
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, CaptureMode, PaymentStatus
from polytill.flows.context import Practice
from polytill.flows.finding import Finding
from polytill.flows.next_action import open_action
from polytill.flows.payments.settle import settle
from polytill.flows.recovery import checkout, lookup
from polytill.flows.review import resolve
from polytill.flows.schedule import after_sent, next_lookup
from polytill.flows.webhooks import receive
from polytill.providers.contained import ProcessStopped
from polytill.providers.contract import PaymentFact
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
from polytill.storage import cases, operations, payments, refunds, webhook_events
from polytill.storage.payments import Payment
from polytill.storage.units import Unit
from tests import calls
from tests.flows.scenes import LINK, REFUSED, Scene, held, keys, paid
from tests.storage.making import plain

A, P = AttemptState, PaymentStatus
LOST = Unknown(Reason.timeout)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

# State | how often it was looked up | seconds until the next time ("-": never again)
SCHEDULE = """
sent         0  2
unknown      0  2
unknown      1  4
unknown      3  16
unknown      4  30
unknown      19 30
unknown      20 30
unknown      9999 600
needs_action 0  60
needs_action 2  240
needs_action 9  3600
pending      0  60
authorized   0  60
expired      0  3600
expired      3  259200
expired      4  -
canceled     0  3600
canceled     4  -
declined     0  -
not_sent     0  -
succeeded    0  -
failed       0  -
"""


@pytest.mark.parametrize("line", SCHEDULE.strip().splitlines())
def test_when_to_look_again(line: str) -> None:
    state, lookups, seconds = line.split()
    expected = None if seconds == "-" else NOW + timedelta(seconds=int(seconds))
    assert next_lookup(state, int(lookups), NOW) == expected  # type: ignore[arg-type]


def test_a_call_under_way_is_given_its_time() -> None:
    assert after_sent(NOW, 30.0) - NOW == timedelta(seconds=40)


async def lost(scene: Scene, code: str = "scripted") -> Any:
    await scene.configure(code)
    scene.wire.says("create", LOST)
    return await scene.pay()


@pytest.mark.parametrize(
    ("answer", "state", "status"),
    [
        (paid(), A.succeeded, P.succeeded),
        (REFUSED, A.declined, P.failed),
        (Pending(None, "t"), A.pending, P.processing),
        (LINK, A.needs_action, P.requires_action),
        (LOST, A.unknown, P.processing),
        (NotSent(Reason.unreachable), A.unknown, P.processing),
        (NotSent(Reason.rate_limited), A.unknown, P.processing),
        (RuntimeError("x"), A.unknown, P.processing),
    ],
    ids=lambda v: type(v).__name__,
)
async def test_what_the_lookup_answers_counts(scene: Scene, answer: Any, state: A, status: P) -> None:
    taken = await lost(scene)
    assert (taken.attempts[0].state, taken.payment.status) == (A.unknown, P.processing)
    scene.wire.says("lookup", answer)
    await scene.later(3)
    [attempt] = await scene.attempts(taken.payment.id)
    assert (attempt.state, (await scene.payment(taken.payment.id)).status) == (state, status)
    [asked] = scene.wire.of("lookup")
    assert asked.params.reference == attempt.id
    assert asked.params.age_s == 3
    assert asked.params.create == scene.wire.of("create")[0].params, "the create call can be repeated byte for byte"


async def test_unknown_is_pursued_for_ever_and_never_failed(scene: Scene) -> None:
    taken = await lost(scene)
    scene.wire.always("lookup", LOST)
    for _ in range(60):
        await scene.later(3601)
    assert len(scene.wire.of("lookup")) == 60
    assert len(scene.wire.of("create")) == 1, "never a blind repeat"
    payment = await scene.payment(taken.payment.id)
    assert payment.status is P.processing
    scene.wire.says("lookup", paid())
    await scene.later(3601)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_unknown_never_goes_to_another_provider(scene: Scene) -> None:
    await scene.configure("other")
    taken = await lost(scene)
    scene.wire.always("lookup", LOST)
    for _ in range(5):
        await scene.later(31)
    assert len(scene.wire.calls) == 6
    assert len({made.host for made in scene.wire.calls}) == 1
    assert len(await scene.attempts(taken.payment.id)) == 1


async def test_a_process_that_died_before_the_answer(scene: Scene) -> None:
    await scene.configure()

    async def dies(_: Any) -> Any:
        raise ProcessStopped

    scene.wire.says("create", dies)
    with pytest.raises(ProcessStopped):
        await scene.pay("one")
    [row] = await scene.db.fetch("SELECT id FROM payments")
    [attempt] = await scene.attempts(row["id"])
    assert attempt.state is A.sent
    await scene.later(39)
    assert scene.wire.of("lookup") == [], "it may still be under way"
    scene.wire.says("lookup", paid())
    await scene.later(2)
    assert (await scene.payment(row["id"])).status is P.succeeded


# ── A link that nobody holds ──

NOBODY_HOLDS_IT = [NotSent(Reason.not_found), NeedsAction(None), Declined(Reason.declined, False)]


@pytest.mark.parametrize("answer", NOBODY_HOLDS_IT, ids=lambda v: type(v).__name__)
async def test_a_lost_link_is_followed_by_a_new_one(scene: Scene, answer: Any) -> None:
    taken = await lost(scene)
    scene.wire.says("lookup", answer)
    scene.wire.says("create", LINK)
    await scene.later(3)
    first, second = await scene.attempts(taken.payment.id)
    assert first.state is A.expired
    assert first.next_lookup_at is not None, "if somebody pays it after all, that is found without a webhook"
    assert (second.state, second.number, second.credential_version) == (A.needs_action, 2, first.credential_version)
    assert first.id != second.id
    assert scene.wire.of("create")[1].params.reference == second.id
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    assert open_action(scene.db, second) is not None, "the payment can be paid"
    assert open_action(scene.db, first) is None
    # And if somebody should pay the first one after all, that is a fact.
    scene.wire.always("confirm", LINK)
    scene.wire.says("confirm", paid(transaction="tx-late"))
    await lookup.refresh(Practice(scene.context, scene.db), await scene.payment(taken.payment.id), first)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_the_confirm_of_a_payer_who_comes_back_does_the_same(scene: Scene) -> None:
    taken = await lost(scene)
    scene.wire.says("lookup", NeedsAction(None))
    scene.wire.says("create", LINK)
    confirmed = await calls.confirm(scene.till, scene.practice_id, taken.payment.id)
    assert confirmed.payment.status is P.requires_action
    assert [a.number for a in confirmed.attempts] == [1, 2]


async def test_new_links_are_not_made_without_end(scene: Scene) -> None:
    taken = await lost(scene)
    scene.wire.always("lookup", NotSent(Reason.not_found))
    scene.wire.always("create", LOST)
    for _ in range(30):
        await scene.later(3)
    attempts = await scene.attempts(taken.payment.id)
    assert len(attempts) == 10
    assert (await scene.payment(taken.payment.id)).status is P.canceled


@pytest.mark.parametrize("age_s", [3, 119])
async def test_where_creating_moves_money_not_found_proves_nothing_at_first(scene: Scene, age_s: float) -> None:
    taken = await lost(scene, "mover")
    scene.wire.says("lookup", NotSent(Reason.not_found))
    await scene.later(age_s)
    [attempt] = await scene.attempts(taken.payment.id)
    assert attempt.state is A.unknown


async def test_after_the_horizon_it_does(scene: Scene) -> None:
    taken = await lost(scene, "mover")
    scene.wire.says("lookup", NotSent(Reason.not_found), NotSent(Reason.not_found))
    scene.wire.says("create", paid())
    for seconds in (5, 120):
        await scene.later(seconds)
    first, second = await scene.attempts(taken.payment.id)
    assert (first.state, second.state) == (A.not_sent, A.succeeded)
    assert first.id != second.id


async def test_with_a_long_time_limit_the_horizon_is_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that makes several requests may send its last one long after the horizon that its handler declares."""
    patient = scene.context.settings.model_copy(update={"provider_timeout_s": 100.0})
    monkeypatch.setattr(scene.context, "settings", patient)
    taken = await lost(scene, "mover")
    scene.wire.always("lookup", NotSent(Reason.not_found))
    scene.wire.says("create", paid())
    for seconds, state in ((5, A.unknown), (395, A.unknown), (35, A.not_sent)):
        await scene.later(seconds)
        assert (await scene.attempts(taken.payment.id))[0].state is state


@pytest.mark.parametrize("jump", [3700, -3700])
@pytest.mark.parametrize("verb", ["lookup", "lookup_refund"])
async def test_a_clock_that_jumps_proves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, jump: int, verb: str
) -> None:
    """World seed 14082720: a node whose clock was an hour ahead believed an early "not found" of a refund."""
    await scene.configure("mover")
    if verb == "lookup":
        taken = await lost(scene, "mover")
    else:
        payment = await scene.succeeded()
        scene.wire.says("refund", LOST)
        await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    scene.wire.always("create", REFUSED)

    async def state() -> str:
        if verb == "lookup":
            return (await scene.attempts(taken.payment.id))[0].state
        return (await refunds.of_payment(scene.db, payment.id))[0].state

    scene.wire.always(verb, NotSent(Reason.not_found))
    ahead = [0.0]
    monkeypatch.setattr(
        scene.context, "world", replace(scene.context.world, time_s=lambda: scene.clock.at_s + ahead[0])
    )
    await scene.later(5)
    ahead[0] = jump
    for _ in range(3):
        await scene.later(10)
        await sweep(scene.till.context)
    assert await state() == "unknown"
    ahead[0] = 0.0
    for _ in range(2):
        await scene.later(4000)
    assert await state() == "not_sent"


# ── Nobody pays in time ──


async def test_a_payment_that_nobody_finishes_expires(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", LINK)
    scene.wire.says("cancel", Declined(Reason.canceled, True))
    await scene.later(24 * 3600 + 1)
    payment = await scene.payment(payment.id)
    assert (payment.status, payment.cancel_reason) == (P.canceled, "expired")
    [attempt] = await scene.attempts(payment.id)
    assert attempt.state is A.expired
    assert len(scene.wire.of("cancel")) == 1
    # A late success still settles, and is audited.
    scene.wire.says("confirm", paid())
    await scene.later(3600)
    payment = await scene.payment(payment.id)
    assert (payment.status, payment.cancel_reason, payment.amount_captured) == (P.succeeded, None, 1000)


async def test_one_that_was_paid_in_the_last_minute_does_not_expire(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.says("confirm", paid())
    await scene.later(24 * 3600 + 1)
    assert (await scene.payment(payment.id)).status is P.succeeded
    assert scene.wire.of("cancel") == []


@pytest.mark.parametrize("answer", [LOST, RuntimeError("x")], ids=lambda v: type(v).__name__)
async def test_an_unanswered_question_cancels_nothing(scene: Scene, answer: Any) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", answer)
    scene.wire.always("cancel", answer)
    await scene.later(24 * 3600 + 1)
    assert (await scene.payment(payment.id)).status is P.requires_action


async def test_lookups_of_an_expired_one_come_to_an_end(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    await scene.pay()
    scene.wire.always("confirm", LINK)
    scene.wire.says("cancel", Declined(Reason.canceled, True))
    await scene.later(24 * 3600 + 1)
    before = len(scene.wire.calls)
    for _ in range(30):
        await scene.later(72 * 3600)
    assert len(scene.wire.calls) - before <= 4


async def test_lookups_that_somebody_requests_use_up_none_of_an_ended_one(scene: Scene) -> None:
    """Its customer loads the page again and again. A late success of which no webhook came was not found any more."""
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", LINK)
    scene.wire.says("cancel", Declined(Reason.canceled, True))
    await scene.later(24 * 3600 + 1)
    assert (await scene.payment(payment.id)).status is P.canceled
    for _ in range(10):
        await lookup.confirm(scene.context, scene.practice_id, payment.id)
    scene.wire.always("confirm", paid())
    await scene.later(3600)
    assert (await scene.payment(payment.id)).status is P.succeeded


async def test_lookups_that_somebody_requests_use_up_none_for_the_fee(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded(fee=None)
    without = replace(paid(fee=None), provider_transaction_id=payment.provider_transaction_id)
    scene.wire.always("confirm", without)
    for _ in range(10):
        await lookup.confirm(scene.context, scene.practice_id, payment.id)
    scene.wire.always("confirm", replace(without, fee=Money(15, "NGN")))
    await scene.later(61)
    assert (await scene.payment(payment.id)).provider_fee == 15


async def test_a_fee_that_comes_later_is_asked_for(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", paid(fee=None))
    payment = (await scene.pay()).payment
    assert payment.provider_fee is None
    scene.wire.says("confirm", paid(fee=15))
    await scene.later(61)
    assert (await scene.payment(payment.id)).provider_fee == 15
    before = len(scene.wire.calls)
    await scene.later(7 * 24 * 3600)
    assert len(scene.wire.calls) == before


async def test_a_fee_is_asked_for_again_when_the_answer_was_lost(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded(fee=None)
    scene.wire.always("confirm", LOST)
    for _ in range(5):
        await scene.later(3600)
    assert len(scene.wire.of("confirm")) == 3, "not for ever"
    payment = await scene.succeeded(fee=None)
    scene.wire.says("confirm", LOST, LOST)
    scene.wire.always("confirm", replace(paid(fee=15), provider_transaction_id=payment.provider_transaction_id))
    for _ in range(3):
        await scene.later(3600)
    assert (await scene.payment(payment.id)).provider_fee == 15


async def test_a_fee_is_asked_for_though_a_lookup_was_under_way_when_the_money_came(scene: Scene) -> None:
    configuration = await scene.configure()
    taken = await lost(scene)

    async def meanwhile(_: Any) -> Unknown:
        await scene.delivery(configuration, PaymentFact(paid(fee=None), taken.attempts[0].id, "tx-1"))
        return LOST

    scene.wire.says("lookup", meanwhile)
    await scene.later(5)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded
    scene.wire.always("confirm", paid(fee=15))
    await scene.later(60)
    assert (await scene.payment(taken.payment.id)).provider_fee == 15


async def test_a_fee_that_two_learn_at_once_is_booked_once(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", paid(fee=None))
    taken = await scene.pay()
    for _ in range(2):
        practice, finding = Practice(scene.context, scene.db), Finding(paid(fee=15), "lookup")
        await settle(practice, replace(taken.payment), taken.attempts[0], finding)
    assert (await scene.payment(taken.payment.id)).provider_fee == 15
    rows = await scene.db.fetch("SELECT SUM(amount) AS total FROM ledger_lines WHERE account = 'fees'")
    assert [row["total"] for row in rows] == [15]


async def test_a_confirm_asks_at_once(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.says("confirm", paid())
    assert (await calls.confirm(scene.till, scene.practice_id, payment.id)).payment.status is P.succeeded


async def test_one_that_cannot_be_looked_up_does_not_hold_up_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await lost(scene)
    scene.wire.says("create", LOST)
    second = await scene.pay()
    real = lookup.refresh

    async def broken(practice: Practice, payment: Any, attempt: Any, source: str = "lookup") -> Any:
        if payment.id == first.payment.id:
            raise RuntimeError("our own mistake")
        return await real(practice, payment, attempt, source)

    monkeypatch.setattr(lookup, "refresh", broken)
    scene.wire.says("lookup", paid())
    await scene.later(3)
    assert (await scene.payment(second.payment.id)).status is P.succeeded


async def test_the_same_mismatch_is_told_once(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    scene.wire.always("confirm", paid(900))
    for _ in range(3):
        await lookup.confirm(scene.context, scene.practice_id, taken.payment.id)
    assert await scene.cases() == ["amount_mismatch"]
    assert len(await plain(scene.db, "SELECT id FROM events WHERE type = 'payment.amount_mismatch'")) == 1


async def test_a_payers_visits_ask_a_bounded_number_of_times(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK, LINK)
    taken, other = await scene.pay(), await scene.pay()
    scene.wire.always("confirm", LINK)
    seen = [(await checkout.customer_returned(scene.context, taken)).unanswered for _ in range(12)]
    assert seen == [False] * 5 + [True] * 7
    assert len(scene.wire.of("confirm")) == 5
    assert not (await checkout.customer_returned(scene.context, other)).unanswered, "another payment's payer is heard"
    scene.clock.at_s += 10
    scene.wire.says("confirm", paid())
    assert (await checkout.customer_returned(scene.context, taken)).payment.status is P.succeeded


async def test_what_cannot_be_expired_keeps_nobody_waiting(scene: Scene) -> None:
    """Some are not found out, some cannot be closed: the others get their turn all the same."""
    await scene.configure()
    scene.wire.says("create", LOST, LOST, *[LINK] * 4)
    made = [(await scene.pay()).payment.id for _ in range(6)]
    scene.wire.always("confirm", LINK)
    scene.wire.always("cancel", LOST)
    scene.clock.at_s += 40 * 24 * 3600
    visited = []
    for _ in range(2):
        for payment in await payments.unpaid_past_expiry(scene.db, scene.context.world.now(), limit=2):
            visited.append(payment.id)
            await lookup.expire(Practice(scene.context, scene.db), payment)
        scene.clock.at_s += 1
    assert sorted(visited) == sorted(made[2:])


# ── A configuration that this node does not know ──


async def everything_about(scene: Scene, unfinished: Any, held_one: Any, won: Any) -> None:
    """Whatever asks a provider about something that is there already."""
    await lookup.confirm(scene.context, scene.practice_id, unfinished.payment.id)
    await calls.refund(scene.till, scene.practice_id, won.id, key="back", amount=100)
    await calls.capture(scene.till, scene.practice_id, held_one.payment.id, key="take")


async def three(scene: Scene) -> tuple[Any, Any, Any]:
    """A payment that waits for its payer, one that is held, and one that has succeeded."""
    scene.wire.says("create", LINK, held())
    return await scene.pay(), await scene.pay(capture=CaptureMode.manual), await scene.succeeded()


async def test_a_configuration_that_another_node_has_just_made_is_read(scene: Scene) -> None:
    before = await scene.context.configured(scene.db)
    await scene.configure()
    all_three = await three(scene)
    scene.context._snapshots[scene.practice_id] = replace(before, read_at_s=scene.clock.at_s)
    scene.wire.says("confirm", paid())
    scene.wire.says("refund", paid(100, transaction="re-1"))
    scene.wire.says("capture", paid())
    await everything_about(scene, *all_three)
    for taken in all_three[:2]:
        assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_without_its_configuration_nothing_is_known_and_nothing_breaks(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = await scene.configure()
    unfinished, held_one, won = await three(scene)

    def none_of(rows: Any) -> dict[str, Any]:
        return {}

    with monkeypatch.context() as gone:
        gone.setattr("polytill.storage.provider_configs.from_rows", none_of)
        scene.context.forget(scene.practice_id)
        await everything_about(scene, unfinished, held_one, won)
        await scene.later(90_000)
    scene.context.forget(scene.practice_id)
    assert (await scene.payment(held_one.payment.id)).status is P.authorized
    assert [r.state for r in await refunds.of_payment(scene.db, won.id)] == ["not_sent"]
    scene.wire.says("confirm", paid())
    await scene.delivery(configuration, PaymentFact(paid(), unfinished.attempts[0].id))
    assert (await scene.payment(unfinished.payment.id)).status is P.succeeded


# ── Keys that were rotated: the newest ones may be those of another account ──

REFUSED_KEYS = Unknown(Reason.config, "401", "No such key.")
NOWHERE = NotSent(Reason.not_found)


async def rotated(scene: Scene) -> Any:
    """A payment whose outcome is open, and whose keys the provider refuses by now."""
    scene.wire.says("create", LOST)
    taken = await scene.pay()
    await scene.configure("mover", keys("2"))
    scene.clock.at_s += 1
    scene.wire.says("lookup", REFUSED_KEYS, NOWHERE)
    return taken


async def test_another_accounts_not_found_proves_nothing(scene: Scene) -> None:
    await scene.configure("mover")
    taken = await rotated(scene)
    await scene.later(5)  # its horizon begins
    for _ in range(2):
        scene.wire.says("lookup", REFUSED_KEYS, NOWHERE)
        await scene.later(200)
    [attempt] = await scene.attempts(taken.payment.id)
    assert (attempt.state, attempt.next_lookup_at is None) == (A.unknown, False)
    assert (await scene.payment(taken.payment.id)).status is P.processing
    assert await scene.cases() == ["other_account"]
    told = await plain(scene.db, "SELECT data FROM events WHERE type = 'payment.other_account'")
    assert len(told) == 1


async def test_keys_that_another_node_has_just_made_are_read_anew(scene: Scene) -> None:
    """An attempt is asked about with its own keys, also by a node that remembers those before (world seed 8090645)."""
    await scene.configure("mover")
    before = await scene.context.configured(scene.db)
    await scene.configure("mover", keys("2"))
    scene.wire.says("create", LOST)
    taken = await scene.pay()
    scene.context._snapshots[scene.practice_id] = replace(before, read_at_s=scene.context.world.time_s())
    scene.wire.says("lookup", paid())
    await lookup.confirm(scene.context, scene.practice_id, taken.payment.id)
    assert [call.key for call in scene.wire.of("lookup")] == ["sk_test_2"]
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_a_link_that_nobody_held_is_given_up_whichever_account_has_it(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LOST)
    taken = await scene.pay()
    await scene.configure("scripted", keys("2"))
    scene.wire.says("lookup", REFUSED_KEYS, NOWHERE)
    scene.wire.says("create", LINK)
    await scene.later(200)
    first, second = await scene.attempts(taken.payment.id)
    assert (first.state, second.state) == (A.expired, A.needs_action)
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    assert await scene.cases() == []


async def test_what_follows_a_lost_link_is_made_with_keys_that_work(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LOST)
    taken = await scene.pay()
    await scene.configure("scripted", keys("2"))
    scene.wire.says("lookup", REFUSED_KEYS, NOWHERE)

    async def create(_: Any) -> Any:
        return LINK if scene.wire.calls[-1].key == "sk_test_2" else REFUSED_KEYS

    scene.wire.always("create", create)
    await scene.later(200)
    first, second = await scene.attempts(taken.payment.id)
    assert (first.credential_version, second.credential_version) == (1, 2)
    assert (await scene.payment(taken.payment.id)).status is P.requires_action


async def test_a_person_knows_that_the_keys_are_one_accounts(scene: Scene) -> None:
    """One word ends every case about the same two sets of keys, and what they do not find is proof from then on."""
    await scene.configure("mover")
    scene.wire.says("create", LOST, LOST)
    both = [await scene.pay(key=key) for key in ("a", "b")]
    await scene.configure("mover", keys("2"))
    scene.wire.says("lookup", *[REFUSED_KEYS, NOWHERE] * 50)
    for _ in range(3):
        await scene.later(200)
    assert await scene.cases() == ["other_account", "other_account"]
    [case, other] = await cases.listed(scene.db)
    with pytest.raises(Invalid):
        await resolve.same_account(scene.context, scene.practice_id, case.id, " ", "ada")
    scene.wire.always("create", REFUSED)
    found = await resolve.same_account(
        scene.context, scene.practice_id, case.id, "Asked the provider: one account", "ada"
    )
    assert (found.case.state, found.case.detail["resolution"]["note"]) == (
        "resolved",
        "Asked the provider: one account",
    )
    assert await cases.listed(scene.db) == []
    await scene.later(200)
    for taken in both:
        assert (await scene.attempts(taken.payment.id))[0].state is A.not_sent
    with pytest.raises(Conflict) as caught:
        await resolve.same_account(scene.context, scene.practice_id, other.id, "again", "ada")
    assert caught.value.code == "case_resolved"


@pytest.mark.parametrize("found", [True, False])
async def test_the_same_accounts_not_found_is_proof(scene: Scene, found: bool) -> None:
    """What was taken with the old keys and is found with the new ones shows that they are the same account's."""
    await scene.configure("mover")
    scene.wire.says("create", paid(transaction="tx-before"))
    await scene.pay()
    taken = await rotated(scene)
    scene.wire.always("confirm", paid(transaction="tx-before") if found else NOWHERE)
    scene.wire.always("create", REFUSED)  # what was certainly not sent is followed by another try
    await scene.later(5)
    scene.wire.says("lookup", REFUSED_KEYS, NOWHERE)
    await scene.later(200)
    assert (await scene.attempts(taken.payment.id))[0].state is (A.not_sent if found else A.unknown)
    asked = scene.wire.of("confirm")
    assert {(call.params.provider_transaction_id, call.key) for call in asked} == {("tx-before", "sk_test_2")}


async def test_a_refund_that_another_account_does_not_know_stays_reserved(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", LOST)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=300)
    await scene.configure("scripted", keys("2"))
    scene.wire.always("confirm", NOWHERE)
    for _ in range(2):
        scene.wire.says("lookup_refund", REFUSED_KEYS, NOWHERE)
        await scene.later(200)
    assert (await scene.payment(payment.id)).refund_reserved == 300
    assert await scene.cases() == ["other_account"]


@pytest.mark.parametrize("same", [True, False])
async def test_a_create_is_never_repeated_in_another_account(scene: Scene, same: bool) -> None:
    await scene.configure("mover")
    scene.wire.says("create", paid(transaction="tx-before"))
    await scene.pay()
    taken = await rotated(scene)
    scene.wire.always("confirm", paid(transaction="tx-before") if same else NOWHERE)
    await scene.later(5)
    first, second = scene.wire.of("lookup")
    assert (first.key, first.params.create is None) == ("sk_test_1", False)
    assert (second.key, second.params.create is None) == ("sk_test_2", not same)
    assert (await scene.attempts(taken.payment.id))[0].state is A.unknown


MISSING = Unknown(Reason.not_found, "resource_missing")


@pytest.mark.parametrize("nowhere", [NOWHERE, MISSING])
async def test_keys_of_the_first_account_come_back_after_anothers(scene: Scene, nowhere: NotSent | Unknown) -> None:
    """A, then B, then A again: that B knows nothing is not the end of the search (world seed 15043082)."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", LOST)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=300)
    await scene.configure("scripted", keys("2"))
    await scene.configure("scripted", keys("3"))
    scene.wire.says("confirm", NOWHERE)
    scene.wire.says("lookup_refund", REFUSED_KEYS, nowhere, paid(amount=300, transaction="re_1"))
    await scene.later(200)
    assert [call.key for call in scene.wire.of("lookup_refund")] == [f"sk_test_{n}" for n in (1, 2, 3)]
    assert [r.state for r in await refunds.of_payment(scene.db, payment.id)] == ["succeeded"]
    assert await scene.cases() == []


async def test_what_another_account_calls_missing_is_shown_to_a_person(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", LOST)
    await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=300)
    await scene.configure("scripted", keys("2"))
    scene.wire.always("confirm", NOWHERE)
    scene.wire.says("lookup_refund", REFUSED_KEYS, MISSING)
    await scene.later(200)
    assert (await scene.payment(payment.id)).refund_reserved == 300
    assert await scene.cases() == ["other_account"]


async def test_who_paid_another_amount_is_not_told_to_have_paid_nothing(scene: Scene) -> None:
    """It does not expire while a person has to look at it; once that is done, it does."""
    await scene.configure("plain")
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", paid(900))
    for _ in range(3):
        await scene.later(scene.context.settings.payment_expires_s)
    assert (await scene.payment(payment.id)).status is P.requires_action
    assert await plain(scene.db, "SELECT type FROM events") == [("payment.amount_mismatch",)]
    [case] = await cases.listed(scene.db)
    await resolve.resolve(scene.context, scene.practice_id, case.id, "Refunded at the provider.", "staff")
    asked = len(scene.wire.of("confirm"))
    for _ in range(10):
        await scene.later(1)
    assert len(scene.wire.of("confirm")) <= asked + 1, "it is asked about at its own time"
    scene.wire.always("confirm", NeedsAction(None))
    await scene.later(3600)
    assert (await scene.payment(payment.id)).status is P.canceled


async def test_a_link_that_cannot_be_closed_now_is_tried_again_with_pauses(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", NeedsAction(None))
    scene.wire.always("cancel", LOST)
    await scene.later(scene.context.settings.payment_expires_s)
    assert len(scene.wire.of("cancel")) == 1, "as soon as its time is over"
    for _ in range(10):
        await scene.later(1)
    assert len(scene.wire.of("cancel")) == 1
    scene.wire.always("cancel", Declined(Reason.canceled, True, "closed", None))
    await scene.later(3600)
    assert (await scene.payment(payment.id)).status is P.canceled


@pytest.mark.parametrize("reason", [Reason.unreachable, Reason.rate_limited, Reason.provider_unavailable])
async def test_a_link_that_nobody_was_asked_to_close_is_closed_later(scene: Scene, reason: Reason) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", NeedsAction(None))
    scene.wire.always("cancel", NotSent(reason))
    await scene.later(scene.context.settings.payment_expires_s)
    assert (await scene.payment(payment.id)).status is P.requires_action
    scene.wire.always("cancel", Declined(Reason.canceled, True, "closed", None))
    await scene.later(3600)
    assert (await scene.payment(payment.id)).status is P.canceled


async def test_a_link_is_closed_when_its_time_is_over_and_not_when_it_would_be_asked_about_next(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", NeedsAction(None))
    scene.wire.always("cancel", NotSent(Reason.invalid_state, NOTHING_TO_CLOSE))
    left_s = scene.context.settings.payment_expires_s
    while left_s > 100:  # by then it is asked about once in an hour
        await scene.later(min(left_s - 100, 3600))
        left_s -= min(left_s - 100, 3600)
    assert (await scene.payment(payment.id)).status is P.requires_action
    await scene.later(100)
    assert (await scene.payment(payment.id)).status is P.canceled


async def _everything_waits_at(scene: Scene, code: str, number: int) -> None:
    """At this provider: a lost call, a link nobody paid, a refund and a capture without an answer, a hint unchecked."""
    wire, configuration = scene.wire, await scene.configure(code)

    async def make(answer: Any, **more: Any) -> Payment:
        wire.says("create", answer)
        return (await scene.pay(provider_code=code, **more)).payment

    await make(LOST)
    await make(LINK)
    done = await make(paid(transaction=f"paid-{number}"))
    wire.says("refund", LOST)
    await calls.refund(scene.till, scene.practice_id, done.id, key=done.id, amount=400)
    on_hold = await make(held(transaction=f"held-{number}"), capture=CaptureMode.manual)
    wire.says("capture", LOST)
    await calls.capture(scene.till, scene.practice_id, on_hold.id, key=on_hold.id)
    hinted = (await scene.attempts((await make(LINK)).id))[0]
    wire.says("confirm", LOST)
    await scene.delivery(configuration, PaymentFact(paid(), hinted.id, f"hint-{number}"), must_fetch=True)


async def test_each_provider_has_its_own_turn(scene: Scene) -> None:
    """However much waits at one that does not answer, what waits at another is among what is looked at."""
    for number, code in enumerate(["scripted", "scripted", "scripted", "other"]):
        await _everything_waits_at(scene, code, number)
    scene.clock.at_s += scene.context.settings.payment_expires_s
    db, now = scene.db, scene.context.world.now()

    async def provider_of(attempt_id: str) -> str | None:
        attempt = await storage_attempts.by_id(db, attempt_id)
        return attempt and attempt.provider_code

    turns = {
        "attempts": [one.provider_code for one in await storage_attempts.overdue(db, now, limit=1)],
        "unpaid": [one.provider_code for one in await payments.unpaid_past_expiry(db, now, limit=1)],
        "refunds": [await provider_of(one.attempt_id) for one in await refunds.overdue(db, now, limit=1)],
        "captures": [await provider_of(one.attempt_id) for one in await operations.overdue(db, now, limit=1)],
        "deliveries": [one.provider_code for one in await webhook_events.waiting(db, [now], limit=1)],
    }
    for what, which in turns.items():
        assert sorted(map(str, which)) == ["other", "scripted"], what


async def test_a_provider_that_keeps_us_waiting_does_not_hold_up_another(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the host's events: one visit asks it once."""
    hasty = scene.context.settings.model_copy(update={"provider_timeout_s": 0.4})
    monkeypatch.setattr(scene.context, "settings", hasty)
    await scene.configure()
    for _ in range(4):
        await lost(scene)
    await scene.configure("other")
    scene.wire.says("create", Unknown(Reason.timeout))
    healthy = (await scene.pay(provider_code="other")).payment

    async def silent(_: Any) -> Unknown:
        await asyncio.sleep(0.3)
        return Unknown(Reason.timeout)

    async def answers(params: Any) -> Any:
        return paid(transaction="tx-o") if params.reference in theirs else await silent(params)

    theirs = {attempt.id for attempt in await scene.attempts(healthy.id)}
    scene.wire.always("lookup", answers)
    await scene.later(5)
    assert (await scene.payment(healthy.id)).status is P.succeeded
    assert len(scene.wire.of("lookup")) == 2


async def test_what_a_provider_has_told_us_does_not_wait_for_what_it_is_asked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of what it is asked, each kind has its turn, however slow the others are."""
    hasty = scene.context.settings.model_copy(update={"provider_timeout_s": 0.2})
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    told = await scene.pay()
    done = await scene.succeeded()
    scene.wire.says("refund", LOST)
    back = await calls.refund(scene.till, scene.practice_id, done.id, key="back", amount=400)
    for _ in range(3):
        await lost(scene)

    async def dies(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as dying:
        dying.setattr(receive, "_apply", dies)
        await scene.delivery(configuration, PaymentFact(paid(transaction="tx-t"), told.attempts[0].id, "tx-t"))
    monkeypatch.setattr(scene.context, "settings", hasty)

    async def silent(_: Any) -> Unknown:
        await asyncio.sleep(0.15)
        return LOST

    scene.wire.always("lookup", silent)
    scene.wire.always("lookup_refund", Succeeded(Money(400, "NGN"), "r1"))
    await scene.later(6)
    assert (await scene.payment(told.payment.id)).status is P.succeeded
    for _ in range(5):
        await scene.later(6)
    assert [r.state for r in await refunds.of_payment(scene.db, done.id)] == ["succeeded"], back.id


async def test_what_a_clock_of_another_year_has_put_off_is_asked_about_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a worker whose clock is right, with the next visit. What is put off for three days by rights is left alone."""
    await scene.configure()
    payment = (await lost(scene)).payment
    done = await scene.succeeded()
    scene.wire.says("refund", LOST)
    await calls.refund(scene.till, scene.practice_id, done.id, key="back", amount=400)
    scene.wire.says("create", held(transaction="tx-h"))
    on_hold = (await scene.pay(capture=CaptureMode.manual)).payment
    scene.wire.says("capture", LOST)
    await calls.capture(scene.till, scene.practice_id, on_hold.id, key="take")

    async def put_off(seconds: float) -> None:
        unit = Unit()
        for table in ("payment_attempts", "refunds", "payment_operations"):
            then = scene.context.world.after(seconds)
            unit.add(f"UPDATE {table} SET next_lookup_at = $1 WHERE next_lookup_at IS NOT NULL", then)
        await scene.db.commit(unit)

    await put_off(72 * 3600)
    await scene.later(10)
    assert [call.verb for call in scene.wire.calls if call.verb in ("lookup", "lookup_refund", "confirm")] == []
    await put_off(400 * 24 * 3600)
    scene.wire.always("lookup", paid())
    scene.wire.always("lookup_refund", Succeeded(Money(400, "NGN"), "r1"))
    scene.wire.always("confirm", paid(transaction="tx-h"))
    await scene.later(10)
    assert (await scene.payment(payment.id)).status is P.succeeded
    assert [r.state for r in await refunds.of_payment(scene.db, done.id)] == ["succeeded"]
    assert (await scene.payment(on_hold.id)).status is P.succeeded


async def test_a_further_transaction_that_does_not_fit_is_news(scene: Scene) -> None:
    """Also after the case of the first was resolved."""
    await scene.configure()
    scene.wire.says("create", LINK)
    await scene.pay()
    scene.wire.always("confirm", paid(900, transaction="tx-1"))
    await scene.later(70)
    [case] = await cases.listed(scene.db)
    await resolve.resolve(scene.context, scene.practice_id, case.id, "Refunded in cash.", "ada")
    await scene.later(3600)
    assert await scene.cases() == []
    scene.wire.always("confirm", paid(800, transaction="tx-2"))
    await scene.later(3600)
    assert await scene.cases() == ["amount_mismatch"]
    assert len(await plain(scene.db, "SELECT id FROM events WHERE type = 'payment.amount_mismatch'")) == 2


async def test_what_nobody_could_be_asked_about_does_not_expire(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    scene.wire.always("confirm", Unknown(Reason.provider_unavailable, "503"))
    scene.wire.always("cancel", NotSent(Reason.invalid_state, "not_supported"))
    for _ in range(26):
        await scene.later(3600)
    assert (await scene.payment(payment.id)).status is P.requires_action
    scene.wire.always("confirm", paid())
    await scene.later(3600)
    assert (await scene.payment(payment.id)).status is P.succeeded
