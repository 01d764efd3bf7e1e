"""Taking a payment: on disk before the call, one call, failover only where nothing can have happened."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from simulation.loop import VirtualLoop, run

from polytill.app import Polytill
from polytill.domain.errors import Conflict, Forbidden, Invalid
from polytill.domain.states import AttemptState, Environment, PaymentStatus, PracticeState
from polytill.flows import provider_calls
from polytill.flows.admin import catalog, provider_configs
from polytill.flows.admin.practices import PracticeChanges, change_practice
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.next_action import open_action
from polytill.flows.provider_calls import TransactionOpen, call, call_test
from polytill.providers.contract import CredentialTest
from polytill.providers.http import AnswerLost, ConnectionNotMade
from polytill.providers.outcomes import Declined, NeedsAction, NextAction, NextKind, NotSent, Pending, Reason, Unknown
from polytill.storage import payment_lists
from polytill.storage.opening import open_owner
from polytill.storage.units import Unit
from tests.flows.scenes import LINK, REFUSED, Scene, held, keys, paid
from tests.flows.scripted import Lost
from tests.storage.making import plain


async def second_look(scene: Scene) -> Any:
    """The practice's database over a connection of its own: only what is committed can be seen through it."""
    location = scene.context.settings.practice_databases.get_secret_value()
    entry = await scene.context.opening.entry(scene.practice_id)
    on_server = location.startswith("postgresql://")
    url = f"{location}/{entry.database_name}" if on_server else f"sqlite:///{location}/{entry.database_name}.db"
    return await open_owner(url, 2)


async def test_the_attempt_is_on_disk_before_the_call(scene: Scene) -> None:
    await scene.configure()
    other = await second_look(scene)
    seen = []

    async def look(made: Any) -> None:
        rows = await plain(
            other,
            "SELECT a.state, a.amount, p.status, a.next_lookup_at IS NOT NULL FROM payment_attempts a"
            " JOIN payments p ON p.id = a.payment_id WHERE a.id = $1",
            made.params.reference,
        )
        assert rows, "no row for the call"
        seen.append((*rows[0][:3], bool(rows[0][3])))

    scene.wire.before = look
    scene.wire.says("create", LINK)
    await scene.pay()
    await other.engine.close()
    assert seen == [("sent", 1000, "processing", True)]


async def test_what_the_provider_is_told(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay(description="Tea", metadata={"order": "7"})
    [made] = scene.wire.calls
    params = made.params
    assert (made.host, made.key) == ("scripted.example", "sk_test_1")
    assert (params.reference, params.payment_id) == (taken.attempts[0].id, taken.payment.id)
    assert (params.amount.minor, params.amount.currency, params.description) == (1000, "NGN", "Tea")
    assert params.metadata == {"order": "7"}
    assert params.return_url.startswith("http://127.0.0.1:8420/pay/")


async def test_no_route_by_what_another_node_has_changed(scene: Scene) -> None:
    """A node caches configurations; the write that creates the payment detects a change, and routes again."""
    await scene.configure(is_default=True)
    scene.wire.says("create", LINK)
    assert (await scene.pay()).payment.provider_code == "scripted"  # now they are remembered
    async with Polytill.open(scene.context.settings, world=scene.context.world, transport=scene.wire) as elsewhere:
        for wish in (
            Wish("other", Environment.sandbox, keys("2"), is_enabled=True, supported_currencies=["NGN"]),
            Wish("scripted", Environment.sandbox, keys("1"), is_enabled=False),
        ):
            await provider_configs.configure(
                elsewhere.context, scene.practice_id, wish, "test", wish.provider_code == "scripted"
            )
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    assert (taken.payment.provider_code, len(taken.attempts)) == ("other", 1)
    assert len(await plain(scene.db, "SELECT id FROM payments")) == 2


async def test_no_call_while_work_is_open(scene: Scene) -> None:
    handler: Any = SimpleNamespace(code="broken")
    practice = await scene.context.practice(scene.practice_id)
    unit = Unit()
    unit.add("SELECT 1")
    with pytest.raises(TransactionOpen):
        await call(practice, handler, "create_payment_intent")
    with pytest.raises(TransactionOpen):
        await call_test(handler)
    unit.take()
    with pytest.raises(TransactionOpen):
        async with scene.db.transaction():
            await call(practice, handler, "create_payment_intent")
    async with scene.db.transaction() as tx:
        await tx.fetch("SELECT 1")
    assert isinstance(await call(practice, handler, "create_payment_intent"), Unknown)


RESULTS = [
    (LINK, AttemptState.needs_action, PaymentStatus.requires_action),
    (Pending(None, "tx-1"), AttemptState.pending, PaymentStatus.processing),
    (paid(), AttemptState.succeeded, PaymentStatus.succeeded),
    (held(), AttemptState.authorized, PaymentStatus.authorized),
    (REFUSED, AttemptState.declined, PaymentStatus.failed),
    (Declined(Reason.declined, False), AttemptState.needs_action, PaymentStatus.requires_action),
    (NotSent(Reason.rate_limited), AttemptState.not_sent, PaymentStatus.failed),
    (Lost(ConnectionNotMade("refused")), AttemptState.not_sent, PaymentStatus.failed),
    (Unknown(Reason.timeout), AttemptState.unknown, PaymentStatus.processing),
    (Lost(AnswerLost("timeout")), AttemptState.unknown, PaymentStatus.processing),
    (RuntimeError("sk_test_1 is in this text"), AttemptState.unknown, PaymentStatus.processing),
    (None, AttemptState.unknown, PaymentStatus.processing),  # a handler that answers nothing at all
]


@pytest.mark.parametrize(("answer", "attempt", "status"), RESULTS, ids=lambda v: type(v).__name__)
async def test_every_outcome(scene: Scene, answer: Any, attempt: AttemptState, status: PaymentStatus) -> None:
    await scene.configure()
    scene.wire.always("create", answer)
    taken = await scene.pay()
    assert (taken.attempts[-1].state, taken.payment.status) == (attempt, status)
    assert await scene.payment(taken.payment.id) == taken.payment
    assert await scene.attempts(taken.payment.id) == taken.attempts
    assert len(scene.wire.of("create")) == 1
    [(audit,)] = await plain(scene.db, "SELECT COUNT(*) FROM audit_log WHERE subject = $1", taken.payment.id)
    assert audit == 2
    assert "sk_test" not in repr(await plain(scene.db, "SELECT * FROM payment_attempts"))


FAILOVER = [
    (REFUSED, True),
    (NotSent(Reason.config), True),
    (Lost(ConnectionNotMade("x")), True),
    (Declined(Reason.expired, True, closed_for_certain=True), True),
]
NO_FAILOVER = [
    (outcome, False)
    for outcome in (
        LINK,
        Pending(None, "t"),
        paid(),
        held(),
        Unknown(Reason.timeout),
        Lost(AnswerLost("x")),
        RuntimeError("x"),
        Declined(Reason.declined, False),
        Declined(Reason.canceled, True),  # the provider's page could still take the money
        Declined(Reason.expired, True),
        NeedsAction(None),
    )
]


@pytest.mark.parametrize(("answer", "over"), FAILOVER + NO_FAILOVER, ids=lambda v: type(v).__name__)
async def test_another_provider_only_where_nothing_can_have_happened(scene: Scene, answer: Any, over: bool) -> None:
    await scene.configure(priority=5)
    await scene.configure("other")
    scene.wire.says("create", answer, LINK)
    taken = await scene.pay()
    hosts = [made.host for made in scene.wire.calls]
    assert hosts == (["scripted.example", "other.example"] if over else ["scripted.example"])
    assert [attempt.number for attempt in taken.attempts] == ([1, 2] if over else [1])
    if over:
        assert taken.payment.provider_code == "other"
        assert taken.payment.status is PaymentStatus.requires_action
        assert len({made.params.reference for made in scene.wire.calls}) == 2
    assert await scene.attempts(taken.payment.id) == taken.attempts


async def test_all_refuse(scene: Scene) -> None:
    await scene.configure(priority=5)
    await scene.configure("other")
    scene.wire.says("create", NotSent(Reason.rate_limited), REFUSED)
    taken = await scene.pay()
    assert [attempt.state for attempt in taken.attempts] == [AttemptState.not_sent, AttemptState.declined]
    assert (taken.payment.status, taken.payment.failure_reason) == (PaymentStatus.failed, "declined")


async def test_an_asked_for_provider_is_the_only_one(scene: Scene) -> None:
    await scene.configure(priority=5)
    await scene.configure("other")
    scene.wire.says("create", REFUSED)
    taken = await scene.pay(provider_code="other")
    assert [made.host for made in scene.wire.calls] == ["other.example"]
    assert taken.payment.pinned_provider


async def test_a_practice_without_a_provider(scene: Scene) -> None:
    with pytest.raises(Invalid, match="No configured provider"):
        await scene.pay()
    await scene.configure(is_enabled=False)
    with pytest.raises(Invalid) as caught:
        await scene.pay()
    assert caught.value.code == "no_provider_for_currency"
    assert "not enabled" in caught.value.errors[0].detail
    assert await plain(scene.db, "SELECT COUNT(*) FROM payments") == [(0,)]


async def test_a_suspended_practice(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    before = await scene.pay("before")
    await change_practice(scene.context, scene.practice_id, PracticeChanges(state=PracticeState.suspended), "test")
    with pytest.raises(Forbidden):
        await scene.pay("after")
    assert (await scene.pay("before")).payment == before.payment


@pytest.mark.parametrize("base", ["https://evil.example", "http://scripted.example", "https://scripted.example:444"])
async def test_keys_go_nowhere_else(scene: Scene, base: str) -> None:
    await scene.configure()
    with pytest.raises(Invalid) as refused:
        await catalog.change(scene.context, "scripted", {"sandbox_api_base_url": base}, None, "test")
    assert [error.pointer for error in refused.value.errors] == ["/sandboxApiBaseUrl"]
    # Even if the row itself was altered.
    async with scene.context.owner.transaction() as tx:
        await tx.fetch("UPDATE payment_providers SET sandbox_api_base_url = $1 WHERE code = 'scripted'", base)
    scene.context.forget_catalog()
    taken = await scene.pay()
    assert (taken.attempts[0].state, taken.attempts[0].raw_code) == (AttemptState.not_sent, "host_not_allowed")
    assert scene.wire.calls == []


ECHO = "No: sk_test_1 of region eu with pin 4711-secret, see pt_practice_abc"


@pytest.mark.parametrize(
    "said",
    [
        NotSent(Reason.config, "sk_test_1", ECHO),
        Unknown(Reason.unreadable, "4711-secret", ECHO),
        Declined(Reason.declined, True, "4711-secret", ECHO),
        Declined(Reason.declined, False, "4711-secret", ECHO),
        NeedsAction(None, None, "tx-1", Declined(Reason.declined, False, "4711-secret", ECHO)),
    ],
    ids=lambda said: type(said).__name__,
)
async def test_a_key_that_the_provider_quotes_is_not_kept(scene: Scene, said: Any) -> None:
    given = replace(keys(), config={"region": "eu", "pin": "4711-secret"})
    await scene.configure(given=given)
    scene.wire.says("create", said)
    [attempt] = (await scene.pay()).attempts
    assert attempt.detail == "No: [removed] of region eu with pin [removed], see [removed]"
    assert attempt.raw_code == "[removed]"


async def test_a_key_that_the_provider_quotes_in_a_test_is_not_told(scene: Scene) -> None:
    await scene.configure(given=replace(keys(), config={"pin": "4711-secret"}))
    scene.wire.says("test", CredentialTest(False, ECHO))
    result, _ = await provider_configs.test_configuration(scene.context, scene.practice_id, "scripted", "test")
    assert "4711" not in result.detail
    assert "sk_test" not in result.detail


async def test_what_the_payer_needs_is_sealed(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    taken = await scene.pay()
    assert open_action(scene.db, taken.attempts[0]) == NextAction(NextKind.redirect, "https://scripted.example/pay")
    rows = repr(await plain(scene.db, "SELECT next_action, provider_transaction_id FROM payment_attempts"))
    assert "scripted.example" not in rows


# ── The same key ──


async def test_the_same_key_and_body_is_the_same_payment(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    first = await scene.pay("one")
    again = await scene.pay("one")
    assert (again.payment, again.attempts) == (first.payment, first.attempts)
    assert (first.replayed, again.replayed) == (False, True)
    assert len(scene.wire.calls) == 1


async def test_the_same_key_with_another_body_is_a_conflict(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    await scene.pay("one")
    with pytest.raises(Conflict) as caught:
        await scene.pay("one", amount=2000)
    assert (caught.value.status, caught.value.code) == (409, "idempotency_key_reused")
    assert len(scene.wire.calls) == 1


async def test_thirty_at_once_with_one_key(scene: Scene) -> None:
    await scene.configure()
    scene.wire.always("create", LINK)
    taken = await asyncio.gather(*(scene.pay("one") for _ in range(30)))
    assert len({one.payment.id for one in taken}) == 1
    assert sum(not one.replayed for one in taken) == 1
    assert len(scene.wire.calls) == 1
    assert await plain(scene.db, "SELECT COUNT(*) FROM payments") == [(1,)]
    assert await plain(scene.db, "SELECT COUNT(*) FROM payment_attempts") == [(1,)]


async def test_a_replay_survives_what_changed_since(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", LINK)
    first = await scene.pay("one")
    await scene.configure(is_enabled=False, patch=True)
    assert (await scene.pay("one")).payment.id == first.payment.id


async def test_a_caller_that_goes_away_does_not_stop_the_payment(scene: Scene) -> None:
    await scene.configure()
    called, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> Any:
        called.set()
        await go_on.wait()
        return paid()

    scene.wire.says("create", slow)
    task = asyncio.create_task(scene.pay("one"))
    await called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    others = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
    await asyncio.gather(*others)
    again = await scene.pay("one")
    assert (again.replayed, again.payment.status) == (True, PaymentStatus.succeeded)


async def test_environment_stands_on_every_row(scene: Scene) -> None:
    await scene.configure()
    payment = await scene.succeeded()
    for table in ("payments", "payment_attempts", "ledger_lines"):
        assert {row[0] for row in await plain(scene.db, f"SELECT environment FROM {table}")} == {"sandbox"}
    listed = await payment_lists.listed(scene.db, payment_lists.Filters(Environment.production), 10)
    assert listed == []
    assert [p.id for p in await payment_lists.listed(scene.db, payment_lists.Filters(Environment.sandbox), 10)] == [
        payment.id
    ]


# ── A handler that comes to no end ──


async def test_a_verb_without_an_end_takes_no_practice_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in may wait for what never comes. What it was called for is unknown, and all else goes on."""
    monkeypatch.setattr(provider_calls, "LONGEST_VERB_S", 0.1)
    await scene.configure()
    scene.wire.says("create", Unknown(Reason.timeout), Unknown(Reason.timeout))
    both = [(await scene.pay()).payment.id for _ in range(2)]
    never = asyncio.Event()

    async def has_no_end(_: Any) -> None:
        await never.wait()

    scene.wire.says("lookup", has_no_end, paid())
    async with asyncio.timeout(20):
        await scene.later(5)
    assert sorted([(await scene.payment(one)).status for one in both]) == [
        PaymentStatus.processing,
        PaymentStatus.succeeded,
    ]
    scene.wire.says("lookup", paid())
    await scene.later(30)
    assert [(await scene.payment(one)).status for one in both] == [PaymentStatus.succeeded, PaymentStatus.succeeded]
    scene.wire.says("create", has_no_end)
    async with asyncio.timeout(20):
        [attempt] = (await scene.pay()).attempts
    assert (attempt.state, attempt.reason, attempt.raw_code) == (AttemptState.unknown, "timeout", "no_end")
    scene.wire.says("test", has_no_end)
    async with asyncio.timeout(20):
        result, _ = await provider_configs.test_configuration(scene.context, scene.practice_id, "scripted", "test")
    assert not result.ok


async def test_a_time_limit_of_the_handlers_own_is_its_own(scene: Scene) -> None:
    await scene.configure()
    scene.wire.says("create", TimeoutError())
    [attempt] = (await scene.pay()).attempts
    assert (attempt.state, attempt.raw_code) == (AttemptState.unknown, "TimeoutError")


def test_where_time_is_virtual_so_is_the_limit_of_a_verb() -> None:
    loop = VirtualLoop()

    async def has_no_end() -> None:
        await asyncio.sleep(10 * provider_calls.LONGEST_VERB_S)

    handler: Any = SimpleNamespace(code="scripted", lookup_payment=has_no_end, config=None)
    practice: Any = None
    outcome = run(loop, call(practice, handler, "lookup_payment"))
    loop.close()
    assert (outcome, loop.now) == (
        Unknown(Reason.timeout, "no_end", outcome.detail),
        pytest.approx(provider_calls.LONGEST_VERB_S),
    )
