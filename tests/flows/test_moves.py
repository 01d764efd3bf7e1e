"""Moving a practice to another cluster: nothing is lost, one place is in use, and the old one is behind."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from polytill.domain.behind import BehindReason
from polytill.domain.errors import Conflict, Invalid, NotFound, NotNow, OperatorError, PolytillError
from polytill.domain.jobs import JobState, PartState
from polytill.domain.secret import Secret
from polytill.flows.admin import clusters
from polytill.flows.admin.clusters import ClusterChanges, Limits
from polytill.flows.jobs import move
from polytill.flows.jobs.move import Wanted
from polytill.storage import audit, dumps, jobs, moving, moving_sqlite, practice_moves, practices
from polytill.storage.anchors import Anchor
from polytill.storage.clusters import Cluster
from polytill.storage.databases import Database
from polytill.storage.jobs import Job
from polytill.storage.moving import Home
from polytill.storage.opening import is_postgres
from polytill.storage.units import Unit
from tests.flows import scenes
from tests.flows.scenes import Scene
from tests.jobs import node


@pytest.fixture
async def scene(tmp_path: Path, engine_url: str | None) -> AsyncIterator[Scene]:
    async with scenes.scene(tmp_path, engine_url) as made:
        await made.configure()
        await another(made, tmp_path)
        yield made


async def another(scene: Scene, folder: Path, name: str = "second", **limits: Any) -> None:
    """Register a second cluster: another directory, or the same server under another name."""
    place = scene.context.settings.practice_databases.get_secret_value()
    if not is_postgres(place):
        (folder / name).mkdir()
    url = f"{place}?application_name={name}" if is_postgres(place) else str(folder / name)
    await clusters.add(scene.context, name, Secret(url), Limits(**limits), "test")


async def moved(scene: Scene, to: str | None = "second") -> Job:
    job = await move.begin(scene.context, Wanted([scene.practice_id], to), "owner:1")
    async with node(scene.context) as engine:
        found = await engine.drive(job.id)
    scene.db = await scene.context.opening.practice(scene.practice_id)
    return found


async def failure(scene: Scene, job: Job) -> str:
    [part] = await jobs.parts(scene.context.owner, job.id, PartState.failed)
    return part.detail or ""


async def home(scene: Scene) -> tuple[str, str]:
    entry = await practices.by_id(scene.context.owner, scene.practice_id)
    assert entry is not None
    return entry.cluster, entry.database_name


async def exists(scene: Scene, cluster: str, database: str) -> bool:
    return not await (await scene.context.opening.cluster(cluster)).missing([database])


async def test_a_moved_practice_goes_on_where_it_is_now(scene: Scene) -> None:
    before = await home(scene)
    there = await scene.succeeded(key="before")
    job = await moved(scene)
    assert job.state is JobState.succeeded, await failure(scene, job)
    cluster, database = await home(scene)
    assert (cluster, database == before[1]) == ("second", False)
    assert await scene.payment(there.id) == there
    since = await scene.succeeded(key="since")
    assert (await scene.pay("before")).payment.id == there.id
    await scene.later(0)  # the worker finds it
    [kept] = await practice_moves.unconfirmed(scene.context.owner)
    assert (kept.from_cluster, kept.to_cluster, kept.kept) == ("default", "second", f"{before[1]}_moved")
    assert kept.refused_ms is not None
    assert not await exists(scene, *before)
    assert await exists(scene, "default", kept.kept)
    lines = [line for line in await audit.listed(scene.context.owner) if line["action"] == "practice.moved"]
    assert [line["actor"] for line in lines] == ["owner:1"]
    await move.confirm(scene.context, scene.practice_id, "owner:1")
    assert not await exists(scene, "default", kept.kept)
    assert await practice_moves.unconfirmed(scene.context.owner) == []
    assert await scene.payment(since.id) == since
    with pytest.raises(Conflict):
        await move.confirm(scene.context, scene.practice_id, "owner:1")


async def test_the_old_database_is_behind(scene: Scene) -> None:
    await scene.succeeded()
    assert (await moved(scene)).state is JobState.succeeded
    [kept] = await practice_moves.unconfirmed(scene.context.owner)
    entry = await scene.context.opening.entry(scene.practice_id)
    old = await scene.context.opening.cluster("default")
    anchor = Anchor(entry.id, entry.epoch, entry.mark)
    engine = old.engine(kept.kept, anchor)
    try:
        await engine.verify(anchor)
    finally:
        await engine.close()
    assert anchor.behind is BehindReason.epoch
    assert scene.db.anchor.behind is None


async def test_it_moves_back_with_everything_since(scene: Scene) -> None:
    first = await home(scene)
    assert (await moved(scene)).state is JobState.succeeded
    since = await scene.succeeded(key="since")
    with pytest.raises(Conflict, match="not confirmed"):
        await move.begin(scene.context, Wanted([scene.practice_id], "default"), "test")
    second = await home(scene)
    job = await moved(scene, None)
    assert job.state is JobState.succeeded, await failure(scene, job)
    assert (await home(scene))[0] == "default"
    assert await scene.payment(since.id) == since
    [kept] = await practice_moves.unconfirmed(scene.context.owner)
    assert (kept.from_cluster, kept.kept) == ("second", f"{second[1]}_moved")
    assert not await exists(scene, "default", f"{first[1]}_moved"), "superseded by the copy of the newer one"
    await move.confirm(scene.context, scene.practice_id, "test")
    with pytest.raises(Conflict, match="Name a cluster"):
        await move.begin(scene.context, Wanted([scene.practice_id], None), "test")
    await clusters.remove(scene.context, "second", "test")


async def test_changes_during_the_copy_are_moved_as_well(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = await scene.succeeded(key="changed")
    real, paid = moving.copy, []
    await scene.db.fetch(
        "INSERT INTO sign_in_failures (email_hash, address_hash, at) VALUES ('gone', '', CURRENT_TIMESTAMP)"
    )

    async def slow(old: Home, new: Home) -> int:
        since = await real(old, new)
        paid.append(await scene.succeeded(key="during"))
        await scene.db.fetch("DELETE FROM sign_in_failures")
        await scene.db.fetch(
            "INSERT INTO sign_in_failures (email_hash, address_hash, at) VALUES ('new', '', CURRENT_TIMESTAMP)"
        )
        await scene.db.fetch("UPDATE payments SET reference = 'other' WHERE id = $1", changed.id)
        return since

    monkeypatch.setattr(moving, "copy", slow)
    job = await moved(scene)
    assert job.state is JobState.succeeded, await failure(scene, job)
    assert await scene.payment(paid[0].id) == paid[0]
    assert (await scene.payment(changed.id)).reference == "other"
    assert await scene.db.column("SELECT email_hash FROM sign_in_failures") == ["new"]
    await scene.succeeded(key="afterwards")  # with ids of its own


async def test_a_copy_that_differs_is_not_used(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    there, before = await scene.succeeded(), await home(scene)

    async def differs(*_: object) -> None:
        raise OperatorError("The copy of payments has other content than the table.")

    with monkeypatch.context() as patch:
        patch.setattr(moving, "finish", differs)
        job = await moved(scene)
    assert (job.state, await failure(scene, job)) == (
        JobState.failed,
        "The copy of payments has other content than the table.",
    )
    assert await home(scene) == before
    assert await scene.payment(there.id) == there
    await scene.succeeded(key="still there")
    # Begun again, nothing is left of the first copy.
    assert (await moved(scene)).state is JobState.succeeded
    assert len(await practice_moves.of_practice(scene.context.owner, scene.practice_id)) == 1


async def test_while_it_is_closed_everything_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    there, refused, real = await scene.succeeded(key="there"), [], moving.finish

    async def closed(old: Home, new: Home, since: int, epochs: tuple[str, str]) -> None:
        for work in (scene.pay("closed"), scene.pay("there"), scene.context.configured(scene.db, 0)):
            with pytest.raises(NotNow) as caught:
                await work
            refused.append(caught.value.retry_after_s)
        await real(old, new, since, epochs)

    monkeypatch.setattr(moving, "finish", closed)
    calls = len(scene.wire.of("create"))
    assert (await moved(scene)).state is JobState.succeeded
    assert len(refused) == 3
    assert max(one or 99 for one in refused) <= 2, refused
    assert len(scene.wire.of("create")) == calls, "no provider was called"
    assert (await scene.pay("there")).payment.id == there.id


async def test_a_process_that_knows_nothing_of_it_writes_nothing(scene: Scene) -> None:
    await scene.succeeded()
    stranger = Database(
        Cluster(scene.context.settings.practice_databases.get_secret_value(), 2, _hop).engine((await home(scene))[1])
    )
    counted = await stranger.value("SELECT count(*) FROM payments")
    assert (await moved(scene)).state is JobState.succeeded
    [kept] = await practice_moves.unconfirmed(scene.context.owner)
    unit = Unit()
    unit.add("DELETE FROM payment_search")
    with pytest.raises(PolytillError):
        await stranger.commit(unit)
    with pytest.raises(PolytillError):
        async with stranger.transaction() as tx:
            await tx.fetch("DELETE FROM payment_search")
    old = Database((await scene.context.opening.cluster("default")).engine(kept.kept))
    assert await old.value("SELECT count(*) FROM payments") == counted
    assert await old.value("SELECT count(*) FROM payment_search") == counted
    for one in (old, stranger):
        await one.engine.close()


async def _hop(work: Any) -> Any:
    return await asyncio.to_thread(work)


async def test_a_file_that_moves_away_while_a_writer_waits_is_not_written(tmp_path: Path) -> None:
    from polytill.storage.sqlite import SqliteEngine

    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE t (id INTEGER)")
        engine = SqliteEngine(file)
        await engine.fetch("SELECT 1")
        other.execute("BEGIN IMMEDIATE")
        unit = Unit()
        unit.add("INSERT INTO t (id) VALUES (1)")
        writing = asyncio.create_task(Database(engine).commit(unit))
        while not engine._turn.locked():  # noqa: ASYNC110
            await asyncio.sleep(0)
        file.rename(tmp_path / "b.db")
        other.execute("ROLLBACK")
        with pytest.raises(PolytillError):
            await writing
        assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)
    await engine.close()


async def test_a_file_that_is_written_while_it_is_copied_is_copied_as_of_one_moment(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other, pytest.MonkeyPatch.context() as patch:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE identity (epoch TEXT)")
        other.execute("INSERT INTO identity VALUES ('first')")
        sound = dumps.sound_sqlite

        def meanwhile(copied: sqlite3.Connection) -> Any:
            other.execute("INSERT INTO identity VALUES ('second')")
            return sound(copied)

        patch.setattr(dumps, "sound_sqlite", meanwhile)
        assert moving_sqlite.copy(file, tmp_path / "b.db")["identity"][0] == 1


async def test_one_process_at_a_time(scene: Scene) -> None:
    old = await scene.context.opening.cluster("default")
    async with moving.guarded(old, scene.practice_id):
        with pytest.raises(NotNow, match="Another process"):
            async with moving.guarded(old, scene.practice_id):
                pass
        async with moving.guarded(old, scene.practice_id + 1):
            pass
    async with moving.guarded(old, scene.practice_id):
        pass


async def test_a_step_that_is_repeated_changes_nothing(scene: Scene) -> None:
    there = await scene.succeeded()
    state = {"to": "second", "actor": "test"}
    copied = await move.copy_database(scene.context, scene.practice_id, state)
    again = await move.copy_database(scene.context, scene.practice_id, state)
    assert not await exists(scene, "second", copied["after"][1])
    await move.switch_database(scene.context, scene.practice_id, again)
    scene.db = await scene.context.opening.practice(scene.practice_id)
    since = await scene.succeeded(key="since")
    await move.switch_database(scene.context, scene.practice_id, again)
    await move.check_moved(scene.context, scene.practice_id, again)
    assert await scene.payment(there.id) == there
    assert await scene.payment(since.id) == since


async def test_one_that_was_adopted_meanwhile_is_not_switched(scene: Scene) -> None:
    state = await move.copy_database(scene.context, scene.practice_id, {"to": "second", "actor": "test"})
    await scene.db.fetch("UPDATE identity SET epoch = 'other'")
    with pytest.raises(OperatorError, match="restored or adopted"):
        await move.switch_database(scene.context, scene.practice_id, state)
    assert await home(scene) == ("default", state["before"][1])
    assert await exists(scene, "default", state["before"][1])


async def test_bad_orders_start_nothing(scene: Scene, tmp_path: Path) -> None:
    await another(scene, tmp_path, "full", capacity=1)
    context = scene.context
    await clusters.change(context, "full", ClusterChanges(capacity=1), "test")
    (tmp_path / "other").mkdir()
    is_server = is_postgres(context.settings.practice_databases.get_secret_value())
    for ids, to, error in (
        ([], "second", Invalid),
        ([99], "second", NotFound),
        ([scene.practice_id], "default", Conflict),
        ([scene.practice_id], "nowhere", Conflict),
        ([scene.practice_id], None, Conflict),
    ):
        with pytest.raises(error):
            await move.begin(context, Wanted(ids, to), "test")
    if is_server:
        await clusters.add(context, "files", Secret(str(tmp_path / "other")), Limits(), "test")
        with pytest.raises(Conflict, match="from PostgreSQL to PostgreSQL"):
            await move.begin(context, Wanted([scene.practice_id], "files"), "test")
    await clusters.change(context, "second", ClusterChanges(state=clusters.ClusterState.closed), "test")
    with pytest.raises(Conflict, match="closed to new practices"):
        await move.begin(context, Wanted([scene.practice_id], "second"), "test")
    assert await jobs.listed(context.owner) == []


async def test_a_cluster_with_an_old_database_is_not_removed(scene: Scene) -> None:
    assert (await moved(scene)).state is JobState.succeeded
    assert (await moved(scene, None)).state is JobState.succeeded
    with pytest.raises(Conflict, match="Old databases"):
        await clusters.remove(scene.context, "second", "test")
