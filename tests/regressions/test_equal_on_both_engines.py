"""What differed between SQLite and PostgreSQL: steps of a unit that meet each other, and the order of texts.

Sources: the guard of units (``storage/row_writes.py``), and
https://www.postgresql.org/docs/current/collation.html (a locale other than C sorts punctuation before digits).
"""

from __future__ import annotations

from datetime import timedelta

from polytill.app import Polytill
from polytill.domain.ids import new_id
from polytill.domain.states import Environment
from polytill.flows import presence
from polytill.flows.admin.event_destination import current, set_destination
from polytill.storage import cases, nodes, payment_links, saved_methods, webhook_events
from polytill.storage.payment_links import PaymentLink
from polytill.storage.units import Unit
from tests import calls


async def test_a_replaced_secret_is_not_kept_where_it_does_not_sign(till: Polytill) -> None:
    """Without an overlap the replaced secret was kept until the next change, though it never signs again."""
    till.context.settings = till.context.settings.model_copy(update={"event_secret_overlap_s": 0})
    for _ in range(2):
        await set_destination(till.context, "https://host.example/events", "test")
    assert await till.context.owner.fetch("SELECT id FROM event_previous_secrets") == []
    found = await current(till.context)
    assert found is not None
    assert len(found.sealed_secrets) == 1


async def test_secrets_that_sign_no_more_are_forgotten_and_the_replaced_one_is_kept(till: Polytill) -> None:
    """Both in one unit, in this order: the one that is kept is none of those that are deleted."""
    for _ in range(2):
        await set_destination(till.context, "https://host.example/events", "test")
    async with till.context.owner.transaction() as tx:
        tx.add("UPDATE event_previous_secrets SET signs_until = $1", till.context.shared_after(-1))
    second = await current(till.context)
    await set_destination(till.context, "https://host.example/events", "test")
    rows = await till.context.owner.fetch("SELECT sealed_secret FROM event_previous_secrets")
    assert second is not None
    assert [row["sealed_secret"] for row in rows] == [second.sealed_secrets[0]]


async def test_a_process_that_leaves_late_is_deleted_once(till: Polytill) -> None:
    """Its own row had lapsed already, so two steps deleted it; now one statement does."""
    here, dead, alive = (presence.Presence(till.context, "serve", False) for _ in range(3))
    now = till.context.shared_after(0)
    for one, age in ((here, 3 * presence.KEPT_S), (dead, 2 * presence.KEPT_S), (alive, 0)):
        unit = Unit()
        nodes.announce(unit, nodes.Node(one.id, one.name, False, {}), now, now - timedelta(seconds=age - 60))
        await till.context.owner.commit(unit)
    await here.leave()
    assert [row["id"] for row in await till.context.owner.fetch("SELECT id FROM nodes")] == [alive.id]


async def test_lists_begin_with_the_newest_in_every_locale(till: Polytill) -> None:
    """A first page asked for ids before ``~``: in a database with the locale en_US no id is, so the lists were empty and
    no review case was found."""
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    practice = await till.context.practice(entry.id)
    if practice.db.engine.dialect == "postgresql":
        async with practice.db.transaction() as tx:
            for table in ("operator_cases", "payment_links", "saved_methods", "webhook_events"):
                await tx.fetch(f'ALTER TABLE {table} ALTER COLUMN id TYPE TEXT COLLATE "en-x-icu"')
    now, sandbox = till.context.world.now(), Environment.sandbox
    ids = [new_id(till.context.world) for _ in range(3)]
    unit = Unit()
    for one in ids:
        cases.open_case(unit, one, entry.id, sandbox, cases.NewCase("notice", one, None, {}), now)
        payment_links.insert(
            unit, PaymentLink(one, entry.id, sandbox, 100, "NGN", "Visit", None, True, "open", now, "test", now, now)
        )
    await practice.db.commit(unit)
    newest_first = sorted(ids, reverse=True)
    assert [case.id for case in await cases.listed(practice.db)] == newest_first
    assert [case.id for case in await cases.listed(practice.db, before=newest_first[0])] == newest_first[1:]
    assert [case.id for case in await cases.listed(practice.db, None, subject=ids[1])] == [ids[1]]
    assert [link.id for link in await payment_links.listed(practice.db, None, 10)] == newest_first
    assert [link.id for link in await payment_links.listed(practice.db, newest_first[1], 10)] == newest_first[2:]
    # Their rows need a payment or a configuration: that nothing is compared with a made-up id is all there is to see.
    assert await saved_methods.listed(practice.db, sandbox, None, None, 10) == []
    assert await webhook_events.listed(practice.db) == []
