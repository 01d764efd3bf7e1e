"""``polytill doctor``: what is missing or unsafe, found out without changing anything; on either engine."""

from __future__ import annotations

from polytill.app import Polytill
from polytill.doctor import LATE_S, examine
from polytill.flows.lease import LEASE_S
from polytill.storage import leases
from polytill.storage.units import Unit


async def sentences(till: Polytill) -> list[str]:
    """What is bad."""
    return [found.sentence for found in await examine(till.desk.settings) if found.bad]


async def test_a_fresh_installation_has_nothing_bad(till: Polytill) -> None:
    await till.create_practice("Clinic", "NGN")
    assert await sentences(till) == []


async def test_work_that_nobody_does_is_said(till: Polytill) -> None:
    entry, _ = await till.create_practice("Clinic", "NGN")
    world, unit = till.desk.world, Unit()
    leases.hold(unit, entry.id, world.after(LEASE_S), world.after(-LATE_S - 1))
    await till.desk.owner.commit(unit)
    [said] = await sentences(till)
    assert said.startswith("1 practice has waited")
    assert "polytill worker" in said
    await till.sweep(everyone=True)
    assert await sentences(till) == []


async def test_a_half_made_practice_is_said(till: Polytill) -> None:
    entry, _ = await till.create_practice("Clinic", "NGN")
    unit = Unit()
    unit.add("UPDATE practices SET state = 'provisioning' WHERE id = $1", entry.id)
    await till.desk.owner.commit(unit)
    [said] = await sentences(till)
    assert entry.database_name in said
