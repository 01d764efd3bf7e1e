"""Retention periods: what is too old is removed in small steps, and what anything still needs never is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from polytill.domain.errors import Conflict, Invalid
from polytill.domain.personal_data import is_removed
from polytill.domain.retention import RetentionKind
from polytill.domain.states import EventState
from polytill.flows import retention
from polytill.flows.retention import periods_of, retain, retain_feed, set_periods
from polytill.flows.webhooks.receive import replay
from polytill.providers.contract import DisputeFact, PaymentFact
from polytill.settings import Settings
from polytill.storage import webhook_events
from tests import calls
from tests.flows.scenes import LINK, Scene, paid

DAY_S = 24 * 3600.0
KEPT = {RetentionKind.webhooks: 35, RetentionKind.responses: 35, RetentionKind.events: 35, RetentionKind.audit: 365}


async def old(scene: Scene, **more: Any) -> tuple[str, str]:
    """A paid payment with a webhook and a provider's answer. Returns its id and the webhook's."""
    name = f"tx-{await scene.db.value('SELECT count(*) FROM payments')}"
    scene.wire.says("create", replace(LINK, provider_transaction_id=name))
    payment = (await scene.pay(**more)).payment
    [attempt] = await scene.attempts(payment.id)
    [configuration] = (await scene.context.configured(scene.db)).configurations.values()
    answer = replace(paid(transaction=name), response={"payer": "Ada"})
    event = await scene.delivery(configuration, PaymentFact(answer, attempt.id, answer.provider_transaction_id))
    assert event is not None
    assert event.state is EventState.applied, event.reason
    return payment.id, event.id


async def body(scene: Scene, event_id: str) -> Any:
    event = await webhook_events.by_id(scene.db, event_id)
    assert event is not None
    return event.body


async def counts(scene: Scene, *tables: str) -> list[int]:
    return [int(await scene.db.value(f"SELECT count(*) FROM {table}")) for table in tables]


async def test_what_is_too_old_is_removed_and_counted(scene: Scene) -> None:
    await scene.configure()
    payment, event = await old(scene)
    await scene.later(1)
    await set_periods(scene.context, scene.practice_id, KEPT, "test")
    before = await scene.payment(payment)
    assert await retain(scene.context, scene.practice_id) == dict.fromkeys(RetentionKind, 0)
    scene.clock.at_s += 36 * DAY_S
    done = await retain(scene.context, scene.practice_id)
    assert done == {**dict.fromkeys(RetentionKind, 0), RetentionKind.webhooks: 1, RetentionKind.responses: 1}
    assert is_removed(await body(scene, event))
    after = await scene.payment(payment)
    assert is_removed(after.provider_response)
    after.provider_response = before.provider_response
    assert after == before
    scene.clock.at_s += 365 * DAY_S
    assert (await retain(scene.context, scene.practice_id))[RetentionKind.audit] > 0
    shown = {one.kind: one for one in await periods_of(scene.context, scene.practice_id)}
    assert (shown[RetentionKind.webhooks].days, shown[RetentionKind.webhooks].is_own) == (35, True)
    assert shown[RetentionKind.webhooks].mark is not None
    assert shown[RetentionKind.webhooks].mark.removed == 1
    with pytest.raises(Conflict):
        await replay(scene.context, scene.practice_id, event)


async def test_what_is_still_needed_stays_until_it_has_ended(scene: Scene) -> None:
    configuration = await scene.configure()
    disputed, event = await old(scene)
    finished, other = await old(scene)
    [attempt] = await scene.attempts(disputed)
    fact = DisputeFact("open", "needs_response", "dp-1", attempt.id, amount=paid().amount)
    await scene.delivery(configuration, fact)
    parked = await scene.delivery(
        configuration, PaymentFact(paid(transaction="tx-x"), "01hzy3k9w8q2v5n7m4x6c0b1da", "tx-x")
    )
    assert parked is not None
    await set_periods(scene.context, scene.practice_id, KEPT, "test")
    scene.clock.at_s += 400 * DAY_S
    await retain(scene.context, scene.practice_id)
    assert [is_removed(await body(scene, one)) for one in (event, other, parked.id)] == [False, True, False]
    assert (await scene.payment(disputed)).provider_response == {"payer": "Ada"}
    assert is_removed((await scene.payment(finished)).provider_response)
    lines = "SELECT count(*) FROM audit_log WHERE subject = $1"
    assert await scene.db.value(lines, disputed) > 0
    assert await scene.db.value(lines, finished) == 0
    # The mark stayed before what was kept: when the dispute has ended, it is found.
    ended = DisputeFact("won", "won", "dp-1", attempt.id, amount=paid().amount)
    await scene.delivery(configuration, ended)
    await scene.db.fetch("UPDATE operator_cases SET state = 'resolved'")
    assert (await retain(scene.context, scene.practice_id))[RetentionKind.webhooks] >= 1
    assert is_removed(await body(scene, event))


async def test_events_leave_outbox_and_feed_and_nothing_is_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest event stays: it is what the owner database expects of this database."""
    monkeypatch.setattr("polytill.storage.retention.EVENTS_KEPT", 1)
    await scene.configure()
    for _ in range(3):
        await scene.succeeded()
    await scene.later(1)
    await set_periods(scene.context, scene.practice_id, KEPT, "test")
    newest = await scene.context.owner.value("SELECT max(id) FROM event_feed")
    scene.clock.at_s += 36 * DAY_S
    await retain(scene.context, scene.practice_id)
    monkeypatch.setattr(retention, "ROWS", 2)
    settings = scene.context.settings.model_copy(update={"event_days": 35})
    monkeypatch.setattr(scene.context, "settings", settings)
    assert await retain_feed(scene.context) == 3
    assert await counts(scene, "events") == [1]
    scene.context.forget(scene.practice_id)
    made = await scene.succeeded()
    await scene.later(1)
    [row] = await scene.context.owner.fetch("SELECT id FROM event_feed WHERE payment_id = $1", made.id)
    assert row["id"] > newest  # a reader's cursor never meets a position again


async def test_an_event_that_waits_is_not_removed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    await scene.later(1)
    monkeypatch.setattr(scene.context, "settings", scene.context.settings.model_copy(update={"event_days": 35}))
    async with scene.context.owner.transaction() as tx:
        position = await tx.value("SELECT id FROM event_feed WHERE payment_id = $1", payment.id)
        tx.add("INSERT INTO event_deliveries (feed_id, practice_id) VALUES ($1, $2)", position, scene.practice_id)
    scene.clock.at_s += 36 * DAY_S
    assert await retain_feed(scene.context) == 0
    await scene.context.owner.fetch("UPDATE event_deliveries SET state = 'delivered'")
    assert await retain_feed(scene.context) == 1
    # One that is not in the feed yet, though it is older than the newest one that is.
    monkeypatch.setattr("polytill.storage.retention.EVENTS_KEPT", 0)
    unforwarded, later = await scene.succeeded(), await scene.succeeded()
    await scene.db.fetch("UPDATE events SET forwarded_at = created_at WHERE payment_id = $1", later.id)
    await set_periods(scene.context, scene.practice_id, KEPT, "test")
    scene.clock.at_s += 400 * DAY_S
    await retain(scene.context, scene.practice_id)
    assert await scene.db.value("SELECT count(*) FROM events WHERE payment_id = $1", unforwarded.id) == 1


async def test_a_refund_under_way_keeps_the_answer(scene: Scene) -> None:
    await scene.configure()
    payment, _ = await old(scene)
    scene.wire.says("refund", LINK)
    await calls.refund(scene.till, scene.practice_id, payment, key="r", amount=100)
    await scene.db.fetch("UPDATE refunds SET state = 'unknown'")
    await set_periods(scene.context, scene.practice_id, KEPT, "test")
    scene.clock.at_s += 36 * DAY_S
    await retain(scene.context, scene.practice_id)
    assert (await scene.payment(payment)).provider_response == {"payer": "Ada"}


async def test_a_period_that_is_too_short_is_refused(scene: Scene) -> None:
    with pytest.raises(Invalid):
        await set_periods(scene.context, scene.practice_id, {RetentionKind.webhooks: 34}, "test")
    with pytest.raises(ValidationError):
        Settings(_env_file=None, audit_days=364)
    assert not any(one.is_own for one in await periods_of(scene.context, scene.practice_id))
    await set_periods(scene.context, scene.practice_id, {RetentionKind.audit: 0}, "test")
    assert [one.is_own for one in await periods_of(scene.context, scene.practice_id)] == [False, False, False, True]
    await set_periods(scene.context, scene.practice_id, {}, "test", forget=True)
    assert not any(one.is_own for one in await periods_of(scene.context, scene.practice_id))


def test_the_least_periods_cover_what_brings_payments_back() -> None:
    """An older copy is brought up to date from the records of 35 days, and sends its events again."""
    from polytill.domain.retention import LEAST_DAYS
    from polytill.flows.payment_records import KEPT_FOR

    assert timedelta(days=min(LEAST_DAYS.values())) >= KEPT_FOR
