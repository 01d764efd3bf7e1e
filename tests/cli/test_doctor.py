"""``polytill doctor``: what is missing or unsafe, found out without changing anything; on either engine."""

from __future__ import annotations

from polytill.app import Polytill
from polytill.doctor import LATE_S, examine
from polytill.flows.lease import LEASE_S
from polytill.storage import leases
from polytill.storage.opening import is_postgres
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


async def test_a_server_that_one_process_could_fill_is_said(till: Polytill) -> None:
    on_server = is_postgres(till.desk.settings.practice_databases.get_secret_value())

    async def said(connections: int) -> list[str]:
        changed = till.desk.settings.model_copy(update={"database_connections": connections})
        return [found.sentence for found in await examine(changed) if "max_connections" in found.sentence]

    assert await said(250) == []
    found = await said(290)  # the tests' server takes 300, of which three are kept for superusers
    assert len(found) == (1 if on_server else 0)
    assert all("cluster default takes 297" in sentence and "up to 300" in sentence for sentence in found)
