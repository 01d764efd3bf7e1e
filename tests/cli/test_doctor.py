"""``polytill doctor`` reports what is missing or unsafe and changes nothing; on either engine."""

from __future__ import annotations

import time

import pytest

from polytill.app import Polytill
from polytill.background import sweep
from polytill.doctor import LATE_S, examine
from polytill.flows.lease import LEASE_S
from polytill.storage import leases
from polytill.storage.databases import OwnerDb
from polytill.storage.opening import is_postgres
from polytill.storage.units import Unit
from tests import calls


async def sentences(till: Polytill) -> list[str]:
    """The sentences of the findings that are bad."""
    return [found.sentence for found in await examine(till.context.settings) if found.bad]


async def test_a_fresh_installation_has_nothing_bad(till: Polytill) -> None:
    await calls.create_practice(till, "Clinic", "NGN")
    assert await sentences(till) == []


async def test_work_that_nobody_does_is_said(till: Polytill) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    world, unit = till.context.world, Unit()
    leases.hold(unit, entry.id, world.after(LEASE_S), world.after(-LATE_S - 1))
    await till.context.owner.commit(unit)
    [said] = await sentences(till)
    assert said.startswith("1 practice has waited")
    assert "polytill worker" in said
    await sweep(till.context, everyone=True)
    assert await sentences(till) == []


@pytest.mark.parametrize(("ahead_s", "is_said", "is_bad"), [(3, False, False), (8, True, False), (-60, True, True)])
async def test_a_clock_that_is_wrong_beside_the_database_servers_is_said(
    till: Polytill, monkeypatch: pytest.MonkeyPatch, ahead_s: float, is_said: bool, is_bad: bool
) -> None:
    async def shown(_: OwnerDb) -> float:
        return time.time() - ahead_s

    monkeypatch.setattr(OwnerDb, "server_time_s", shown)
    found = [one for one in await examine(till.context.settings) if "clock" in one.sentence]
    assert [one.bad for one in found] == ([is_bad] if is_said else [])
    assert all(f"{abs(ahead_s)}.0 seconds {'ahead of' if ahead_s > 0 else 'behind'}" in one.sentence for one in found)


async def test_a_half_made_practice_is_said(till: Polytill) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    unit = Unit()
    unit.add("UPDATE practices SET state = 'provisioning' WHERE id = $1", entry.id)
    await till.context.owner.commit(unit)
    [said] = await sentences(till)
    assert entry.database_name in said


async def test_a_server_that_one_process_could_fill_is_said(till: Polytill) -> None:
    on_server = is_postgres(till.context.settings.practice_databases.get_secret_value())

    async def said(connections: int) -> list[str]:
        changed = till.context.settings.model_copy(update={"database_connections": connections})
        return [found.sentence for found in await examine(changed) if "max_connections" in found.sentence]

    assert await said(250) == []
    found = await said(290)  # the test server takes 300 connections and reserves three of them for superusers
    assert len(found) == (1 if on_server else 0)
    assert all(all(word in sentence for word in ("cluster default", "297", "300")) for sentence in found)
