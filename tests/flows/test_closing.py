"""Closing a practice on both engines: nothing new from that moment, what exists goes on until the run-out ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.errors import Conflict, Forbidden, Invalid, NotFound, PolytillError, PracticeClosed, PracticeEnded
from polytill.domain.event_types import EventType
from polytill.domain.states import ApiKeyKind, Environment, EventState, PracticeState
from polytill.flows.admin import provider_configs
from polytill.flows.admin.practices import PracticeChanges, change_practice, create_key
from polytill.flows.command import Command
from polytill.flows.lifecycle.closing import close, end_run_outs, reopen
from polytill.flows.payments.payment_links import LinkWish, create_link
from polytill.flows.refunds.create import RefundRequest, create_refund
from polytill.providers.contract import PaymentFact
from polytill.storage import audit, events, leases, practices
from tests.flows import scenes
from tests.flows.scenes import Scene, keys, paid

A_DAY_S = 24 * 3600


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        yield made


async def told(scene: Scene) -> list[tuple[str, dict[str, Any]]]:
    """The events about the practice itself."""
    found = await events.read(scene.context.owner, 0, 1000)
    return [(one.type, one.data) for one in found if one.type.startswith("practice.")]


async def refund(scene: Scene, payment_id: str, key: str) -> Any:
    scene.wire.says("refund", paid(100, transaction=f"rf-{key}"))
    command = Command(key, "test")
    return await create_refund(scene.context, scene.practice_id, payment_id, RefundRequest(100), command)


def new_things(scene: Scene) -> dict[str, Callable[[], Awaitable[Any]]]:
    context, practice_id = scene.context, scene.practice_id
    return {
        "payment": scene.pay,
        "link": lambda: create_link(context, practice_id, LinkWish(500, "NGN", "A chair"), "test"),
        "provider keys": lambda: scene.configure(given=keys("2")),
        "keys for another environment": lambda: provider_configs.prepare_credentials(
            context, practice_id, "scripted", Environment.production, keys("3", "live"), "test"
        ),
        "API key": lambda: create_key(context, ApiKeyKind.practice, practice_id, "new", None, "test"),
    }


async def test_nothing_new_and_everything_else_goes_on(scene: Scene) -> None:
    configured, payment = await scene.configure(), await scene.succeeded(key="before")
    entry = await close(scene.context, scene.practice_id, None, "owner:1")
    assert (entry.state, (entry.runs_out_at - scene.context.world.now()).days) == (PracticeState.closed, 180)
    calls = len(scene.wire.of("create"))
    for what, make in new_things(scene).items():
        with pytest.raises(PracticeClosed) as refused:
            await make()
        assert (refused.value.code, refused.value.status) == ("practice_closed", 403), what
    assert len(scene.wire.of("create")) == calls
    assert (await scene.pay("before")).payment.id == payment.id
    fact = PaymentFact(paid(transaction=payment.provider_transaction_id or ""), None, payment.provider_transaction_id)
    applied = await scene.delivery(configured, fact)
    assert (applied and applied.state) == EventState.applied
    await refund(scene, payment.id, "one")
    with pytest.raises(PracticeClosed):
        await change_practice(scene.context, scene.practice_id, PracticeChanges(state=PracticeState.active), "test")
    renamed = await change_practice(scene.context, scene.practice_id, PracticeChanges(name="After"), "test")
    assert (renamed.name, renamed.state) == ("After", PracticeState.closed)
    lines = await audit.listed(scene.context.owner, f"practice:{scene.practice_id}")
    assert [one["actor"] for one in lines if one["action"] == "practice.closed"] == ["owner:1"]
    [(kind, data)] = await told(scene)
    assert (kind, data["practiceId"]) == (EventType.practice_closed, scene.practice_id)
    assert data["runsOutAt"] is not None


async def test_it_is_reopened_during_its_run_out(scene: Scene) -> None:
    await scene.configure()
    with pytest.raises(Conflict) as refused:
        await reopen(scene.context, scene.practice_id, "test")
    assert refused.value.code == "practice_not_closed"
    await close(scene.context, scene.practice_id, 2, "test")
    assert (await reopen(scene.context, scene.practice_id, "test")).state is PracticeState.active
    await scene.succeeded(key="again")
    assert [kind for kind, _ in await told(scene)] == [EventType.practice_closed, EventType.practice_reopened]


async def test_the_run_out_ends_what_went_on(scene: Scene) -> None:
    configured, payment = await scene.configure(), await scene.succeeded(key="before")
    await close(scene.context, scene.practice_id, 30, "test")
    entry = await close(scene.context, scene.practice_id, 2, "test")  # a shorter one
    assert (entry.runs_out_at - scene.context.world.now()).days == 2
    assert (await close(scene.context, scene.practice_id, None, "test")).runs_out_at == entry.runs_out_at
    await scene.later(A_DAY_S)
    await refund(scene, payment.id, "in time")
    assert await end_run_outs(scene.context) == 0
    await scene.later(A_DAY_S + 3600)
    fact = PaymentFact(paid(transaction=payment.provider_transaction_id or ""), None, payment.provider_transaction_id)
    with pytest.raises(PracticeEnded) as gone:
        await scene.delivery(configured, fact)
    assert (gone.value.status, gone.value.code) == (410, "practice_ended")
    asked = len(scene.wire.of("refund"))
    with pytest.raises(PracticeEnded):
        await refund(scene, payment.id, "too late")
    assert len(scene.wire.of("refund")) == asked
    assert await leases.all_held(scene.context.owner) == {}
    lines = await audit.listed(scene.context.owner, f"practice:{scene.practice_id}")
    assert [one["action"] for one in lines].count("practice.run_out_ended") == 1
    for work in (reopen(scene.context, scene.practice_id, "test"), close(scene.context, scene.practice_id, 90, "test")):
        with pytest.raises(Conflict) as refused:
            await work
        assert refused.value.code == "run_out_over"
    assert await scene.payment(payment.id)  # reads go on


async def test_bad_input_changes_nothing(scene: Scene) -> None:
    before = await scene.context.opening.entry(scene.practice_id)
    for practice_id, days, error in (
        (99, None, NotFound),
        (scene.practice_id, -1, Invalid),
        (scene.practice_id, 3651, Invalid),
    ):
        with pytest.raises(error):
            await close(scene.context, practice_id, days, "test")
    assert await scene.context.opening.entry(scene.practice_id) == before
    assert await told(scene) == []


async def test_a_change_of_the_name_does_not_open_a_practice_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = practices.by_external_id

    async def closed_meanwhile(*arguments: Any) -> Any:
        await close(scene.context, scene.practice_id, 2, "test")
        return await real(*arguments)

    monkeypatch.setattr(practices, "by_external_id", closed_meanwhile)
    with pytest.raises(PolytillError):
        await change_practice(scene.context, scene.practice_id, PracticeChanges(external_id="x-1"), "test")
    assert (await scene.context.opening.entry(scene.practice_id)).state is PracticeState.closed


async def test_a_suspended_practice_says_so(scene: Scene) -> None:
    await scene.configure()
    await change_practice(scene.context, scene.practice_id, PracticeChanges(state=PracticeState.suspended), "test")
    with pytest.raises(Forbidden) as refused:
        await scene.pay()
    assert refused.value.reason == "practice_suspended"
