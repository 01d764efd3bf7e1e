"""A practice is created completely, or neither a row nor a database of it remains."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import Any

import pytest

from polytill.app import Polytill
from polytill.domain.errors import Invalid
from polytill.domain.secret import Secret
from polytill.flows.admin import clusters
from polytill.flows.admin.practices import key_hash
from polytill.storage import migrating, practices
from polytill.storage.clusters import Cluster
from polytill.storage.databases import OwnerDb, PracticeDb
from polytill.storage.opening import Opening
from polytill.storage.postgres_connect import connect, with_database
from polytill.storage.practices import PracticeEntry
from polytill.storage.sqlite import thread_hop
from tests import calls
from tests.installation import fresh_settings, opened
from tests.storage.making import Fails, Injected, plain


def files_in(folder: str) -> set[str]:
    """The files of a folder, which may not exist yet; without templates."""
    return {name for name in os.listdir(folder) if "template" not in name} if os.path.isdir(folder) else set()


async def databases(till: Polytill) -> set[str]:
    """The practice databases that exist, without templates."""
    location = till.context.settings.practice_databases.get_secret_value()
    if not location.startswith("postgresql://"):
        return await asyncio.to_thread(files_in, location)
    connection = await connect(with_database(location, "postgres"))
    try:
        rows = await connection.fetch("SELECT datname::text FROM pg_database WHERE datname LIKE 'practice_%'")
    finally:
        await connection.close()
    return {row[0] for row in rows}


class Names:
    """The names of the databases that are created from now on: other tests use the same server."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made: set[str] = set()
        real = practices.reserve

        async def reserve(tx: Any, entry: PracticeEntry) -> int:
            self.made.add(entry.database_name)
            return await real(tx, entry)

        patch.setattr(practices, "reserve", reserve)

    async def left(self, till: Polytill) -> set[str]:
        return {found for found in await databases(till) if found.partition(".")[0] in self.made}


async def rows(till: Polytill) -> list[Any]:
    return [
        await plain(till.context.owner, f"SELECT * FROM {table} ORDER BY id")
        for table in ("practices", "api_keys", "audit_log")
    ]


async def test_a_practice_is_whole(till: Polytill) -> None:
    before = await databases(till)
    entry, key = await calls.create_practice(till, "Clinic", "NGN")
    assert (entry.name, entry.default_currency, entry.state) == ("Clinic", "NGN", "active")
    assert entry.schema_version == migrating.head("practice")
    assert key.startswith("pt_practice_")
    assert len(await databases(till) - before) >= 1
    practice = await till.context.practice(entry.id)
    assert await plain(practice.db, "SELECT practice_id FROM identity") == [(entry.id,)]
    assert await plain(practice.db, "SELECT id, name, default_currency_id FROM practices") == [
        (entry.id, "Clinic", 566)
    ]
    assert await plain(till.context.owner, "SELECT COUNT(*) FROM api_keys WHERE key_hash = $1", key_hash(key)) == [(1,)]
    assert key not in repr(await rows(till))


STEPS = [
    (Opening, "cluster", False),
    (Cluster, "create", False),
    (Cluster, "create", True),
    (PracticeDb, "commit", False),
    (PracticeDb, "commit", True),
    (OwnerDb, "commit", False),
]


@pytest.mark.parametrize(("where", "name", "after"), STEPS, ids=lambda v: getattr(v, "__name__", str(v)))
async def test_half_way_leaves_nothing(
    till: Polytill, monkeypatch: pytest.MonkeyPatch, where: type, name: str, after: bool
) -> None:
    await calls.create_practice(till, "There before", "NGN")
    names, kept = Names(monkeypatch), await rows(till)
    Injected(monkeypatch, where, name, after=after)
    with pytest.raises(Fails):
        await calls.create_practice(till, "Clinic", "NGN")
    assert await names.left(till) == set()
    assert await rows(till) == kept
    entry, _ = await calls.create_practice(till, "Clinic", "NGN")  # and another try succeeds
    assert entry.state == "active"
    assert await names.left(till)


async def test_a_lost_answer_to_the_last_commit_leaves_a_usable_practice(
    till: Polytill, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        Injected(dying, OwnerDb, "commit", after=True)
        entry, key = await calls.create_practice(till, "Clinic", "NGN")
    assert entry.state == "active"
    practice = await till.context.practice(entry.id)
    assert await plain(practice.db, "SELECT practice_id FROM identity") == [(entry.id,)]
    hashed = key_hash(key)
    assert await plain(till.context.owner, "SELECT COUNT(*) FROM api_keys WHERE key_hash = $1", hashed) == [(1,)]


async def test_cancelled_half_way_leaves_nothing(till: Polytill, monkeypatch: pytest.MonkeyPatch) -> None:
    await calls.create_practice(till, "There before", "NGN")
    names, kept = Names(monkeypatch), await rows(till)
    made = asyncio.Event()
    real = Cluster.create

    async def slow(self: Cluster, name: str) -> None:
        await real(self, name)
        made.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Cluster, "create", slow)
    task = asyncio.create_task(calls.create_practice(till, "Clinic", "NGN"))
    await made.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(names.made) == 1
    assert await names.left(till) == set()
    assert await rows(till) == kept


async def test_several_at_once(till: Polytill) -> None:
    # The first ones of an installation also create the template that all are copied from.
    made = await asyncio.gather(*(calls.create_practice(till, f"Clinic {number}", "NGN") for number in range(4)))
    assert len({entry.id for entry, _ in made}) == len({entry.database_name for entry, _ in made}) == 4
    for entry, _ in made:
        practice = await till.context.practice(entry.id)
        assert await plain(practice.db, "SELECT id, name FROM practices") == [(entry.id, entry.name)]
    assert [e.state for e in await practices.listed(till.context.owner)] == ["active"] * 4


async def test_what_is_refused_leaves_nothing(till: Polytill) -> None:
    before = await rows(till)
    with pytest.raises(Invalid):
        await calls.create_practice(till, "Clinic", "XXX")
    with pytest.raises(Invalid):
        await calls.create_practice(till, "Clinic", "NGN", cluster="nowhere")
    assert await rows(till) == before


@pytest.mark.postgres
async def test_a_second_cluster(tmp_path: Path, till: Polytill, postgres_url: str) -> None:
    await clusters.add(till.context, "second", Secret(postgres_url), clusters.Limits(), "test")
    assert postgres_url not in repr(await plain(till.context.owner, "SELECT name, sealed_url FROM clusters"))
    entry, _ = await calls.create_practice(till, "Far", "NGN", cluster="second")
    practice = await till.context.practice(entry.id)
    assert practice.db.engine.dialect == "postgresql"
    assert await plain(practice.db, "SELECT name FROM practices") == [("Far",)]


@pytest.mark.postgres
async def test_a_full_server_has_room_for_one_more_practice(tmp_path: Path, postgres_url: str) -> None:
    """The server's limit is below ours, and unused practices hold all its connections."""
    cluster = Cluster(postgres_url, 2, thread_hop)
    await cluster._template()  # created by its owner
    await cluster.close()
    role = f"narrow_{secrets.token_hex(5)}"
    server = await connect(with_database(postgres_url, "postgres"))
    await server.execute(f"CREATE ROLE {role} LOGIN CREATEDB CONNECTION LIMIT 6 IN ROLE polytill")
    try:
        settings = fresh_settings(tmp_path, postgres_url.replace("//polytill@", f"//{role}@"))
        async with opened(settings, []) as till:
            made = [(await calls.create_practice(till, f"Clinic {n}", "NGN"))[0].id for n in range(10)]
            for practice_id in made:
                practice = await till.context.practice(practice_id)
                assert await plain(practice.db, "SELECT practice_id FROM identity") == [(practice_id,)]
    finally:
        # Some may remain: the limited role had no free connection to drop them with.
        left = "SELECT datname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE rolname = $1"
        for row in await server.fetch(left, role):
            await server.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")
        await server.execute(f"DROP ROLE {role}")
        await server.close()
