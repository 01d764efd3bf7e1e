"""A process that starts opens the practices that were used last, and takes no connection that others need."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytill.app import Polytill
from polytill.flows.warm_up import warm_up
from polytill.storage import leases
from polytill.storage.units import Unit
from tests import calls
from tests.installation import fresh_settings, opened


async def _used(till: Polytill, number: int) -> list[int]:
    """Practices that were used one after the other; the last one most lately."""
    found = []
    for at in range(number):
        entry, _ = await calls.create_practice(till, f"Practice {at}", "NGN")
        unit = Unit()
        leases.hold(unit, entry.id, till.context.shared_after(900 + at), till.context.shared_after(0))
        await till.context.owner.commit(unit)
        found.append(entry.id)
    return found


async def test_those_used_last_come_first(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, ["manual"]) as till:
        used = await _used(till, 3)
        async with Polytill.open(settings) as restarted:
            assert restarted.context.opening.opened() == []
            await warm_up(restarted.context)
            assert restarted.context.opening.opened() == used[::-1]


@pytest.mark.postgres
async def test_half_of_the_connections_stay_free(tmp_path: Path, postgres_url: str) -> None:
    settings = fresh_settings(tmp_path, postgres_url, database_connections=6)
    async with opened(settings, ["manual"]) as till:
        used = await _used(till, 6)
        async with Polytill.open(settings) as restarted:
            await warm_up(restarted.context)
            assert restarted.context.opening.opened() == used[:1:-1]
            assert restarted.context.opening.budgets_by_name()["default"].total == 4
