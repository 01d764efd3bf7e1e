"""Keys that are prepared for the environment that is not used, and that the field does not have."""

from __future__ import annotations

from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Conflict
from polytill.domain.rollout import FieldState, RolloutPhase
from polytill.domain.secret import Secret
from polytill.domain.states import CredentialState, Environment
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.credentials import Keys
from polytill.flows.legacy.model import Unwritable
from polytill.flows.rollout import conflicts, hand_over, host, moves, sync
from polytill.flows.rollout.conflicts import Keep
from polytill.flows.rollout.moves import StepRefused
from polytill.storage import provider_configs
from tests.rollout.scene import PAYSTACK, One, Table, a_field, a_practice, connect, live

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEGACY, SHADOW, LIVE, CLOSED = RolloutPhase
LIVE_KEYS = {name: key.replace("test", "live") for name, key in PAYSTACK.items()}


async def kept(one: One) -> list[tuple[Environment, CredentialState]]:
    """The keys of Paystack beside the active ones."""
    found = (await provider_configs.all_of((await one.practice()).db))["paystack"]
    return [(each.environment, each.state) for each in found.others]


async def test_the_field_switches_the_environment(shared: Polytill, table: Table) -> None:
    """Its test keys are in the field no more. They are not written back into it, and hold up no way back."""
    one = await a_practice(shared, table)
    await one.move(LEGACY)
    await sync.sync(one.context, one.id, "test")
    switched = a_field()
    switched["paystack"] |= {**LIVE_KEYS, "environment": "production"}
    one.put(switched)
    await one.move(SHADOW, LIVE)
    assert one.field() == switched
    assert await kept(one) == [(Environment.sandbox, CredentialState.superseded)]  # for refunds
    await moves.move(one.context, one.id, SHADOW, "test")


async def test_keys_that_staff_have_prepared_stay(shared: Polytill, table: Table) -> None:
    one = await a_practice(shared, table)
    connect(shared, None)
    wish = configuring.Wish("paystack", Environment.sandbox, _keys(PAYSTACK))
    await configuring.configure(one.context, one.id, wish, "test")
    await configuring.prepare_credentials(
        one.context, one.id, "paystack", Environment.production, _keys(LIVE_KEYS), "test"
    )
    connect(shared, table)
    await one.move(LEGACY, SHADOW)
    assert await kept(one) == [(Environment.production, CredentialState.prepared)]


@pytest.mark.parametrize("has_host", [True, False])
async def test_a_person_gives_up_keys_that_the_field_has_no_place_for(
    shared: Polytill, table: Table, monkeypatch: pytest.MonkeyPatch, has_host: bool
) -> None:
    """Otherwise the practice could neither go back nor be closed."""
    one = await live(shared, table)
    connect(shared, table if has_host else None)

    async def nowhere(*_: Any) -> None:
        raise Unwritable("no encrypt hook")

    monkeypatch.setattr(host, "written_field", nowhere)
    await configuring.prepare_credentials(
        one.context, one.id, "paystack", Environment.production, _keys(LIVE_KEYS), "test"
    )
    sent: dict[str, Any] = {}
    if has_host:
        assert (await sync.sync(one.context, one.id, "test")).state is FieldState.blocked
    else:
        sent = {"value": one.field()}
        assert (await hand_over.written(one.context, one.id, one.field(), "test")).state is FieldState.pending
        with pytest.raises(Conflict) as found:
            await hand_over.field_to_write(one.context, one.id, one.field(), "test")
        assert found.value.code == "field_not_writable"
    with pytest.raises(StepRefused):
        await moves.move(one.context, one.id, SHADOW, "test")
    assert (await conflicts.resolve(one.context, one.id, Keep.field, "test", **sent)).state is FieldState.in_sync
    assert await kept(one) == [(Environment.production, CredentialState.superseded)]
    await moves.move(one.context, one.id, SHADOW, "test")


def _keys(given: dict[str, str]) -> Keys:
    return Keys(given["publicKey"], Secret(given["secretKey"]), None, None)
