"""What left other rows on PostgreSQL than on SQLite, because a step of a unit met what an earlier step had written.

Source: the guard of units (``storage/row_writes.py``), which rejects such steps.
"""

from __future__ import annotations

from datetime import timedelta

from polytill.app import Polytill
from polytill.flows import event_destination, presence
from polytill.storage import nodes
from polytill.storage.units import Unit


async def test_a_replaced_secret_is_not_kept_where_it_does_not_sign(till: Polytill) -> None:
    """Without an overlap the replaced secret was kept until the next change, though it never signs again."""
    till.desk.settings = till.desk.settings.model_copy(update={"event_secret_overlap_s": 0})
    for _ in range(2):
        await event_destination.set_destination(till.desk, "https://host.example/events", "test")
    assert await till.desk.owner.fetch("SELECT id FROM event_previous_secrets") == []
    found = await event_destination.current(till.desk)
    assert found is not None
    assert len(found.sealed_secrets) == 1


async def test_secrets_that_sign_no_more_are_forgotten_and_the_replaced_one_is_kept(till: Polytill) -> None:
    """Both in one unit, in this order: the one that is kept is none of those that are deleted."""
    for _ in range(2):
        await event_destination.set_destination(till.desk, "https://host.example/events", "test")
    async with till.desk.owner.transaction() as tx:
        tx.add("UPDATE event_previous_secrets SET signs_until = $1", till.desk.shared_after(-1))
    second = await event_destination.current(till.desk)
    await event_destination.set_destination(till.desk, "https://host.example/events", "test")
    rows = await till.desk.owner.fetch("SELECT sealed_secret FROM event_previous_secrets")
    assert second is not None
    assert [row["sealed_secret"] for row in rows] == [second.sealed_secrets[0]]


async def test_a_process_that_leaves_late_is_deleted_once(till: Polytill) -> None:
    """Its own row had lapsed already, so two steps deleted it; now one statement does."""
    here, dead, alive = (presence.Presence(till.desk, "serve", False) for _ in range(3))
    now = till.desk.shared_after(0)
    for one, age in ((here, 3 * presence.KEPT_S), (dead, 2 * presence.KEPT_S), (alive, 0)):
        unit = Unit()
        nodes.announce(unit, nodes.Node(one.id, one.name, False, {}), now, now - timedelta(seconds=age - 60))
        await till.desk.owner.commit(unit)
    await here.leave()
    assert [row["id"] for row in await till.desk.owner.fetch("SELECT id FROM nodes")] == [alive.id]
