"""Every known practice is served while the owner database is unavailable, safely, and nothing that is known to have changed.

Sources: the review of operations, D4 (87 of 380 payments were refused: practices that the process had not served lately), and
the closing note of 2026-11-30 (a cached directory row was used although it was known to have changed).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.background import learn
from polytill.domain.errors import NotFound, NotNow
from polytill.domain.money import Money
from polytill.domain.secret import Secret
from polytill.domain.states import EventState, PaymentStatus, PracticeState
from polytill.flows import lease, presence
from polytill.flows.admin import catalog, clusters, readiness
from polytill.flows.admin.practices import PracticeChanges, change_practice, create_key, key_hash, revoke_key
from polytill.flows.command import Command
from polytill.flows.payments.create import create_payment
from polytill.flows.payments.reading import PaymentDetails
from polytill.flows.payments.request import PaymentRequest
from polytill.flows.webhooks import receive
from polytill.flows.worker import claims
from polytill.providers.contract import Customer, WebhookResult
from polytill.providers.http import to_json
from polytill.providers.outcomes import Reason, Unknown
from polytill.storage import directory, leases, nodes, watch
from polytill.web.api.auth import KeyCache
from tests import calls
from tests.flows.scenes import Scene, paid
from tests.flows.scripted import put
from tests.installation import fresh_settings, opened
from tests.outages import Outage, outage_of


@dataclass
class Elsewhere:
    """Another process of the scene's installation, which has served nobody yet, and an outage to come."""

    scene: Scene
    till: Polytill
    outage: Outage
    here: presence.Presence

    @property
    def context(self) -> Any:
        return self.till.context

    async def later(self, seconds: float) -> None:
        self.scene.clock.at_s += seconds

    async def learn(self) -> None:
        """What runs in the background of a process that serves."""
        await learn(self.till.context)
        await self.here.beat()

    async def pay(self, practice_id: int, key: str = "k") -> PaymentDetails:
        request = PaymentRequest(Money(1000, "NGN"), customer=Customer("ada@example.com"))
        return await create_payment(self.till.context, practice_id, request, Command(key, "test"))


@pytest.fixture
async def elsewhere(scene: Scene) -> AsyncIterator[Elsewhere]:
    async with outage_of(scene.context.settings) as outage:
        opened = Polytill.open(outage.settings, world=scene.context.world, transport=scene.wire)
        async with opened as till:
            yield Elsewhere(scene, till, outage, presence.Presence(till.context, "serve", False))


async def test_a_practice_that_was_never_served_here_is_served(elsewhere: Elsewhere) -> None:
    scene, context = elsewhere.scene, elsewhere.context
    configuration = await scene.configure()
    api_key = await create_key(scene.context, "practice", scene.practice_id, "k", None, "test")
    await elsewhere.learn()
    await elsewhere.outage.begin()
    await elsewhere.later(watch.INTERVAL_S)
    assert context.opening.opened() == []
    found = await KeyCache(context).find(key_hash(api_key))
    assert found is not None
    assert found.practice_id == scene.practice_id
    scene.wire.says("create", paid())
    taken = await elsewhere.pay(scene.practice_id)
    assert (taken.payment.status, taken.payment.amount_captured) == (PaymentStatus.succeeded, 1000)
    event = await receive.receive(
        context,
        configuration.hook_token,
        {"x-secret": "wh_test1"},
        to_json({"event": put(WebhookResult("event", "event-1", "ignore")), "named": []}),
    )
    assert event is not None
    assert event.state is EventState.ignored
    looked = await readiness.check(context)
    assert (looked.degraded, looked.practices, looked.red) == ([readiness.OWNER_AWAY], 1, None)
    # Once that database is back, the worker is told of the practice before anything else is.
    await elsewhere.outage.end()
    await elsewhere.later(watch.INTERVAL_S)
    assert await leases.all_held(scene.context.owner) == {}
    assert await lease.renew(context) == 1
    assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
    assert context.owed_leases == set()


async def test_no_payment_begins_that_no_worker_would_hear_of(elsewhere: Elsewhere) -> None:
    """The announcement among the nodes is the lease: before the first, and when the last has ended, nothing begins."""
    scene, context = elsewhere.scene, elsewhere.context
    await scene.configure()
    await learn(elsewhere.till.context)
    await elsewhere.outage.begin()
    with pytest.raises(NotNow) as found:
        await elsewhere.pay(scene.practice_id)
    assert found.value.code == "no_lease"
    await elsewhere.outage.end()
    await elsewhere.later(watch.INTERVAL_S)
    await elsewhere.learn()
    await elsewhere.outage.begin()
    await elsewhere.later(presence.LEASE_S - lease.MARGIN_S - 1)
    scene.wire.says("create", paid())
    assert (await elsewhere.pay(scene.practice_id)).payment.status is PaymentStatus.succeeded
    await elsewhere.later(1)
    with pytest.raises(NotNow) as found:
        await elsewhere.pay(scene.practice_id, "second")
    assert found.value.code == "no_lease"
    looked = await readiness.check(context)
    assert (looked.degraded, looked.practices) == ([readiness.OWNER_AWAY, readiness.LEASES_ENDED], 0)
    assert looked.red is None
    assert [call for call in scene.wire.problems] == []


async def test_a_process_that_dies_in_the_outage_leaves_nothing_unseen(elsewhere: Elsewhere) -> None:
    """Its payment's outcome is unknown and no lease says so: its lapsed announcement has every practice visited."""
    scene = elsewhere.scene
    await scene.configure()
    await elsewhere.learn()
    await elsewhere.outage.begin()
    scene.wire.says("create", Unknown(Reason.timeout))
    payment = (await elsewhere.pay(scene.practice_id)).payment
    assert payment.status is PaymentStatus.processing
    await elsewhere.outage.end()  # and the process is gone, without a word
    worker = claims.Lapsed(scene.context)
    assert await worker.look() is False
    assert await leases.all_held(scene.context.owner) == {}
    await elsewhere.later(presence.LIVE_S + claims.LAPSED_EVERY_S)
    assert await worker.look() is True
    assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
    scene.wire.says("lookup", paid())
    await scene.later(20)
    assert (await scene.payment(payment.id)).status is PaymentStatus.succeeded
    # It may only have been cut off: its row stays until its announcement no longer counts, and then all are visited again.
    await scene.later(120)
    assert await leases.all_held(scene.context.owner) == {}
    assert await worker.look() is False
    assert len(await nodes.lapsed(scene.context.owner, scene.context.shared_after(0))) == 1
    await elsewhere.later(presence.LEASE_S + claims.GRACE_S)
    assert await worker.look() is True
    assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
    assert await nodes.lapsed(scene.context.owner, scene.context.shared_after(0)) == {}


async def test_a_process_that_ends_writes_the_leases_that_it_owes(elsewhere: Elsewhere) -> None:
    scene = elsewhere.scene
    await scene.configure()
    await elsewhere.learn()
    await elsewhere.outage.begin()
    scene.wire.says("create", Unknown(Reason.timeout))
    await elsewhere.pay(scene.practice_id)
    await elsewhere.outage.end()
    await elsewhere.here.leave()
    assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
    await elsewhere.later(presence.LEASE_S)
    assert await nodes.lapsed(scene.context.owner, scene.context.shared_after(0)) == {}
    await elsewhere.here.beat()  # one that was under way
    assert await nodes.live(scene.context.owner, scene.context.shared_after(0)) == []


async def test_what_is_known_to_have_changed_is_not_used(elsewhere: Elsewhere) -> None:
    """The change was noticed, and then nothing could be read: the row of before was used for the whole outage."""
    scene, context = elsewhere.scene, elsewhere.context
    await scene.configure()
    other = (await calls.create_practice(scene.till, "Other", "NGN"))[0].id
    made = [
        await create_key(scene.context, "practice", practice_id, "k", None, "test")
        for practice_id in (scene.practice_id, scene.practice_id, other)
    ]
    kept, revoked, others = [key_hash(one) for one in made]
    cache = KeyCache(context)
    await elsewhere.learn()
    for one in (kept, revoked, others):
        found = await cache.find(one)
        assert found is not None
        if one == revoked:
            key_id = found.id
    assert (await context.opening.entry(scene.practice_id)).state == "active"
    assert (await context.catalog())["scripted"].status == "active"
    await change_practice(scene.context, scene.practice_id, PracticeChanges(state=PracticeState.suspended), "test")
    await revoke_key(scene.context, key_id, None, "test")
    await catalog.change(scene.context, "scripted", {"status": "inactive"}, None, "test")
    await elsewhere.later(watch.INTERVAL_S)
    await context.opening.watch.generation()
    await elsewhere.outage.begin()
    for _ in range(2):
        with pytest.raises(NotNow):
            await context.opening.entry(scene.practice_id)
        with pytest.raises(NotNow):
            await cache.find(revoked)
        for one in (kept, others):
            assert await cache.find(one) is not None
        assert (await context.opening.entry(other)).name == "Other"
        assert (await context.catalog())["scripted"].status == "inactive"
        assert lease.servable(context) == 1
        await elsewhere.later(watch.INTERVAL_S)
    await elsewhere.outage.end()
    await elsewhere.later(watch.INTERVAL_S)
    assert (await context.opening.entry(scene.practice_id)).state == "suspended"
    assert await cache.find(revoked) is None


async def test_a_key_that_was_revoked_here_stays_revoked(elsewhere: Elsewhere) -> None:
    scene, context = elsewhere.scene, elsewhere.context
    hashed = key_hash(await create_key(scene.context, "practice", scene.practice_id, "k", None, "test"))
    cache = KeyCache(context)
    await elsewhere.learn()
    found = await cache.find(hashed)
    assert found is not None
    await revoke_key(context, found.id, None, "test")
    cache.forget()
    await elsewhere.outage.begin()
    with pytest.raises(NotNow):
        await cache.find(hashed)


async def test_more_changes_than_a_look_sees(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what has changed then, so nothing that was read before is used."""
    monkeypatch.setattr(watch, "LINES", 3)
    scene, context = elsewhere.scene, elsewhere.context
    await elsewhere.later(watch.INTERVAL_S)
    await elsewhere.learn()
    for number in range(3):
        await create_key(scene.context, "owner", None, f"k{number}", None, "test")
    await elsewhere.later(watch.INTERVAL_S)
    await context.opening.watch.generation()
    await elsewhere.outage.begin()
    with pytest.raises(NotNow):
        await context.opening.entry(scene.practice_id)


async def test_the_copy_is_bounded_and_kept_up_to_date(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "PAGE", 2)
    monkeypatch.setattr(directory, "MOST_PRACTICES", 4)
    scene, context = elsewhere.scene, elsewhere.context
    made = [scene.practice_id]

    async def known() -> list[int]:
        await elsewhere.later(directory.READ_EVERY_S)
        await learn(elsewhere.till.context)
        return sorted(entry.id for entry in context.opening.directory.known())

    for number in range(6):
        made.append((await calls.create_practice(scene.till, f"Clinic {number}", "NGN"))[0].id)
        assert await known() == made[:4]
    await change_practice(scene.context, made[1], PracticeChanges(state=PracticeState.suspended), "test")
    assert await known() == [made[0], *made[2:4]]
    assert not await context.opening.directory.read()  # nothing has changed since
    # What was served here is known beyond the bound.
    await context.opening.entry(made[-1])
    assert made[-1] in await known()
    with contextlib.suppress(NotNow):
        await elsewhere.outage.begin()
        await elsewhere.later(watch.INTERVAL_S)
        assert (await context.opening.entry(made[-1])).name == "Clinic 5"


async def test_no_payment_at_a_cluster_that_is_known_to_have_changed(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address was read before the change, and the practice's database was open: the open one was used."""
    settings = fresh_settings(tmp_path, postgres_url)
    async with opened(settings) as till, outage_of(settings) as outage, Polytill.open(outage.settings) as other:
        monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
        await clusters.add(till.context, "second", Secret(postgres_url), clusters.Limits(), "test")
        practice_id = (await calls.create_practice(till, "A", "NGN", cluster="second"))[0].id
        await learn(other.context)
        await other.context.opening.practice(practice_id)
        await clusters.change(till.context, "second", clusters.ClusterChanges(url=Secret(postgres_url)), "test")
        await other.context.opening.watch.generation()
        await outage.begin()
        for _ in range(2):
            with pytest.raises(NotNow):
                await other.context.opening.practice(practice_id)
        await outage.end()
        assert (await other.context.opening.practice(practice_id)).practice_id == practice_id


async def test_a_process_that_came_back_is_missed_again(elsewhere: Elsewhere) -> None:
    """The second time it was noticed when its announcement no longer counted, a quarter of an hour later."""
    scene = elsewhere.scene
    worker = claims.Lapsed(scene.context)
    await elsewhere.here.beat()
    await elsewhere.later(presence.LIVE_S + claims.LAPSED_EVERY_S)
    assert await worker.look() is True
    await elsewhere.here.beat()
    await elsewhere.later(claims.LAPSED_EVERY_S)
    assert await worker.look() is False
    await elsewhere.later(claims.MISSED_EVERY_S)
    assert await worker.look() is True


async def test_processes_that_die_one_after_the_other_have_everyone_visited_once(elsewhere: Elsewhere) -> None:
    scene, context = elsewhere.scene, elsewhere.context
    worker, looks = claims.Lapsed(scene.context), []
    for _ in range(10):  # a process that is killed every forty seconds
        await presence.Presence(context, "serve", False).beat()
        await elsewhere.later(presence.LIVE_S + claims.LAPSED_EVERY_S)
        looks.append(await worker.look())
    assert looks == [True, *[False] * 7, True, False]
    # Each of them is there until it has been visited for.
    assert len(await nodes.lapsed(scene.context.owner, scene.context.shared_after(0))) == 10


async def test_a_time_that_jumps_ahead_forgets_no_process_at_work(elsewhere: Elsewhere) -> None:
    """A standby an hour ahead takes over: whoever is cut off counts on its announcement all the same."""
    scene = elsewhere.scene
    worker = claims.Lapsed(scene.context)
    await elsewhere.here.beat()
    scene.context.server_clock._zero_s = scene.context.world.time_s() - scene.context.world.elapsed_s() + 3600
    assert await worker.look() is True
    assert len(await nodes.lapsed(scene.context.owner, scene.context.shared_after(0))) == 1
    await elsewhere.later(presence.LEASE_S + presence.LIVE_S + claims.GRACE_S)
    assert await worker.look() is True
    assert await nodes.lapsed(scene.context.owner, scene.context.shared_after(0)) == {}


async def test_a_lease_is_not_asked_for_while_the_owner_database_is_known_to_be_away(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each practice's first payment waited as long as a connection does."""
    scene, context = elsewhere.scene, elsewhere.context
    await scene.configure()
    await elsewhere.learn()
    await elsewhere.outage.begin()
    await elsewhere.later(watch.INTERVAL_S)
    asked: list[int] = []
    monkeypatch.setattr(leases, "hold", lambda _, practice_id, *__: asked.append(practice_id))
    scene.wire.says("create", paid())
    assert (await elsewhere.pay(scene.practice_id)).payment.amount_captured == 1000
    assert (asked, context.owed_leases) == ([], {scene.practice_id})


async def test_ids_that_never_existed_leave_nothing_behind(elsewhere: Elsewhere) -> None:
    """The sign-in page takes any id: each counted as a change, was kept, and kept rows that were being read from the cache."""
    opening = elsewhere.context.opening
    directory_of = opening.directory
    changes = directory_of._changed_here
    for practice_id in range(1_000, 1_050):
        with pytest.raises(NotFound):
            await opening.entry(practice_id)
    assert (directory_of._changed_here, directory_of._forgotten) == (changes, set())
    assert (await opening.entry(elsewhere.scene.practice_id)).state == "active"
