"""A process that starts while the owner database is away serves every practice from its sealed local copy.

Source: the review of operations, D4, and the section "Against the plan", item 6: a restart in an outage stopped every practice.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from polytill.app import Polytill
from polytill.background import learn
from polytill.domain.errors import KeyRingDiffers, NotNow
from polytill.domain.sealing import KeyRing
from polytill.domain.states import EventState, PaymentStatus
from polytill.flows import lease, owner_snapshot, presence
from polytill.flows.admin import readiness
from polytill.flows.admin.practices import create_key, key_hash
from polytill.flows.webhooks import receive
from polytill.providers.contract import WebhookResult
from polytill.providers.http import to_json
from polytill.settings import Settings
from polytill.storage import directory, leases, owner_snapshots, watch
from polytill.web.api.auth import KeyCache
from tests import calls
from tests.flows import scenes
from tests.flows.scenes import Scene, paid
from tests.flows.scripted import put
from tests.outages import Outage, outage_of


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        await made.configure()
        yield made


@pytest.fixture
async def outage(scene: Scene) -> AsyncIterator[Outage]:
    async with outage_of(scene.context.settings) as made:
        yield made


@asynccontextmanager
async def process(scene: Scene, settings: Settings) -> AsyncIterator[Polytill]:
    options: Any = {"world": scene.context.world, "transport": scene.wire}
    async with Polytill.open(settings, **options) as till:
        yield till


async def served(scene: Scene, settings: Settings, leaves: bool) -> Path:
    """A process has learned everything and was announced; then it ends, or dies."""
    async with process(scene, settings) as till:
        context = till.context
        await learn(context)
        here = presence.Presence(context, "serve", False)
        await here.beat()
        owner_snapshot.announce(context, here.id)
        if leaves:
            await owner_snapshot.leave(context, here)
        else:
            context.snapshot.announcement.release()  # the kernel ends the lock of a dead process
        return owner_snapshot.path_of(context)


async def _pay(till: Polytill, scene: Scene, key: str) -> Any:
    return await replace(scene, till=till).pay(key)


async def test_a_process_that_starts_in_an_outage_serves_every_practice(scene: Scene, outage: Outage) -> None:
    api_key = await create_key(scene.context, "practice", scene.practice_id, "k", None, "test")
    token = (await scene.context.configured(scene.db)).configurations["scripted"].hook_token
    path = await served(scene, outage.settings, leaves=False)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert key_hash(api_key).encode() not in path.read_bytes()
    await outage.begin()
    scene.clock.at_s += 60
    with capture_logs() as logs:
        async with process(scene, outage.settings) as till:
            context = till.context
            assert await KeyCache(context).find(key_hash(api_key)) is not None
            scene.wire.says("create", paid())
            assert (await _pay(till, scene, "in the outage")).payment.status is PaymentStatus.succeeded
            body = to_json({"event": put(WebhookResult("event", "event-1", "ignore")), "named": []})
            event = await receive.receive(context, token, {"x-secret": "wh_test1"}, body)
            assert event is not None
            assert event.state is EventState.ignored
            with pytest.raises(NotNow):
                await calls.create_practice(till, "New", "NGN")
            looked = await readiness.check(context)
            assert (looked.degraded, looked.practices, looked.red) == ([readiness.OWNER_AWAY], 1, None)
            # The database is back: the worker is told of the practice, and everything is read again.
            await outage.end()
            scene.clock.at_s += watch.INTERVAL_S + directory.READ_EVERY_S
            assert await lease.renew(context) == 1
            assert list(await leases.all_held(scene.context.owner)) == [scene.practice_id]
            await learn(context)
            made, _ = await calls.create_practice(till, "New", "NGN")
            assert made.id == scene.practice_id + 1
    assert [one["practices"] for one in logs if one["event"] == "snapshot_used"] == [1]


@pytest.mark.parametrize("how", ["left", "too late", "taken"])
async def test_no_payment_begins_that_no_worker_would_hear_of(scene: Scene, outage: Outage, how: str) -> None:
    """Nobody died here whose announcement still counts. Everything else goes on."""
    await served(scene, outage.settings, leaves=how == "left")
    done = await scene.succeeded()
    await outage.begin()
    scene.clock.at_s += presence.LEASE_S if how == "too late" else 1
    async with process(scene, outage.settings) as first:
        if how == "taken":
            assert first.context.announced_until_s > 0
        async with process(scene, outage.settings) as till:
            with pytest.raises(NotNow) as refused:
                await _pay(till, scene, "new")
            assert refused.value.code == "no_lease"
            assert await till.get(scene.practice_id, done.id) is not None
            assert (await readiness.check(till.context)).degraded == [readiness.OWNER_AWAY, readiness.LEASES_ENDED]
    await outage.end()


async def test_a_second_restart_in_the_outage_goes_on_as_well(scene: Scene, outage: Outage) -> None:
    await served(scene, outage.settings, leaves=False)
    await outage.begin()
    for number in range(3):
        scene.clock.at_s += 60
        async with process(scene, outage.settings) as till:
            scene.wire.says("create", paid(transaction=f"tx-{number}"))
            assert (await _pay(till, scene, f"key-{number}")).payment.status is PaymentStatus.succeeded
            await owner_snapshot.leave(till.context, presence.Presence(till.context, "serve", False))
    await outage.end()


def _altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("spoil", [_altered, _cut, _binary, Path.unlink], ids=["altered", "cut", "binary", "missing"])
async def test_a_file_that_is_not_whole_is_ignored(scene: Scene, outage: Outage, spoil: Callable[[Path], None]) -> None:
    spoil(await served(scene, outage.settings, leaves=False))
    await _is_ignored(scene, outage, outage.settings, None if spoil is Path.unlink else "altered")


async def _is_ignored(scene: Scene, outage: Outage, settings: Settings, why: str | None) -> None:
    await outage.begin()
    with capture_logs() as logs, pytest.raises(NotNow):
        async with process(scene, settings):
            pass
    assert [one["reason"] for one in logs if one["event"] == "snapshot_ignored"] == ([] if why is None else [why])
    await outage.end()


async def test_a_snapshot_is_used_for_a_set_time(scene: Scene, outage: Outage) -> None:
    await served(scene, outage.settings, leaves=False)
    scene.clock.at_s += outage.settings.snapshot_max_age_s + 1
    await _is_ignored(scene, outage, outage.settings, "too old")
    scene.clock.at_s -= 2 * outage.settings.snapshot_max_age_s
    await _is_ignored(scene, outage, outage.settings, "from the future")
    scene.clock.at_s += outage.settings.snapshot_max_age_s


async def test_a_snapshot_of_another_version_is_ignored(
    scene: Scene, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served(scene, outage.settings, leaves=False)
    monkeypatch.setattr(owner_snapshots, "FORMAT", 2)
    await _is_ignored(scene, outage, outage.settings, "another version")


@pytest.mark.parametrize("what", ["path", "machine", "owner database"])
async def test_a_snapshot_that_was_copied_is_ignored(
    scene: Scene, outage: Outage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    """A copy of an installation whose owner database cannot be reached must not go on as the original."""
    path = await served(scene, outage.settings, leaves=False)
    settings = outage.settings
    if what == "path":
        ring = tmp_path / "copied"
        ring.write_bytes(settings.keyring.read_bytes())
        ring.chmod(0o600)
        path.rename(ring.with_name(f"copied{owner_snapshot.SUFFIX}"))
        settings = settings.model_copy(update={"keyring": ring})
    elif what == "machine":
        monkeypatch.setattr(owner_snapshots, "machine", lambda: "another")
    else:
        secret = type(settings.owner_database_url)
        settings = settings.model_copy(update={"owner_database_url": secret(f"sqlite:///{tmp_path}/other/owner.db")})
    await _is_ignored(scene, outage, settings, "another installation")


async def test_another_key_ring_is_refused(scene: Scene, outage: Outage) -> None:
    """Not even the snapshot opens with it."""
    await served(scene, outage.settings, leaves=False)
    ring = outage.settings.keyring
    content = ring.read_bytes()
    ring.unlink()
    KeyRing.create(ring, scene.context.world)
    await outage.begin()
    with pytest.raises((NotNow, KeyRingDiffers)):
        async with process(scene, outage.settings):
            pass
    ring.write_bytes(content)
    await outage.end()


async def test_a_folder_that_cannot_be_written_is_said_once(
    scene: Scene, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(owner_snapshots, "write", refuses)
    async with process(scene, outage.settings) as till:
        with capture_logs() as logs:
            for _ in range(3):
                await owner_snapshot.keep(till.context, True)
    assert [one["reason"] for one in logs if one["event"] == "snapshot_not_written"] == ["Permission denied"]


WRITER = """
import sys
from pathlib import Path
from polytill.storage import owner_snapshots
number = 0
print("begun", flush=True)
while True:
    number += 1
    with owner_snapshots.replacing(Path(sys.argv[1])) as file:
        file.write(str(number % 10).encode() * 3_000_000)
"""


def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "ring.snapshot"
    for number in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.003 * (number + 1))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
