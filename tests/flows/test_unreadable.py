"""Rows that this version cannot read, as a newer one writes them while both are at work: they keep no other waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from polytill.domain.errors import UnreadableRow
from polytill.domain.money import Money
from polytill.domain.states import CaptureMode, EventState, PaymentStatus
from polytill.flows import events as flows_events
from polytill.flows.admin.event_destination import set_destination
from polytill.flows.context import Practice
from polytill.flows.reconciliation.payments import reconcile
from polytill.flows.refunds.listed import LOOKED_UP_AGAIN_AT
from polytill.flows.worker import event_delivery
from polytill.providers.contract import DisputeFact, Page, PaymentFact, RefundFact
from polytill.providers.outcomes import Declined, NotSent, Reason, Unknown
from polytill.storage import attempts, event_deliveries, events, listings, operations, payments, refunds, webhook_events
from tests import calls
from tests.flows.scenes import LINK, Scene, held, paid
from tests.flows.scripted import HANDLERS

LOST = Unknown(Reason.timeout)
HOUR, DAY = 3600.0, 86_400.0
TOMORROW = "from_tomorrow"
_numbers = count(1)


@asynccontextmanager
async def unreadable(
    db: Any, table: str, row_id: Any, column: str = "environment", said: bool = True, only_this: bool = True
) -> AsyncIterator[list[Any]]:
    """Within the block a row holds what only a newer version knows. The log says which row was left out, not its content."""
    [before] = await db.fetch(f"SELECT {column} AS was FROM {table} WHERE id = $1", row_id)
    if db.engine.dialect == "sqlite":
        await db.fetch("PRAGMA ignore_check_constraints = ON")
    else:
        named = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = CAST($1 AS TEXT)::regclass"
        for row in await db.fetch(named, table):
            await db.fetch(f"ALTER TABLE {table} DROP CONSTRAINT {row['conname']}")
    await db.fetch(f"UPDATE {table} SET {column} = $2 WHERE id = $1", row_id, TOMORROW)
    with capture_logs() as logs:
        yield logs
    if only_this:
        assert {line["row"] for line in logs if line["event"] == "row_not_readable"} == ({row_id} if said else set())
    assert TOMORROW not in str(logs)
    await db.fetch(f"UPDATE {table} SET {column} = $2 WHERE id = $1", row_id, before["was"])


# ── Visits ──


async def lost(scene: Scene) -> str:
    """The id of an attempt whose answer was lost."""
    scene.wire.says("create", LOST)
    return (await scene.pay()).attempts[0].id


async def lost_refund(scene: Scene) -> str:
    payment = await scene.succeeded()
    scene.wire.says("refund", LOST)
    return (await calls.refund(scene.till, scene.practice_id, payment.id, key=f"back-{next(_numbers)}", amount=400)).id


async def lost_capture(scene: Scene) -> str:
    scene.wire.says("create", held(transaction=f"tx-{next(_numbers)}h"))
    made = await scene.pay(capture=CaptureMode.manual)
    scene.wire.says("capture", LOST)
    await calls.capture(scene.till, scene.practice_id, made.payment.id, key=f"take-{next(_numbers)}")
    [row] = await scene.db.fetch("SELECT id FROM payment_operations WHERE payment_id = $1", made.payment.id)
    return str(row["id"])


async def waiting_delivery(scene: Scene) -> str:
    """The id of a delivery whose process died before it was applied."""
    payment = await scene.succeeded()
    [attempt] = await scene.attempts(payment.id)
    configuration = (await scene.context.configured(scene.db)).configurations["scripted"]
    name = payment.provider_transaction_id
    event = await scene.delivery(configuration, PaymentFact(paid(transaction=name or ""), attempt.id, name))
    assert event is not None
    await scene.db.fetch("UPDATE webhook_events SET state = 'received' WHERE id = $1", event.id)
    return event.id


async def unpaid(scene: Scene) -> str:
    """The id of a payment that nobody has finished in time."""
    scene.wire.says("create", LINK)
    payment = (await scene.pay()).payment
    await scene.db.fetch("UPDATE payments SET expires_at = $2 WHERE id = $1", payment.id, scene.context.world.after(1))
    await scene.db.fetch("UPDATE payment_attempts SET next_lookup_at = $1", scene.context.world.after(1))
    return payment.id


@pytest.mark.parametrize(
    ("made", "table", "column"),
    [
        (lost, "payment_attempts", "state"),
        (lost_refund, "refunds", "state"),
        (lost_capture, "payment_operations", "state"),
        (waiting_delivery, "webhook_events", "environment"),
        (unpaid, "payments", "environment"),
    ],
)
async def test_a_row_that_cannot_be_read_keeps_no_other_waiting(
    scene: Scene, made: Callable[[Scene], Awaitable[str]], table: str, column: str
) -> None:
    await scene.configure()
    row_id = await made(scene)
    other = await attempts.by_id(scene.db, await lost(scene))
    assert other is not None
    scene.wire.always("lookup", paid(transaction="tx-7"))
    scene.wire.always("lookup_refund", LOST)
    scene.wire.always("confirm", LOST)
    async with unreadable(scene.db, table, row_id, column):
        await scene.later(61)
        assert (await scene.payment(other.payment_id)).status is PaymentStatus.succeeded


@pytest.mark.parametrize(
    ("made", "table", "column"),
    [
        (lost, "payment_attempts", "state"),
        (lost_refund, "refunds", "state"),
        (lost_capture, "payment_operations", "state"),
        (waiting_delivery, "webhook_events", "environment"),
        (unpaid, "payments", "environment"),
    ],
)
async def test_however_many_rows_cannot_be_read_the_one_behind_them_is_taken_up(
    scene: Scene, made: Callable[[Scene], Awaitable[str]], table: str, column: str
) -> None:
    reading = {
        "payment_attempts": lambda now, limit: attempts.overdue(scene.db, now, limit=limit),
        "refunds": lambda now, limit: refunds.overdue(scene.db, now, limit=limit),
        "payment_operations": lambda now, limit: operations.overdue(scene.db, now, limit=limit),
        "webhook_events": lambda now, limit: webhook_events.waiting(scene.db, [now], limit=limit),
        "payments": lambda now, limit: payments.unpaid_past_expiry(scene.db, now, limit=limit),
    }[table]
    await scene.configure()
    ids = [await made(scene) for _ in range(5)]
    now = scene.context.world.after(120)
    async with AsyncExitStack() as stack:
        for row_id in ids[:4]:
            await stack.enter_async_context(unreadable(scene.db, table, row_id, column, only_this=False))
        assert [one.id for one in await reading(now, 2)] == ids[4:]


async def test_a_refund_of_an_attempt_that_cannot_be_read_keeps_no_other_waiting(scene: Scene) -> None:
    await scene.configure()
    back = await refunds.by_id(scene.db, await lost_refund(scene))
    other = await refunds.by_id(scene.db, await lost_refund(scene))
    assert back is not None
    assert other is not None
    scene.wire.always("lookup_refund", paid(400, transaction="re-1", fee=None))
    async with unreadable(scene.db, "payment_attempts", back.attempt_id, "state", said=False) as logs:
        await scene.later(61)
        assert any(line["event"] == "lookup_failed" and line["subject"] == back.id for line in logs)
    found = [await refunds.by_id(scene.db, one.id) for one in (back, other)]
    assert [one and one.state for one in found] == ["unknown", "succeeded"]


# ── What the platform is told ──


async def test_an_event_that_cannot_be_read_keeps_its_place_and_the_others_go_on(scene: Scene) -> None:
    await scene.configure()
    stuck, other = await scene.succeeded(), await scene.succeeded()
    scene.wire.says("refund", paid(400, transaction="re-1", fee=None))
    await calls.refund(scene.till, scene.practice_id, stuck.id, key="back", amount=400)
    first, *_ = await scene.db.fetch("SELECT id FROM events WHERE payment_id = $1 ORDER BY id", stuck.id)
    async with unreadable(scene.db, "events", first["id"]):
        await flows_events.forward(Practice(scene.context, scene.db))
        assert {event.payment_id for event in await events.read(scene.context.owner, 0, 10)} == {other.id}
    await flows_events.forward(Practice(scene.context, scene.db))
    kinds = [event.type for event in await events.read(scene.context.owner, 0, 10) if event.payment_id == stuck.id]
    assert kinds == ["payment.succeeded", "refund.succeeded"]


async def test_a_delivery_that_cannot_be_read_keeps_no_other_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def send(_: Any, __: str, claim_id: str, claimed: event_deliveries.Claimed) -> event_deliveries.Tried:
        sent.append(claimed.event.event_id)
        return event_deliveries.Tried(claim_id, claimed.event.position, "delivered", 204, None, None)

    monkeypatch.setattr(event_delivery.EventSender, "_send", send)
    await set_destination(scene.context, "https://platform.example/events", "test")
    await scene.configure()
    for _ in range(2):
        await scene.succeeded()
    await flows_events.forward(Practice(scene.context, scene.db))
    first, second = await events.read(scene.context.owner, 0, 10)
    async with unreadable(scene.context.owner, "event_feed", first.position):
        assert await event_delivery.deliver(scene.context) == 1
    assert sent == [second.event_id]


async def test_however_many_events_cannot_be_read_the_one_behind_them_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.configure()
    await set_destination(scene.context, "https://platform.example/events", "test")
    for _ in range(5):
        await scene.succeeded()
    outbox = [event.position for event in await events.unforwarded(scene.db)]
    async with AsyncExitStack() as stack:
        for position in outbox[:4]:
            await stack.enter_async_context(unreadable(scene.db, "events", position, only_this=False))
        assert [event.position for event in await events.unforwarded(scene.db, 2)] == outbox[4:]
    await flows_events.forward(Practice(scene.context, scene.db))
    feed = [event.position for event in await events.read(scene.context.owner, 0, 10)]
    sent: list[int] = []

    async def send(_: Any, __: str, claim_id: str, claimed: event_deliveries.Claimed) -> event_deliveries.Tried:
        sent.append(claimed.event.position)
        return event_deliveries.Tried(claim_id, claimed.event.position, "delivered", 204, None, None)

    monkeypatch.setattr(event_delivery.EventSender, "_send", send)
    async with AsyncExitStack() as stack:
        for position in feed[:4]:
            await stack.enter_async_context(unreadable(scene.context.owner, "event_feed", position, only_this=False))
        await event_delivery.deliver(scene.context)
        assert sent == feed[4:]


# ── What arrives ──


@pytest.mark.parametrize("must_fetch", [True, False])
async def test_news_of_an_attempt_that_cannot_be_read_are_stored_and_taken_up(scene: Scene, must_fetch: bool) -> None:
    configuration = await scene.configure()
    attempt = await attempts.by_id(scene.db, await lost(scene))
    assert attempt is not None
    fact = PaymentFact(paid(transaction="tx-9"), attempt.id, "tx-9")
    scene.wire.always("confirm", paid(transaction="tx-9"))
    scene.wire.always("lookup", LOST)
    async with unreadable(scene.db, "payment_attempts", attempt.id, "state", said=must_fetch):
        event = await scene.delivery(configuration, fact, must_fetch=must_fetch)
        assert event is not None
        assert event.state is EventState.received
    await scene.later(61)
    assert (await scene.payment(attempt.payment_id)).status is PaymentStatus.succeeded
    stored = await webhook_events.by_id(scene.db, event.id)
    assert stored is not None
    assert stored.state is EventState.applied


# ── Comparing with the provider's listing ──


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the provider lists by verb: in every window, or with the moment of it, in that one."""
    facts: dict[str, list[Any]] = {"transactions": [], "refunds": [], "disputes": []}
    for verb, found in facts.items():

        async def method(_: Any, since: int, until: int, *__: Any, found: list[Any] = found) -> Page[Any]:
            timed = [one if isinstance(one, tuple) else (since, one) for one in found]
            return Page(tuple(fact for at_s, fact in timed if since <= at_s <= until))

        monkeypatch.setattr(HANDLERS["scripted"], f"list_{verb}", method)
    return facts


async def compared_until(scene: Scene) -> Any:
    configuration = (await scene.context.configured(scene.db)).configurations["scripted"]
    return await listings.kept(scene.db, configuration.id, configuration.environment)


@pytest.mark.parametrize("what", ["transactions", "refunds", "disputes"])
async def test_a_listed_thing_whose_row_cannot_be_read_is_booked_when_it_can(
    scene: Scene, listed: dict[str, list[Any]], what: str
) -> None:
    """The others are looked at at once. The window stays open, however long it takes, and what comes later is compared."""
    await scene.configure()
    mine = await scene.succeeded()
    await reconcile(scene.context, scene.practice_id)
    [attempt] = await scene.attempts(mine.id)
    scene.wire.says("create", LINK)
    other = (await scene.pay()).attempts[0]
    listed["transactions"].append(PaymentFact(paid(transaction="tx-o"), other.id, "tx-o"))
    name = mine.provider_transaction_id
    if what == "transactions":
        listed[what].insert(0, PaymentFact(paid(), attempt.id, name))
    elif what == "refunds":
        listed[what].append(RefundFact("succeeded", None, "re-1", attempt.id, name, Money(400, "NGN")))
    else:
        listed[what].append(DisputeFact("open", "open", "dp-1", attempt.id, name, amount=Money(1000, "NGN")))
    scene.wire.always("confirm", paid(transaction="tx-o"))
    scene.wire.always("lookup_refund", paid(400, transaction="re-1", fee=None))
    before = await compared_until(scene)
    async with unreadable(scene.db, "payment_attempts", attempt.id, "state"):
        scene.clock.at_s += HOUR
        await reconcile(scene.context, scene.practice_id)
        assert (await scene.payment(other.payment_id)).status is PaymentStatus.succeeded
        assert await compared_until(scene) == before, "it is looked at once more"
        listed["transactions"].pop()
        for facts in listed.values():  # from now on the provider lists it in its own window only
            facts[:] = [(scene.clock.at_s - HOUR / 2, fact) for fact in facts]
        scene.clock.at_s += 2 * DAY
        await reconcile(scene.context, scene.practice_id)
        late = await paid_unheard(scene, listed)
        scene.clock.at_s += HOUR
        await reconcile(scene.context, scene.practice_id)
        assert await compared_until(scene) == before
        assert (await scene.payment(late)).status is PaymentStatus.succeeded
    assert await scene.cases() == []
    scene.clock.at_s += HOUR
    await reconcile(scene.context, scene.practice_id)
    assert (await compared_until(scene)).timestamp() >= scene.clock.at_s - HOUR
    found = await scene.db.fetch(f"SELECT id FROM {what}") if what in ("refunds", "disputes") else []
    assert len(found) == (0 if what == "transactions" else 1)


async def paid_unheard(scene: Scene, listed: dict[str, list[Any]]) -> str:
    """The id of a payment that the provider lists as paid, and has told nobody of."""
    scene.wire.says("create", LINK)
    made = await scene.pay()
    name = f"tx-{next(_numbers)}l"
    listed["transactions"].append((scene.clock.at_s, PaymentFact(paid(transaction=name), made.attempts[0].id, name)))
    scene.wire.always("confirm", paid(transaction=name))
    return made.payment.id


async def test_the_first_window_stays_where_it_began(scene: Scene, listed: dict[str, list[Any]]) -> None:
    await scene.configure()
    mine = await scene.succeeded()
    [attempt] = await scene.attempts(mine.id)
    fact = RefundFact("succeeded", None, "re-1", attempt.id, mine.provider_transaction_id, Money(400, "NGN"))
    listed["refunds"].append((scene.clock.at_s + 1, fact))
    scene.wire.always("confirm", paid(transaction=mine.provider_transaction_id or ""))
    async with unreadable(scene.db, "payment_attempts", attempt.id, "state"):
        for _ in range(4):
            scene.clock.at_s += DAY
            await reconcile(scene.context, scene.practice_id)
            scene.context.reconciled.clear()  # and each time by another process
    scene.wire.always("lookup_refund", paid(400, transaction="re-1", fee=None))
    await reconcile(scene.context, scene.practice_id)
    assert [one.provider_refund_id for one in await refunds.of_payment(scene.db, mine.id)] == ["re-1"]


@pytest.mark.parametrize("what", ["transactions", "refunds"])
async def test_what_comes_after_an_open_window_is_compared_once(
    scene: Scene, listed: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What is done is neither listed nor asked about once more each hour, until another process begins."""
    await scene.configure()
    mine, back = await scene.succeeded(), await scene.succeeded()
    scene.wire.says("refund", paid(400, transaction="re-0", fee=None))
    made = await calls.refund(scene.till, scene.practice_id, back.id, key="back", amount=400)
    await reconcile(scene.context, scene.practice_id)
    [attempt] = await scene.attempts(mine.id)
    scene.wire.always("confirm", LOST)
    scene.wire.always("lookup_refund", paid(400, transaction="re-0", fee=None))
    listed["disputes"].append(DisputeFact("open", "open", "dp-1", attempt.id, mine.provider_transaction_id))
    scene.clock.at_s += LOOKED_UP_AGAIN_AT[0].total_seconds() + HOUR
    async with unreadable(scene.db, "payment_attempts", attempt.id, "state"):
        await reconcile(scene.context, scene.practice_id)
        listed["disputes"][:] = [(scene.clock.at_s - LOOKED_UP_AGAIN_AT[0].total_seconds(), listed["disputes"][0])]
        asked, windows = len(scene.wire.of("lookup_refund")), []
        assert asked

        async def method(_: Any, since: int, until: int, *__: Any) -> Page[Any]:
            windows.append(until - since)
            return Page(())

        monkeypatch.setattr(HANDLERS["scripted"], f"list_{what}", method)
        for _ in range(3):
            scene.clock.at_s += HOUR
            await reconcile(scene.context, scene.practice_id)
    assert len(scene.wire.of("lookup_refund")) == asked
    assert sum(windows) < 20 * DAY, "the open ones, and an hour with its overlap"
    assert (await refunds.by_id(scene.db, made.id)) is not None


@pytest.mark.parametrize(("table", "column"), [("refunds", "state"), ("payment_attempts", "state")])
async def test_a_refund_that_came_of_age_while_it_could_not_be_read_is_asked_about(
    scene: Scene, listed: dict[str, list[Any]], table: str, column: str
) -> None:
    """For the last time after 31 days: nobody would ask any more."""
    await scene.configure()
    payment = await scene.succeeded()
    scene.wire.says("refund", paid(400, transaction="re-0", fee=None))
    made = await calls.refund(scene.till, scene.practice_id, payment.id, key="back", amount=400)
    scene.wire.always("confirm", LOST)
    scene.wire.always("lookup_refund", paid(400, transaction="re-0", fee=None))
    scene.clock.at_s += HOUR
    for _ in range(31):
        await reconcile(scene.context, scene.practice_id)
        scene.clock.at_s += DAY
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "closed", "It came back."))
    async with unreadable(scene.db, table, made.id if table == "refunds" else made.attempt_id, column):
        for _ in range(3):
            await reconcile(scene.context, scene.practice_id)
            scene.clock.at_s += DAY
    await reconcile(scene.context, scene.practice_id)
    found = await refunds.by_id(scene.db, made.id)
    assert found is not None
    assert found.state == "failed"


async def test_money_that_the_provider_does_not_know_is_missed_when_its_row_can_be_read(
    scene: Scene, listed: dict[str, list[Any]]
) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    await reconcile(scene.context, scene.practice_id)
    [attempt] = await scene.attempts(payment.id)
    scene.wire.always("confirm", NotSent(Reason.not_found))
    scene.clock.at_s += HOUR
    async with unreadable(scene.db, "payment_attempts", attempt.id, "state"):
        for _ in range(3):
            await reconcile(scene.context, scene.practice_id)
            scene.clock.at_s += DAY
    assert await scene.cases() == []
    await reconcile(scene.context, scene.practice_id)
    assert await scene.cases() == ["listing_missing_there"]


async def test_one_refund_that_cannot_be_asked_about_again_keeps_no_other_waiting(
    scene: Scene, listed: dict[str, list[Any]]
) -> None:
    await scene.configure()
    made = []
    for number in range(2):
        payment = await scene.succeeded()
        scene.wire.says("refund", paid(400, transaction=f"re-{number}", fee=None))
        made.append(await calls.refund(scene.till, scene.practice_id, payment.id, key=f"back-{number}", amount=400))
    scene.wire.always("confirm", LOST)
    scene.wire.always("lookup_refund", Declined(Reason.declined, True, "closed", "It came back."))
    scene.clock.at_s += HOUR
    await reconcile(scene.context, scene.practice_id)
    async with unreadable(scene.db, "payment_attempts", made[0].attempt_id, "state"):
        scene.clock.at_s += LOOKED_UP_AGAIN_AT[0].total_seconds()
        await reconcile(scene.context, scene.practice_id)
    found = [await refunds.by_id(scene.db, one.id) for one in made]
    assert [one and one.state for one in found] == ["succeeded", "failed"]


async def test_who_asks_for_one_such_thing_is_told_why(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    async with unreadable(scene.db, "payments", payment.id, said=False):
        with pytest.raises(UnreadableRow, match="newer version"):
            await scene.payment(payment.id)
