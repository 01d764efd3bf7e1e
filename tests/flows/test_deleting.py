"""Deleting a practice on both engines: only what may be deleted, nothing that opens afterwards, and a tombstone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.doctor import examine
from polytill.domain.errors import Conflict, Invalid, NotFound, OperatorError, PolytillError, PracticeDeleted
from polytill.domain.event_types import EventType
from polytill.domain.jobs import JobState, PartState
from polytill.domain.sealing import DataKey
from polytill.domain.states import ApiKeyKind, PracticeState
from polytill.flows import backups
from polytill.flows.admin import practices as admin_practices
from polytill.flows.admin.practices import NewPractice
from polytill.flows.jobs import control, delete
from polytill.flows.jobs.delete import Wanted
from polytill.flows.lifecycle.closing import close, reopen
from polytill.flows.lifecycle.export_check import check_export
from polytill.providers.contract import PaymentFact
from polytill.storage import (
    api_keys,
    audit,
    events,
    jobs,
    leases,
    practice_moves,
    practice_remains,
    practices,
    schema,
    unknown_databases,
)
from polytill.storage.backup_stores import DirectoryStore
from polytill.storage.jobs import Job
from polytill.storage.opening import sqlite_path
from polytill.storage.practice_moves import PracticeMove
from polytill.storage.units import Unit
from tests import calls
from tests.flows import scenes
from tests.flows.delete_drill import BOUNDARIES
from tests.flows.scenes import LINK, Scene, paid
from tests.installation import fresh_settings, opened
from tests.jobs import node

# DBOS's own ways with SQLAlchemy and threads are not ours to answer for.
pytestmark = pytest.mark.filterwarnings("default")


async def _nothing() -> None:
    """The books of a deleted practice are gone."""


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        made.books_agree = _nothing  # type: ignore[method-assign]
        await made.configure()
        yield made


async def deleted(scene: Scene, **more: Any) -> Job:
    given: dict[str, Any] = {"is_now": True, "reason": "It moved away"} | more
    job = await delete.begin(scene.context, Wanted(scene.practice_id, "Clinic", **given), "owner:1")
    async with node(scene.context) as engine:
        return await engine.drive(job.id)


async def failure(scene: Scene, job: Job) -> str:
    [part] = await jobs.parts(scene.context.owner, job.id, PartState.failed)
    return part.detail or ""


async def databases(scene: Scene, database: str) -> list[str]:
    """The databases whose names begin so: tests share a server."""
    found = await unknown_databases.names(await scene.context.opening.cluster("default"))
    return [name for name in found if name.startswith(database)]


async def told(scene: Scene) -> list[dict[str, Any]]:
    found = await events.read(scene.context.owner, 0, 1000)
    return [one.data for one in found if one.type == EventType.practice_deleted]


async def holds(till: Polytill, text: str) -> list[str]:
    """The tables of the owner database with this text in a row; of a file, also the file itself."""
    found = []
    for name in schema.owner.tables:
        rows = await till.context.owner.fetch(f"SELECT * FROM {name}")
        found += [name for row in rows if text in str(dict(row))]
    if till.context.owner.engine.dialect == "sqlite":
        path = sqlite_path(till.context.settings.owner_database_url.get_secret_value())
        for file in (path, Path(f"{path}-wal")):
            found += [file.name] if file.exists() and text.encode() in file.read_bytes() else []
    return found


async def test_only_a_tombstone_is_left(scene: Scene, tmp_path: Path) -> None:
    context, practice_id = scene.context, scene.practice_id
    configured, payment = await scene.configure(), await scene.succeeded()
    entry = await context.opening.entry(practice_id)
    await admin_practices.change_practice(
        context, practice_id, admin_practices.PracticeChanges(external_id="x-1"), "test"
    )
    # A database that a move has kept, and one of before a restore.
    cluster = await context.opening.cluster("default")
    for name in (f"{entry.database_name}_moved", f"{entry.database_name}_20260101_abcdef"):
        await cluster.create(name)
    other = (await calls.create_practice(scene.till, "Other", "NGN"))[0]
    await close(context, practice_id, 30, "test")
    await admin_practices.create_key(context, ApiKeyKind.owner, None, "owner", None, "test")
    keys = [one for one in await api_keys.listed(context.owner, practice_id) if one.revoked_at is None]
    assert keys
    assert await holds(scene.till, entry.wrapped_data_key)
    job = await deleted(scene, export_to=tmp_path / "out")
    assert job.state is JobState.succeeded, await failure(scene, job)
    assert await databases(scene, entry.database_name) == []
    assert await databases(scene, other.database_name) == [other.database_name]
    if context.owner.engine.dialect == "sqlite":
        files = os.listdir(context.settings.practice_databases.get_secret_value())
        assert [name for name in files if entry.database_name in name] == []
    assert await holds(scene.till, entry.wrapped_data_key) == []
    assert all(one.revoked_at is not None for one in await api_keys.listed(context.owner, practice_id))
    assert practice_id not in await leases.all_held(context.owner)
    [folder] = (tmp_path / "out").iterdir()
    assert check_export(folder).problems == []
    left = await context.opening.any_entry(practice_id)
    assert (left.id, left.state, left.deleted_by, left.external_id) == (
        practice_id,
        PracticeState.deleted,
        "owner:1",
        None,
    )
    assert (left.wrapped_data_key, left.cluster, left.database_name) == ("", "", f"deleted_{practice_id}")
    with pytest.raises(PracticeDeleted, match="was deleted on"):
        await context.practice(practice_id)
    with pytest.raises(PracticeDeleted) as gone:  # a webhook
        await scene.delivery(
            configured,
            PaymentFact(paid(transaction=payment.provider_transaction_id or ""), None, payment.provider_transaction_id),
        )
    assert gone.value.status == 410
    lines = await audit.listed(context.owner)
    assert {one["detail"]["id"] for one in lines if one["action"] == "key.revoked"} == {key.id for key in keys}
    [line] = [one for one in lines if one["action"] == "practice.deleted"]
    assert (line["actor"], line["detail"]["reason"]) == ("owner:1", "It moved away")
    [data] = await told(scene)
    assert (data["practiceId"], data["externalId"]) == (practice_id, "x-1")
    again, _ = await admin_practices.create_practice(context, NewPractice("Clinic", "NGN", external_id="x-1"), "test")
    assert again.id > other.id
    assert [one for one in await examine(context.settings) if f"Practice {practice_id} " in one.sentence] == []
    with pytest.raises(PracticeDeleted):
        await delete.begin(context, Wanted(practice_id, "Clinic"), "test")


async def test_no_backup_opens_afterwards(scene: Scene, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "kept")
    await scene.succeeded()
    entry = await scene.context.opening.entry(scene.practice_id)
    made = await backups.back_up(scene.context, scene.practice_id, store)
    assert await backups.check(scene.context, scene.practice_id, store, made.name) == []
    await close(scene.context, scene.practice_id, 0, "test")
    assert (await deleted(scene, is_now=False)).state is JobState.succeeded
    assert store.names(backups.prefix_of(scene.practice_id)) == [made.name]
    with pytest.raises(PracticeDeleted) as refused:
        await backups.restore(scene.context, scene.practice_id, store, made.name, "test")
    assert refused.value.detail.endswith("Its data key was destroyed, so no backup of it can be opened.")
    key = DataKey(scene.practice_id, bytes(32))  # whoever has the file and no data key
    with pytest.raises(OperatorError, match="does not open"):
        backups._open_all(tmp_path / "kept" / made.name, key)
    assert await databases(scene, entry.database_name) == []


async def _is_unchanged(scene: Scene, before: Any) -> None:
    assert await practices.by_id(scene.context.owner, scene.practice_id) == before
    assert await databases(scene, before.database_name) == [before.database_name]
    assert await told(scene) == []


async def test_bad_orders_start_nothing(scene: Scene) -> None:
    context, practice_id = scene.context, scene.practice_id
    with pytest.raises(Conflict) as refused:
        await delete.begin(context, Wanted(practice_id, "Clinic", is_now=True, reason="x"), "test")
    assert refused.value.code == "practice_not_closed"
    await close(context, practice_id, 30, "test")
    before = await practices.by_id(context.owner, practice_id)
    for wanted, error, code in (
        (Wanted(99, "Clinic"), NotFound, "not_found"),
        (Wanted(practice_id, "clinic", is_now=True, reason="x"), Invalid, "invalid"),
        (Wanted(practice_id, "Clinic", is_now=True, reason=" "), Invalid, "invalid"),
        (Wanted(practice_id, "Clinic", is_now=True, reason="x" * 1001), Invalid, "invalid"),
        (Wanted(practice_id, "Clinic"), Conflict, "run_out_not_over"),
    ):
        with pytest.raises(error) as caught:
            await delete.begin(context, wanted, "test")
        assert caught.value.code == code, wanted
    assert await jobs.listed(context.owner) == []
    await _is_unchanged(scene, before)


async def test_unresolved_money_is_not_deleted_unless_that_is_said(scene: Scene) -> None:
    scene.wire.says("create", LINK)
    await scene.pay()
    await close(scene.context, scene.practice_id, 0, "test")
    with pytest.raises(Conflict, match="payments: 1") as refused:
        await delete.begin(scene.context, Wanted(scene.practice_id, "Clinic"), "test")
    assert refused.value.code == "money_unresolved"
    await _is_unchanged(scene, await practices.by_id(scene.context.owner, scene.practice_id))
    job = await deleted(scene, accept_unresolved=True)
    assert job.state is JobState.succeeded, await failure(scene, job)


async def test_one_that_was_reopened_meanwhile_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await close(scene.context, scene.practice_id, 30, "test")
    real = delete._write_tombstone

    async def reopened(*arguments: Any) -> None:
        await reopen(scene.context, scene.practice_id, "test")
        await real(*arguments)

    monkeypatch.setattr(delete, "_write_tombstone", reopened)
    job = await deleted(scene)
    assert (job.state, "was reopened" in await failure(scene, job)) == (JobState.failed, True)
    await scene.succeeded(key="still there")
    await _is_unchanged(scene, await practices.by_id(scene.context.owner, scene.practice_id))


async def test_a_database_that_is_lost_can_be_deleted(scene: Scene) -> None:
    await close(scene.context, scene.practice_id, 0, "test")
    entry = await scene.context.opening.entry(scene.practice_id)
    await (await scene.context.opening.cluster("default")).drop(entry.database_name)
    with pytest.raises(PolytillError):
        await delete.begin(scene.context, Wanted(scene.practice_id, "Clinic"), "test")
    assert (await deleted(scene, accept_unresolved=True)).state is JobState.succeeded
    assert (await scene.context.opening.any_entry(scene.practice_id)).cluster == ""


async def test_a_cluster_that_is_away_delays_only_the_dropping(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = await close(scene.context, scene.practice_id, 0, "test")

    async def away(*_: Any) -> list[str]:
        raise OperatorError("The cluster does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(practice_remains, "drop_all", away)
        job = await deleted(scene, is_now=False)
    assert (job.state, await failure(scene, job)) == (JobState.failed, "The cluster does not answer.")
    with pytest.raises(PracticeDeleted):
        await scene.context.practice(scene.practice_id)
    assert [one for one in await examine(scene.context.settings) if "not dropped yet" in one.sentence]
    await control.retry(scene.context, job.id, "test")
    async with node(scene.context) as engine:
        assert (await engine.drive(job.id)).state is JobState.succeeded
    assert await databases(scene, entry.database_name) == []
    assert len(await told(scene)) == 1


async def test_a_process_killed_inside_every_step_loses_nothing(tmp_path: Path, engine_url: str | None) -> None:
    settings = fresh_settings(tmp_path, engine_url)
    async with opened(settings, []) as till:
        entry, _ = await calls.create_practice(till, "Clinic", "NGN")
        cluster = await till.context.opening.cluster("default")
        unit = Unit()
        now, kept = till.context.world.now(), f"{entry.database_name}_moved"
        moved = PracticeMove(entry.database_name, entry.id, "default", "gone", kept, now)
        await cluster.create(kept)
        practice_moves.begin(unit, moved)
        await till.context.owner.commit(unit)
        await close(till.context, entry.id, 30, "test")
        said = {
            "POLYTILL_OWNER_DATABASE_URL": settings.owner_database_url.get_secret_value(),
            "POLYTILL_PRACTICE_DATABASES": settings.practice_databases.get_secret_value(),
            "POLYTILL_KEYRING": str(settings.keyring),
        }
        drill = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.flows.delete_drill", str(entry.id), str(tmp_path / "out")],
            env={**os.environ, **said},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        lines = [json.loads(line) for line in drill.stdout.splitlines() if line.startswith('{"boundary"')]
        assert [one["boundary"] for one in lines] == [*BOUNDARIES, "finishes"], drill.stderr[-3000:]
        assert [one["signal"] for one in lines] == [9] * len(BOUNDARIES) + [0], (lines, drill.stderr[-3000:])
        assert lines[-1]["state"] == "succeeded", drill.stderr[-3000:]
        till.context.forget(entry.id)
        assert (await till.context.opening.any_entry(entry.id)).database_name == f"deleted_{entry.id}"
        left = await unknown_databases.names(cluster)
        assert [name for name in left if name.startswith(entry.database_name)] == []
        assert await holds(till, entry.wrapped_data_key) == []
        done = [one["action"] for one in await audit.listed(till.context.owner, f"practice:{entry.id}")]
        assert done.count("practice.deleted") == 1
        found = await events.read(till.context.owner, 0, 100)
        assert [one.type for one in found].count(EventType.practice_deleted) == 1
        [folder] = (tmp_path / "out").iterdir()
        assert check_export(folder).problems == []
