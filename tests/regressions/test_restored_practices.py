"""A practice's database that is older than what the owner database knows never makes a paid payment payable again.

Source: the review of operations, D2 (the only way to a double charge that it found) and D16.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from polytill.app import Polytill
from polytill.domain.behind import BehindReason
from polytill.domain.errors import PracticeBehind
from polytill.domain.states import AttemptState, CaptureMode, Environment, PaymentStatus
from polytill.flows.admin import provider_configs, staff
from polytill.flows.command import Command
from polytill.flows.events import forward
from polytill.flows.payments import capture_cancel
from polytill.flows.recovery import checkout, lookup
from polytill.flows.worker.sweep import sweep_practice
from polytill.providers.contract import PaymentFact
from polytill.providers.outcomes import NotSent, Reason, Unknown
from polytill.storage import events, payments, practices
from polytill.storage.anchors import is_elsewhere
from polytill.storage.connection_budget import Budget
from polytill.storage.payments import Payment
from polytill.storage.postgres_connect import connect, with_database
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import LINK, REFUSED, Scene, held, keys, paid
from tests.outages import outage_of
from tests.restoring import Copy
from tests.storage.making import run

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, file_engine_url: str | None) -> AsyncIterator[Scene]:
    """Two practices' worth of history in one: forwarded payments, an open one, a session, and then a restored copy."""
    async with scenes.scene(tmp_path_factory.mktemp("restored"), file_engine_url) as made:
        await made.configure()
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def restored(scene: Scene) -> Before:
    """D2: back up, pay, restore. The process goes on running."""
    db, context = scene.db, scene.context
    link = await staff.invite(context, db, "ada@example.com", "Ada", "admin", "test")
    session = await staff.choose_password(context, db, link.rpartition("/")[2], PASSWORD)
    old = await scene.succeeded(key="old")
    scene.wire.says("create", held(transaction="tx-held"))
    authorized = (await scene.pay("held", capture=CaptureMode.manual)).payment
    scene.wire.says("create", LINK)
    link_open = (await scene.pay("open")).payment
    scene.wire.says("create", REFUSED)
    failed = (await scene.pay("failed")).payment
    scene.wire.says("create", Unknown(Reason.timeout))
    unknown = (await scene.pay("unknown")).payment
    await scene.later(0)
    copy = await Copy.of(context, scene.practice_id)
    scene.wire.says("create", paid(transaction="tx-lost"))
    lost = (await scene.pay("lost")).payment
    await scene.later(0)
    await copy.restore()
    return Before(session.token.reveal(), old, authorized, link_open, failed, unknown, lost)


@dataclass
class Before:
    """What was there when the copy was made, and the payment that was made afterwards (``lost``)."""

    token: str
    old: Payment
    authorized: Payment
    open: Payment
    failed: Payment
    unknown: Payment
    lost: Payment


async def test_a_repeat_makes_no_second_payable_payment(scene: Scene, restored: Before) -> None:
    """The same request under the same idempotency key: it was paid, and the restored database does not know it."""
    asked = len(scene.wire.of("create"))
    for _ in range(2):
        with pytest.raises(PracticeBehind):
            await scene.pay("lost")
    assert len(scene.wire.of("create")) == asked
    assert await payments.by_key(scene.db, "lost") is None
    expected = BehindReason.mark if scene.db.engine.dialect == "sqlite" else BehindReason.birthplace
    assert scene.context.opening.behind() == {scene.practice_id: expected}
    entry = await practices.by_id(scene.context.owner, scene.practice_id)
    assert entry is not None
    assert entry.behind is expected


async def test_nothing_moves_money_or_decides_about_it(scene: Scene, restored: Before) -> None:
    """Refunds, captures, cancellations, retries, cash, staff and keys."""
    till, practice_id, context = scene.till, scene.practice_id, scene.context
    told = len(scene.wire.calls)
    for attempt in (
        calls.refund(till, practice_id, restored.old.id, key="r"),
        calls.capture(till, practice_id, restored.authorized.id, key="c"),
        capture_cancel.cancel(context, practice_id, restored.authorized.id, Command("x", "test")),
        checkout.try_again(context, practice_id, restored.failed.id),
        scene.configure(given=keys("2")),
        provider_configs.prepare_credentials(
            context, practice_id, "scripted", Environment.production, keys("3", "live"), "test"
        ),
        provider_configs.remove(context, practice_id, "scripted", "test"),
        staff.sign_in(context, scene.db, "ada@example.com", PASSWORD, "192.0.2.1"),
    ):
        with pytest.raises(PracticeBehind):
            await attempt
    assert len(scene.wire.calls) == told
    assert await staff.session_of(context, scene.db, restored.token) is None


async def test_what_is_known_is_read_looked_up_and_repeated(scene: Scene, restored: Before) -> None:
    """Reads, webhooks and lookups go on, and a payment that the database knows is returned to its own repeat."""
    assert (await scene.pay("old")).payment.id == restored.old.id
    told = PaymentFact(paid(transaction="tx-1"), restored.open.id, "tx-1")
    [attempt] = await scene.attempts(restored.open.id)
    configuration = (await scene.context.configured(scene.db)).configurations["scripted"]
    await scene.delivery(configuration, replace(told, reference=attempt.id))
    assert (await scene.payment(restored.open.id)).status is PaymentStatus.succeeded
    before = await practices.by_id(scene.context.owner, scene.practice_id)
    await scene.later(0)  # its event reaches the feed, and the mark stays
    after = await practices.by_id(scene.context.owner, scene.practice_id)
    assert before is not None
    assert after is not None
    assert (after.mark, after.mark.event_id is None) == (before.mark, False)
    newest = (await events.read(scene.context.owner, 0, 100))[-1]
    assert newest.payment_id == restored.open.id


async def test_a_lost_link_is_not_replaced(scene: Scene, restored: Before) -> None:
    """What followed a lost link may be paid already, and the restored database would not know."""
    asked = len(scene.wire.of("create"))
    scene.wire.says("lookup", NotSent(Reason.not_found))
    await lookup.confirm(scene.context, scene.practice_id, restored.unknown.id)
    assert len(scene.wire.of("create")) == asked
    [attempt] = await scene.attempts(restored.unknown.id)
    assert attempt.state is AttemptState.unknown
    assert scene.wire.of("lookup")[-1].params.create is None


async def test_another_process_notices_it_too(scene: Scene, restored: Before) -> None:
    async with Polytill.open(scene.context.settings, world=scene.context.world, transport=scene.wire) as elsewhere:
        with pytest.raises(PracticeBehind):
            await calls.refund(elsewhere, scene.practice_id, restored.old.id, key="r2")
        assert elsewhere.context.opening.behind() == scene.context.opening.behind()


async def test_it_is_refused_without_the_owner_database(scene: Scene, restored: Before) -> None:
    """A process goes by its own copy of the directory, which has the mark."""
    async with outage_of(scene.context.settings) as outage:
        options: Any = {"world": scene.context.world, "transport": scene.wire}
        async with Polytill.open(outage.settings, **options) as elsewhere:
            await elsewhere.context.opening.learn()
            await elsewhere.context.catalog()
            await outage.begin()
            scene.clock.at_s += 2
            with pytest.raises(PracticeBehind):
                await calls.refund(elsewhere, scene.practice_id, restored.old.id, key="r3")
            await outage.end()


async def test_another_event_at_the_mark_is_noticed_by_the_payment_itself(scene: Scene) -> None:
    """Rows restored into the same database: no connection ends, and events that follow soon reach the old position."""
    entry, _ = await calls.create_practice(scene.till, "In place", "NGN")
    db = await scene.context.opening.practice(entry.id)
    other = replace(scene, practice_id=entry.id, db=db)
    await other.configure()
    await other.succeeded()
    await forward(await scene.context.practice(entry.id))
    assert db.anchor.mark.position == 1
    await run(db, "UPDATE events SET event_id = 'of another history' WHERE id = 1")
    with pytest.raises(PracticeBehind):
        await other.pay("new")
    assert db.anchor.behind is BehindReason.mark
    assert await payments.by_key(db, "new") is None
    await run(db, f"UPDATE events SET event_id = '{db.anchor.mark.event_id}' WHERE id = 1")
    await other.succeeded()  # the newer database is back


@pytest_asyncio.fixture(loop_scope="module")
async def in_place(scene: Scene) -> InPlace:
    """A practice with a paid, an authorized and a failed payment, into which older rows can be restored."""
    entry, _ = await calls.create_practice(scene.till, "In place", "NGN")
    one = InPlace(replace(scene, practice_id=entry.id, db=await scene.context.opening.practice(entry.id)))
    await one.scene.configure()
    one.paid = await one.scene.succeeded()
    scene.wire.says("create", held(transaction="tx-in-place"))
    one.authorized = (await one.scene.pay("held", capture=CaptureMode.manual)).payment
    scene.wire.says("create", REFUSED)
    one.failed = (await one.scene.pay("failed")).payment
    await sweep_practice(scene.context, entry.id, None)
    return one


class InPlace:
    """Rows are restored into the same database, so that no connection ends."""

    paid: Payment
    authorized: Payment
    failed: Payment

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    async def restore_rows(self) -> None:
        """The last event that was forwarded is not the one that the directory knows."""
        last = self.scene.db.anchor.mark.position
        await run(self.scene.db, f"UPDATE events SET event_id = 'of another history' WHERE id = {last}")

    def beginnings(self) -> dict[str, Coroutine[Any, Any, object]]:
        """Everything that moves money, or decides about it, in a state that allows it."""
        scene = self.scene
        context, practice_id = scene.context, scene.practice_id
        return {
            "payment": scene.pay("new"),
            "refund": calls.refund(scene.till, practice_id, self.paid.id, key="r"),
            "capture": calls.capture(scene.till, practice_id, self.authorized.id, key="c"),
            "cancel": capture_cancel.cancel(context, practice_id, self.authorized.id, Command("x", "test")),
            "retry": checkout.try_again(context, practice_id, self.failed.id),
            "keys": scene.configure(given=keys("2")),
        }


@pytest.mark.parametrize("what", ["payment", "refund", "capture", "cancel", "retry", "keys"])
async def test_rows_restored_into_the_same_database_are_noticed_by_each_beginning(in_place: InPlace, what: str) -> None:
    told = len(in_place.scene.wire.calls)
    await in_place.restore_rows()
    chosen = in_place.beginnings()
    for name, one in chosen.items():
        if name != what:
            one.close()
    with pytest.raises(PracticeBehind):
        await chosen[what]
    assert len(in_place.scene.wire.calls) == told


async def test_a_payment_without_an_event_that_is_missing_is_noticed(scene: Scene) -> None:
    """An unpaid payment with a link has no event yet, and the customer may still pay it."""
    entry, _ = await calls.create_practice(scene.till, "No event", "NGN")
    db = await scene.context.opening.practice(entry.id)
    other = replace(scene, practice_id=entry.id, db=db)
    await other.configure()
    scene.wire.says("create", LINK)
    open_payment = (await other.pay("open")).payment
    await sweep_practice(scene.context, entry.id, None)
    assert db.anchor.mark == (0, None, open_payment.id)
    for table in ("payment_identifiers", "payment_search", "payment_attempts", "payments"):
        column = "id" if table == "payments" else "payment_id"
        await run(db, f"DELETE FROM {table} WHERE {column} = '{open_payment.id}'")
    with pytest.raises(PracticeBehind):
        await other.pay("open")
    assert db.anchor.behind is BehindReason.mark


async def test_a_server_that_does_not_tell_its_identifier(postgres_url: str) -> None:
    """``pg_control_system`` may be forbidden: then databases of one server are told apart, and servers are not."""
    role = f"plain_{secrets.token_hex(4)}"
    owner = await connect(with_database(postgres_url, "postgres"))
    try:
        await owner.execute(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'plain'")
        await owner.execute(f"CREATE DATABASE {role} OWNER {role}")
        inside = await connect(with_database(postgres_url, role))
        await inside.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        whole = await Budget(postgres_url, 1).place(inside)
        await inside.close()
        plain = await connect(f"postgresql://{role}:plain@{postgres_url.rpartition('@')[2]}/{role}")
        told = await Budget(postgres_url, 1).place(plain)
        await plain.close()
        system, _, database = whole.partition("/")
        assert (bool(system), told) == (True, f"/{database}")
        assert not is_elsewhere(whole, told)
    finally:
        await owner.execute(f"DROP DATABASE IF EXISTS {role} WITH (FORCE)")
        await owner.execute(f"DROP ROLE IF EXISTS {role}")
        await owner.close()
