"""The owner database is unavailable: each practice goes on in its last known phase, and no change of a configuration is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytill.background import learn
from polytill.domain.errors import NotNow
from polytill.domain.rollout import FieldState, RolloutPhase, WhoDecides
from polytill.flows.admin import provider_configs as configuring
from polytill.flows.admin.provider_configs import Wish
from polytill.flows.rollout import decisions, keeping, moves
from polytill.flows.rollout.decisions import Asked
from polytill.flows.rollout_phase import FieldDecides
from tests.installation import fresh_settings, opened
from tests.outages import outage_of
from tests.rollout.scene import Table, a_practice, connect
from tests.web.support import Clock


async def test_the_last_known_phase_holds(tmp_path: Path, engine_url: str | None) -> None:
    clock, asked = Clock(), Asked("NGN", 500_000)
    async with (
        outage_of(fresh_settings(tmp_path, engine_url)) as outage,
        opened(outage.settings, ["stripe", "paystack"], world=clock.world()) as till,
    ):
        table = Table()
        connect(till, table)
        live, shadow = await a_practice(till, table), await a_practice(till, table)
        await live.move(RolloutPhase.legacy, RolloutPhase.shadow, RolloutPhase.live)
        await shadow.move(RolloutPhase.legacy, RolloutPhase.shadow)
        off = Wish("paystack", is_enabled=False)
        clock.advance(60)
        await learn(till.context)  # as each process does every second
        await outage.begin()
        try:
            for later_s in (0.0, 5.0, 3600.0):
                clock.advance(later_s)
                found = await decisions.choose(till.context, live.id, asked)
                assert (found.use, found.provider_code) == (WhoDecides.polytill, "paystack")
                assert (await decisions.choose(till.context, shadow.id, asked)).use is WhoDecides.legacy
            with pytest.raises(NotNow):
                await decisions.compare(till.context, shadow.id, asked, "paystack", "r-1")
            with pytest.raises(NotNow):  # it could not be noted that the field has to follow
                await configuring.configure(till.context, live.id, off, "test", patch=True)
            with pytest.raises(FieldDecides):
                await configuring.configure(till.context, shadow.id, off, "test", patch=True)
            with pytest.raises(NotNow):
                await moves.move(till.context, live.id, RolloutPhase.shadow, "test")
        finally:
            await outage.end()
        clock.advance(5)
        assert (await live.codes())["paystack"][0]
        await configuring.configure(till.context, live.id, off, "test", patch=True)
        assert await keeping.turn(till.context) == 1
        assert (await live.rollout()).field_state is FieldState.in_sync
        await moves.move(till.context, live.id, RolloutPhase.shadow, "test")
