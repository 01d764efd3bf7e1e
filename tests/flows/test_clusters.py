"""Clusters: what is checked before an address is saved, where new practices go, and what other processes do at once.

Source: the review of operations, D8 (a registered cluster is for ever) and section 4, fleet, item 1.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from polytill.app import Polytill
from polytill.background import learn
from polytill.doctor import examine
from polytill.domain.database_urls import hosts_of
from polytill.domain.errors import Conflict, Invalid, NotFound, NotNow, PolytillError
from polytill.domain.secret import Secret
from polytill.domain.states import ClusterState
from polytill.flows.admin import clusters, practices
from polytill.flows.admin.clusters import ClusterChanges, Limits
from polytill.storage import cluster_rows, watch
from polytill.storage import practices as directory
from polytill.storage.clusters import Cluster
from polytill.storage.postgres_connect import connect, with_database
from tests import calls
from tests.installation import fresh_settings, opened
from tests.postgres.server import PostgresServer, postgres_server
from tests.storage.making import plain, run

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "hunter2"
CLOSED = ClusterState.closed


# ── On either engine ──


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, file_engine_url: str | None) -> AsyncIterator[Polytill]:
    """An installation that the tests share; each closes its default cluster and uses its own ones."""
    async with opened(fresh_settings(tmp_path_factory.mktemp("house"), file_engine_url), ["paystack"]) as till:
        yield till


@pytest_asyncio.fixture(loop_scope="module")
async def alone(house: Polytill) -> AsyncIterator[Polytill]:
    """The installation, whose clusters are all closed before a test and after it."""
    await _close_all(house)
    yield house
    await _close_all(house)


async def _close_all(till: Polytill) -> None:
    for row in await cluster_rows.listed(till.context.owner):
        await clusters.change(till.context, row.name, ClusterChanges(state=CLOSED), "test")


def directory_for(till: Polytill, name: str) -> Path:
    folder = Path(till.context.settings.keyring).parent / name
    folder.mkdir()
    return folder


async def add(till: Polytill, address: str | Path, **limits: Any) -> str:
    name = f"c{secrets.token_hex(4)}"
    await clusters.add(till.context, name, Secret(str(address)), Limits(**limits), "test")
    return name


async def refused(till: Polytill, work: Any) -> str:
    """The sentence of what is refused, which changes nothing."""
    tables = ("clusters", "practices", "audit_log")
    before = [await plain(till.context.owner, f"SELECT * FROM {table} ORDER BY id") for table in tables]
    with pytest.raises(PolytillError) as error:
        await work
    assert [await plain(till.context.owner, f"SELECT * FROM {table} ORDER BY id") for table in tables] == before
    said = (
        "; ".join(one.detail for one in error.value.errors) if isinstance(error.value, Invalid) else error.value.detail
    )
    assert PASSWORD not in said
    return said


async def test_new_practices_go_where_there_is_room(alone: Polytill) -> None:
    context = alone.context
    small = await add(alone, directory_for(alone, "small"), capacity=2, priority=5)
    large = await add(alone, directory_for(alone, "large"), capacity=3)
    made = [(await calls.create_practice(alone, f"P{n}", "NGN"))[0].cluster for n in range(5)]
    assert made == [large, small, large, small, large]
    assert "No cluster has room" in await refused(alone, calls.create_practice(alone, "P6", "NGN"))
    assert "is full" in await refused(alone, calls.create_practice(alone, "P6", "NGN", cluster=small))
    assert "is closed" in await refused(alone, calls.create_practice(alone, "P6", "NGN", cluster="default"))
    assert "no cluster named" in await refused(alone, calls.create_practice(alone, "P6", "NGN", cluster="moon"))
    found = {one.row.name: one for one in await clusters.survey(context)}
    assert (found[small].practices, found[small].room, found[small].problem) == (2, 0, None)
    assert (found[large].engine, found[large].place) == ("sqlite", str(Path(found[large].place or "")))
    # The default cluster has limits, too. Several at once never pass its capacity.
    has = (await cluster_rows.counts(context.owner)).get("default", 0)
    opened_again = ClusterChanges(state=ClusterState.open, capacity=has + 2)
    await clusters.change(context, "default", opened_again, "test")
    tries = await asyncio.gather(
        *(calls.create_practice(alone, f"Q{n}", "NGN") for n in range(4)), return_exceptions=True
    )
    assert [one[0].cluster for one in tries if isinstance(one, tuple)] == ["default"] * 2
    assert [type(one) for one in tries if not isinstance(one, tuple)] == [Conflict] * 2
    await clusters.change(context, "default", ClusterChanges(capacity=None), "test")


async def test_a_cluster_that_does_not_work_is_skipped(alone: Polytill) -> None:
    gone, there = directory_for(alone, "gone"), directory_for(alone, "there")
    broken, works = await add(alone, gone), await add(alone, there, capacity=1)
    await asyncio.to_thread(shutil.rmtree, gone)
    entry, _ = await calls.create_practice(alone, "P", "NGN")
    assert entry.cluster == works
    assert "does not exist" in await refused(alone, calls.create_practice(alone, "P", "NGN", cluster=broken))
    assert "does not exist" in await refused(alone, calls.create_practice(alone, "P", "NGN"))
    assert not await asyncio.to_thread(gone.exists)  # a disk that is not mounted gets no files
    said = [one.sentence for one in await examine(alone.context.settings) if one.bad]
    assert sum(broken in sentence for sentence in said) == 1, said
    await clusters.remove(alone.context, broken, "test")
    assert "cannot be removed" in await refused(alone, clusters.remove(alone.context, works, "test"))


async def test_a_directory_is_tried_and_moved(alone: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    context = alone.context
    folder, other = directory_for(alone, "first"), directory_for(alone, "second")
    for address in ("var/x", folder / "missing", Path(alone.context.settings.keyring)):
        assert await refused(alone, add(alone, address)), address
    name = await add(alone, folder)
    assert list(folder.iterdir()) == []  # what was tried is gone
    ids = [(await calls.create_practice(alone, f"P{n}", "NGN", cluster=name))[0].id for n in range(2)]
    async with Polytill.open(context.settings) as elsewhere:
        await elsewhere.context.opening.practice(ids[0])

        def move(to: Path) -> Any:
            return clusters.change(context, name, ClusterChanges(url=Secret(str(to))), "test")

        assert "practices " in await refused(alone, move(other))
        homes = dict(await directory.homes(context.owner, name))
        for practice_id, database in homes.items():  # each other's
            wrong = next(one for one in ids if one != practice_id)
            await asyncio.to_thread(shutil.copy, folder / f"{database}.db", other / f"{homes[wrong]}.db")
        assert "do not belong" in await refused(alone, move(other))
        for database in homes.values():
            await asyncio.to_thread(shutil.copy, folder / f"{database}.db", other / f"{database}.db")
        await move(other)
        await asyncio.to_thread(shutil.rmtree, folder)
        for till in (alone, elsewhere):
            for practice_id in ids:
                db = await till.context.opening.practice(practice_id)
                assert await plain(db, "SELECT practice_id FROM identity") == [(practice_id,)]
    newest = await plain(context.owner, "SELECT action, detail FROM audit_log ORDER BY id DESC LIMIT 1")
    assert newest[0][0] == "cluster.changed"


async def test_an_address_does_not_change_below_a_creation(alone: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    context = alone.context
    folder, other = directory_for(alone, "old"), directory_for(alone, "new")
    name = await add(alone, folder)
    create, begun, go_on = Cluster.create, asyncio.Event(), asyncio.Event()

    async def slow(self: Cluster, database_name: str) -> None:
        await create(self, database_name)
        begun.set()
        await go_on.wait()

    move = ClusterChanges(url=Secret(str(other)))
    with monkeypatch.context() as slowed:
        slowed.setattr(Cluster, "create", slow)
        creation = asyncio.create_task(calls.create_practice(alone, "P", "NGN", cluster=name))
        await begun.wait()
        assert "being created on the cluster" in await refused(alone, clusters.change(context, name, move, "test"))
        # A cluster that is closed meanwhile keeps the practice that was reserved before.
        await clusters.change(context, name, ClusterChanges(state=CLOSED), "test")
        go_on.set()
        entry, _ = await creation
    assert await plain(await context.opening.practice(entry.id), "SELECT practice_id FROM identity") == [(entry.id,)]
    # One that was created between the check and the commit counts, too.
    await clusters.change(context, name, ClusterChanges(state=ClusterState.open), "test")
    await asyncio.to_thread(shutil.copy, folder / f"{entry.database_name}.db", other)
    check = clusters._check

    async def slow_check(*args: Any, **options: Any) -> None:
        await check(*args, **options)
        await calls.create_practice(alone, "Q", "NGN", cluster=name)

    with monkeypatch.context() as slowed:
        slowed.setattr(clusters, "_check", slow_check)
        with pytest.raises(Conflict, match="being created"):
            await clusters.change(context, name, move, "test")


async def test_a_creation_uses_the_newest_address(alone: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not seen a changed address yet creates no database at the old one."""
    folder, other = directory_for(alone, "before"), directory_for(alone, "after")
    name = await add(alone, folder)
    async with Polytill.open(alone.context.settings) as elsewhere:
        assert (await elsewhere.context.opening.cluster(name)).location == str(folder)
        monkeypatch.setattr(watch, "INTERVAL_S", 1e9)  # its view of the owner database stays as it is
        await clusters.change(alone.context, name, ClusterChanges(url=Secret(str(other))), "test")
        entry, _ = await calls.create_practice(elsewhere, "P", "NGN", cluster=name)
        assert (other / f"{entry.database_name}.db").exists()
        assert list(folder.iterdir()) == []


async def test_nothing_to_change_writes_nothing(alone: Polytill) -> None:
    before = await plain(alone.context.owner, "SELECT COUNT(*) FROM audit_log")
    same = ClusterChanges(state=CLOSED, capacity=None, priority=0)
    await clusters.change(alone.context, "default", same, "test")
    assert await plain(alone.context.owner, "SELECT COUNT(*) FROM audit_log") == before
    with pytest.raises(NotFound):
        await clusters.change(alone.context, "moon", same, "test")
    with pytest.raises(Conflict):
        await clusters.change(alone.context, "default", ClusterChanges(url=Secret("/tmp")), "test")


async def test_what_a_failed_creation_leaves_is_discarded(alone: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    context = alone.context
    name = await add(alone, directory_for(alone, "failing"))

    async def fails(*_: object) -> None:
        raise NotNow("The server went away.")

    with monkeypatch.context() as broken:
        broken.setattr(Cluster, "create", fails)
        broken.setattr(Cluster, "drop", fails)
        with pytest.raises(NotNow):
            await calls.create_practice(alone, "Left", "NGN", cluster=name)
        [left] = await directory.half_made(context.owner)
        in_creation = "may still be in creation"
        assert in_creation in await refused(alone, practices.discard(context, left.id, "test"))
        past = (
            "'2020-01-01 00:00:00+00:00'" if context.owner.engine.dialect == "postgresql" else "'2020-01-01 00:00:00'"
        )
        await run(context.owner, f"UPDATE practices SET created_at = {past} WHERE id = {left.id}")
        assert "--without-database" in await refused(alone, practices.discard(context, left.id, "test"))
        assert f"practice {left.id}" in await refused(alone, clusters.remove(context, name, "test"))
        assert await practices.clear_half_made(context) == 0  # nothing was cleared, so nothing is said to be
    assert any(f"discard {left.id}" in one.sentence for one in await examine(context.settings))
    await practices.discard(context, left.id, "test", without_database=True)
    assert await directory.by_id(context.owner, left.id) is None
    await clusters.remove(context, name, "test")
    entry, _ = await calls.create_practice(alone, "Whole", "NGN", cluster=await add(alone, directory_for(alone, "ok")))
    assert "created completely" in await refused(alone, practices.discard(context, entry.id, "test"))
    assert "no practice" in await refused(alone, practices.discard(context, 999_999, "test"))


# ── A second server ──


@dataclass
class Second:
    """A second PostgreSQL server that asks for passwords."""

    server: PostgresServer

    def url(self, role: str = "maker", password: str = PASSWORD, hosts: str = "", options: str = "") -> str:
        return f"postgresql://{role}:{password}@{hosts or self.host}{options}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def sql(self, *statements: str) -> list[Any]:
        connection = await connect(with_database(self.server.url, "postgres"))
        try:
            return [await connection.fetch(statement) for statement in statements][-1]
        finally:
            await connection.close()

    async def connections(self, role: str) -> int:
        return int((await self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"))[0][0])


@pytest.fixture(scope="module")
def second() -> Iterator[Second]:
    with postgres_server() as server:
        found = Second(server)
        asyncio.run(
            found.sql(
                f"CREATE ROLE maker LOGIN CREATEDB PASSWORD '{PASSWORD}'",
                f"CREATE ROLE poor LOGIN PASSWORD '{PASSWORD}'",
                "CREATE ROLE clinic LOGIN SUPERUSER",
                "GRANT clinic TO maker",
                "CREATE ROLE stranger LOGIN CREATEDB",
                f"CREATE ROLE reader LOGIN CREATEDB PASSWORD '{PASSWORD}'",
                "ALTER ROLE reader SET default_transaction_read_only = on",
            )
        )
        rules = server.data_folder / "pg_hba.conf"
        asked = "".join(
            f"host all {role} 127.0.0.1/32 scram-sha-256\n" for role in ("maker", "poor", "reader", "clinic")
        )
        rules.write_text(asked + rules.read_text())
        asyncio.run(found.sql("SELECT pg_reload_conf()"))
        yield found


@pytest.mark.postgres
async def test_an_address_is_tried_before_it_is_saved(alone: Polytill, second: Second, postgres_url: str) -> None:
    other = hosts_of(postgres_url)[0]
    faults = {
        second.url(password=f"{PASSWORD}x"): "rejects the user or the password",
        second.url(hosts="127.0.0.1:1"): "cannot be reached",
        second.url(hosts="no-such-host.invalid"): "cannot be reached",
        second.url("poor"): "CREATEDB",
        second.url("reader"): "only read",
        second.url(hosts=f"{second.host},{second.host}", options="/?target_session_attrs=any"): "target_session_attrs",
        second.url(hosts=f"{second.host},127.0.0.1:1"): "127.0.0.1:1 could not become the primary",
        second.url(hosts="127.0.0.1:1,127.0.0.1:2"): "none of its hosts",
        second.url(options="/?sslmode=nothing"): "options",
        second.url(options="/?sslmode=require"): "has no TLS",
        second.url(options="/?application_name=%00"): "control character",
        second.url(options="/?no_such_option=1"): "rejects the connection",
        f"postgresql://polytill@{second.host},{other}": "another server",
    }
    for address, words in faults.items():
        assert words in await refused(alone, add(alone, address)), address
    assert await second.sql("SELECT 1 FROM pg_database WHERE datname LIKE 'polytill_check%'") == []
    name = await add(alone, second.url(options="/?sslmode=disable&target_session_attrs=read-write"), connection_limit=4)
    assert await second.sql("SELECT 1 FROM pg_database WHERE datname LIKE 'polytill_check%'") == []
    [found] = [one for one in await clusters.survey(alone.context) if one.row.name == name]
    assert (found.place, found.problem, found.unavailable_hosts) == (second.host, None, {})
    cluster = await alone.context.opening.cluster(name)
    assert cluster.budget is not None
    assert cluster.budget.ceiling == 4


@pytest.mark.postgres
async def test_a_changed_password_reaches_every_process(
    alone: Polytill, second: Second, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    role, context = "clinic", alone.context
    await second.sql(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    name = await add(alone, second.url(role))
    practice_id = (await calls.create_practice(alone, "Far", "NGN", cluster=name))[0].id

    def change(address: str) -> Any:
        return clusters.change(context, name, ClusterChanges(url=Secret(address)), "test")

    async with Polytill.open(context.settings) as elsewhere:
        for till in (alone, elsewhere):
            await plain(await till.context.opening.practice(practice_id), "SELECT 1 FROM identity")
        assert await second.connections(role) == 3  # one more that the practice was made with
        await second.sql(f"ALTER ROLE {role} PASSWORD 'changed'")
        assert f"practice {practice_id}" in await refused(alone, change(postgres_url))  # not that server
        assert "password" in await refused(alone, change(second.url(role)))
        # One of two hosts is enough to correct an address at night.
        await change(second.url(role, "changed", hosts=f"127.0.0.1:1,{second.host}"))
        for till in (alone, elsewhere):
            await learn(till.context)  # what runs every second: nobody asks for this practice
        for _ in range(100):
            if await second.connections(role) == 0:
                break
            await asyncio.sleep(0.05)
        assert await second.connections(role) == 0
        for till in (alone, elsewhere):
            db = await till.context.opening.practice(practice_id)
            assert await plain(db, "SELECT practice_id FROM identity") == [(practice_id,)]
    assert "may not copy" in await refused(alone, add(alone, second.url("stranger")))
    said = [one.sentence for one in await examine(context.settings) if one.bad]
    assert sum("127.0.0.1:1" in sentence for sentence in said) == 1, said


@pytest.mark.postgres
async def test_a_server_that_is_away_is_one_finding(alone: Polytill, second: Second) -> None:
    name = await add(alone, second.url())
    ids = [(await calls.create_practice(alone, f"P{n}", "NGN", cluster=name))[0].id for n in range(3)]
    await asyncio.to_thread(second.server.stop)
    try:
        said = [one.sentence for one in await examine(alone.context.settings) if one.bad]
        assert sum(name in sentence or f"Practice {ids[0]} " in sentence for sentence in said) == 3, said
        assert all(f"Practice {practice_id} " not in sentence for practice_id in ids[1:] for sentence in said)
        [found] = [one for one in await clusters.survey(alone.context) if one.row.name == name]
        assert found.problem is not None
        assert found.practices == 3
    finally:
        await asyncio.to_thread(second.server.start)


@pytest.mark.postgres
async def test_a_connection_limit_follows_its_row(
    alone: Polytill, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    name = await add(alone, second.url("maker"))
    ids = [(await calls.create_practice(alone, f"P{n}", "NGN", cluster=name))[0].id for n in range(4)]
    for practice_id in ids:
        await plain(await alone.context.opening.practice(practice_id), "SELECT 1 FROM identity")
    budget = (await alone.context.opening.cluster(name)).budget
    assert budget is not None
    assert budget.total == 5  # one more that the practices were made with
    await clusters.change(alone.context, name, ClusterChanges(connection_limit=2), "test")
    await learn(alone.context)
    assert (budget.ceiling, budget.total) == (2, 2)
    await clusters.change(alone.context, name, ClusterChanges(connection_limit=None), "test")
    await learn(alone.context)
    assert budget.ceiling == alone.context.settings.database_connections
