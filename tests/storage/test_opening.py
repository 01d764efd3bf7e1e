"""Opening a practice's database: the right one, once, and with a directory row that is at most a second old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.clock import World
from polytill.domain.errors import NotFound, NotNow, SealBroken, WrongPractice
from polytill.domain.states import PracticeState
from polytill.flows.admin import catalog
from polytill.flows.admin.practices import PracticeChanges, change_practice, key_hash, migrate_practice, revoke_key
from polytill.storage import api_keys, cluster_rows, migrating, watch
from polytill.storage.cluster_rows import ClusterRow
from polytill.storage.databases import OwnerDb
from polytill.web.api.auth import KeyCache
from tests import calls
from tests.installation import fresh_settings, opened
from tests.storage.making import plain, run


@dataclass
class Clock:
    """A clock that a test moves."""

    at_s: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at_s


@dataclass
class TwoNodes:
    """Two processes of one installation, with one clock."""

    here: Polytill
    there: Polytill
    clock: Clock


@pytest.fixture
async def nodes(tmp_path: Path, engine_url: str | None) -> AsyncIterator[TwoNodes]:
    clock = Clock()
    settings = fresh_settings(tmp_path, engine_url)
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(opened(settings, world=World(clock)))
        there = await stack.enter_async_context(Polytill.open(settings, world=World(clock)))
        yield TwoNodes(here, there, clock)


async def test_unknown_practices(till: Polytill) -> None:
    for practice_id in (1, 0, -1, 2**31 - 1):
        with pytest.raises(NotFound):
            await till.context.opening.practice(practice_id)


async def test_one_database_value_for_many_callers(till: Polytill) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    found = await asyncio.gather(*(till.context.opening.practice(entry.id) for _ in range(12)))
    assert len({id(db) for db in found}) == 1
    assert found[0].practice_id == entry.id
    assert repr(found[0]) == f"PracticeDb({entry.id})"


async def test_an_address_of_another_practice_is_refused(nodes: TwoNodes) -> None:
    mine, _ = await calls.create_practice(nodes.here, "Mine", "NGN")
    other, _ = await calls.create_practice(nodes.here, "Other", "GHS")
    await run(nodes.here.context.owner, "UPDATE practices SET database_name = 'x' WHERE id = " + str(other.id))
    await run(
        nodes.here.context.owner, f"UPDATE practices SET database_name = '{other.database_name}' WHERE id = {mine.id}"
    )
    with pytest.raises(WrongPractice):
        await nodes.there.context.opening.practice(mine.id)
    assert nodes.there.context.opening.opened() == []
    # A node that had it open notices it as well, although a manual change has no audit line.
    nodes.clock.at_s += 1.0
    await nodes.here.context.opening.entry(mine.id)
    nodes.clock.at_s += watch.RENEWED_S
    with pytest.raises(WrongPractice):
        await nodes.here.context.opening.practice(mine.id)


async def test_another_practices_data_key_does_not_open(nodes: TwoNodes) -> None:
    mine, _ = await calls.create_practice(nodes.here, "Mine", "NGN")
    other, _ = await calls.create_practice(nodes.here, "Other", "GHS")
    await run(
        nodes.here.context.owner,
        f"UPDATE practices SET wrapped_data_key = '{other.wrapped_data_key}' WHERE id = {mine.id}",
    )
    with pytest.raises(SealBroken):
        await nodes.there.context.opening.practice(mine.id)


async def test_a_change_is_seen_at_once_here_and_within_a_second_elsewhere(nodes: TwoNodes) -> None:
    entry, _ = await calls.create_practice(nodes.here, "Before", "NGN")
    assert (await nodes.there.context.opening.entry(entry.id)).name == "Before"
    await change_practice(
        nodes.here.context, entry.id, PracticeChanges(name="After", state=PracticeState.suspended), "test"
    )
    assert (await nodes.here.context.opening.entry(entry.id)).name == "After"
    nodes.clock.at_s += 0.999
    assert (await nodes.there.context.opening.entry(entry.id)).name == "Before"
    nodes.clock.at_s += 0.001
    seen = await nodes.there.context.opening.entry(entry.id)
    assert (seen.name, seen.state) == ("After", "suspended")


async def test_what_was_being_read_while_it_changed_is_not_kept(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = nodes.here.context
    entry, _ = await calls.create_practice(nodes.here, "Before", "NGN")
    context.opening.forget(entry.id)
    context.forget_catalog()
    engine = context.owner.engine
    real, go_on, read = engine.fetch, asyncio.Event(), asyncio.Semaphore(0)

    async def slow(sql: str, *args: object) -> list[object]:
        rows = await real(sql, *args)
        read.release()
        await go_on.wait()
        return rows

    monkeypatch.setattr(engine, "fetch", slow)
    reading = asyncio.gather(context.opening.entry(entry.id), context.catalog())
    for _ in range(2):
        await read.acquire()
    monkeypatch.setattr(engine, "fetch", real)
    await catalog.change(context, "paystack", {"name": "Renamed"}, None, "test")
    await change_practice(context, entry.id, PracticeChanges(name="After"), "test")
    go_on.set()
    await reading
    assert (await context.opening.entry(entry.id)).name == "After"
    assert (await context.catalog())["paystack"].name == "Renamed"


async def test_clusters_that_change_while_they_are_read_are_read_again(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = nodes.here.context.opening
    opening.forget_clusters()
    real, times = cluster_rows.listed, 0

    async def changing(owner: OwnerDb) -> list[ClusterRow]:
        nonlocal times
        rows, times = await real(owner), times + 1
        if times == 1:
            opening.forget_clusters()
        return rows

    monkeypatch.setattr(cluster_rows, "listed", changing)
    await opening.learn()
    await opening.learn()
    assert times == 2


async def test_the_catalog_too(nodes: TwoNodes) -> None:
    before = (await nodes.there.context.catalog())["paystack"]
    await catalog.change(nodes.here.context, "paystack", {"name": "Renamed"}, None, "test")
    assert (await nodes.here.context.catalog())["paystack"].name == "Renamed"
    assert (await nodes.there.context.catalog())["paystack"].name == before.name
    nodes.clock.at_s += 1.0
    assert (await nodes.there.context.catalog())["paystack"].name == "Renamed"


async def test_reading_goes_on_while_the_owner_database_is_down(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _ = await calls.create_practice(nodes.here, "Clinic", "NGN")
    practice = await nodes.there.context.practice(entry.id)
    codes = set(await nodes.there.context.catalog())

    async def down(*_: object) -> None:
        raise NotNow("The database cannot be reached just now.", code="database_unavailable")

    real = nodes.there.context.owner.engine.fetch
    monkeypatch.setattr(nodes.there.context.owner.engine, "fetch", down)
    nodes.clock.at_s += 3600
    assert (await nodes.there.context.opening.entry(entry.id)).name == "Clinic"
    assert await nodes.there.context.opening.practice(entry.id) is practice.db
    assert await plain(practice.db, "SELECT practice_id FROM identity") == [(entry.id,)]
    assert set(await nodes.there.context.catalog()) == codes
    with pytest.raises(NotNow):  # a practice that was never opened here
        await nodes.there.context.opening.practice(entry.id + 1)
    monkeypatch.setattr(nodes.there.context.owner.engine, "fetch", real)
    await change_practice(nodes.here.context, entry.id, PracticeChanges(name="Back"), "test")
    nodes.clock.at_s += 1.0
    assert (await nodes.there.context.opening.entry(entry.id)).name == "Back"


async def test_a_practice_that_is_being_made_is_not_there_yet(till: Polytill) -> None:
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")
    await run(till.context.owner, f"UPDATE practices SET state = 'provisioning' WHERE id = {entry.id}")
    till.context.opening.forget(entry.id)
    with pytest.raises(NotFound):
        await till.context.opening.practice(entry.id)


async def test_files_beyond_the_limit_are_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polytill.storage.opening.OPEN_FILES", 2)
    async with opened(fresh_settings(tmp_path)) as till:
        ids = [(await calls.create_practice(till, f"P{number}", "NGN"))[0].id for number in range(4)]
        found = [await till.context.opening.practice(practice_id) for practice_id in ids]
        assert till.context.opening.opened() == ids[2:]
        assert found[0].engine._connection is None  # type: ignore[attr-defined]
        for practice_id, db in zip(ids, found, strict=True):
            assert await plain(db, "SELECT practice_id FROM identity") == [(practice_id,)]
            await db.engine.close()


async def test_a_revoked_key_ends_within_a_second_elsewhere(nodes: TwoNodes) -> None:
    entry, key = await calls.create_practice(nodes.here, "Clinic", "NGN")
    nodes.clock.at_s += 1.0
    keys = KeyCache(nodes.there.context)
    found = await keys.find(key_hash(key))
    assert found is not None
    await revoke_key(nodes.here.context, found.id, entry.id, "test")
    nodes.clock.at_s += 1.0
    assert await keys.find(key_hash(key)) is None


async def test_a_key_that_is_revoked_while_it_is_being_read_is_not_remembered(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, key = await calls.create_practice(nodes.here, "Clinic", "NGN")
    nodes.clock.at_s += 1.0
    keys, hashed, read = KeyCache(nodes.here.context), key_hash(key), api_keys.by_hash

    async def revoked_meanwhile(owner: Any, wanted: str) -> Any:
        found = await read(owner, wanted)
        assert found is not None
        await revoke_key(nodes.here.context, found.id, entry.id, "test")
        keys.forget()
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(api_keys, "by_hash", revoked_meanwhile)
        await keys.find(hashed)
    assert await keys.find(hashed) is None


async def test_a_migrated_practice_is_seen_elsewhere(nodes: TwoNodes) -> None:
    entry, _ = await calls.create_practice(nodes.here, "Clinic", "NGN")
    await run(nodes.here.context.owner, f"UPDATE practices SET schema_version = 'practice_0000' WHERE id = {entry.id}")
    assert (await nodes.there.context.opening.entry(entry.id)).schema_version == "practice_0000"
    nodes.clock.at_s += 1.0
    assert await migrate_practice(nodes.here.context, entry.id, "test") == []
    nodes.clock.at_s += 1.0
    assert (await nodes.there.context.opening.entry(entry.id)).schema_version == migrating.head("practice")
