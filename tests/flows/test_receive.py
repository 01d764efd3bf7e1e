"""Deliveries: verified before anything is written, stored once, applied through ``settle``, parked where nothing fits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polytill.domain.errors import InvalidAmount, NotFound, TooMany, Unauthorized
from polytill.domain.money import Money
from polytill.domain.states import AttemptState, CaptureMode, Environment, EventState, PaymentStatus
from polytill.flows.admin import provider_configs
from polytill.flows.webhooks import receive, unsigned
from polytill.providers.contract import DisputeFact, PaymentFact, RefundFact, WebhookResult
from polytill.providers.http import to_json
from polytill.providers.outcomes import Declined, Pending, Reason, Unknown
from polytill.providers.wire_json import REMOVED
from polytill.storage import webhook_events
from tests.flows.scenes import LINK, Scene, held, keys, paid
from tests.flows.scripted import Scripted, put
from tests.storage.making import Fails, plain

P = PaymentStatus


async def waiting(scene: Scene) -> tuple[Any, Any]:
    configuration = await scene.configure()
    scene.wire.says("create", LINK)
    return configuration, await scene.pay()


def fact(taken: Any, outcome: Any) -> PaymentFact:
    return PaymentFact(outcome, taken.attempts[0].id, "tx-1")


async def count(scene: Scene) -> int:
    return int((await plain(scene.db, "SELECT COUNT(*) FROM webhook_events"))[0][0])


async def test_a_verified_delivery_settles(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    event = await scene.delivery(configuration, fact(taken, paid()))
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.payment_id) == (EventState.applied, taken.payment.id)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded
    assert [made.verb for made in scene.wire.calls] == ["create"], "nobody was asked"


@pytest.mark.parametrize("secret", ["", "wrong", "wh_test2"])
async def test_an_unverified_one_writes_nothing_and_asks_nobody(scene: Scene, secret: str) -> None:
    configuration, taken = await waiting(scene)
    with pytest.raises(Unauthorized):
        await scene.delivery(configuration, fact(taken, paid()), secret=secret)
    assert await count(scene) == 0
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    assert [made.verb for made in scene.wire.calls] == ["create"]


async def test_an_address_that_nobody_gave_out(scene: Scene) -> None:
    configuration, _ = await waiting(scene)
    made_up = receive.new_hook_token(scene.context, scene.practice_id)
    for token in ("", "nonsense", "a" * 40, configuration.hook_token[:-1], made_up):
        with pytest.raises(NotFound):
            await receive.receive(scene.context, token, {"x-secret": "wh_test1"}, b"{}")
    assert await count(scene) == 0


async def test_the_same_delivery_many_times(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    await asyncio.gather(*(scene.delivery(configuration, fact(taken, paid()), dedupe_key="same") for _ in range(10)))
    assert await count(scene) == 1
    payment = await scene.payment(taken.payment.id)
    assert (payment.status, payment.amount_captured) == (P.succeeded, 1000)
    assert await plain(scene.db, "SELECT COUNT(*) FROM ledger_lines WHERE fact = 'payment'") == [(2,)]


async def test_an_answer_and_its_webhook_at_once(scene: Scene) -> None:
    configuration = await scene.configure()
    reference = None

    async def told_first(params: Any) -> Any:
        nonlocal reference
        reference = params.reference
        await scene.delivery(configuration, PaymentFact(paid(), params.reference, "tx-1"))
        return paid()

    scene.wire.says("create", told_first)
    taken = await scene.pay()
    assert (taken.payment.status, taken.payment.amount_captured) == (P.succeeded, 1000)
    assert await scene.payment(taken.payment.id) == taken.payment
    assert await plain(scene.db, "SELECT COUNT(*) FROM ledger_lines") == [(4,)]
    assert reference == taken.attempts[0].id


async def test_an_unknown_reference_is_parked_and_can_be_replayed(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    stranger = PaymentFact(paid(transaction="tx-9"), "no-such-reference-at-all", "tx-9")
    event = await scene.delivery(configuration, stranger)
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.parked, "unknown_reference")
    async with scene.db.transaction() as tx:
        await tx.fetch("UPDATE payment_attempts SET provider_transaction_id = 'tx-9'")
    assert (await receive.replay(scene.context, scene.practice_id, event.id)).state is EventState.applied
    assert (await scene.payment(taken.payment.id)).status is P.succeeded
    with pytest.raises(NotFound):
        await receive.replay(scene.context, scene.practice_id, "nothing")


async def test_a_delivery_that_overtakes_the_answer_that_names_it_is_applied_in_the_end(scene: Scene) -> None:
    """It came under a name that only the provider knew as yet."""
    configuration = await scene.configure()
    events: list[Any] = []

    async def told_first(params: Any) -> Any:
        events.append(await scene.delivery(configuration, PaymentFact(paid(transaction="tx-9"), None, "tx-9")))
        return Pending(Money(1000, "NGN"), "tx-9")

    scene.wire.says("create", told_first)
    taken = await scene.pay()
    stored = await webhook_events.by_id(scene.db, events[0].id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.parked, "unknown_reference")
    scene.wire.always("confirm", paid(transaction="tx-9"))
    await scene.later(600)
    assert (await scene.payment(taken.payment.id)).amount_captured == 1000
    stored = await webhook_events.by_id(scene.db, stored.id)
    assert stored is not None
    assert stored.state is EventState.applied
    await scene.books_agree()


async def test_a_live_delivery_never_settles_a_sandbox_payment(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    event = await scene.delivery(configuration, fact(taken, paid()), environment=Environment.production)
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.parked, "environment_mismatch")
    # Nor one that the live secret admits.
    await provider_configs.prepare_credentials(
        scene.context, scene.practice_id, "scripted", Environment.production, keys("9", "live"), "test"
    )
    event = await scene.delivery(configuration, fact(taken, paid()), secret="wh_live9")
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.environment, stored.state) == (Environment.production, EventState.parked)
    assert (await receive.replay(scene.context, scene.practice_id, event.id)).state is EventState.parked
    assert (await scene.payment(taken.payment.id)).status is P.requires_action


async def test_another_configurations_attempt_is_not_touched(scene: Scene) -> None:
    _, taken = await waiting(scene)
    other = await scene.configure("other")
    event = await scene.delivery(other, fact(taken, paid()))
    assert event is not None
    assert (await scene.payment(taken.payment.id)).status is P.requires_action


async def test_a_hint_is_believed_only_after_asking(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    scene.wire.says("confirm", LINK)
    await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    scene.wire.says("confirm", paid())
    await scene.delivery(configuration, fact(taken, Declined(Reason.declined, True)), must_fetch=True)
    await scene.later(unsigned.PAUSE_S)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_a_flood_of_hints_costs_few_calls_and_rows_and_loses_no_later_state(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    scene.wire.always("confirm", LINK)
    minute = 60
    for _ in range(minute):
        forged = [scene.delivery(configuration, fact(taken, paid()), must_fetch=True) for _ in range(5)]
        await asyncio.gather(*forged)
        await scene.later(1)
    asked = len(scene.wire.of("confirm"))
    most = unsigned.AT_ONCE * (2 + minute / unsigned.PAUSE_S)
    assert 2 <= asked <= most, "a few questions for each pause"
    scene.wire.always("confirm", paid())
    await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    await scene.later(unsigned.PAUSE_S + 1)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded, "the genuine one within seconds"
    kept = await webhook_events.listed(scene.db, limit=500)
    assert len(kept) <= unsigned.KEPT + unsigned.AT_ONCE + 1


async def test_a_second_transaction_in_a_flood_is_not_folded_into_the_first(scene: Scene) -> None:
    """Five hints within one pause: four of tx-1, then one of tx-2, which has paid the same link too."""
    configuration, taken = await waiting(scene)

    async def says(params: Any) -> Any:
        return paid(transaction=params.provider_transaction_id or "tx-1")

    scene.wire.always("confirm", says)
    for _ in range(unsigned.AT_ONCE + 1):
        await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    other = PaymentFact(paid(transaction="tx-2"), taken.attempts[0].id, "tx-2")
    for _ in range(3):
        await scene.delivery(configuration, other, must_fetch=True)
    assert await scene.cases() == ["duplicate_payment"], "at once"
    await scene.later(unsigned.PAUSE_S + 1)
    assert await scene.cases() == ["duplicate_payment"]
    assert len(await scene.attempts(taken.payment.id)) == 2


async def test_as_many_hints_are_kept_on_either_engine(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old hints were deleted after the new one was stored: SQLite counted it among those to keep, PostgreSQL did not."""
    monkeypatch.setattr(unsigned, "KEPT", 2)
    configuration, taken = await waiting(scene)
    scene.wire.always("confirm", LINK)
    for _ in range(6):
        await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
        await scene.later(unsigned.PAUSE_S + 1)
    assert await count(scene) == 2 + 1


@pytest.mark.parametrize("state", ["unpaid", "paid"])
async def test_ever_new_transactions_of_a_payment_are_refused_until_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Also where each is answered, so that its row is done with, and others about the payment come between."""
    monkeypatch.setattr(unsigned, "OF_A_PAYMENT", 6)
    monkeypatch.setattr(unsigned, "KEPT", 2)
    configuration, taken = await waiting(scene)
    if state == "paid":
        await scene.delivery(configuration, fact(taken, paid()))
    scene.wire.always("confirm", paid() if state == "paid" else LINK)
    refused = 0
    for number in range(12):
        name = f"tx-forged-{number}" + "x" * 1000
        forged = PaymentFact(paid(transaction=name), taken.attempts[0].id, name)
        await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
        try:
            await scene.delivery(configuration, forged, must_fetch=True)
        except TooMany:
            refused += 1
        await scene.later(unsigned.PAUSE_S)
    assert refused == 6
    assert len(scene.wire.of("confirm")) <= 6 + 13 * 2  # and what is asked about the payment itself
    assert await count(scene) <= 6 + 2 + 2
    scene.clock.at_s += 3600
    await scene.delivery(configuration, PaymentFact(paid(), taken.attempts[0].id, "tx-new"), must_fetch=True)
    await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    assert await count(scene) <= 2 + 2, "what is an hour old is forgotten"


async def test_news_that_comes_while_its_hint_is_asked_about_is_asked_about_again(scene: Scene) -> None:
    configuration, taken = await waiting(scene)

    async def answers_late(_: object) -> object:
        await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)  # paid after the answer was made
        return LINK

    for _ in range(unsigned.AT_ONCE - 1):  # the last one that is asked about at once is the one that answers late
        scene.wire.says("confirm", LINK)
        await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    scene.wire.says("confirm", answers_late, paid())
    await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    await scene.later(unsigned.PAUSE_S)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


@pytest.mark.parametrize("known", [True, False])
async def test_ever_new_objects_are_refused_until_later(
    scene: Scene, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsigned, "OF_A_PAYMENT", 3)
    monkeypatch.setattr(unsigned, "OF_NO_PAYMENT", 3)
    configuration = await scene.configure()
    paid_one = await scene.succeeded()
    [attempt] = await scene.attempts(paid_one.id)
    scene.wire.always("lookup_refund", Unknown(Reason.timeout))
    reference = attempt.id if known else "nobodys"

    async def forged(number: int) -> None:
        hint = RefundFact("succeeded", None, f"re-{number}", payment_reference=reference)
        await scene.delivery(configuration, hint, must_fetch=True)

    for number in range(3):
        await forged(number)
    with pytest.raises(TooMany):
        await forged(3)
    assert len(await webhook_events.listed(scene.db)) == 3
    assert len(scene.wire.of("lookup_refund")) == (3 if known else 0)
    scene.clock.at_s += 3601
    await forged(4)
    assert len(await webhook_events.listed(scene.db)) == 4


async def test_a_hint_that_cannot_be_checked_waits(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    scene.wire.says("confirm", Unknown(Reason.timeout))
    event = await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.received, "timeout")
    scene.wire.says("confirm", paid())
    await scene.later(11)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded
    done = await webhook_events.by_id(scene.db, event.id)
    assert done is not None
    assert done.state is EventState.applied


async def test_a_process_that_dies_between_storing_and_applying(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration, taken = await waiting(scene)
    with monkeypatch.context() as patch:

        async def dies(*_: object) -> None:
            raise Fails

        patch.setattr(receive, "_apply", dies)
        event = await scene.delivery(configuration, fact(taken, paid()))
        assert event is not None, "the provider is told that it is stored"
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    await scene.later(6)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_news_of_a_refund_before_the_payments_own(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    refund = RefundFact("succeeded", None, "r1", provider_transaction_id="tx-1", amount=Money(300, "NGN"))
    scene.wire.says("confirm", LINK)
    await scene.delivery(configuration, refund)
    assert (await scene.payment(taken.payment.id)).amount_refunded == 0
    await scene.delivery(configuration, fact(taken, paid()))
    payment = await scene.payment(taken.payment.id)
    assert (payment.amount_captured, payment.amount_refunded) == (1000, 300)


async def test_what_cannot_be_read_is_kept_parked(scene: Scene) -> None:
    configuration, _ = await waiting(scene)
    event = await receive.receive(scene.context, configuration.hook_token, {"x-secret": "wh_test1"}, b"\xff not json")
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is EventState.parked
    assert (stored.reason, stored.body) == ("unreadable: not JSON", None)
    replayed = await receive.replay(scene.context, scene.practice_id, event.id)
    assert (replayed.state, replayed.reason) == (EventState.parked, "unreadable: not JSON")
    again = await receive.receive(scene.context, configuration.hook_token, {"x-secret": "wh_test1"}, b"\xff not json")
    assert again is not None
    assert again.id == event.id


@pytest.mark.parametrize("reads_later", [True, False])
async def test_what_cannot_be_read_yet_is_kept_without_its_secrets_and_replayed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, reads_later: bool
) -> None:
    """As an event of a new shape, which the next version reads."""
    configuration, taken = await waiting(scene)
    result = WebhookResult("event", "e-1", "apply", facts=(fact(taken, paid()),))
    body = to_json({"event": put(result), "data": [{"client_token": "tok_of_the_payer", "amount": 1000}]})
    with monkeypatch.context() as patch:

        def unreadable(*_: object) -> WebhookResult:
            raise InvalidAmount

        patch.setattr(Scripted, "redacted", frozenset({"client_token"}))
        patch.setattr(Scripted, "process_webhook", unreadable)
        event = await receive.receive(scene.context, configuration.hook_token, {"x-secret": "wh_test1"}, body)
        assert event is not None
        if not reads_later:
            await receive.replay(scene.context, scene.practice_id, event.id)
    [stored] = await webhook_events.listed(scene.db)
    assert (stored.state, stored.reason, stored.must_fetch) == (EventState.parked, "unreadable: InvalidAmount", False)
    assert stored.body["data"] == [{"client_token": REMOVED, "amount": 1000}]
    told = await plain(scene.db, "SELECT data FROM events WHERE type = 'webhook.parked'")
    assert ["InvalidAmount" in row[0] for row in told] == [True], "the platform hears of it once"
    assert (await scene.payment(taken.payment.id)).status is P.requires_action
    if reads_later:
        assert (await receive.replay(scene.context, scene.practice_id, stored.id)).state is EventState.applied
        assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_a_second_success_is_put_before_a_person(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    await scene.delivery(configuration, fact(taken, paid()))
    scene.wire.says("create", LINK)
    other = await scene.pay()
    second = other.attempts[0].id
    async with scene.db.transaction() as tx:  # as if the first payment had had two links
        await tx.fetch(
            "UPDATE payment_attempts SET payment_id = $1, number = 2 WHERE id = $2", taken.payment.id, second
        )
    await scene.delivery(configuration, PaymentFact(paid(transaction="tx-2"), second, "tx-2"))
    assert await scene.cases() == ["duplicate_payment"]
    assert (await scene.payment(taken.payment.id)).amount_captured == 1000
    states = [attempt.state for attempt in await scene.attempts(taken.payment.id)]
    assert states == [AttemptState.succeeded, AttemptState.succeeded]
    async with scene.db.transaction() as tx:
        await tx.fetch("DELETE FROM payment_identifiers WHERE payment_id = $1", other.payment.id)
        await tx.fetch("DELETE FROM payment_search WHERE payment_id = $1", other.payment.id)
        await tx.fetch("DELETE FROM payments WHERE id = $1", other.payment.id)


async def test_another_amount_is_parked_for_a_person(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    await scene.delivery(configuration, fact(taken, paid(999)))
    assert await scene.cases() == ["amount_mismatch"]
    payment = await scene.payment(taken.payment.id)
    assert (payment.status, payment.amount_captured) == (P.requires_action, 0)
    [event] = await webhook_events.listed(scene.db)
    assert (event.state, event.reason) == ("parked", "amount_mismatch")


@pytest.mark.parametrize("first", ["parked", "waiting"])
async def test_a_delivery_of_several_facts_is_finished_when_all_are(scene: Scene, first: str) -> None:
    configuration, taken = await waiting(scene)
    payment = await scene.succeeded()
    about = payment.provider_transaction_id
    dispute = DisputeFact("open", "open", "d1", provider_transaction_id=about, amount=Money(1000, "NGN"))
    scene.wire.always("confirm", LINK)
    early = RefundFact("succeeded", None, "r1", provider_transaction_id="tx-1", amount=Money(300, "NGN"))
    event = await scene.delivery(configuration, fact(taken, paid(999)) if first == "parked" else early, dispute)
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is (EventState.parked if first == "parked" else EventState.received)


async def test_a_process_that_dies_between_two_facts_of_a_delivery_loses_neither(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration, taken = await waiting(scene)
    about = (await scene.succeeded()).provider_transaction_id
    dispute = DisputeFact("open", "open", "d1", provider_transaction_id=about, amount=Money(1000, "NGN"))
    with monkeypatch.context() as patch:

        async def dies(*_: object) -> None:
            raise Fails

        patch.setattr(receive, "apply_dispute_fact", dies)
        event = await scene.delivery(configuration, fact(taken, paid()), dispute)
    assert (await scene.payment(taken.payment.id)).amount_captured == 1000
    assert await scene.cases() == []
    scene.wire.always("confirm", paid())
    await scene.later(11)
    assert await scene.cases() == ["dispute_open"]
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.applied, None)
    await scene.books_agree()


async def test_a_process_that_dies_before_another_amount_is_parked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration, taken = await waiting(scene)
    with monkeypatch.context() as patch:

        async def dies(*_: object) -> None:
            raise Fails

        patch.setattr(receive, "finish", dies)
        await scene.delivery(configuration, fact(taken, paid(999)))
    await scene.later(6)
    [event] = await webhook_events.listed(scene.db)
    assert (event.state, event.reason) == ("parked", "amount_mismatch")


async def test_a_provider_that_is_away_for_a_minute_is_asked_soon_after(scene: Scene) -> None:
    configuration, taken = await waiting(scene)
    scene.wire.always("confirm", Unknown(Reason.provider_unavailable, "503"))
    event = await scene.delivery(configuration, fact(taken, paid()), must_fetch=True)
    assert event is not None
    for _ in range(30):
        await scene.later(2)
    asked = len(scene.wire.of("confirm"))
    assert asked < 15, "not at every turn"
    scene.wire.always("confirm", paid())
    for _ in range(20):
        await scene.later(2)
    assert (await scene.payment(taken.payment.id)).status is P.succeeded


async def test_another_amount_of_an_authorized_payment_is_parked(scene: Scene) -> None:
    configuration = await scene.configure()
    scene.wire.says("create", held())
    taken = await scene.pay(capture=CaptureMode.manual)
    event = await scene.delivery(configuration, fact(taken, paid(1200)))
    assert event is not None
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.parked, "amount_mismatch")
    assert await scene.cases() == ["amount_mismatch"]


async def test_a_delivery_that_cannot_be_applied_is_parked_in_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration, taken = await waiting(scene)
    scene.wire.always("confirm", LINK)

    async def fails(*_: object) -> None:
        raise Fails

    monkeypatch.setattr(receive, "_apply", fails)
    event = await scene.delivery(configuration, fact(taken, paid()))
    assert event is not None
    for _ in range(20):
        await scene.later(2000)
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (EventState.parked, "failed_here")
