"""An owner database that was restored from a backup: no event is lost or hidden behind a cursor, and nothing comes back
unnoticed.

Source: the review of operations, D6 (cursors were used twice, and events of the lost time never came back).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from polytill.app import Polytill
from polytill.background import sweep
from polytill.domain.copies import CopyReason
from polytill.domain.errors import Conflict, InstallationCopied, OwnerDatabaseOlder, Unauthorized
from polytill.domain.states import ApiKeyKind
from polytill.flows import presence
from polytill.flows.admin import readiness, staff
from polytill.flows.admin.practices import create_key, key_hash, revoke_key
from polytill.flows.admin.readiness import NO_WORKER, OWNER_OLDER
from polytill.flows.adoption.installation import adopt_installation
from polytill.storage import api_keys, events, leases, payment_records, practices
from polytill.storage.events import Event
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import Scene
from tests.restoring import OwnerBackup

PASSWORD = "correct horse battery"


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        await made.configure()
        yield made


async def _feed(scene: Scene, after: int = 0) -> list[Event]:
    return await events.read(scene.context.owner, after, 500)


@asynccontextmanager
async def restarted(scene: Scene) -> AsyncIterator[Scene]:
    """The same installation in a new process, a second later."""
    scene.clock.at_s += 1
    options: Any = {"world": scene.context.world, "transport": scene.wire}
    async with Polytill.open(scene.context.settings, **options) as till:
        yield replace(scene, till=till, db=await till.context.opening.practice(scene.practice_id))


async def _paid_and_forwarded(scene: Scene, number: int) -> list[str]:
    made = [(await scene.succeeded()).id for _ in range(number)]
    await scene.later(0)
    return made


async def test_no_cursor_hides_an_event_of_after_the_restore(scene: Scene) -> None:
    """D6: three payments after the backup, restore, and three more. A host has read the first three."""
    await _paid_and_forwarded(scene, 2)
    backup = await OwnerBackup.of(scene.context.settings)
    lost = await _paid_and_forwarded(scene, 3)
    seen = await _feed(scene)
    await backup.restore()
    async with restarted(scene) as again:
        assert len(await _feed(again)) == 2
        with capture_logs() as logs:
            new = await _paid_and_forwarded(again, 3)
        now = await _feed(again)
        assert [one.payment_id for one in now[2:]] == [*lost, *new]
        assert [one.event_id for one in now[:5]] == [one.event_id for one in seen]
        # Whatever the host read last: its cursor leads to every event that it does not know.
        for at, read in enumerate(seen):
            known = {one.event_id for one in seen[: at + 1]}
            following = {one.event_id for one in await _feed(again, read.position)}
            assert {one.event_id for one in now} - known <= following
        assert len({one.position for one in now}) == len(now)
        errors = [one["event"] for one in logs if one["log_level"] == "error"]
        assert errors == ["events_lost_by_owner", "owner_database_older"]
        assert len(await payment_records.listed(again.context.owner, again.practice_id, "", 100)) == 8


async def test_events_of_a_quiet_practice_come_back_as_well(scene: Scene) -> None:
    """No new event: the sweep that every practice gets when a worker starts finds them."""
    backup = await OwnerBackup.of(scene.context.settings)
    await _paid_and_forwarded(scene, 2)
    seen = await _feed(scene)
    await backup.restore()
    async with restarted(scene) as again:
        assert await _feed(again) == []
        await sweep(again.context, everyone=True)
        assert [one.event_id for one in await _feed(again)] == [one.event_id for one in seen]
        assert (await _feed(again))[0].position > seen[-1].position
        entry = await practices.by_id(again.context.owner, again.practice_id)
        assert entry is not None
        assert entry.mark.event_id == seen[-1].event_id
        with capture_logs() as logs:
            await sweep(again.context, everyone=True)
        assert len(await _feed(again)) == 2
        assert [one for one in logs if one["log_level"] == "error"] == []


async def test_a_restart_changes_no_cursor_of_an_event(scene: Scene) -> None:
    """Nothing was restored: nothing is forwarded twice, and no event gets another cursor."""
    await _paid_and_forwarded(scene, 2)
    seen = await _feed(scene)
    async with restarted(scene) as again:
        await sweep(again.context, everyone=True)
        assert await _feed(again) == seen
        await _paid_and_forwarded(again, 1)
        assert (await _feed(again))[:2] == seen


async def test_a_process_that_goes_on_through_the_restore(scene: Scene, engine_url: str | None) -> None:
    """It has read the newest mark, and relies on a lease that the restored database does not have."""
    here = presence.Presence(scene.context, "worker", True)
    await here.beat()
    backup = await OwnerBackup.of(scene.context.settings)
    lost = await _paid_and_forwarded(scene, 2)
    seen = await _feed(scene)
    scene.clock.at_s += presence.ANNOUNCED_S
    await here.beat()
    await backup.restore()
    if engine_url is not None:
        await scene.context.owner.engine.close()  # its statements were prepared for tables that are gone
    scene.clock.at_s += presence.ANNOUNCED_S
    with capture_logs() as logs:
        await here.beat()
        new = await _paid_and_forwarded(scene, 1)
    assert "announcement_lost" in {one["event"] for one in logs}
    assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
    assert [one.payment_id for one in await _feed(scene)] == [*lost, *new]
    assert [one.payment_id for one in await _feed(scene, seen[-1].position)] == [*lost, *new]
    scene.clock.at_s += presence.ANNOUNCED_S
    with capture_logs() as logs:
        await here.beat()
    assert [one for one in logs if one["event"] == "announcement_lost"] == []


# ── Until it is adopted ──


async def _older(scene: Scene, again: Scene) -> None:
    """The worker has noticed that events were lost."""
    await sweep(again.context, everyone=True)
    assert again.context.installation.older_since is not None


async def test_nothing_comes_back_unnoticed(scene: Scene) -> None:
    """A revoked key stays revoked, staff who were deactivated stay out, and doctor and readiness say why."""
    context, owner = scene.context, scene.context.owner
    link = await staff.invite(context, owner, "ada@example.com", "Ada", "admin", "test")
    session = await staff.choose_password(context, owner, link.rpartition("/")[2], PASSWORD)
    key = await create_key(context, ApiKeyKind.practice, scene.practice_id, "host", None, "test")
    await _paid_and_forwarded(scene, 1)
    backup = await OwnerBackup.of(context.settings)
    await staff.change(context, owner, "ada@example.com", None, False, "test")
    [held] = [one for one in await api_keys.listed(owner, scene.practice_id) if one.name == "host"]
    await revoke_key(context, held.id, scene.practice_id, "test")
    await _paid_and_forwarded(scene, 1)
    await backup.restore()
    async with restarted(scene) as again:
        context, owner = again.context, again.context.owner
        assert await api_keys.by_hash(owner, key_hash(key)) is not None
        await _older(scene, again)
        assert await api_keys.by_hash(owner, key_hash(key)) is None
        assert await staff.session_of(context, owner, session.token.reveal()) is None
        with pytest.raises(OwnerDatabaseOlder):
            await staff.sign_in(context, owner, "ada@example.com", PASSWORD, "192.0.2.1")
        with pytest.raises(OwnerDatabaseOlder):
            await calls.create_practice(again.till, "Second", "NGN")
        assert OWNER_OLDER in (await readiness.check(context)).degraded
        await again.succeeded()  # payments go on
        found = await adopt_installation(context, "test")
        assert found.is_done
        assert await staff.session_of(context, owner, session.token.reveal()) is None
        with pytest.raises(Unauthorized):
            await staff.sign_in(context, owner, "ada@example.com", PASSWORD, "192.0.2.1")
        assert (await readiness.check(context)).degraded == [NO_WORKER]
        with pytest.raises(Conflict):
            await adopt_installation(context, "test")
        await calls.create_practice(again.till, "Second", "NGN")


async def test_a_practice_of_after_the_backup_keeps_its_id(scene: Scene) -> None:
    backup = await OwnerBackup.of(scene.context.settings)
    lost, _ = await calls.create_practice(scene.till, "Lost", "NGN")
    await backup.restore()
    async with restarted(scene) as again:
        for _ in range(2):
            with pytest.raises(OwnerDatabaseOlder):
                await calls.create_practice(again.till, "New", "NGN")
        dry = await adopt_installation(again.context, "test", is_dry=True)
        assert [(one.practice_id, one.name) for one in dry.unknown] == [(lost.id, "Lost")]
        assert not dry.is_done
        assert again.context.installation.older_since is not None
        found = await adopt_installation(again.context, "test")
        assert any("Lost" in note and lost.database_name in note for note in found.notes)
        made, _ = await calls.create_practice(again.till, "New", "NGN")
        assert made.id == lost.id + 1


async def test_a_dump_restored_into_another_database_is_a_copy(scene: Scene, engine_url: str | None) -> None:
    """PostgreSQL cannot tell it from a copy of the installation, so nothing of production is done before it is adopted."""
    if engine_url is None:
        pytest.skip("a file that is put back at its path is no copy")
    await _paid_and_forwarded(scene, 1)
    backup = await OwnerBackup.of(scene.context.settings)
    lost = await _paid_and_forwarded(scene, 1)
    await backup.restore(is_elsewhere=True)
    async with restarted(scene) as again:
        context = again.context
        assert context.installation.copied is CopyReason.place
        assert await sweep(context, everyone=True) == 0
        with pytest.raises(InstallationCopied):
            await again.pay("new")  # of the sandbox, but the practice's database is the original
        found = await adopt_installation(context, "test")
        assert (found.is_done, found.events, found.behind) == (True, 1, [])
        assert [one.payment_id for one in await _feed(again)][1:] == lost
        await again.succeeded()
